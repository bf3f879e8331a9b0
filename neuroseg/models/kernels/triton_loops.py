"""The loops of CUDA's kernels, in Triton: one sweep over memory each, with the membrane in registers.

A program works off a tile of ROWS positions by COLUMNS channels, over all steps; maps are (N, T, P, C), contiguous. Number of
channels, steps and terms are constants of the compiler: every population's shape is compiled once and kept on disk by Triton.

The set launches all of them without contraction to fused multiply-adds (`enable_fp_fusion=False`): each operation rounds
as in torch, so spikes equal those of `plain` for every input, and the membrane that `backward` computes anew equals that
of `fire` to the bit. They wait for memory, not for arithmetic.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, valid-type, assignment, import-untyped"
# ruff: noqa: RUF005  (Triton's tuples grow by +)

import triton
import triton.language as tl

UNIT = tl.constexpr(4096.0)  # membrane states are integers in 1/4096


@triton.jit
def _truncated(x):
    """Toward zero."""
    return tl.where(x < 0, tl.ceil(x), tl.floor(x))


@triton.jit
def _place(positions, C: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Sample, offsets of the tile in a map (P, C), which of them exist, channels (COLUMNS,), which of them exist."""
    blocks = tl.cdiv(positions, ROWS)
    program = tl.program_id(0)
    row = (program % blocks) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    at = row.to(tl.int64)[:, None] * C + channel[None, :]
    exists = channel < C
    return (program // blocks).to(tl.int64), at, (row < positions)[:, None] & exists[None, :], channel, exists


@triton.jit
def _sum_of_terms(values, scale, shift, at, inside, channel, exists, C: tl.constexpr):
    """x = sum over k of scale[k] values[k] + shift at a step, in the dtype of scale; and the values as they were read."""
    x = tl.load(shift + channel, mask=exists, other=0.0)[None, :]
    read = ()
    for k in tl.static_range(len(values)):
        y = tl.load(values[k] + at, mask=inside, other=0.0)
        factor = tl.load(scale + k * C + channel, mask=exists, other=0.0)
        x = x + factor[None, :] * y.to(factor.dtype)
        read = read + (y,)
    return x, read


@triton.jit
def _next_membrane(v, x, kept, v_th, SOFT: tl.constexpr):
    """v[t] before its reset, from v[t - 1] before its reset."""
    after_reset = tl.where(v > v_th, v - v_th if SOFT else 0.0, v)
    return _truncated(after_reset * kept) + _truncated(x.to(v.dtype) * UNIT)


@triton.jit(do_not_specialize=["positions", "v_th"])
def fire(
    values,  # K pointers to (N, Ti, P, C)
    scale,  # (K, C)
    shift,  # (C,)
    spikes,  # to write: (N, T, P, C)
    currents,  # to write with KEEP: (N, Ti, P, C), dtype of scale
    positions,  # P
    kept: tl.float64,
    v_th,
    C: tl.constexpr,
    STEPS: tl.constexpr,
    SAME: tl.constexpr,  # Ti is 1
    KEEP: tl.constexpr,
    SOFT: tl.constexpr,  # reset
    STATE: tl.constexpr,  # dtype of the membrane
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Spikes, and with KEEP the currents; grid (N blocks of positions, blocks of channels)."""
    n, at, inside, channel, exists = _place(positions, C, ROWS, COLUMNS)
    length = positions.to(tl.int64) * C
    given, fired = at + n * (1 if SAME else STEPS) * length, at + n * STEPS * length
    kept_state, v_th_state = tl.cast(kept, STATE), tl.cast(v_th, STATE)
    v = tl.full((ROWS, COLUMNS), 0.0, STATE)
    for t in tl.static_range(STEPS):
        if t == 0 or not SAME:
            x, _ = _sum_of_terms(values, scale, shift, given + t * length, inside, channel, exists, C)
            if KEEP:
                tl.store(currents + given + t * length, x, mask=inside)
        v = _next_membrane(v, x, kept_state, v_th_state, SOFT)
        spike = tl.where(v > v_th_state, 1.0, 0.0).to(spikes.dtype.element_ty)
        tl.store(spikes + fired + t * length, spike, mask=inside)


@triton.jit
def _through_time(g, v, grad_spikes, constants, SOFT: tl.constexpr, TRIANGLE: tl.constexpr):
    """g = dL/dv[t] from g = dL/dv[t + 1], of the dtype of the currents; zero where nothing comes after."""
    kept, v_th, half, height = constants
    real = (v * (1 / UNIT)).to(g.dtype)
    threshold = (v_th * (1 / UNIT)).to(g.dtype)
    if TRIANGLE:
        slope = tl.maximum(1.0 - tl.abs(real - threshold) * height, 0.0) * height
    else:
        slope = tl.where(tl.abs(real - threshold) <= half, height, 0.0)
    through = kept.to(g.dtype)
    if not SOFT:
        through = through * (1.0 - (v > v_th).to(g.dtype) - real * slope)
    return grad_spikes.to(g.dtype) * slope + g * through


@triton.jit
def _membranes(
    values,
    constants,  # scale, shift, kept, v_th
    v,  # at rest
    given,
    length,
    inside,
    channel,
    exists,
    C: tl.constexpr,
    STEPS: tl.constexpr,
    SAME: tl.constexpr,
    SOFT: tl.constexpr,
):
    """v of every step before its reset, and the values of the terms as they were read, of every step that has its own."""
    scale, shift, kept, v_th = constants
    membranes = ()
    held = ()
    for t in tl.static_range(STEPS):
        if t == 0 or not SAME:
            x, read = _sum_of_terms(values, scale, shift, given + t * length, inside, channel, exists, C)
            held = held + (read,)
        v = _next_membrane(v, x, kept, v_th, SOFT)
        membranes = membranes + (v,)
    return membranes, held


@triton.jit(do_not_specialize=["positions", "v_th"])
def backward(
    values,  # K pointers to (N, Ti, P, C)
    scale,  # (K, C)
    shift,  # (C,)
    grad_spikes,  # (N, T, P, C)
    grad_currents,  # (N, Ti, P, C) with MORE
    grad,  # to write: (N, Ti, P, C), dtype of scale
    sums,  # to write: (programs, 1 + K, C), float64
    positions,  # P
    kept: tl.float64,
    v_th,
    half: tl.float64,  # of the surrogate's width
    height: tl.float64,  # 1 / width
    C: tl.constexpr,
    STEPS: tl.constexpr,
    SAME: tl.constexpr,
    MORE: tl.constexpr,
    SOFT: tl.constexpr,
    TRIANGLE: tl.constexpr,
    STATE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """grad = dL/dx, and per tile its sums over positions and steps, alone and times each term; grid as of `fire`."""
    n, at, inside, channel, exists = _place(positions, C, ROWS, COLUMNS)
    length = positions.to(tl.int64) * C
    given, fired = at + n * (1 if SAME else STEPS) * length, at + n * STEPS * length
    kept_state, v_th_state = tl.cast(kept, STATE), tl.cast(v_th, STATE)
    dtype = scale.dtype.element_ty
    half_width, height_here = tl.cast(half, dtype), tl.cast(height, dtype)
    rest = tl.full((ROWS, COLUMNS), 0.0, STATE)
    constants = (scale, shift, kept_state, v_th_state)
    membranes, held = _membranes(values, constants, rest, given, length, inside, channel, exists, C, STEPS, SAME, SOFT)
    g = tl.full((ROWS, COLUMNS), 0.0, dtype)
    total = tl.full((ROWS, COLUMNS), 0.0, dtype)
    products = ()
    for _ in tl.static_range(len(values)):
        products = products + (tl.full((ROWS, COLUMNS), 0.0, dtype),)
    for t in tl.static_range(STEPS - 1, -1, -1):
        arriving = tl.load(grad_spikes + fired + t * length, mask=inside, other=0.0)
        constants_of_time = (kept_state, v_th_state, half_width, height_here)
        g = _through_time(g, membranes[t], arriving, constants_of_time, SOFT, TRIANGLE)
        total += g
        if t == 0 or not SAME:
            to_x = total if SAME else g
            if MORE:
                more = tl.load(grad_currents + given + t * length, mask=inside, other=0.0).to(dtype)
                to_x = to_x + more
                total += more
            tl.store(grad + given + t * length, to_x, mask=inside)
            products = _with_products(products, to_x, held[0 if SAME else t])
    _write_sums(sums, (total,) + products, channel, exists, C)


@triton.jit
def _with_products(products, to_x, read):
    """products[k] + to_x read[k]; what lies outside the map was read as zero."""
    added = ()
    for k in tl.static_range(len(read)):
        added = added + (products[k] + to_x * read[k].to(to_x.dtype),)
    return added


@triton.jit
def _write_sums(sums, tiles, channel, exists, C: tl.constexpr):
    """sums[program] (tiles, C), float64: every tile's sum over its rows."""
    out = sums + tl.program_id(0).to(tl.int64) * (len(tiles) * C) + channel
    for k in tl.static_range(len(tiles)):
        tl.store(out + k * C, tl.sum(tiles[k].to(tl.float64), axis=0), mask=exists)


@triton.jit(do_not_specialize=["positions"])
def add_up(values, scale, shift, currents, positions, C: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """currents (P, C), of the dtype of scale: the sum of the terms (P, C); grid (blocks of positions, of channels)."""
    _, at, inside, channel, exists = _place(positions, C, ROWS, COLUMNS)
    x, _ = _sum_of_terms(values, scale, shift, at, inside, channel, exists, C)
    tl.store(currents + at, x, mask=inside)


@triton.jit(do_not_specialize=["positions"])
def add_products(values, grad, sums, positions, C: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """sums (programs, 1 + K, C), float64: of grad (P, C), alone and times each term (P, C), per tile; grid as of `add_up`."""
    _, at, inside, channel, exists = _place(positions, C, ROWS, COLUMNS)
    g = tl.load(grad + at, mask=inside, other=0.0).to(tl.float64)
    tiles = (g,)
    for k in tl.static_range(len(values)):
        tiles = tiles + (g * tl.load(values[k] + at, mask=inside, other=0.0).to(tl.float64),)
    _write_sums(sums, tiles, channel, exists, C)


@triton.jit(do_not_specialize=["positions"])
def moments(y, sums, positions, C: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """sums (programs, 2, C), float64: of y (P, C) and of its squares, per tile; grid as of `add_up`."""
    _, at, inside, channel, exists = _place(positions, C, ROWS, COLUMNS)
    value = tl.load(y + at, mask=inside, other=0.0).to(tl.float64)
    _write_sums(sums, (value, value * value), channel, exists, C)


@triton.jit(do_not_specialize=["positions"])
def rescale(grad, y, factors, out, positions, C: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """out = factors[0] grad + factors[1] y + factors[2]; grad, y, out (P, C), out may be grad; factors (3, C)."""
    _, at, inside, channel, exists = _place(positions, C, ROWS, COLUMNS)
    a = tl.load(factors + channel, mask=exists, other=0.0)[None, :]
    b = tl.load(factors + C + channel, mask=exists, other=0.0)[None, :]
    c = tl.load(factors + 2 * C + channel, mask=exists, other=0.0)[None, :]
    g = tl.load(grad + at, mask=inside, other=0.0).to(factors.dtype.element_ty)
    z = tl.load(y + at, mask=inside, other=0.0).to(factors.dtype.element_ty)
    tl.store(out + at, (a * g + b * z + c).to(out.dtype.element_ty), mask=inside)
