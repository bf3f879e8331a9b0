"""Linear layers of converted networks and ANNs: a bias that is trained, average pooling, a read-out with weights."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuroseg.models.currents import Currents, Term, tensor_of
from neuroseg.models.synapse import like_input, per_step

Pair = tuple[int, int]


class TrainedBias(nn.Module):
    """Adds a trained constant per channel; in a spiking network, a current at every step. Stands where a norm may stand."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor | Currents) -> Tensor | Currents:
        """x + bias, for (N, T, C, H, W) or (N, C, H, W); not yet computed where x is not."""
        biased = Currents((Term(tensor_of(x), shift=self.bias),))
        return biased if isinstance(x, Currents) else biased.tensor()

    def affine(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(gain, shift, mean, deviation), each (C,), float64, as those of a norm: only the shift does something."""
        bias = self.bias.double()
        return torch.ones_like(bias), bias, torch.zeros_like(bias), torch.ones_like(bias)

    def describe(self) -> dict[str, Any]:
        """The bias (C,), real."""
        return {"op": "bias", "bias": self.bias.detach()}


class AveragePool(nn.Module):
    """Average of each window of real activations, as in an ANN; padding counts as zeros."""

    def __init__(self, kernel: Pair, stride: Pair, padding: Pair = (0, 0)) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), or with a time axis."""
        return like_input(F.avg_pool2d(per_step(x), self.kernel, self.stride, self.padding), x)

    def describe(self) -> dict[str, Any]:
        """Geometry (y, x). A spiking network sums (`sum_pool`) and leaves the factor to the next weights."""
        return {"op": "average_pool", "kernel": self.kernel, "stride": self.stride, "padding": self.padding}


class LinearReadOut(nn.Module):
    """The last layer, a convolution that the host computes once from what arrived over time.

        out = sum over t of (W x[t] + b) / T = W (sum of x[t]) / T + b

    The accumulated membrane of Spiking-UNet's output layer (Li et al. 2024, section 3.1), averaged. Evaluation computes in
    float64, so that a class map does not depend on the order of a sum.

    input   (N, T, C, H, W) spikes, or (N, C, H, W) activations or rates
    output  (N, out, H, W)
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: Pair = (1, 1), padding: Pair = (0, 0), bias: bool = True
    ) -> None:
        super().__init__()
        conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=bias)
        self.weight, self.bias, self.padding = conv.weight, conv.bias, padding

    def forward(self, x: Tensor) -> Tensor:
        """Logits, or an image."""
        over_time = x.ndim == 5
        counts, steps = (x.sum(1), x.shape[1]) if over_time else (x, 1)
        if self.training or not over_time:
            return F.conv2d(counts / steps if over_time else counts, self.weight, self.bias, padding=self.padding)
        bias = None if self.bias is None else self.bias.double()
        return F.conv2d(counts.double() / steps, self.weight.double(), bias, padding=self.padding)

    def describe(self) -> dict[str, Any]:
        """A 1x1 kernel is a linear map of spike counts; a larger one is described as what no compiler expresses."""
        if self.weight.shape[2:] != (1, 1):
            return {"op": f"readout with a {self.weight.shape[2]}x{self.weight.shape[3]} kernel"}
        bias = None if self.bias is None else self.bias.detach()
        return {"op": "readout", "weight": self.weight.detach()[:, :, 0, 0], "bias": bias}
