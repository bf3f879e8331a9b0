"""The modules of MFS-Seg between image and heads: encoders with feature attention, feature fusion, decoders."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from math import gcd

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from neuroseg.models.blocks import Cell, ConvNorm, Inception, Residual, conv_norm
from neuroseg.models.currents import Currents, Term
from neuroseg.models.norm import seen_before
from neuroseg.models.other_blocks import residual_blocks
from neuroseg.models.synapse import SynapseConvT
from neuroseg.models.wiring import And, Concat, MaxPool, Nearest


@dataclass(frozen=True)
class StagePlan:
    """What a stage is made of.

    block, blocks, expansion   its residual blocks: kind, count, width of their middle
    steps  T where the input is an image, the same at every step; None for frames and spikes, which have a time axis
    stem   stride of the first convolution
    span   blocks over which a shortcut reaches; None: all that follow
    host   the first convolutions read real pixels, on the host; False: they read spikes, on the chip
    """

    cell: Cell
    block: str
    blocks: int
    expansion: int
    steps: int | None
    stem: int = 1
    span: int | None = None
    host: bool = True

    def start(self, channels: int, groups: int = 1) -> ConvNorm:
        """The convolution at which a stage starts that continues another: 1x1; in MS-Res, which has no other, 3x3."""
        if self.block == "ms":
            return conv_norm(self.cell, channels, channels, 3)
        return conv_norm(self.cell, channels, channels, 1, groups=groups)


class Stream(nn.Module):
    """Residual blocks on one membrane stream and the population that reads its end. Base of all stages.

    The blocks are `block0`, `block1`, ...; the output population is `output`.

    checkpointing  True: training keeps what enters a block only, and computes the rest of it once more on the way back. Less
                   memory for more time, equal gradients
    """

    checkpointing = False

    def __init__(self, plan: StagePlan, channels: int) -> None:
        super().__init__()
        self.block_names: list[str] = []
        self.span = plan.span
        for i, block in enumerate(residual_blocks(plan.block, plan.cell, channels, plan.blocks, plan.expansion)):
            if isinstance(block, Residual) and plan.span is not None:
                block.read_once()
            self.block_names.append(f"block{i}")
            self.add_module(f"block{i}", block)
        self.output = plan.cell.neuron()

    def spikes_of(self, stream: Currents) -> Tensor:
        """Currents that start the stream -> spikes of its output population; both (N, T, C, H, W)."""
        if self.span is not None:
            return self._spikes_of_short(stream, self.span)
        for name in self.block_names:
            block = self.get_submodule(name)
            stream = self._through(block, block, stream)
        spikes: Tensor = self.output(stream)
        return spikes

    def _through(self, block: nn.Module, work: Callable[[Tensor | Currents], Currents], stream: Currents) -> Currents:
        """work(stream), where `work` is a block or its branch; its norms see the batch once."""
        if not (self.checkpointing and self.training):
            return work(stream)
        contexts = lambda: (nullcontext(), seen_before(block))  # noqa: E731
        result: Tensor = checkpoint(
            lambda x: work(x).tensor(),
            stream.tensor(),
            use_reentrant=False,
            context_fn=contexts,
            preserve_rng_state=False,
        )
        return Currents((Term(result),))

    def _spikes_of_short(self, start: Currents, span: int) -> Tensor:
        """Every reader of the stream gets the currents of the last `span` + 1 sources; the start is the first source."""
        currents = [start]
        for name in self.block_names:
            block: Residual = self.get_submodule(name)  # type: ignore[assignment]  # the config's check says so
            currents.append(self._through(block, block.branch, self._sum(currents[-1 - span :])))
        spikes: Tensor = self.output(self._sum(currents[-1 - span :]))
        return spikes

    @staticmethod
    def _sum(currents: list[Currents]) -> Currents:
        total = currents[0]
        for more in currents[1:]:
            total = total + more
        return total


class FirstEncoder(Stream):
    """Encoder of the largest maps: image -> conv -> LIF -> Inception -> stream.

    The convolution is 3x3, or with a stem of stride s > 1 (2 s + 1)^2, so that it sees every pixel of its neighbourhood.
    """

    def __init__(self, plan: StagePlan, colours: int, channels: int) -> None:
        super().__init__(plan, channels)
        kernel = 3 if plan.stem == 1 else 2 * plan.stem + 1
        self.image = conv_norm(plan.cell, colours, channels, kernel, stride=plan.stem, host=plan.host)
        self.image_lif = plan.cell.neuron(plan.steps)
        self.inception = Inception(plan.cell, channels, channels)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(N, colours, s H, s W), or with a time axis, -> spikes (N, T, C, H, W) of the image and of the stage's end."""
        image = self.image_lif(self.image(pixels))
        return image, self.spikes_of(self.inception(image))


