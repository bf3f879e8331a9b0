"""U-Net (Ronneberger et al. 2015), as an ANN and as a directly trained spiking network."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from neuroseg.config import Inputs, UNetConfig
from neuroseg.models.blocks import Cell, ConvNorm, conv_norm
from neuroseg.models.linear import AveragePool, LinearReadOut, TrainedBias
from neuroseg.models.pool import SumPool
from neuroseg.models.synapse import SynapseConv, SynapseConvT
from neuroseg.models.wiring import Concat, ImageInput, MaxPool

Pair = tuple[int, int]
TWO: Pair = (2, 2)


class UNet(nn.Module):
    """Inputs (N, C, H, W), or (N, T, C, H, W), -> (logits (N, classes, H, W),), or for a denoiser the noise.

    Levels are `encoder<i>` and `decoder<i>`, 0 at the image's size; the last encoder is the bottom. A level is twice 3x3,
    norm, neuron. Down: average or maximum of 2x2. Up: transposed convolution k2 s2, norm, neuron: the first U-Net had a ReLU
    there, too, and a spiking network needs one, since only spikes travel. The encoder's end, then what came up are
    concatenated. H and W are multiples of 2^(levels - 1), else DataError.

    The last layer is a 1x1 convolution without neuron: the host reads it out from the spikes of the last neurons, summed
    over time.
    """

    def __init__(self, config: UNetConfig, classes: int, inputs: Inputs) -> None:
        super().__init__()
        ann = config.neuron == "relu"
        self.classes, self.steps = classes, 1 if ann else config.steps
        cell = Cell(config.v_th, config.tau, config.surrogate_width, spiking=not ann)
        level = _Level(cell, config)
        self.images = ImageInput(config.multiple, inputs)
        self.last = len(config.widths) - 1
        still = config.steps if inputs.kind == "image" and not ann else None
        before = inputs.channels
        for i, width in enumerate(config.widths):
            if i:
                self.add_module(f"pool{i}", level.pool())
            self.add_module(f"encoder{i}", level.double(before, width, still if not i else None))
            before = width
        for i in reversed(range(self.last)):
            self.add_module(f"decoder{i}", level.up(config.widths[i + 1], config.widths[i]))
        self.head = LinearReadOut(config.widths[0], classes)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits, of the image's size."""
        skips = [self.get_submodule("encoder0")(self.images(images))]
        for i in range(1, self.last + 1):
            skips.append(self.get_submodule(f"encoder{i}")(self.get_submodule(f"pool{i}")(skips[-1])))
        x = skips.pop()
        for i in reversed(range(self.last)):
            x = self.get_submodule(f"decoder{i}")(skips[i], x)
        return (self.head(x),)

    def class_scores(self, logits: Tensor) -> Tensor:
        """The logits: accumulated scores are real."""
        return logits


class DoubleConv(nn.Module):
    """Twice: 3x3, norm, neuron."""

    def __init__(self, first: ConvNorm, neuron1: nn.Module, second: ConvNorm, neuron2: nn.Module) -> None:
        super().__init__()
        self.first, self.neuron1 = first, neuron1
        self.second, self.neuron2 = second, neuron2

    def forward(self, x: Tensor) -> Tensor:
        """(N, ..., C, H, W) -> (N, ..., C', H, W)."""
        out: Tensor = self.neuron2(self.second(self.neuron1(self.first(x))))
        return out


class Up(nn.Module):
    """A decoder: what comes up, beside the encoder's end, twice convolved."""

    def __init__(self, up: ConvNorm, neuron: nn.Module, convs: DoubleConv) -> None:
        super().__init__()
        self.up, self.neuron, self.concat, self.convs = up, neuron, Concat(), convs

    def forward(self, skip: Tensor, below: Tensor) -> Tensor:
        """(N, ..., C, H, W) and (N, ..., C', H / 2, W / 2) -> (N, ..., C, H, W)."""
        out: Tensor = self.convs(self.concat(skip, self.neuron(self.up(below))))
        return out


class _Level:
    """Makes the parts of one network's levels."""

    def __init__(self, cell: Cell, config: UNetConfig) -> None:
        self.cell, self.config = cell, config

    def pool(self) -> nn.Module:
        """2x2 to 1. Spikes are summed, and the norm behind the next convolution takes in the factor."""
        if self.config.pool == "max":
            return MaxPool(2)
        return SumPool(TWO, TWO) if self.cell.spiking else AveragePool(TWO, TWO)

    def double(self, inputs: int, outputs: int, still: int | None = None) -> DoubleConv:
        """still: T, where it reads an image."""
        first, second = self._square(inputs, outputs), self._square(outputs, outputs)
        return DoubleConv(first, self.cell.neuron(still), second, self.cell.neuron())

    def up(self, below: int, outputs: int) -> Up:
        """From `below` channels to half the stride."""
        conv = SynapseConvT(below, outputs, 2, stride=2)
        return Up(ConvNorm(conv, self._norm(outputs)), self.cell.neuron(), self.double(2 * outputs, outputs))

    def _square(self, inputs: int, outputs: int) -> ConvNorm:
        if self.config.norm == "batch":
            return conv_norm(self.cell, inputs, outputs, 3)
        return ConvNorm(SynapseConv(inputs, outputs, 3, padding=1), self._norm(outputs))

    def _norm(self, channels: int) -> Any:
        return self.cell.norm(channels) if self.config.norm == "batch" else TrainedBias(channels)
