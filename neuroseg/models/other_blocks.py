"""The residual blocks that MFS-Seg compares its own with: MS-Res, SEW-Res, Spike Fire, Spike Shuffle.

Where the paper gives a block's idea but not its sizes, those here come within 15 % of its parameters and operations
(`neuroseg tables`).
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from typing import Any

from torch import Tensor, nn

from neuroseg.models.blocks import Cell, EfsBlock, Residual, conv_norm
from neuroseg.models.currents import Currents
from neuroseg.models.synapse import like_input, per_step
from neuroseg.models.wiring import Concat

SQUEEZE = 3, 4  # squeeze ratio 0.75, above which SqueezeNet's accuracy stands still (Iandola et al. 2016, section 5.3)
BOTTLENECK, SHUFFLE_GROUPS = 4, 4  # ShuffleNet's: a quarter of the channels, in 4 groups (Zhang et al. 2018)


class MsBlock(Residual):
    """Membrane shortcut block, MS-ResNet (Hu et al. 2021; MFS-Seg, Fig. 1b): x + second(LIF(first(LIF(x)))), both 3x3."""

    def __init__(self, cell: Cell, channels: int) -> None:
        super().__init__(cell)
        self.first = conv_norm(cell, channels, channels, 3)
        self.lif_middle = cell.neuron()
        self.second = conv_norm(cell, channels, channels, 3, gain=cell.residual_gain)

    def branch(self, x: Tensor | Currents) -> Currents:
        """Both convolutions."""
        currents: Currents = self.second(self.lif_middle(self.first(self.lif_in(x))))
        return currents


class SewBlock(nn.Module):
    """Residual block that adds *spikes* (SEW-ResNet): its sums reach 2, so it is not spike-only and the compiler refuses it.

    s = LIF(x);  project(s + LIF(square(s)))
    """

    def __init__(self, cell: Cell, channels: int) -> None:
        super().__init__()
        self.lif_in = cell.neuron()
        self.square = conv_norm(cell, channels, channels, 3)
        self.lif_square = cell.neuron()
        self.project = conv_norm(cell, channels, channels, 1)

    def forward(self, x: Tensor | Currents) -> Currents:
        """Currents (N, T, C, H, W) -> currents."""
        spikes = self.lif_in(x)
        currents: Currents = self.project(spikes + self.lif_square(self.square(spikes)))
        return currents


class Shuffle(nn.Module):
    """Channel shuffle: groups of channels are dealt out in turn, y[a g + b] = x[b C / g + a] (Zhang et al. 2018)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, spikes: Tensor) -> Tensor:
        """(N, T, C, H, W) -> the same shape."""
        x = per_step(spikes)
        return like_input(x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2), spikes)

    def describe(self) -> dict[str, Any]:
        """For the compiler."""
        return {"op": "shuffle", "groups": self.groups}


class ShuffleBlock(Residual):
    """ShuffleNet's unit with a LIF before every convolution (Spike Shuffle; MFS-Seg, Fig. 6).

        x + expand(LIF(depthwise(shuffle(LIF(reduce(LIF(x)))))))

    reduce 1x1 c -> c / 4 and expand 1x1 c / 4 -> c work in 4 groups (fewer where the channels do not divide).
    """

    def __init__(self, cell: Cell, channels: int) -> None:
        super().__init__(cell)
        narrow = channels // BOTTLENECK
        groups = gcd(SHUFFLE_GROUPS, narrow)
        self.reduce = conv_norm(cell, channels, narrow, 1, groups=groups)
        self.lif_reduced = cell.neuron()
        self.shuffle = Shuffle(groups)
        self.depthwise = conv_norm(cell, narrow, narrow, 3, groups=narrow)
        self.lif_depthwise = cell.neuron()
        self.expand = conv_norm(cell, narrow, channels, 1, groups=groups, gain=cell.residual_gain)

    def branch(self, x: Tensor | Currents) -> Currents:
        """reduce, shuffle, depthwise, expand."""
        narrow = self.shuffle(self.lif_reduced(self.reduce(self.lif_in(x))))
        currents: Currents = self.expand(self.lif_depthwise(self.depthwise(narrow)))
        return currents


class FireModule(nn.Module):
    """SqueezeNet's fire module with LIF neurons (Spike Fire; MFS-Seg, Fig. 6): c channels of spikes -> c channels of spikes.

    squeeze 1x1 c -> 3 c / 4 -> LIF -> 1x1 and 3x3 side by side, to half of the channels each -> LIF -> concatenated
    """

    def __init__(self, cell: Cell, channels: int) -> None:
        super().__init__()
        narrow = max(1, channels * SQUEEZE[0] // SQUEEZE[1])
        self.squeeze = conv_norm(cell, channels, narrow, 1)
        self.lif_squeeze = cell.neuron()
        self.point = conv_norm(cell, narrow, channels - channels // 2, 1)
        self.lif_point = cell.neuron()
        self.square = conv_norm(cell, narrow, channels // 2, 3)
        self.lif_square = cell.neuron()
        self.concat = Concat()

    def forward(self, spikes: Tensor) -> Tensor:
        """(N, T, C, H, W) -> the same shape."""
        narrow = self.lif_squeeze(self.squeeze(spikes))
        both: Tensor = self.concat(self.lif_point(self.point(narrow)), self.lif_square(self.square(narrow)))
        return both


class FireStack(nn.Module):
    """All fire modules of a stage, one after the other, without a shortcut: "VGG's idea of stacked convolution".

    A population reads the stage's start, and a 1x1 turns the last module's spikes into currents of one population, which
    gates and pools need: the paper mentions neither.
    """

    def __init__(self, cell: Cell, channels: int, modules: int) -> None:
        super().__init__()
        self.lif_in = cell.neuron()
        self.fires = tuple(f"fire{i}" for i in range(modules))
        for name in self.fires:
            self.add_module(name, FireModule(cell, channels))
        self.close = conv_norm(cell, channels, channels, 1)

    def forward(self, x: Tensor | Currents) -> Currents:
        """Currents (N, T, C, H, W) -> currents."""
        spikes = self.lif_in(x)
        for name in self.fires:
            spikes = self.get_submodule(name)(spikes)
        currents: Currents = self.close(spikes)
        return currents


SINGLE: dict[str, Callable[[Cell, int], nn.Module]] = {"ms": MsBlock, "sew": SewBlock, "shuffle": ShuffleBlock}


def residual_blocks(kind: str, cell: Cell, channels: int, count: int, expansion: int) -> list[nn.Module]:
    """The modules between a stage's start and its end, currents -> currents each; Spike Fire is one stack of all.

    kind  `model.block` of the config
    """
    if kind == "efs":
        return [EfsBlock(cell, channels, expansion) for _ in range(count)]
    if kind == "fire":
        return [FireStack(cell, channels, count)] if count else []
    return [SINGLE[kind](cell, channels) for _ in range(count)]
