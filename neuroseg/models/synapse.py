"""Synapses: SLAYER's convolutions on tensors with the time axis second, (N, T, C, H, W)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from neuroseg.models.slayer import Conv, ConvTranspose


def per_step(x: Tensor) -> Tensor:
    """(N, T, C, H, W) -> (N T, C, H, W): a synapse has no memory, so time is just more batch."""
    return x.flatten(0, 1) if x.ndim == 5 else x


def like_input(y: Tensor, x: Tensor) -> Tensor:
    """(N T, C, H, W) -> (N, T, C, H, W) where the input `x` had a time axis."""
    return y.unflatten(0, x.shape[:2]) if x.ndim == 5 else y


def _channels_last(x: Tensor) -> Tensor:
    """`per_step`, stored channels last: narrow and depthwise convolutions are two to eight times faster on a CPU."""
    return per_step(x).contiguous(memory_format=torch.channels_last)


def to_slayer(x: Tensor) -> Tensor:
    """(N, T, C, H, W) -> SLAYER's (N, C, H, W, T)."""
    return x.permute(0, 2, 3, 4, 1).contiguous()


def from_slayer(x: Tensor) -> Tensor:
    """SLAYER's (N, C, H, W, T) -> (N, T, C, H, W)."""
    return x.permute(0, 4, 1, 2, 3).contiguous()


class SynapseConv(Conv):  # type: ignore[misc]  # SLAYER has no types
    """SLAYER convolution synapses.

    input   (N, T, C, H, W) spikes; or (N, C, H, W) pixels, the host's work, always computed as a plain 2-D convolution
    output  the same layout with the synapse's output channels; no bias
    stock   True: SLAYER's own `forward` on its own axes, the reference for parity
    host    True: the input is real frames (N, T, C, H, W), the host's work, too
    """

    stock = False
    host = False

    def forward(self, x: Tensor) -> Tensor:
        """Weighted sums that arrive at the dendrites."""
        if self.stock and x.ndim == 5 and not self.host:
            return from_slayer(super().forward(to_slayer(x)))
        return self.currents(x, self.weight)

    def currents(self, x: Tensor, weight: Tensor) -> Tensor:
        """The same sums with other weights (out, in / groups, kH, kW, 1)."""
        geometry = (self.stride[:2], self.padding[:2], self.dilation[:2], self.groups)
        return like_input(F.conv2d(_channels_last(x), weight[..., 0], None, *geometry), x)

    def describe(self) -> dict[str, Any]:
        """Weights (out, in / groups, kH, kW) and geometry (y, x) for the compiler."""
        return {
            "op": "conv",
            "weight": self.weight.detach()[..., 0],
            "stride": tuple(self.stride[:2]),
            "padding": tuple(self.padding[:2]),
            "dilation": tuple(self.dilation[:2]),
            "groups": self.groups,
            "bias": None,
        }


class SynapseConvT(ConvTranspose):  # type: ignore[misc]  # SLAYER has no types
    """SLAYER transposed-convolution synapses on (N, T, C, H, W) spikes; `stock` as in `SynapseConv`."""

    stock = False

    def forward(self, x: Tensor) -> Tensor:
        """Weighted sums that arrive at the dendrites."""
        if self.stock:
            return from_slayer(super().forward(to_slayer(x)))
        return self.currents(x, self.weight)

    def currents(self, x: Tensor, weight: Tensor) -> Tensor:
        """The same sums with other weights (in, out / groups, kH, kW, 1)."""
        geometry = (self.stride[:2], self.padding[:2], self.output_padding[:2], self.groups, self.dilation[:2])
        return like_input(F.conv_transpose2d(_channels_last(x), weight[..., 0], None, *geometry), x)

    def describe(self) -> dict[str, Any]:
        """Weights (in, out / groups, kH, kW) and geometry (y, x) for the compiler."""
        return {
            "op": "conv_transpose",
            "weight": self.weight.detach()[..., 0],
            "stride": tuple(self.stride[:2]),
            "padding": tuple(self.padding[:2]),
            "output_padding": tuple(self.output_padding[:2]),
            "dilation": tuple(self.dilation[:2]),
            "groups": self.groups,
            "bias": None,
        }
