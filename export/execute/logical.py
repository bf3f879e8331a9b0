"""A projection between space-to-depth layouts as the convolution of full-resolution maps that it stands for.

A physical kernel stores a weight for every pair of phases, most of them zero: a 3x3 kernel in layout 2 holds 77 % zeros,
a 1x1 kernel in layout 4 fifteen sixteenths. Along one axis target row y = r_t Y + a reads, by tap q of source phase b,

    source row  r_s (S Y + q - P) + b  =  s y + offset,   s = r_s S / r_t,   offset = r_s (q - P) + b - s a

Where all phases hold the same weight at the same offset, the projection is one kernel over offsets, of stride s. Where s
is a fraction (a transposed convolution), that holds for each phase modulo its denominator g, and the sums come out in
layout g. What was found is expanded again and compared with the stored weights, so it is exact or not used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from export.graph import Array, Conv


@dataclass(frozen=True, eq=False)
class Logical:
    """conv: reads full-resolution maps and delivers in space-to-depth layout `factor` (1: full resolution)."""

    conv: Conv
    factor: int


@dataclass(frozen=True, eq=False)
class _Axis:
    """offsets (r_t, K, r_s) from row s y, of every stored tap; stride and factor: of the logical convolution."""

    offsets: NDArray[np.int64]
    stride: int
    factor: int


def logical(conv: Conv, layouts: tuple[int, int], source: tuple[int, int], target: tuple[int, int]) -> Logical | None:
    """The convolution that a physical one stands for, or None where it stands for none.

    layouts         r_s and r_t of source and target
    source, target  logical (H, W)
    """
    r_s, r_t = layouts
    if r_s == r_t == 1:
        return Logical(conv, 1)
    if conv.dilation != (1, 1):
        return None
    out, ins, *taps = conv.weight.shape
    axes = [_axis(taps[i], conv.stride[i], conv.padding[i], r_s, r_t) for i in (0, 1)]
    if axes[0].factor != axes[1].factor:
        return None
    stored = conv.weight.reshape(out // r_t**2, r_t, r_t, ins // r_s**2, r_s, r_s, *taps)
    stored = stored.transpose(0, 3, 1, 6, 4, 2, 7, 5)  # (O, I, phase y, tap y, source phase y, the same for x)
    kernel, first = _kernel(stored, axes)
    if not np.array_equal(_expanded(kernel, first, axes), stored):
        return None
    return _fitted(conv, kernel, first, axes, source, target)


def _axis(taps: int, stride: int, padding: int, r_s: int, r_t: int) -> _Axis:
    s = Fraction(r_s * stride, r_t)
    g = s.denominator
    phase, tap, source_phase = np.ogrid[:r_t, :taps, :r_s]
    return _Axis(r_s * (tap - padding) + source_phase - int(s * g) * (phase // g), int(s * g), g)


def _kernel(stored: Array, axes: list[_Axis]) -> tuple[Array, list[int]]:
    """(O, I, g, span y, g, span x) from the first phases, and the offsets at which the spans begin."""
    g = axes[0].factor
    used = stored[:, :, :g, :, :, :g] != 0
    places = [axis.offsets[:g] for axis in axes]
    first, spans = [], []
    for place, present in zip(places, (used.any((0, 1, 5, 6, 7)), used.any((0, 1, 2, 3, 4))), strict=True):
        hit = place[present] if present.any() else np.zeros(1, np.int64)
        first.append(int(hit.min()))
        spans.append(int(hit.max()) - int(hit.min()) + 1)
    kernel = np.zeros((*stored.shape[:2], g, spans[0], g, spans[1]), stored.dtype)
    for at in np.argwhere(used.any((0, 1))):
        ay, qy, by, ax, qx, bx = at
        row, column = places[0][ay, qy, by] - first[0], places[1][ax, qx, bx] - first[1]
        kernel[:, :, ay, row, ax, column] = stored[:, :, ay, qy, by, ax, qx, bx]
    return kernel, first


def _expanded(kernel: Array, first: list[int], axes: list[_Axis]) -> Array:
    """The stored weights that a kernel over offsets gives."""
    g = axes[0].factor
    padded = np.pad(kernel, ((0, 0), (0, 0), (0, 0), (0, 1), (0, 0), (0, 1)))  # one zero for offsets outside the span
    picks = []
    for axis, begin, size in zip(axes, first, (kernel.shape[3], kernel.shape[5]), strict=True):
        place = axis.offsets - begin
        phase = np.broadcast_to(np.arange(len(place))[:, None, None] % g, place.shape)
        picks.append((phase, np.where((place >= 0) & (place < size), place, size)))
    (ay, ky), (ax, kx) = picks
    return padded[
        :, :, ay[..., None, None, None], ky[..., None, None, None], ax[None, None, None], kx[None, None, None]
    ]


def _fitted(
    conv: Conv,
    kernel: Array,
    first: list[int],
    axes: list[_Axis],
    source: tuple[int, int],
    target: tuple[int, int],
) -> Logical | None:
    """Symmetric padding, and zeros around the kernel where a side needs them, so that as many rows come out as wanted."""
    g = axes[0].factor
    out, ins = kernel.shape[:2]
    weight = kernel.transpose(0, 2, 4, 1, 3, 5).reshape(out * g * g, ins, kernel.shape[3], kernel.shape[5])
    paddings, around = [], [(0, 0), (0, 0)]
    for i, axis in enumerate(axes):
        span, rows = weight.shape[2 + i], target[i] // g
        for padding in range(max(0, -first[i]), max(0, -first[i]) + source[i] + axis.stride + 1):
            before = first[i] + padding
            size = min(source[i] + 2 * padding - axis.stride * (rows - 1), before + span + axis.stride - 1)
            if size >= before + span and (source[i] + 2 * padding - size) // axis.stride + 1 == rows:
                paddings.append(padding)
                around.append((before, size - before - span))
                break
        else:
            return None
    stride = (axes[0].stride, axes[1].stride)
    same = replace(conv, weight=np.pad(weight, around), stride=stride, padding=(paddings[0], paddings[1]))
    return Logical(same, g)