class AttentionEncoder(Stream):
    """Encoder of a smaller image with feature attention (FAM): the spikes of the encoder above gate this scale's.

    image -> Inception -> LIF;  spikes above -> max pool 2 -> 3x3 -> LIF;  AND of both -> 1x1 -> stream
    """

    def __init__(self, plan: StagePlan, colours: int, above: int, channels: int) -> None:
        super().__init__(plan, channels)
        self.image = Inception(plan.cell, colours, channels, host=plan.host)
        self.image_lif = plan.cell.neuron(plan.steps)
        self.pool = MaxPool(2)
        self.attention = conv_norm(plan.cell, above, channels, 3)
        self.attention_lif = plan.cell.neuron()
        self.gate = And()
        self.start = plan.start(channels)

    def forward(self, pixels: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (N, colours, H, W), or with a time axis, and spikes (N, T, C_above, 2H, 2W) -> spikes (N, T, C, H, W) of the
        image and of the end.
        """
        image = self.image_lif(self.image(pixels))
        attention = self.attention_lif(self.attention(self.pool(above)))
        return image, self.spikes_of(self.start(self.gate(image, attention)))


class Fusion(nn.Module):
    """Feature fusion (FFM) at one scale: all encoders' spikes, resized and concatenated -> 1x1 -> LIF -> 3x3 -> LIF.

    widths  channels of encoder 0, 1, ...; encoder i works at 1 / 2^i of the image
    scale   the scale that is served
    """

    def __init__(self, cell: Cell, widths: tuple[int, ...], scale: int) -> None:
        super().__init__()
        self.scale = scale
        for i in range(len(widths)):
            if i != scale:
                self.add_module(f"resize{i}", Nearest(up=2 ** max(0, i - scale), down=2 ** max(0, scale - i)))
        self.concat = Concat()
        self.mix = conv_norm(cell, sum(widths), widths[scale], 1)
        self.mix_lif = cell.neuron()
        self.refine = conv_norm(cell, widths[scale], widths[scale], 3)
        self.output = cell.neuron()

    def forward(self, *encoders: Tensor) -> Tensor:
        """Spikes of every encoder -> spikes (N, T, C, H, W) at this scale."""
        resized = [x if i == self.scale else self.get_submodule(f"resize{i}")(x) for i, x in enumerate(encoders)]
        spikes: Tensor = self.output(self.refine(self.mix_lif(self.mix(self.concat(*resized)))))
        return spikes


class BottomDecoder(Stream):
    """Decoder of the smallest scale: the last encoder's spikes -> 1x1 -> stream.

    The paper continues the encoder's stream here, but a stream begins at spikes: the 1x1 turns them into currents. It works
    in 4 groups (fewer where the channels do not divide), which keeps the paper's parameters and MACs.
    """

    def __init__(self, plan: StagePlan, channels: int) -> None:
        super().__init__(plan, channels)
        self.start = plan.start(channels, groups=gcd(4, channels))

    def forward(self, encoder: Tensor) -> Tensor:
        """Spikes (N, T, C, H, W) -> spikes of the same shape."""
        return self.spikes_of(self.start(encoder))


class Decoder(Stream):
    """Decoder of a larger scale: spikes below -> transposed conv x2 -> LIF; concat with the FFM -> Inception -> stream."""

    def __init__(self, plan: StagePlan, below: int, channels: int) -> None:
        super().__init__(plan, channels)
        self.up = ConvNorm(SynapseConvT(below, channels, 2, stride=2), plan.cell.norm(channels))
        self.up_lif = plan.cell.neuron()
        self.concat = Concat()
        self.inception = Inception(plan.cell, 2 * channels, channels)

    def forward(self, below: Tensor, fused: Tensor) -> Tensor:
        """Spikes (N, T, C_below, H / 2, W / 2) and (N, T, C, H, W) -> spikes (N, T, C, H, W)."""
        up = self.up_lif(self.up(below))
        return self.spikes_of(self.inception(self.concat(up, fused)))


def initial_head_weight(weight: Tensor, fan_in: int, v_th: float) -> Tensor:
    """Weights of a head without norm that let its neurons fire from the start.

    With a fan-in of n binary inputs that spike at rate r ~ 0.2, uncorrelated weights of deviation s sum to a deviation of
    s sqrt(n r); it is set to v_th, as a threshold-dependent norm would.
    """
    deviation: float = v_th / (0.2 * fan_in) ** 0.5
    return torch.randn_like(weight) * deviation
