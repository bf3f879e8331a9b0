"""Batch normalisation through time: statistics and a gain of their own at every time step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from export.errors import QuantizeError, UsageError
from neuroseg.models.currents import Currents, Statistics, Term, as_maps, as_rows, tensor_of
from neuroseg.models.norm import Norm, check_count


class Bntt(Norm):
    """Batch norm through time (Kim and Panda 2021, equations 6 to 8): one set of parameters per time step, no shift.

        y[t] = gain[t] (x[t] - mean[t]) / sqrt(var[t] + eps);   statistics per channel over batch and space

    Each step normalises by what that step sees, so early steps, when few neurons fire, are not those that starve. On a chip
    a neuron has one threshold and one bias for all steps: no Loihi neuron computes it, unless all steps are equal.

    input   (N, T, C, H, W), T = `steps`; or (N, C, H, W), a current that is the same at every step
    output  (N, T, C, H, W). Tensor in, tensor out; `Currents` in, `Currents` out
    gain    initial value of the trained factors (T, C)

    Raises UsageError for another T, DataError while training on fewer than two values per channel and step.
    """

    def __init__(self, steps: int, channels: int, gain: float = 1.0, eps: float = 1e-4) -> None:
        super().__init__((steps, channels), eps)
        self.gain = nn.Parameter(torch.full((steps, channels), gain))

    @property
    def steps(self) -> int:
        """T."""
        return int(self.gain.shape[0])

    def forward(self, x: Tensor | Currents) -> Tensor | Currents:
        """Normalised currents; while training, by the statistics of this batch."""
        raw = tensor_of(x)
        if raw.ndim == 5 and raw.shape[1] != self.steps:
            raise UsageError(
                f"currents have {raw.shape[1]} time steps, and this norm has parameters for {self.steps} (model.norm=bntt): "
                f"run it with T = {self.steps}, or train with model.norm=tdbn, whose parameters serve any T"
            )
        normed: Tensor = _PerStep.apply(raw, self.gain, self._statistics(raw))  # type: ignore[no-untyped-call]
        return Currents((Term(normed),)) if isinstance(x, Currents) else normed

    def _statistics(self, raw: Tensor) -> Statistics:
        """Mean and variance (T, C)."""
        if not self.of_batch:
            return self.known()
        rows = as_rows(raw.detach())
        count = rows.shape[0] * rows.shape[2]
        check_count(count, rows.shape[-1], tuple(raw.shape))
        wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
        mean = wide.sum((0, 2)) / count  # two sweeps: a third of the time of torch.var_mean, which walks along N and P
        var = (wide - mean[:, None]).square_().sum((0, 2)) / count
        seen = Statistics(mean.expand(self.steps, -1), var.expand(self.steps, -1), self.eps, of_batch=True)
        self.track(seen, count)
        return seen

    def affine(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(gain, shift, mean, deviation), each (C,), float64, where all steps are equal; QuantizeError where they are not."""
        deviation = torch.sqrt(self.running_var.double() + self.eps)
        of_steps = self.gain.double(), self.running_mean.double(), deviation
        if any(bool((x != x[:1]).any()) for x in of_steps):
            raise QuantizeError(
                f"a norm with parameters of its own at each of {self.steps} steps (model.norm=bntt) does not fold into the "
                f"weights before it, which are the same at all steps; train with model.norm=tdbn"
            )
        gain, mean, first = (x[0] for x in of_steps)
        return gain, torch.zeros_like(gain), mean, first

    def describe(self) -> dict[str, Any]:
        """y[t] = gain[t] (x - mean[t]) / sqrt(var[t] + eps) + shift[t]; tensors are (T, C), the shift is zero."""
        return {
            "op": "norm",
            "gain": self.gain.detach(),
            "shift": torch.zeros_like(self.gain),
            "mean": self.running_mean.detach(),
            "var": self.running_var.detach(),
            "eps": self.eps,
        }


class _PerStep(torch.autograd.Function):
    """(raw, gain (T, C)) -> normed (N, T, C, H, W), in the dtype of the gain or a wider one.

    The gradient as in `neuroseg.models.currents`, step by step: with z = (x - mean) / sqrt(var + eps) and d = dL/dy,

        dL/dgain = sum of d z,   dL/dx = gain / sqrt(var + eps) (d - average of d - z (average of d z))
    """

    @staticmethod
    def forward(ctx: Any, raw: Tensor, gain: Tensor, norm: Statistics) -> Tensor:
        ctx.save_for_backward(raw, gain)
        ctx.norm = norm
        rows = as_rows(raw)
        dtype = torch.promote_types(rows.dtype, gain.dtype)
        scale = (gain * norm.inverse()).to(dtype)
        normed = torch.addcmul((-norm.mean * scale).to(dtype)[:, None], rows.to(dtype), scale[:, None])
        maps: Tensor = normed.unflatten(2, raw.shape[-2:]).permute(0, 1, 4, 2, 3)
        return maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        raw, gain = ctx.saved_tensors
        norm: Statistics = ctx.norm
        rows, d = as_rows(raw), as_rows(grad)
        inverse, count = norm.inverse().to(d.dtype), rows.shape[0] * rows.shape[2]
        total = d.sum((0, 2))
        to_gain = inverse * ((d * rows).sum((0, 2)) - norm.mean * total)
        scale = gain * inverse
        to_rows = d * scale[:, None]
        if norm.of_batch:
            slope = -scale * inverse * to_gain / count
            offset = -scale * total / count - slope * norm.mean
            to_rows = to_rows.addcmul_(rows.to(d.dtype), slope[:, None]).add_(offset[:, None])
        if rows.shape[1] != to_rows.shape[1]:
            to_rows = to_rows.sum(1, keepdim=True)
        return as_maps(to_rows.to(raw.dtype), raw), to_gain.to(gain.dtype), None
