"""Maps of bytes from channels last to logical order, eight positions and eight channels at a time.

Import this module only where it is used: it loads numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from export.compute.machine_code import compiled

BYTES = 8  # of a word
WORD, HALF, QUARTER = np.uint64(32), np.uint64(16), np.uint64(8)
WORD_MASK, HALF_MASK, QUARTER_MASK = np.uint64(0xFFFFFFFF), np.uint64(0x0000FFFF0000FFFF), np.uint64(0x00FF00FF00FF00FF)


@compiled()
def _swapped(a: Any, b: Any, shift: Any, mask: Any) -> Any:
    """The high parts of a change places with the low parts of b."""
    difference = ((a >> shift) ^ b) & mask
    return a ^ (difference << shift), b ^ difference


@compiled()
def turn(maps: Any, out: Any, first: int, last: int) -> None:
    """Bytes (M, P, C) to (M, C, P), for m in [first, last). Little-endian words of eight: maps (M, P, C / 8), out (M, C, P / 8).

    A block of 8x8 bytes is transposed by swapping quarters, then their quarters, and so on (Warren, Hacker's Delight, 7-3).
    """
    for m in range(first, last):
        for g in range(maps.shape[2]):
            for q in range(out.shape[2]):
                p, c = BYTES * q, BYTES * g
                a, b, d, e = maps[m, p, g], maps[m, p + 1, g], maps[m, p + 2, g], maps[m, p + 3, g]
                h, i, j, k = maps[m, p + 4, g], maps[m, p + 5, g], maps[m, p + 6, g], maps[m, p + 7, g]
                a, h = _swapped(a, h, WORD, WORD_MASK)
                b, i = _swapped(b, i, WORD, WORD_MASK)
                d, j = _swapped(d, j, WORD, WORD_MASK)
                e, k = _swapped(e, k, WORD, WORD_MASK)
                a, d = _swapped(a, d, HALF, HALF_MASK)
                b, e = _swapped(b, e, HALF, HALF_MASK)
                h, j = _swapped(h, j, HALF, HALF_MASK)
                i, k = _swapped(i, k, HALF, HALF_MASK)
                out[m, c, q], out[m, c + 1, q] = _swapped(a, b, QUARTER, QUARTER_MASK)
                out[m, c + 2, q], out[m, c + 3, q] = _swapped(d, e, QUARTER, QUARTER_MASK)
                out[m, c + 4, q], out[m, c + 5, q] = _swapped(h, i, QUARTER, QUARTER_MASK)
                out[m, c + 6, q], out[m, c + 7, q] = _swapped(j, k, QUARTER, QUARTER_MASK)
