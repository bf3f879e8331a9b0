"""The neuron: SLAYER's CUBA neuron as the papers' leaky integrate-and-fire, with a rectangle surrogate gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from export.errors import UsageError
from neuroseg.models.slayer import CubaNeuron
from neuroseg.models.synapse import from_slayer, to_slayer

WEIGHT_UNIT = 64  # SLAYER's neuron scale: weights, biases and thresholds are integers in units of 1/64
STATE_UNIT = WEIGHT_UNIT * 64  # membrane states are integers in units of 1/4096
DECAY_UNIT = 4096


class _SpikesOf(torch.autograd.Function):
    """Input currents (N, T, C, H, W) -> spikes, forward in SLAYER's integers, backward by surrogate.

    Forward, in units of 1/4096 (SLAYER 0.6.0, `leaky_integrator`; its `>= threshold + epsilon` is `>` on integers):

        v[t] = trunc(k v[t-1] (1 - s[t-1])) + trunc(4096 x[t]),   s[t] = v[t] > v_th

    k, the fraction of the membrane that stays, is a power of two for tau = 1/4: then float32 is exact while |v| < 2^24
    (4096 thresholds of 1); for any other k the state is held in float64, exact to 2^40.

    Backward, back-propagation through time with the rectangle of width a (MFS-Seg, section 3; truncation passes through):

        ds/dv = h(v) = 1/a (|v - v_th| <= a/2)
        dL/dv[t] = dL/ds[t] h(v[t]) + dL/dv[t+1] k (1 - s[t] - v[t] h(v[t])),   dL/dx = dL/dv
    """

    @staticmethod
    def forward(ctx: Any, current: Tensor, kept: float, v_th: int, width: float) -> Tensor:
        exact = torch.float32 if kept == 0 or _is_power_of_two(kept) else torch.float64
        v = _truncated_(current.to(exact) * STATE_UNIT)
        spikes = torch.empty_like(v, dtype=current.dtype)
        for t in range(v.shape[1]):
            if t:
                v[:, t] += _truncated_(v[:, t - 1] * (1 - spikes[:, t - 1]) * kept)
            torch.gt(v[:, t], v_th, out=spikes[:, t])
        ctx.save_for_backward(v, spikes)
        ctx.constants = (kept, v_th, width)
        return spikes

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        v, spikes = ctx.saved_tensors
        kept, v_th, width = ctx.constants
        v = (v / STATE_UNIT).to(grad.dtype)
        distance = (v - v_th / STATE_UNIT).abs_()
        slope = torch.le(distance, width / 2, out=distance).div_(width)
        to_v = grad * slope
        through_time = v.mul_(slope).add_(spikes).sub_(1).mul_(-kept)
        for t in range(v.shape[1] - 2, -1, -1):
            to_v[:, t] += to_v[:, t + 1] * through_time[:, t]
        return to_v, None, None, None


def _truncated_(x: Tensor) -> Tensor:
    """x rounded toward zero, in place: like `Tensor.trunc_`, but 10 times faster on a CPU."""
    return torch.copysign(x.abs().floor_(), x, out=x)


def _is_power_of_two(x: float) -> bool:
    mantissa, _ = torch.frexp(torch.tensor(x))
    return bool(mantissa == 0.5)


class Lif(CubaNeuron):  # type: ignore[misc]  # SLAYER has no types
    """Leaky integrate-and-fire neurons with hard reset: SLAYER's CUBA neuron with full current decay.

        v[t] = tau v[t-1] (1 - s[t-1]) + x[t],   s[t] = v[t] > v_th

    input   (N, T, C, H, W) currents; with `steps`: (N, C, H, W), a current that is the same at each of T = `steps` steps
    output  (N, T, C, H, W) spikes, 0 or 1
    v_th    firing threshold, a multiple of 1/64 (SLAYER's weight unit)
    tau     fraction of the membrane that stays for the next step (0.25: voltage decay 3072 of 4096)
    width   width of the rectangle surrogate, in units of the membrane
    stock   True: SLAYER's own `forward` on its own axes (no surrogate of ours), the reference for parity
    weight_scale  set by quantisation-aware training: integers per unit of weight of the synapses that feed these neurons.
            Currents then come in units of 1 / weight_scale 64ths, and so does the threshold
    """

    stock = False
    weight_scale: float | None = None

    def __init__(self, v_th: float = 0.5, tau: float = 0.25, width: float = 1.0, steps: int | None = None) -> None:
        if v_th <= 0 or v_th * WEIGHT_UNIT != int(v_th * WEIGHT_UNIT):
            raise UsageError(
                f"threshold v_th = {v_th} is not a positive multiple of 1/64, the unit of SLAYER's weights; "
                f"the nearest one is {max(1, round(v_th * WEIGHT_UNIT)) / WEIGHT_UNIT}"
            )
        super().__init__(
            threshold=v_th, current_decay=1.0, voltage_decay=1.0 - tau, scale=WEIGHT_UNIT, requires_grad=False
        )
        self.width = width
        self.steps = steps
        self.v_decay = int(self.cx_voltage_decay)  # membrane decay per step in 1/4096; it is never trained

    def forward(self, current: Tensor) -> Tensor:
        """Spikes of the neurons; every sample starts from rest."""
        if self.steps is not None:
            current = current.unsqueeze(1).expand(-1, self.steps, -1, -1, -1)
        if self.stock:
            return self._stock_forward(current)
        kept = (DECAY_UNIT - self.v_decay) / DECAY_UNIT
        v_th, width = self.v_th_mant, self.width
        if self.weight_scale is not None:
            v_th, width = round(self.threshold * self.weight_scale), width * self.weight_scale / WEIGHT_UNIT
        spikes: Tensor = _SpikesOf.apply(current, kept, v_th * 64, width)  # type: ignore[no-untyped-call]
        return spikes

    def _stock_forward(self, current: Tensor) -> Tensor:
        # SLAYER pins the neuron's shape at the first call; the same weights serve images of other sizes here.
        self.shape = None
        self.current_state = torch.zeros(1, device=current.device)
        self.voltage_state = torch.zeros(1, device=current.device)
        return from_slayer(super().forward(to_slayer(current)))

    def describe(self) -> dict[str, Any]:
        """Threshold (real) and decays (integers in 1/4096); `steps` marks a population that reads the image."""
        parameters = {
            "op": "lif",
            "v_th": float(self.threshold),
            "u_decay": int(self.cx_current_decay),
            "v_decay": self.v_decay,
        }
        return parameters if self.steps is None else {**parameters, "steps": self.steps}
