"""Average pooling as spikes allow it: sums, whose constant factor the next norm takes in."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from neuroseg.models.synapse import like_input, per_step

Pair = tuple[int, int]


class SumPool(nn.Module):
    """Sum of each window, its padding counted as zeros: average pooling without its constant factor.

        y(c, i, j) = sum of x(c, stride i - padding + a, stride j - padding + b) over 0 <= a, b < kernel

    kernel, stride, padding  (y, x) each
    fix                      what to change so that windows lie side by side, for the compiler's error: a key of the config

    Sums of spikes are whole numbers, so that a convolution with integer weights stays one when the pool is composed into it.
    The factor is left to the norm behind that convolution; a network without norms divides its weights by it.

    Only windows side by side (stride = kernel) deploy: where windows overlap, weights of the composed kernel would add up
    before they are rounded.
    """

    def __init__(self, kernel: Pair, stride: Pair, padding: Pair = (0, 0), fix: str = "") -> None:
        super().__init__()
        self.kernel, self.stride, self.padding, self.fix = kernel, stride, padding, fix

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C, H, W) spikes, or (N, C, H, W) activations, to smaller maps of the same axes."""
        maps = per_step(x)
        return like_input(F.avg_pool2d(maps, self.kernel, self.stride, self.padding, divisor_override=1), x)

    def describe(self) -> dict[str, Any]:
        """Geometry (y, x) for the compiler, and the way out where it cannot compose it."""
        geometry = {"kernel": self.kernel, "stride": self.stride, "padding": self.padding}
        return {"op": "sum_pool", **geometry, "fix": self.fix}
