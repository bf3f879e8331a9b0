"""What stands between synapses and neurons: gates, merges, resizes, the way in for pixels and the way out for classes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.errors import DataError
from neuroseg.config import Inputs
from neuroseg.models.synapse import like_input, per_step


class And(nn.Module):
    """Spikes where both inputs spike: (N, T, C, H, W) each."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """a AND b; the product of two binary tensors."""
        return a * b

    def describe(self) -> dict[str, Any]:
        """For the compiler."""
        return {"op": "and"}


class Concat(nn.Module):
    """Channels of several spike tensors (N, T, C_i, H, W), one after the other."""

    def forward(self, *spikes: Tensor) -> Tensor:
        """(N, T, sum of C_i, H, W)."""
        return torch.cat(spikes, dim=-3)

    def describe(self) -> dict[str, Any]:
        """For the compiler."""
        return {"op": "concat"}


class MaxPool(nn.Module):
    """Spike where any neuron of a square window spikes; windows do not overlap."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, spikes: Tensor) -> Tensor:
        """(N, T, C, H, W) -> (N, T, C, H / kernel, W / kernel)."""
        return like_input(F.max_pool2d(per_step(spikes), self.kernel), spikes)

    def describe(self) -> dict[str, Any]:
        """Geometry (y, x) for the compiler."""
        window = (self.kernel, self.kernel)
        return {"op": "max_pool", "kernel": window, "stride": window, "padding": (0, 0)}


class Nearest(nn.Module):
    """Nearest-neighbour resize of spikes by the whole factors up / down: pixel (y, x) reads (y down // up, x down // up)."""

    def __init__(self, up: int = 1, down: int = 1) -> None:
        super().__init__()
        self.up = up
        self.down = down

    def forward(self, spikes: Tensor) -> Tensor:
        """(N, T, C, H, W) -> (N, T, C, H up / down, W up / down)."""
        kept = spikes[..., :: self.down, :: self.down]
        if self.up == 1:
            return kept.contiguous()
        return kept.repeat_interleave(self.up, dim=-2).repeat_interleave(self.up, dim=-1)

    def describe(self) -> dict[str, Any]:
        """For the compiler."""
        return {"op": "nearest", "up": self.up, "down": self.down}


class ImageInput(nn.Module):
    """The network's mouth: refuses inputs that the pyramid cannot halve, and passes the others on unchanged.

    multiple        what H and W must be multiples of
    inputs          what the network reads
    input, output   images (N, C, H, W) in [0, 1]; frames or spikes (N, T, C, H, W)
    Raises DataError for any other shape.
    """

    def __init__(self, multiple: int, inputs: Inputs | None = None) -> None:
        super().__init__()
        self.multiple = multiple
        self.inputs = inputs or Inputs()

    def forward(self, images: Tensor) -> Tensor:
        """The same images."""
        axes = len(self.inputs.shape((1, 1), 1)) + 1
        if images.ndim != axes or images.shape[-3] != self.inputs.channels:
            raise DataError(f"inputs have shape {tuple(images.shape)}; the network reads {_wanted(self.inputs)}")
        self.check_size(images.shape[-2], images.shape[-1])
        return images

    def check_size(self, height: int, width: int) -> None:
        """Raise DataError unless both sides are positive multiples of `multiple`; name the nearest sizes that work."""
        if height % self.multiple == 0 and width % self.multiple == 0 and height and width:
            return
        nearest = " x ".join(_multiples_around(side, self.multiple) for side in (height, width))
        raise DataError(
            f"image size {height} x {width} does not divide by {self.multiple}, which the model's scales need; "
            f"resize or crop to {nearest} (height x width)"
        )

    def describe(self) -> dict[str, Any]:
        """Real pixels in and out: the host's work."""
        return {"op": "host"}


def _wanted(inputs: Inputs) -> str:
    """The axes and the name of what a network reads."""
    if inputs.kind == "image":
        colours = {1: "grey images", 3: "colour images"}
        return f"(N, {inputs.channels}, H, W): a batch of {colours.get(inputs.channels, 'images')}"
    what = "frames" if inputs.kind == "frames" else "binary event frames"
    return f"(N, T, {inputs.channels}, H, W): a batch of {what}, one for each time step"


def _multiples_around(side: int, multiple: int) -> str:
    below = side // multiple * multiple
    around = [below] if below == side else [n for n in (below, below + multiple) if n]
    return "(" + " or ".join(map(str, around)) + ")" if len(around) > 1 else str(around[0])


class ImageResize(nn.Module):
    """Real pixels, smaller by a whole factor: the average of factor x factor pixels, on the host."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W), or with a time axis, -> (..., H / factor, W / factor)."""
        return like_input(F.avg_pool2d(per_step(images), self.factor), images)

    def describe(self) -> dict[str, Any]:
        """Real pixels in and out: the host's work."""
        return {"op": "host"}


class ReadOut(nn.Module):
    """Rate code: the mean over time of the class neurons' spikes, times a fixed gain that serves the loss only.

    Classes are told by arg-max; `torch.argmax` gives a tie to the lowest class, as the contract asks.
    """

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, spikes: Tensor) -> Tensor:
        """(N, T, classes, H, W) spikes -> (N, classes, H, W) logits in [0, gain]."""
        return spikes.mean(dim=1) * self.gain

    def describe(self) -> dict[str, Any]:
        """For the compiler."""
        return {"op": "readout"}
