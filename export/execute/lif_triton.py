"""The LIF of `export.execute.neuron` as one Triton kernel for CUDA: every sum is read once and every spike written once.

Import this module only where it is used: it loads triton. All arithmetic is that of 32-bit integers.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, valid-type, assignment, import-untyped"

import torch
import triton
import triton.language as tl
from torch import Tensor

from export.graph import DECAY_BITS, DECAY_ONE, STATE_LIMIT, V_TH_SHIFT, Lif

BLOCK = 512
BITS, LIMIT, SHIFT = tl.constexpr(DECAY_BITS), tl.constexpr(STATE_LIMIT), tl.constexpr(V_TH_SHIFT)
MASK = tl.constexpr((1 << DECAY_BITS) - 1)


@triton.jit
def _decayed(x, kept):
    """trunc(x * kept / 4096) for 0 <= kept <= 4096, with no product of more than 32 bits."""
    size = tl.abs(x)
    whole = (size >> BITS) * kept + (((size & MASK) * kept) >> BITS)
    return tl.where(x < 0, -whole, whole)


@triton.jit(do_not_specialize=["neurons", "period", "keep_u", "keep_v", "threshold"])
def _fire(
    totals,  # (N, T, n) float32 or int32
    push,  # (period,) int32
    spikes,  # (N, T, n) uint8
    neurons,
    period,
    keep_u,
    keep_v,
    threshold,
    STEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < neurons
    bias = tl.load(push + at % period, mask=inside, other=0)
    u = tl.zeros((BLOCK,), dtype=tl.int32)
    v = tl.zeros((BLOCK,), dtype=tl.int32)
    row = tl.program_id(1).to(tl.int64) * STEPS * neurons
    for _ in range(STEPS):
        a = tl.load(totals + row + at, mask=inside, other=0).to(tl.int32)
        u = _decayed(u, keep_u) + (a << SHIFT)
        u = tl.where(u > LIMIT, u - 2 * LIMIT, u)
        u = tl.where(u <= -LIMIT, u + 2 * LIMIT, u)
        v = _decayed(v, keep_v) + u + bias
        v = tl.maximum(tl.minimum(v, LIMIT - 1), 1 - LIMIT)
        fired = v > threshold
        tl.store(spikes + row + at, fired.to(tl.uint8), mask=inside)
        v = tl.where(fired, 0, v)
        row += neurons


def fire(total: Tensor, params: Lif, tile: Tensor) -> Tensor:
    """As `export.execute.neuron.fire`, for tensors on a GPU."""
    total = total.contiguous()
    spikes = torch.empty(total.shape, dtype=torch.uint8, device=total.device)
    samples, steps = total.shape[:2]
    neurons = total[0, 0].numel()
    _fire[(triton.cdiv(neurons, BLOCK), samples)](
        total,
        tile,
        spikes,
        neurons,
        len(tile),
        DECAY_ONE - params.u_decay,
        DECAY_ONE - params.v_decay,
        min(int(params.v_th) << V_TH_SHIFT, STATE_LIMIT),
        STEPS=steps,
        BLOCK=BLOCK,
    )
    return spikes
