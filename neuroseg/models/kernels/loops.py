"""The loops of the CPU's kernels, compiled by numba when they are first called and cached on disk.

Arrays are flat over positions and channels: (N, T, L) with L = P C. They are worked off in tiles of whole positions, `tile`
values long, so that a tile of all steps stays in the cache; parameters per channel come repeated to that length. A tensor's
tiles are split into chunks, always into the same ones, so that sums do not depend on the number of threads; a call works
off the chunks [first, last).
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import numpy as np

from export.compute.machine_code import compiled

UNIT = np.float32(4096)  # membrane states are integers in 1/4096; float32, so that no product with it gets wider
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
_compiled = compiled(error_model="numpy", fastmath={"contract"})  # fused multiply-adds are allowed


@_compiled
def add_moments(y, sums, first, last):
    """Per chunk: sums[chunk] (2, tile) += y and y^2; y (L,), sums float64."""
    chunks, _, tile = sums.shape
    tiles = (y.shape[0] + tile - 1) // tile
    for chunk in range(first, last):
        total, squares = sums[chunk, 0], sums[chunk, 1]
        for i in range(tiles * chunk // chunks, tiles * (chunk + 1) // chunks):
            row = y[i * tile : (i + 1) * tile]
            for j in range(row.shape[0]):
                value = np.float64(row[j])
                total[j] += value
                squares[j] += value * value


@_compiled
def _copy(x, out):
    for j in range(x.shape[0]):
        out[j] = x[j]


@_compiled
def _add(x, out):
    for j in range(x.shape[0]):
        out[j] += x[j]


@_compiled
def _add_terms(values, scale, shift, n, t, start, x):
    """x = sum of scale[k] values[k][n, t, start : start + len(x)] + shift."""
    y, factor = values[0][n, t, start : start + x.shape[0]], scale[0]
    for j in range(x.shape[0]):
        x[j] = shift[j] + factor[j] * y[j]
    for k in range(1, len(values)):
        y, factor = values[k][n, t, start : start + x.shape[0]], scale[k]
        for j in range(x.shape[0]):
            x[j] += factor[j] * y[j]


@_compiled
def add_products(values, grad, sums, first, last):
    """Per chunk: sums[chunk] (1 + K, tile) += grad (N, Ti, L), and its product with each of the K values (N, Ti, L)."""
    count, steps, length = grad.shape
    chunks, _, tile = sums.shape
    tiles = (length + tile - 1) // tile
    part = np.empty((len(values) + 1, tile), grad.dtype)
    for chunk in range(first, last):
        for i in range(count * tiles * chunk // chunks, count * tiles * (chunk + 1) // chunks):
            n, start = i // tiles, i % tiles * tile
            size = min(tile, length - start)
            part[:] = 0
            for t in range(steps):
                _add_products(part, grad[n, t, start : start + size], values, n, t, start)
            for k in range(part.shape[0]):
                _add(part[k, :size], sums[chunk, k])


@_compiled
def add_up(values, scale, shift, currents, chunks, first, last):
    """Currents (N, Ti, L): the scaled values and the shift."""
    count, steps, length = currents.shape
    tile = shift.shape[0]
    tiles = (length + tile - 1) // tile
    for i in range(count * tiles * first // chunks, count * tiles * last // chunks):
        n, start = i // tiles, i % tiles * tile
        size = min(tile, length - start)
        for t in range(steps):
            _add_terms(values, scale, shift, n, t, start, currents[n, t, start : start + size])


@_compiled
def fire(values, scale, shift, kept, v_th, soft, spikes, currents, space, first, last):
    """Spikes (N, T, L), and where `currents` is not empty x (N, Ti, L).

    values          K arrays (N, Ti, L);  scale (K, tile), shift (tile,)
    kept, v_th      scalars of the state's type;  space (chunks, tile) of that type, for the membrane
    soft            the threshold is subtracted after a spike
    """
    count, steps, length = spikes.shape
    chunks, tile = space.shape
    tiles = (length + tile - 1) // tile
    same = values[0].shape[1] != steps
    sums, ones, zeros = np.empty_like(shift), np.ones_like(shift), np.zeros_like(shift)
    for i in range(count * tiles * first // chunks, count * tiles * last // chunks):
        n, start = i // tiles, i % tiles * tile
        size = min(tile, length - start)
        v, x = space[first, :size], sums[:size]
        for j in range(size):
            v[j] = 0
        for t in range(steps):
            s = spikes[n, t, start : start + size]
            if len(values) == 1 and not same and currents.shape[0] == 0:
                _fire_on(values[0][n, t, start : start + size], scale[0], shift, v, kept, v_th, soft, s)
                continue
            if t == 0 or not same:
                _add_terms(values, scale, shift, n, t, start, x)
                if currents.shape[0] > 0:
                    _copy(x, currents[n, t, start : start + size])
            _fire_on(x, ones, zeros, v, kept, v_th, soft, s)


@_compiled
def _fire_on(y, factor, offset, v, kept, v_th, soft, s):
    """Spikes s of one step on the currents factor y + offset; v becomes the membrane after the reset."""
    if soft:
        for j in range(y.shape[0]):
            x = offset[j] + factor[j] * y[j]
            u = np.trunc(v[j] * kept) + np.trunc(x * UNIT)
            fires = u > v_th
            s[j] = ONE if fires else ZERO
            v[j] = u - v_th if fires else u
        return
    for j in range(y.shape[0]):
        x = offset[j] + factor[j] * y[j]
        u = np.trunc(v[j] * kept) + np.trunc(x * UNIT)
        fires = u > v_th
        s[j] = ONE if fires else ZERO
        v[j] = ZERO if fires else u


@_compiled
def backward(values, scale, shift, kept, v_th, kind, grad_spikes, grad_currents, grad, sums, space, first, last):
    """grad (N, Ti, L) = dL/dx, and sums[chunk] (1 + K, tile) += its sum and those of its products with each term.

    grad_spikes     (N, T, L);  grad_currents (N, Ti, L), or empty for none
    kind            (width of the surrogate, scalar of the values' type; soft reset?; triangle?);  sums float64
    space           (chunks, T, tile) of the state's type, for the membrane
    """
    count, steps, length = grad_spikes.shape
    chunks, _, tile = space.shape
    tiles = (length + tile - 1) // tile
    same = values[0].shape[1] != steps
    x_space, g_space, part = np.empty_like(shift), np.empty_like(shift), np.empty((len(values) + 1, tile), shift.dtype)
    for chunk in range(first, last):
        for i in range(count * tiles * chunk // chunks, count * tiles * (chunk + 1) // chunks):
            n, start = i // tiles, i % tiles * tile
            size = min(tile, length - start)
            x, g = x_space[:size], g_space[:size]
            part[:] = 0
            for t in range(steps):
                if t == 0 or not same:
                    _add_terms(values, scale, shift, n, t, start, x)
                _step(space[first, max(0, t - 1), :size], space[first, t, :size], x, t == 0, kept, v_th, kind[1])
            g[:] = 0
            for t in range(steps - 1, -1, -1):
                _through_time(g, space[first, t, :size], grad_spikes[n, t, start : start + size], kept, v_th, kind)
                to_x = grad[n, 0 if same else t, start : start + size]
                if same and t < steps - 1:
                    _add(g, to_x)
                else:
                    _copy(g, to_x)
                if same and t > 0:
                    continue
                if grad_currents.shape[0] > 0:
                    _add(grad_currents[n, t, start : start + size], to_x)
                _add_products(part, to_x, values, n, t, start)
            for k in range(part.shape[0]):
                _add(part[k, :size], sums[chunk, k])


@_compiled
def _step(before, now, x, from_rest, kept, v_th, soft):
    """The membrane before its reset, from what it was a step before."""
    if from_rest:
        for j in range(x.shape[0]):
            now[j] = np.trunc(x[j] * UNIT)
        return
    if soft:
        for j in range(x.shape[0]):
            rest = before[j] - v_th if before[j] > v_th else before[j]
            now[j] = np.trunc(x[j] * UNIT) + np.trunc(rest * kept)
        return
    for j in range(x.shape[0]):
        rest = np.trunc(before[j] * kept)
        now[j] = np.trunc(x[j] * UNIT) + (ZERO if before[j] > v_th else rest)


@_compiled
def _through_time(g, v, grad_spikes, kept, v_th, kind):
    """g = dL/dv[t] from g = dL/dv[t + 1]; zero where nothing comes after."""
    width, soft, triangle = kind
    half, height = width * HALF, ONE / width
    if soft or triangle:
        for j in range(g.shape[0]):
            real = v[j] / UNIT
            far = abs(real - v_th / UNIT)
            slope = max(ZERO, ONE - far * height) * height if triangle else (height if far <= half else ZERO)
            decay = kept if soft else (ZERO if v[j] > v_th else kept) - kept * real * slope
            g[j] = grad_spikes[j] * slope + g[j] * decay
        return
    for j in range(g.shape[0]):  # hard reset and rectangle, on their own: the usual ones
        real = v[j] / UNIT
        slope = height if abs(real - v_th / UNIT) <= half else ZERO
        decay = (ZERO if v[j] > v_th else kept) - kept * real * slope
        g[j] = grad_spikes[j] * slope + g[j] * decay


@_compiled
def _add_products(part, to_x, values, n, t, start):
    """part[0] += to_x; part[1 + k] += to_x values[k]."""
    total = part[0]
    for j in range(to_x.shape[0]):
        total[j] += to_x[j]
    for k in range(len(values)):
        total, y = part[k + 1], values[k][n, t, start : start + to_x.shape[0]]
        for j in range(to_x.shape[0]):
            total[j] += to_x[j] * y[j]


@_compiled
def rescale(grad, y, factors, out, first, last):
    """out = factors[0] grad + factors[1] y + factors[2]; grad, y, out (L,), factors (3, tile). An empty out: into grad."""
    tile = factors.shape[1]
    length = y.shape[0]
    for start in range(first * tile, min(last * tile, length), tile):
        end = min(start + tile, length)
        if out.shape[0] > 0:
            _rescaled(grad[start:end], y[start:end], factors, out[start:end])
        else:
            _rescale_in_place(grad[start:end], y[start:end], factors)


@_compiled
def _rescaled(grad, y, factors, out):
    a, b, c = factors[0], factors[1], factors[2]  # not unpacked: numba would take the rows for scattered
    for j in range(y.shape[0]):
        out[j] = a[j] * grad[j] + b[j] * y[j] + c[j]


@_compiled
def _rescale_in_place(grad, y, factors):
    """On its own: a loop that is told of two arrays, and given one twice, is not vectorised."""
    a, b, c = factors[0], factors[1], factors[2]  # not unpacked: numba would take the rows for scattered
    for j in range(y.shape[0]):
        grad[j] = a[j] * grad[j] + b[j] * y[j] + c[j]
