"""What stands in an ANN where a spiking network has neurons."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from neuroseg.models.currents import Currents, tensor_of


class Relu(nn.Module):
    """Rectified linear units: max(0, x), real activations. They train and convert; no chip of spikes holds them."""

    def forward(self, currents: Tensor | Currents) -> Tensor:
        """(N, C, H, W), or any other shape."""
        return F.relu(tensor_of(currents))

    def describe(self) -> dict[str, Any]:
        """For the compiler, which refuses it."""
        return {"op": "relu"}
