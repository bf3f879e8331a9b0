"""MFS-Seg: the multi-scale full-spike segmentation network with EFS-Res blocks (Neural Networks 2024, Fig. 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neuroseg.config import MfsConfig
from neuroseg.models.blocks import Cell, ConvNorm
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

COLOURS = 3


class Head(nn.Module):
    """Class neurons of one scale: 3x3 -> LIF -> spike rate. The paper has no norm here; `norm` adds one."""

    def __init__(self, cell: Cell, channels: int, classes: int, *, norm: bool, gain: float) -> None:
        super().__init__()
        conv = SynapseConv(channels, classes, 3, padding=1)
        if not norm:
            conv.weight = nn.Parameter(initial_head_weight(conv.weight.detach(), 9 * channels, cell.v_th))
        self.classify = ConvNorm(conv, cell.norm(classes) if norm else None)
        self.output = cell.lif()
        self.readout = ReadOut(gain)

    def forward(self, spikes: Tensor) -> Tensor:
        """(N, T, C, H, W) spikes -> (N, classes, H, W) logits."""
        logits: Tensor = self.readout(self.output(self.classify(spikes)))
        return logits


class MfsSeg(nn.Module):
    """Images (N, 3, H, W) in [0, 1] -> class-map logits (N, classes, H / (s 2^i), W / (s 2^i)) of every scale i, largest first.

    s is the stem's stride. Stages are `encoder<i>`, `ffm<i>`, `decoder<i>`, `head<i>` at scale i; H and W are multiples of
    s 2^(scales - 1), else DataError. One scale is a plain network: no feature attention, no fusion, no transposed convolution.
    """

    def __init__(self, config: MfsConfig, classes: int) -> None:
        super().__init__()
        self.scales = config.scales
        self.steps = config.steps
        self.classes = classes
        self.readout_gain = config.readout_gain
        widths = config.widths
        cell = Cell(config.v_th, config.tau, config.surrogate_width, config.residual_gain)
        plans = [
            StagePlan(cell, config.block, blocks, config.expansion, config.steps, config.stem, config.shortcut_span)
            for blocks in config.blocks_per_scale
        ]
        last = self.scales - 1
        self.attention = config.attention
        self.images = ImageInput(config.multiple)
        self.encoder0 = FirstEncoder(plans[0], COLOURS, widths[0])
        for i in range(1, self.scales):
            self.add_module(f"pyramid{i}", ImageResize(config.stem * 2**i))
            self.add_module(f"encoder{i}", AttentionEncoder(plans[i], COLOURS, widths[i - 1], widths[i]))
        for i in range(last):
            self.add_module(f"ffm{i}", Fusion(cell, widths, i))
        self.add_module(f"decoder{last}", BottomDecoder(plans[last], widths[last]))
        for i in reversed(range(last)):
            self.add_module(f"decoder{i}", Decoder(plans[i], widths[i + 1], widths[i]))
        for i in range(self.scales):
            self.add_module(f"head{i}", Head(cell, widths[i], classes, norm=config.head_norm, gain=config.readout_gain))

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
        """Logits of a scale as what they come from: whole numbers of spikes (N, classes, H, W), 0 to T."""
        return torch.round(logits * (self.steps / self.readout_gain)).long()

    def _encode(self, pixels: Tensor) -> list[Tensor]:
        image, end = self.encoder0(pixels)
        encoders: list[Tensor] = [end]
        for i in range(1, self.scales):
            smaller = self.get_submodule(f"pyramid{i}")(pixels)
            above = image if self.attention == "first" else end
            image, end = self.get_submodule(f"encoder{i}")(smaller, above)
            encoders.append(end)
        return encoders
