"""The Loihi LIF in exact integers, vectorised over samples; time runs along axis 1."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from export.compute.threads import split
from export.graph import DECAY_BITS as DECAY_BITS
from export.graph import DECAY_ONE, V_TH_SHIFT, Lif
from export.graph import STATE_LIMIT as STATE_LIMIT

FEWEST_UPDATES = 1 << 17  # neurons x steps that are worth a thread: some 60 microseconds


@dataclass
class Extremes:
    """Smallest and largest values seen: synaptic sums a (weight units), current u and membrane v (state units)."""

    a: tuple[int, int] = (0, 0)
    u: tuple[int, int] = (0, 0)
    v: tuple[int, int] = (0, 0)
    saturated: int = field(default=0)  # neuron-steps at which u wrapped or v was clipped

    def see(self, which: str, values: Tensor) -> None:
        """Widen one range by a tensor of values."""
        low, high = getattr(self, which)
        setattr(self, which, (min(low, int(values.min())), max(high, int(values.max()))))


def decayed(x: Tensor, decay: int) -> Tensor:
    """trunc(x * (4096 - decay) / 4096), rounding toward zero, for int32 x with |x| < 2^24."""
    kept = DECAY_ONE - decay
    if kept <= 0:
        return torch.zeros_like(x)
    if kept == DECAY_ONE:
        return x
    shift = DECAY_BITS
    if kept & (kept - 1) == 0:  # a power of two needs no product, so int32 is wide enough
        shift -= kept.bit_length() - 1
        product = x
    else:
        product = x.to(torch.int64) * kept
    toward_zero = (product >> (product.element_size() * 8 - 1)) & ((1 << shift) - 1)
    return ((product + toward_zero) >> shift).to(x.dtype)


def lif(a: Tensor, params: Lif, bias: Tensor | None = None, extremes: Extremes | None = None) -> Tensor:
    """Spikes of LIF neurons that start from zero state.

    a       (N, T, ...) int32 synaptic sums
    bias    broadcastable to (N, ...), int32, weight units; added to the membrane every step
    returns (N, T, ...) uint8

    Equations: `export.graph.Lif`; overflow as in lava-nc's `PyLifModelBitAcc` (u wraps, v saturates).
    """
    u = torch.zeros_like(a[:, 0])
    v = torch.zeros_like(u)
    spikes = torch.empty(a.shape, dtype=torch.uint8, device=a.device)
    threshold = int(params.v_th) << V_TH_SHIFT
    for t in range(a.shape[1]):
        u, v = _integrated(u, v, a[:, t], params, bias, extremes)
        fired = v > threshold
        spikes[:, t] = fired
        v = v.masked_fill(fired, 0)
    return spikes


def _integrated(
    u: Tensor, v: Tensor, a: Tensor, params: Lif, bias: Tensor | None, extremes: Extremes | None
) -> tuple[Tensor, Tensor]:
    """Current and membrane after one more step, before the reset."""
    current = decayed(u, params.u_decay) + (a << V_TH_SHIFT)
    u = _wrapped(current)
    membrane = decayed(v, params.v_decay) + u
    if bias is not None:
        membrane = membrane + (bias.to(torch.int32) << V_TH_SHIFT)
    v = membrane.clamp(-STATE_LIMIT + 1, STATE_LIMIT - 1)
    if extremes is not None:
        extremes.see("u", current)
        extremes.see("v", membrane)
        extremes.saturated += int((u != current).sum() + (v != membrane).sum())
    return u, v


def graded(
    a: Tensor, params: Lif, thresholds: Sequence[int], bias: Tensor | None = None, extremes: Extremes | None = None
) -> Tensor:
    """Graded spikes of neurons of several thresholds that start from zero state; arguments as of `lif`.

    thresholds  in units of params.v_th, descending
    returns     (N, T, ...) uint8

    Equations: `export.graph.Population`.
    """
    u = torch.zeros_like(a[:, 0])
    v = torch.zeros_like(u)
    spikes = torch.zeros(a.shape, dtype=torch.uint8, device=a.device)
    for t in range(a.shape[1]):
        u, v = _integrated(u, v, a[:, t], params, bias, extremes)
        for ratio in thresholds:
            threshold = (ratio * int(params.v_th)) << V_TH_SHIFT
            reached = v > threshold
            v = v - reached * threshold
            spikes[:, t] += ratio * reached.to(torch.uint8)
    return spikes


def fire(total: Tensor, params: Lif, tile: Tensor) -> Tensor:
    """`lif` by a compiled kernel: numba's on a processor, Triton's on a GPU.

    total    (N, T, ...) int32 or float32 that holds whole numbers, contiguous
    tile     bias in state units, int32: one per neuron, or a block that repeats
    returns  (N, T, ...) uint8
    """
    if total.is_cuda:
        from export.execute import lif_triton  # loads triton

        return lif_triton.fire(total, params, tile)
    from export.execute.lif_kernel import BLOCK, lif_samples  # loads numba

    spikes = torch.empty(total.shape, dtype=torch.uint8)
    flat, out, push = total.flatten(2).numpy(), spikes.flatten(2).numpy(), tile.numpy()
    neurons = flat.shape[2]
    block = BLOCK if len(push) == neurons else len(push)
    numbers = params.u_decay, params.v_decay, int(params.v_th)
    split(
        lambda first, last: lif_samples(flat, push, out, block, *numbers, first, last),
        len(flat) * -(-neurons // block),
        fewest=FEWEST_UPDATES // (block * flat.shape[1]) + 1,
    )
    return spikes


@cache
def has_kernel(device: torch.device) -> bool:
    """Whether a compiled kernel runs there; `lif` computes the same without, slower. Triton needs a C compiler."""
    if device.type == "cpu":
        return True
    try:
        zero = torch.zeros((1, 1, 1), dtype=torch.int32, device=device)
        fire(zero, Lif(1, 4096, 4096), zero.flatten())
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        warnings.warn(
            f"the compiled LIF does not run on {device} ({type(error).__name__}: {reason}): torch's operations are taken",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


def _wrapped(u: Tensor) -> Tensor:
    """Wrap past +-2^23 exactly as stock Lava does (2^23 itself is kept, -2^23 is not)."""
    u = torch.where(u > STATE_LIMIT, u - 2 * STATE_LIMIT, u)
    return torch.where(u <= -STATE_LIMIT, u + 2 * STATE_LIMIT, u)
