"""The neuron: SLAYER's CUBA neuron as the papers' leaky integrate-and-fire, with a surrogate gradient."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from export.errors import UsageError
from neuroseg.models.currents import Currents, currents_of, tensor_of
from neuroseg.models.kernels import STATE_UNIT, Neuron
from neuroseg.models.slayer import CubaNeuron
from neuroseg.models.synapse import from_slayer, to_slayer

WEIGHT_UNIT = 64  # SLAYER's neuron scale: weights, biases and thresholds are integers in units of 1/64
DECAY_UNIT = 4096

Reset: TypeAlias = Literal["hard", "soft"]
Surrogate: TypeAlias = Literal["rectangle", "triangle"]


class Lif(CubaNeuron):  # type: ignore[misc]  # SLAYER has no types
    """Leaky integrate-and-fire neurons: SLAYER's CUBA neuron with full current decay.

        v[t] = tau v[t-1] (1 - s[t-1]) + x[t],   s[t] = v[t] > v_th       hard reset, SLAYER's and Loihi's
        v[t] = tau (v[t-1] - v_th s[t-1]) + x[t]                          soft reset (Kim et al. 2022, section 4.1)

    Forward in SLAYER's integers (SLAYER 0.6.0, `leaky_integrator`; its `>= threshold + epsilon` is `>` on integers), backward
    by a surrogate gradient: the equations stand in `neuroseg.models.kernels`.

    input   (N, T, C, H, W) currents; with `steps`: (N, C, H, W), a current that is the same at each of T = `steps` steps.
            A tensor, or `Currents` that are not computed yet: behind a norm a hook gets these, `currents.tensor_of` computes
            them. UsageError for other axes
    output  (N, T, C, H, W) spikes, 0 or 1
    v_th    firing threshold, a multiple of 1/64 (SLAYER's weight unit)
    tau     fraction of the membrane that stays for the next step (0.25: voltage decay 3072 of 4096)
    width   width of the surrogate, in units of the membrane: the rectangle's, or half the triangle's
    reset   hard: to zero; soft: the threshold is subtracted, which no Loihi neuron does
    surrogate  rectangle, or triangle; both of area 1
    shared  True: not only these neurons read the currents, so their sum is written down, too
    stock   True: SLAYER's own `forward` on its own axes (no surrogate of ours), the reference for parity. UsageError with
            soft reset: SLAYER has none
    weight_scale  set by quantisation-aware training: integers per unit of weight of the synapses that feed these neurons.
            Currents then come in units of 1 / weight_scale 64ths, and so does the threshold
    """

    stock = False
    shared = False
    weight_scale: float | None = None

    def __init__(
        self,
        v_th: float = 0.5,
        tau: float = 0.25,
        width: float = 1.0,
        steps: int | None = None,
        *,
        reset: Reset = "hard",
        surrogate: Surrogate = "rectangle",
    ) -> None:
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
        self.reset: Reset = reset
        self.surrogate: Surrogate = surrogate
        self.v_decay = int(self.cx_voltage_decay)  # membrane decay per step in 1/4096; it is never trained

    def forward(self, currents: Tensor | Currents) -> Tensor:
        """Spikes of the neurons; every sample starts from rest."""
        self._check_axes(tuple(currents.shape))
        if self.stock:
            return self._stock_forward(tensor_of(currents))
        spikes: Tensor = currents_of(currents).spikes(self._neuron(currents.shape), self.shared)
        return spikes

    def _check_axes(self, shape: tuple[int, ...]) -> None:
        if len(shape) == (5 if self.steps is None else 4):
            return
        wanted = (
            "(N, T, C, H, W)" if self.steps is None else f"(N, C, H, W), the same at each of their {self.steps} steps"
        )
        fix = (
            "build `Lif` with steps=T for currents without a time axis"
            if self.steps is None
            else "build `Lif` without steps"
        )
        raise UsageError(f"currents have shape {shape}; these neurons read {wanted}: give them that, or {fix}")

    def _neuron(self, shape: torch.Size) -> Neuron:
        """The neurons as the kernels know them, for currents of a shape."""
        v_th, width = self.v_th_mant, self.width
        if self.weight_scale is not None:
            v_th, width = round(self.threshold * self.weight_scale), width * self.weight_scale / WEIGHT_UNIT
        steps = shape[1] if self.steps is None else self.steps
        kept = (DECAY_UNIT - self.v_decay) / DECAY_UNIT
        kind = self.reset == "soft", self.surrogate == "triangle"
        return Neuron(steps, kept, v_th * (STATE_UNIT // WEIGHT_UNIT), width, *kind)

    def _stock_forward(self, current: Tensor) -> Tensor:
        if self.reset == "soft":
            raise UsageError(
                "SLAYER's neuron resets its membrane to zero, and so do Lava's and Loihi's: none computes a soft reset. "
                "Train with model.reset=hard to compare with them"
            )
        if self.steps is not None:
            current = current.unsqueeze(1).expand(-1, self.steps, -1, -1, -1)
        # SLAYER pins the neuron's shape at the first call; the same weights serve images of other sizes here.
        self.shape = None
        self.current_state = torch.zeros(1, device=current.device)
        self.voltage_state = torch.zeros(1, device=current.device)
        return from_slayer(super().forward(to_slayer(current)))

    def describe(self) -> dict[str, Any]:
        """Threshold (real) and decays (integers in 1/4096); `steps` marks a population that reads the image.

        `reset` is told where it is not the chip's.
        """
        parameters = {
            "op": "lif",
            "v_th": float(self.threshold),
            "u_decay": int(self.cx_current_decay),
            "v_decay": self.v_decay,
        }
        if self.reset != "hard":
            parameters["reset"] = self.reset
        return parameters if self.steps is None else {**parameters, "steps": self.steps}
