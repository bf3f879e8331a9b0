"""The LIF of `export.execute.neuron` as compiled loops: serial, without Python's lock, safe in forked processes.

Import this module only where it is used: it loads numba. Machine code is kept on disk (`export.compute.machine_code`).
All arithmetic is that of 32-bit integers, which wrap as numpy's and torch's do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from export.compute.machine_code import compiled
from export.graph import DECAY_BITS, STATE_LIMIT, V_TH_SHIFT

BLOCK = 2048  # neurons whose state stays in the nearest cache while time runs
DECAY_MASK = (1 << DECAY_BITS) - 1
UPPER = STATE_LIMIT - 1


@njit(nogil=True, inline="always")
def _decayed(x: Any, kept: Any) -> Any:
    """trunc(x * kept / 4096) for int32 x and 0 <= kept <= 4096: |x| = high * 4096 + low, so no product needs 64 bits."""
    size = np.uint32(abs(x))
    high = np.uint32(size >> np.uint32(DECAY_BITS))
    low = np.uint32(size & np.uint32(DECAY_MASK))
    part = np.uint32(np.uint32(low * kept) >> np.uint32(DECAY_BITS))
    whole = np.int32(np.uint32(np.uint32(high * kept) + part))
    return np.int32(-whole) if x < 0 else whole


@njit(nogil=True, inline="always")
def _current(u: Any, a: Any, kept: Any) -> Any:
    """u[t] of u[t-1], wrapped past +-2^23 as in stock Lava."""
    current = np.int32(_decayed(u, kept) + np.int32(a << V_TH_SHIFT))
    if current > STATE_LIMIT:
        current = np.int32(current - 2 * STATE_LIMIT)
    return np.int32(current + 2 * STATE_LIMIT) if current <= -STATE_LIMIT else current


@njit(nogil=True, inline="always")
def _membrane(v: Any, u: Any, push: Any, kept: Any) -> Any:
    """v[t] of v[t-1] before the reset, saturated."""
    v = np.int32(np.int32(_decayed(v, kept) + u) + push)
    return np.int32(max(min(v, np.int32(UPPER)), np.int32(-UPPER)))


@compiled()
def lif_steps(a: Any, u: Any, v: Any, push: Any, out: Any, u_decay: int, v_decay: int, v_th: int) -> None:
    """T steps of n neurons, state in and out; all arrays C-contiguous, none may overlap.

    a        (T, n) int32 or int16: synaptic sums in weight units (float32 or float64 that hold such integers: too)
    u, v     (n,) int32, state units, before the first step; overwritten with the state after the last one
    push     (n,) or (1,) int32: bias in state units (mantissa << exponent), added to the membrane every step
    out      (T, n), any number type: 1 where a neuron fires, else 0
    u_decay, v_decay   in 1/4096, 0 to 4096 (of Lava's `du`: du + 1); v_th   mantissa, compared as v_th << 6

    Equations: `export.graph.Lif`; overflow as in lava-nc's `PyLifModelBitAcc` (u wraps, v saturates).
    """
    keep_u, keep_v = np.uint32(4096 - u_decay), np.uint32(4096 - v_decay)
    threshold = np.int32(min(v_th << V_TH_SHIFT, STATE_LIMIT))  # v never passes 2^23 - 1
    steps, n = a.shape
    same = push[0] if push.size else np.int32(0)
    each = push.size > 1
    for first in range(0, n, BLOCK):
        last = min(first + BLOCK, n)
        for t in range(steps):
            row, fired = a[t, first:last], out[t, first:last]
            current, membrane = u[first:last], v[first:last]
            bias = push[first:last]
            for i in range(last - first):
                current[i] = _current(current[i], np.int32(row[i]), keep_u)
                x = _membrane(membrane[i], current[i], bias[i] if each else same, keep_v)
                fires = x > threshold
                fired[i] = 1 if fires else 0
                membrane[i] = np.int32(0) if fires else x


@compiled()
def lif_samples(
    totals: Any, push: Any, out: Any, block: int, u_decay: int, v_decay: int, v_th: int, first: int, last: int
) -> None:
    """N samples that start from zero state, in one sweep: every sum is read once and every spike written once.

    totals   (N, T, n) float32 or int32, whole numbers
    push     bias in state units, int32: (n,), or (block,) that repeats from block to block
    out      (N, T, n) uint8
    block    neurons whose state is kept while time runs; with a repeating bias a multiple of its period
    first, last   which of the N ceil(n / block) blocks to compute
    """
    keep_u, keep_v = np.uint32(4096 - u_decay), np.uint32(4096 - v_decay)
    threshold = np.int32(min(v_th << V_TH_SHIFT, STATE_LIMIT))
    _, steps, n = totals.shape
    blocks = (n + block - 1) // block
    u, v = np.empty(block, np.int32), np.empty(block, np.int32)
    for turn in range(first, last):
        sample, begin = turn // blocks, turn % blocks * block
        size = min(block, n - begin)
        bias = push[begin : begin + size] if push.size == n else push
        u[:size] = 0
        v[:size] = 0
        for t in range(steps):
            row, fired = totals[sample, t, begin : begin + size], out[sample, t, begin : begin + size]
            for i in range(size):
                current = _current(u[i], np.int32(row[i]), keep_u)
                x = _membrane(v[i], current, bias[i], keep_v)
                fires = x > threshold
                fired[i] = fires
                u[i] = current
                v[i] = np.int32(0) if fires else x
