"""Neurons of converted networks: integrate-and-fire without a leak, with one threshold or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from export.errors import UsageError
from neuroseg.models.currents import Currents, tensor_of

Reset = Literal["soft", "hard"]
FULL_DECAY = 4096  # of the current, in 1/4096: it lives one step
CACHED = 2**16  # neurons that are run through all steps together: their membranes stay in a core's cache


class IntegrateFire(nn.Module):
    """Integrate-and-fire neurons with thresholds from high to low (Li et al. 2024, Spiking-UNet, equations 4 to 6).

        v <- v[t-1] + x[t];   for each r of `ratios`, the largest first:  s_r = v > r v_th,  v <- v - r v_th s_r
        out[t] = sum over r of r s_r;   v[t] = v

    Each threshold fires once a step at most, so a neuron hands on 0 to the sum of its ratios, and keeps what it did not hand
    on. One ratio of 1 is the binary IF neuron (equations 1 to 3). Two things differ from the printed equations, as in the
    authors' code: a threshold is compared with what those above it have left (their equation 5 prints `v - th_i - th`), and
    equality does not fire, as on Loihi. Outputs are in units of the smallest threshold, theirs in units of the current: their
    thresholds 2, 1, 0.5, 0.25 are the ratios 8, 4, 2, 1, and the factor 0.25 is in the weights.

    input    (N, T, C, H, W) currents; with `steps`: (N, C, H, W), a current that is the same at each of T = `steps` steps
    output   (N, T, C, H, W): whole numbers where the ratios are, 0 or 1 for one ratio
    ratios   thresholds in units of the smallest: descending, the last is 1
    v_th     the smallest threshold, in units of the current
    reset    soft: what was handed on is subtracted; hard: to 0, for one threshold only
    """

    def __init__(
        self, ratios: Sequence[float] = (1.0,), v_th: float = 1.0, reset: Reset = "soft", steps: int | None = None
    ) -> None:
        super().__init__()
        if not ratios or ratios[-1] != 1 or list(ratios) != sorted(set(ratios), reverse=True) or v_th <= 0:
            raise UsageError(
                f"thresholds {list(ratios)} times {v_th:g} are not positive, descending and in units of the smallest, such as "
                "[8, 4, 2, 1] times 0.25"
            )
        if reset == "hard" and len(ratios) > 1:
            raise UsageError(
                f"reset = hard with {len(ratios)} thresholds: a neuron with several subtracts what it hands on; use reset = "
                "soft, or one threshold"
            )
        self.ratios = tuple(float(ratio) for ratio in ratios)
        self.v_th = float(v_th)
        self.reset: Reset = reset
        self.steps = steps

    def forward(self, currents: Tensor | Currents) -> Tensor:
        """What the neurons hand on; every sample starts from rest."""
        x = tensor_of(currents)
        if x.ndim != (5 if self.steps is None else 4):
            wanted = "(N, T, C, H, W)" if self.steps is None else "(N, C, H, W), the same at every step"
            raise UsageError(f"currents have shape {tuple(x.shape)}; these neurons read {wanted}")
        steps = x.shape[1] if self.steps is None else self.steps
        # The strides of the currents: convolutions hand them on channels last.
        out = torch.empty_like(x if self.steps is None else x[:, None].expand(-1, steps, -1, -1, -1))
        height = x.shape[-2]
        rows = height if x.is_cuda else max(1, CACHED // max(1, out[:, 0, :, :1].numel()))
        for first in range(0, height, rows):
            part, fired = (tensor.narrow(-2, first, min(rows, height - first)) for tensor in (x, out))
            v = torch.zeros_like(fired[:, 0])
            for t in range(steps):
                v = v + (part[:, t] if self.steps is None else part)
                fired[:, t] = self._fire(v)
        return out

    def _fire(self, v: Tensor) -> Tensor:
        """What is handed on; the membranes `v` change in place, as memory is what takes the time here."""
        out = torch.zeros_like(v)
        for ratio in self.ratios:
            fires = v > ratio * self.v_th
            if self.reset == "hard":
                v.masked_fill_(fires, 0.0)
            else:
                v.add_(fires, alpha=-ratio * self.v_th)
            out.add_(fires, alpha=ratio)
        return out

    def describe(self) -> dict[str, Any]:
        """Thresholds (real), no leak; `steps` marks a population that reads the image."""
        parameters: dict[str, Any] = {
            "op": "lif",
            "v_th": self.v_th,
            "u_decay": FULL_DECAY,
            "v_decay": 0,
            "reset": self.reset,
        }
        if len(self.ratios) > 1:
            parameters["thresholds"] = tuple(ratio * self.v_th for ratio in self.ratios)
        return parameters if self.steps is None else {**parameters, "steps": self.steps}
