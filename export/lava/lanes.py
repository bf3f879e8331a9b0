"""Sums that stay in vector registers while weights are added: the one loop that numba does not make fast by itself.

Numba's arrays may overlap as far as its compiler knows, so it reads and writes every sum for every spike. Here N
neighbouring sums are loaded once, the rows of all spikes of a pixel are added, and they are stored once: twice as fast
(docs/adr/014-lava-fast.md). What is meant is:

    for n in range(count):
        sums[:N] += rows[fired[n], :N]
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

ALIGNMENT = 4  # of an int32: nothing more is known of an address


def lanes(width: int) -> Any:
    """A function `add(sums, rows, row_bytes, fired, count)` for compiled code, for `width` int32 sums.

    sums, rows, fired   addresses: of the sums, of row 0 of the weights, of `count` row numbers (int64)
    row_bytes           from one row to the next
    """

    def add(context: Any, sums: Any, rows: Any, row_bytes: Any, fired: Any, count: Any) -> Any:
        signature = types.void(types.uintp, types.uintp, types.intp, types.uintp, types.intp)
        return signature, generate

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, rows, row_bytes, fired, count = arguments
        vector, number = ir.VectorType(ir.IntType(32), width), ir.IntType(64)
        place = builder.inttoptr(sums, vector.as_pointer())
        numbers = builder.inttoptr(fired, number.as_pointer())
        total = cgutils.alloca_once(builder, vector)  # type: ignore[no-untyped-call]  # becomes registers
        builder.store(builder.load(place, align=ALIGNMENT), total)
        with cgutils.for_range(builder, count) as loop:
            offset = builder.mul(builder.load(builder.gep(numbers, [loop.index])), row_bytes)
            row = builder.inttoptr(builder.add(rows, offset), vector.as_pointer())
            builder.store(builder.add(builder.load(total), builder.load(row, align=ALIGNMENT)), total)
        builder.store(builder.load(total), place, align=ALIGNMENT)
        return context.get_dummy_value()

    return intrinsic(add)
