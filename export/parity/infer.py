"""Which threshold or biases would make a population fire as it did.

With the spikes given, every reset is known, so the membranes are too ("forced"): they need not be simulated with the
faulty number. A spike says that the membrane was above the threshold, silence that it was not. Membranes only grow with
the bias, so each of these says that a number is at least, or at most, something, and all together leave a range.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from export.execute.neuron import STATE_LIMIT, decayed
from export.graph import V_TH_SHIFT, Lif
from export.passes.quantize import BIAS_MAX, BIAS_MIN

Holds: TypeAlias = Callable[[Tensor, int], Tensor]  # (membranes, threshold) -> bool, the same shape


@dataclass(frozen=True, eq=False)
class Evidence:
    """One population, observed.

    sums    (N, T, C, H, W) int32, what its synapses deliver; every sample starts from rest
    fired   the same shape, bool
    bias    (C, 1, 1) or (C, H, W) int32, weight units
    params  decays and threshold that it should have
    """

    sums: Tensor
    fired: Tensor
    bias: Tensor
    params: Lif

    def membranes(self, bias: Tensor) -> Tensor:
        """(N, T, C, H, W) int32: the membrane at each step, before the reset that the observed spikes tell."""
        u = v = torch.zeros_like(self.sums[:, 0])
        steps = []
        for t in range(self.sums.shape[1]):
            u = decayed(u, self.params.u_decay) + (self.sums[:, t] << V_TH_SHIFT)
            v = decayed(v, self.params.v_decay) + u + (bias << V_TH_SHIFT)
            v = v.clamp(1 - STATE_LIMIT, STATE_LIMIT - 1)
            steps.append(v)
            v = v.masked_fill(self.fired[:, t], 0)
        return torch.stack(steps, dim=1)


def threshold_change(seen: Evidence) -> int | None:
    """The smallest change of the threshold that explains every spike and every silence; None if none does."""
    v, own = seen.membranes(seen.bias), int(seen.params.v_th)
    unit = 1 << V_TH_SHIFT
    lowest = -((-int(v[~seen.fired].max())) // unit) if bool((~seen.fired).any()) else 1  # v <= v_th << 6
    highest = (int(v[seen.fired].min()) - 1) // unit if bool(seen.fired.any()) else STATE_LIMIT  # v > v_th << 6
    if lowest > highest or lowest <= own <= highest:
        return None
    return lowest - own if own < lowest else highest - own


def bias_changes(seen: Evidence, phases: int) -> dict[int, int] | None:
    """Logical channel -> the smallest change of its bias, where each channel's spikes are explained; None if not all are.

    phases  physical channels per logical one (r^2 of a space-to-depth layout); they share a bias
    """
    channels = seen.sums.shape[2] // phases
    highest = _last(seen, phases, channels, lambda v, limit: ~(v > limit) | seen.fired)  # silence stays silent
    lowest = -_last(seen, phases, channels, lambda v, limit: (v > limit) | ~seen.fired, -1)  # spikes stay spikes
    if bool((lowest > highest).any()):
        return None
    change = torch.where(lowest > 0, lowest, torch.where(highest < 0, highest, 0)).tolist()
    return {channel: int(by) for channel, by in enumerate(change) if by} or None


def _last(seen: Evidence, phases: int, channels: int, holds: Holds, sign: int = 1) -> Tensor:
    """Per channel (C,), the largest `d` for which a rule holds at every neuron-step with biases changed by sign * d.

    By bisection: the rule holds up to some d and not beyond.
    """
    span = BIAS_MAX - BIAS_MIN
    low, high = torch.full((channels,), -span - 1), torch.full((channels,), span + 1)
    limit = int(seen.params.v_th) << V_TH_SHIFT
    while bool((high - low > 1).any()):
        middle = (low + high).div(2, rounding_mode="floor")
        shift = (sign * middle).repeat_interleave(phases).to(torch.int32)[:, None, None]
        fine = holds(seen.membranes(seen.bias + shift), limit).all(dim=4).all(dim=3).all(dim=1).all(dim=0)
        fine = fine.view(channels, phases).all(dim=1)
        low, high = torch.where(fine, middle, low), torch.where(fine, high, middle)
    return low
