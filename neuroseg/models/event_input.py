"""The way in for events: binary frames that reach the chip as spikes."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from export.errors import DataError
from neuroseg.models.synapse import like_input, per_step


class EventFrames(nn.Module):
    """Binary event frames as an input population: the host hands them over, and every convolution behind is the chip's.

    input   (N, T, C, H, W), 0 or 1 in each pixel, channel (polarity) and step; DataError for other values
    output  (N, T, C, H / factor, W / factor): 1 where any pixel of a window of factor x factor has an event

    A smaller scale of the pyramid is a population of its own (`factor` 2, 4, ...): the host's OR costs the chip nothing.
    """

    def __init__(self, factor: int = 1) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, frames: Tensor) -> Tensor:
        """The frames as spikes."""
        # The compiler looks at shapes alone, on torch's meta device, where no value can be asked for.
        if not frames.is_meta and bool(((frames != 0) & (frames != 1)).any()):
            low, high = (float(value) for value in frames.aminmax())
            raise DataError(
                f"event frames hold values from {low:g} to {high:g}, but only 0 and 1 are spikes; "
                "use binary frames, or train with real ones (counts), which the host convolves"
            )
        return like_input(F.max_pool2d(per_step(frames), self.factor), frames)

    def describe(self) -> dict[str, Any]:
        """A population of spikes that the host makes."""
        return {"op": "spike_source"}
