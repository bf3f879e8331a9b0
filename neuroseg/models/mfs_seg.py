"""MFS-Seg: the multi-scale full-spike segmentation network with EFS-Res blocks (Neural Networks 2024, Fig. 2)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from neuroseg.config import Inputs, MfsConfig
from neuroseg.models.blocks import Cell, ConvNorm
from neuroseg.models.currents import Currents, tensor_of
from neuroseg.models.event_input import EventFrames
from neuroseg.models.stages import (
    AttentionEncoder,
    BottomDecoder,
    Decoder,
    FirstEncoder,
    Fusion,
    StagePlan,
    initial_head_weight,
)
from neuroseg.models.synapse import SynapseConv
from neuroseg.models.wiring import ImageInput, ImageResize, ReadOut


class RealReadOut(nn.Module):
    """Class scores of an ANN: what its last convolution sums up; the mean over its one step where there is a time axis."""

    def forward(self, currents: Tensor | Currents) -> Tensor:
        """(N, classes, H, W), or (N, 1, classes, H, W), -> logits (N, classes, H, W)."""
        scores = tensor_of(currents)
        return scores if scores.ndim == 4 else scores.mean(dim=1)

    def describe(self) -> dict[str, Any]:
        """For the compiler, which refuses the ReLUs before it."""
        return {"op": "readout"}


class Head(nn.Module):
    """Class neurons of one scale: 3x3 -> LIF -> spike rate. The paper has no norm here; `norm` adds one.

    An ANN has no class neurons: the convolution's sums are its class scores.
    """

    def __init__(self, cell: Cell, channels: int, classes: int, *, norm: bool, gain: float) -> None:
        super().__init__()
        conv = SynapseConv(channels, classes, 3, padding=1)
        if not norm:
            conv.weight = nn.Parameter(initial_head_weight(conv.weight.detach(), 9 * channels, cell.v_th))
        self.classify = ConvNorm(conv, cell.norm(classes) if norm else None)
        self.spiking = cell.spiking
        if cell.spiking:
            self.output = cell.neuron()
        self.readout = ReadOut(gain) if cell.spiking else RealReadOut()

    def forward(self, spikes: Tensor) -> Tensor:
        """(N, T, C, H, W) spikes -> (N, classes, H, W) logits."""
        currents = self.classify(spikes)
        logits: Tensor = self.readout(self.output(currents) if self.spiking else currents)
        return logits


class MfsSeg(nn.Module):
    """Inputs -> class-map logits (N, classes, H / (s 2^i), W / (s 2^i)) of every scale i, largest first.

    s is the stem's stride. Stages are `encoder<i>`, `ffm<i>`, `decoder<i>`, `head<i>` at scale i; H and W are multiples of
    s 2^(scales - 1), else DataError. One scale is a plain network: no feature attention, no fusion, no transposed convolution.

    inputs  what it reads (`Inputs.kind`):
            image   (N, C, H, W) in [0, 1]: the host averages the smaller scales and computes the first convolutions, whose
                    current drives the image populations at all T steps
            frames  (N, T, C, H, W) real: the same, with another current at each step
            spikes  (N, T, C, H, W), 0 or 1: input populations `events<i>`, smaller scales by OR on the host; the first
                    convolutions are the chip's
    """

    def __init__(self, config: MfsConfig, classes: int, inputs: Inputs | None = None) -> None:
        super().__init__()
        self.scales = config.scales
        self.steps = config.steps
        self.classes = classes
        self.inputs = inputs or Inputs()
        self.spiking = config.neuron == "lif"
        self.readout_gain = config.readout_gain
        self.attention = config.attention
        widths, last = config.widths, config.scales - 1
        cell, plans = _plans(config, self.inputs)
        colours = self.inputs.channels
        self.images = ImageInput(config.multiple, self.inputs)
        self._add_pyramid(config.stem)
        self.encoder0 = FirstEncoder(plans[0], colours, widths[0])
        for i in range(1, self.scales):
            self.add_module(f"encoder{i}", AttentionEncoder(plans[i], colours, widths[i - 1], widths[i]))
        for i in range(last):
            self.add_module(f"ffm{i}", Fusion(cell, widths, i))
        self.add_module(f"decoder{last}", BottomDecoder(plans[last], widths[last]))
        for i in reversed(range(last)):
            self.add_module(f"decoder{i}", Decoder(plans[i], widths[i + 1], widths[i]))
        for i in range(self.scales):
            self.add_module(f"head{i}", Head(cell, widths[i], classes, norm=config.head_norm, gain=config.readout_gain))

    def _add_pyramid(self, stem: int) -> None:
        """What gives scale i its input; an image needs nothing at scale 0, where the first convolution has the stride."""
        if self.inputs.kind == "spikes":
            self.events0 = EventFrames()
        for i in range(1, self.scales):
            factor = stem * 2**i
            if self.inputs.kind == "spikes":
                self.add_module(f"events{i}", EventFrames(factor))
            else:
                self.add_module(f"pyramid{i}", ImageResize(factor))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits per scale: (full, half, quarter) for three scales."""
        encoders = self._encode(self.images(images))
        last = self.scales - 1
        decoders = {last: self.get_submodule(f"decoder{last}")(encoders[last])}
        for i in reversed(range(last)):
            fused = self.get_submodule(f"ffm{i}")(*encoders)
            decoders[i] = self.get_submodule(f"decoder{i}")(decoders[i + 1], fused)
        return tuple(self.get_submodule(f"head{i}")(decoders[i]) for i in range(self.scales))

    def class_scores(self, logits: Tensor) -> Tensor:
        """Logits of a scale as what they come from: whole numbers of spikes (N, classes, H, W), 0 to T; of an ANN as they are."""
        if not self.spiking:
            return logits
        return torch.round(logits * (self.steps / self.readout_gain)).long()

    def _encode(self, pixels: Tensor) -> list[Tensor]:
        spikes = self.inputs.kind == "spikes"
        image, end = self.encoder0(self.events0(pixels) if spikes else pixels)
        encoders: list[Tensor] = [end]
        for i in range(1, self.scales):
            smaller = self.get_submodule(f"events{i}" if spikes else f"pyramid{i}")(pixels)
            above = image if self.attention == "first" else end
            image, end = self.get_submodule(f"encoder{i}")(smaller, above)
            encoders.append(end)
        return encoders


def _plans(config: MfsConfig, inputs: Inputs) -> tuple[Cell, list[StagePlan]]:
    """What all blocks share, and the plan of the stages of every scale."""
    cell = Cell(
        v_th=config.v_th,
        tau=config.tau,
        width=config.surrogate_width,
        residual_gain=config.residual_gain,
        spiking=config.neuron == "lif",
        inception=config.inception,
        grouped=config.grouped,
    )
    steps = config.steps if inputs.kind == "image" else None
    host = inputs.kind != "spikes"
    return cell, [
        StagePlan(cell, config.block, blocks, config.expansion, steps, config.stem, config.shortcut_span, host)
        for blocks in config.blocks_per_scale
    ]
