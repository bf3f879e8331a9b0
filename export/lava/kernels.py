"""Compiled loops of the fast models: synaptic sums and one step of neurons, serial and without Python's lock.

Maps are Lava's, channels last: spikes (W, H, C) uint8, sums (X, H', O) int32, where X output columns from x0 on are
computed at a time. Synapses are event-driven: they cost what the spikes that arrive cost. Everything is compiled when this
module is imported, before Lava forks, and kept on disk as long as no source that it is made of changes
(`export.compute.machine_code`). All sums wrap as 32-bit integers do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from export.compute.machine_code import compiled
from export.execute.lif_kernel import _current, _membrane
from export.lava.lanes import lanes

SPIKES, SUMS, WEIGHTS = "uint8[:,:,::1]", "int32[:,:,::1]", "int32[:,:,:,::1]"
LEVELS = "int32[:,::1]"
GEOMETRY = ", ".join(["UniTuple(int64, 2)"] * 3)


@njit(nogil=True, inline="always")
def _columns(size: Any, here: Any, x0: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    """First and one past the last input column that reach output columns x0 to x0 + here - 1."""
    first = x0 * stride - padding
    last = (x0 + here - 1) * stride - padding + (kernel - 1) * dilation + 1
    return max(0, first), min(size, last)


@njit(nogil=True, inline="always")
def _events(spikes: Any, fired: Any) -> Any:
    """How many channels fire at a pixel; which ones stands in `fired`."""
    count = 0
    for c in range(spikes.size):
        fired[count] = c
        count += spikes[c] != 0
    return count


@njit(nogil=True, inline="always")
def _target(far: Any, stride: Any, start: Any, size: Any) -> Any:
    """Output position, counted from `start`, of a spike `far` units from the origin; -1: it reaches none."""
    if stride == 1:  # a division costs more than all the sums of a pixel
        place = far - start
        return place if far >= 0 and 0 <= place < size else -1
    place = far // stride - start
    return place if far >= 0 and far % stride == 0 and 0 <= place < size else -1


add4, add8, add16, add32 = lanes(4), lanes(8), lanes(16), lanes(32)


@njit(nogil=True, inline="always")
def _add_rows_of(sums: Any, rows: Any, fired: Any, count: Any) -> Any:
    """sums += rows[fired[0]] + ... + rows[fired[count - 1]]; sums (out,), rows (in, out)."""
    here, there, which = sums.ctypes.data, rows.ctypes.data, fired.ctypes.data
    size = 4 * sums.size
    o = 0
    while o + 32 <= sums.size:
        add32(here + np.uintp(4 * o), there + np.uintp(4 * o), size, which, count)
        o += 32
    if o + 16 <= sums.size:
        add16(here + np.uintp(4 * o), there + np.uintp(4 * o), size, which, count)
        o += 16
    if o + 8 <= sums.size:
        add8(here + np.uintp(4 * o), there + np.uintp(4 * o), size, which, count)
        o += 8
    if o + 4 <= sums.size:
        add4(here + np.uintp(4 * o), there + np.uintp(4 * o), size, which, count)
        o += 4
    while o < sums.size:
        for n in range(count):
            sums[o] += rows[fired[n], o]
        o += 1


@compiled(f"void({SPIKES}, {WEIGHTS}, {SUMS}, int64, {GEOMETRY})")
def add_conv(s: Any, w: Any, a: Any, x0: int, stride: Any, padding: Any, dilation: Any) -> None:
    """Add the weights of every spike to the sums that it reaches; w (kx, ky, in, out), a correlation's."""
    kx, ky = w.shape[:2]
    fired = np.empty(s.shape[2], np.int64)
    first, last = _columns(s.shape[0], a.shape[0], x0, kx, stride[0], padding[0], dilation[0])
    for ix in range(first, last):
        for iy in range(s.shape[1]):
            count = _events(s[ix, iy], fired)
            if count == 0:
                continue
            for i in range(kx):
                x = _target(ix + padding[0] - i * dilation[0], stride[0], x0, a.shape[0])
                if x < 0:
                    continue
                for j in range(ky):
                    y = _target(iy + padding[1] - j * dilation[1], stride[1], 0, a.shape[1])
                    if y < 0:
                        continue
                    _add_rows_of(a[x, y], w[i, j], fired, count)


