"""Kernels in space-to-depth layout: one derivation for every rewrite that `lower` needs.

Along one axis a projection reads, for target row y, the source rows that its kernel taps point to. With the target
stored in layout r_t (y = r_t Y + a) and the source in layout r_s (row = r_s Q + b), tap k of phase a always lands on
phase b at distance q from S Y, so the whole projection is again a plain convolution of stride S over (Y, Q), with
channels (o, a) and (i, b). This holds for strided convolution, transposed convolution (polyphase form: Vaidyanathan
1993), nearest resizing before either, and any mix of layouts, as long as the strides divide.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

MAX_LAYOUT = 64


@dataclass(frozen=True)
class Axis:
    """One axis of a projection in logical terms.

    kernel, stride, padding, dilation   of the convolution; for `transposed` those of the convolution it transposes
    up, down     nearest resizing of the source before it (one of them is 1)
    source_size  rows of the source population; target_size rows of the target population
    """

    kernel: int
    stride: int
    padding: int
    dilation: int
    transposed: bool
    up: int
    down: int
    source_size: int
    target_size: int


@dataclass(frozen=True)
class AxisKernel:
    """One axis of the physical convolution.

    taps     (r_t, kernel, K, r_s) in {0, 1}: tap k of phase a stands at physical position j, source phase b
    stride, padding   of the physical convolution
    """

    taps: NDArray[np.float64]
    stride: int
    padding: int


def fits(axis: Axis, source_layout: int, target_layout: int) -> bool:
    """Whether the projection is a plain convolution between these layouts."""
    if axis.target_size % target_layout or axis.source_size % source_layout:
        return False
    step = _step(axis, target_layout)
    if step is None or step % axis.up:
        return False
    return (step * axis.down) % (axis.up * source_layout) == 0


def axis_kernel(axis: Axis, source_layout: int, target_layout: int) -> AxisKernel:
    """Derive the physical kernel of one axis.

    needs   `fits(axis, source_layout, target_layout)`
    ensures the physical convolution delivers exactly target_size / target_layout rows
    """
    step = _step(axis, target_layout)
    assert step is not None
    stride = step * axis.down // (axis.up * source_layout)
    hits = []
    for phase in range(target_layout):
        for tap in range(axis.kernel):
            row = _source_row(axis, phase, tap)
            if row is not None:
                hits.append((phase, tap, *divmod(row, source_layout)))
    nearest, farthest = min(h[2] for h in hits), max(h[2] for h in hits)
    size, padding = _extent(
        nearest, farthest, stride, axis.source_size // source_layout, axis.target_size // target_layout
    )
    taps = np.zeros((target_layout, axis.kernel, size, source_layout))
    for phase, tap, offset, source_phase in hits:
        taps[phase, tap, offset + padding, source_phase] = 1.0
    return AxisKernel(taps, stride, padding)


@cache
def kernel_size(axis: Axis, source_layout: int, target_layout: int) -> int:
    """Taps of the physical kernel along one axis: K of `axis_kernel`, computed once per geometry."""
    return int(axis_kernel(axis, source_layout, target_layout).taps.shape[2])


def _step(axis: Axis, target_layout: int) -> int | None:
    """Rows of the (resized) source by which a step of one physical target row moves; None if not whole."""
    if not axis.transposed:
        return axis.stride * target_layout
    return target_layout // axis.stride if target_layout % axis.stride == 0 else None


def _source_row(axis: Axis, phase: int, tap: int) -> int | None:
    """Source row that a tap of target row `phase` reads (may lie outside: zero padding), or None."""
    if axis.transposed:
        position = phase + axis.padding - tap * axis.dilation
        if position % axis.stride:
            return None
        position //= axis.stride
    else:
        position = axis.stride * phase + tap * axis.dilation - axis.padding
    return position * axis.down if axis.down > 1 else position // axis.up


def _extent(nearest: int, farthest: int, stride: int, source: int, target: int) -> tuple[int, int]:
    """Smallest kernel size and symmetric padding that cover all offsets and deliver `target` rows."""
    for padding in range(max(0, -nearest), max(0, -nearest) + source + stride + 1):
        for extra in reversed(range(stride)):
            size = source + 2 * padding - stride * (target - 1) - extra
            if size >= 1 and size - 1 - padding >= farthest:
                return size, padding
    raise AssertionError(f"no padding for offsets {nearest}..{farthest}, stride {stride}, {source} -> {target} rows")