@compiled(f"void({SPIKES}, {WEIGHTS}, {SUMS}, int64, {GEOMETRY}, int64)")
def add_grouped(s: Any, w: Any, a: Any, x0: int, stride: Any, padding: Any, dilation: Any, groups: int) -> None:
    """`add_conv` for several groups; w (kx, ky, in / groups, out). Apart, because the slices of a group cost time."""
    kx, ky, inner, outer = w.shape
    deep = outer // groups
    fired = np.empty(s.shape[2], np.int64)
    start = np.arange(s.shape[2]) // inner * deep
    lane = np.arange(s.shape[2]) % inner
    first, last = _columns(s.shape[0], a.shape[0], x0, kx, stride[0], padding[0], dilation[0])
    for ix in range(first, last):
        for iy in range(s.shape[1]):
            count = _events(s[ix, iy], fired)
            for i in range(kx):
                x = _target(ix + padding[0] - i * dilation[0], stride[0], x0, a.shape[0])
                for j in range(ky):
                    y = _target(iy + padding[1] - j * dilation[1], stride[1], 0, a.shape[1])
                    if x < 0 or y < 0:
                        continue
                    for n in range(count):
                        c = fired[n]
                        for o in range(start[c], start[c] + deep):
                            a[x, y, o] += w[i, j, lane[c], o]


@compiled(f"void({SPIKES}, {WEIGHTS}, {SUMS}, int64, {GEOMETRY})")
def add_depthwise(s: Any, w: Any, a: Any, x0: int, stride: Any, padding: Any, dilation: Any) -> None:
    """`add_conv` for as many groups as channels in and out: no event list, whole rows of channels at once.

    w   (kx, ky, 1, channels)
    """
    size_x, size_y, channels = s.shape
    kx, ky, _, _ = w.shape
    here, height, _ = a.shape
    for x in range(here):
        for i in range(kx):
            ix = (x0 + x) * stride[0] - padding[0] + i * dilation[0]
            if ix < 0 or ix >= size_x:
                continue
            for y in range(height):
                for j in range(ky):
                    iy = y * stride[1] - padding[1] + j * dilation[1]
                    if iy < 0 or iy >= size_y:
                        continue
                    reached, row, from_here = a[x, y], w[i, j, 0], s[ix, iy]
                    for c in range(channels):
                        reached[c] += row[c] * np.int32(from_here[c])


@compiled("void(uint8[::1], int32[::1], int32[::1], int32[::1], int32[::1], int64)")
def add_rows(s: Any, data: Any, indices: Any, starts: Any, a: Any, first: int) -> None:
    """Rows first, first + 1, ... of a CSR matrix times the spikes, added to a."""
    for r in range(a.size):
        total = np.int32(0)
        for k in range(starts[first + r], starts[first + r + 1]):
            total = np.int32(total + data[k] * np.int32(s[indices[k]]))
        a[r] += total


FIRE = f"{LEVELS}, uint8[:,::1], uint32, uint32, int32)"


@compiled(f"void({LEVELS}, {LEVELS}, {LEVELS}, {FIRE}")
def fire(a: Any, u: Any, v: Any, push: Any, out: Any, keep_u: Any, keep_v: Any, threshold: Any) -> None:
    """One step of LIF neurons with currents and membranes; the sums are set to zero for the next ones.

    a, u, v, out   (P, C): sums in weight units, state units, state units, spikes
    push           (P, C), or (1, C) for all: bias in state units
    keep_u, keep_v 4096 less the decay, or 0 when the neurons are reset in this step
    threshold      state units
    """
    for p in range(a.shape[0]):
        total, current, membrane, fired = a[p], u[p], v[p], out[p]
        bias = push[p if push.shape[0] > 1 else 0]
        for c in range(a.shape[1]):
            current[c] = _current(current[c], total[c], keep_u)
            x = _membrane(membrane[c], current[c], bias[c], keep_v)
            fires = x > threshold
            fired[c] = 1 if fires else 0
            membrane[c] = np.int32(0) if fires else x
            total[c] = 0


@compiled(f"void({LEVELS}, {LEVELS}, {FIRE}")
def fire_membrane(a: Any, v: Any, push: Any, out: Any, keep_v: Any, no_current: Any, threshold: Any) -> None:
    """`fire` of neurons whose current does not outlive its step (u_decay 4096): only the membrane is kept."""
    for p in range(a.shape[0]):
        total, membrane, fired = a[p], v[p], out[p]
        bias = push[p if push.shape[0] > 1 else 0]
        for c in range(a.shape[1]):
            x = _membrane(membrane[c], _current(np.int32(0), total[c], no_current), bias[c], keep_v)
            fires = x > threshold
            fired[c] = 1 if fires else 0
            membrane[c] = np.int32(0) if fires else x
            total[c] = 0


@compiled(f"void({LEVELS}, {FIRE}")
def fire_memoryless(a: Any, push: Any, out: Any, nothing: Any, none: Any, threshold: Any) -> None:
    """`fire` of neurons of which nothing is left for the next step."""
    for p in range(a.shape[0]):
        total, fired = a[p], out[p]
        bias = push[p if push.shape[0] > 1 else 0]
        for c in range(a.shape[1]):
            x = _membrane(np.int32(0), _current(np.int32(0), total[c], nothing), bias[c], none)
            fired[c] = 1 if x > threshold else 0
            total[c] = 0
