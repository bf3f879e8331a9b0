"""Spiking-DeepLab and Spiking-FCN (Kim et al., Neuromorphic Computing and Engineering 2022), and their ANN twins.

Both begin with VGG9's seven 3x3 convolutions in three stages, an average pool between two stages, a norm and neurons behind
every convolution. Where the paper's Table 1, its text and the code that the authors published differ, this is built:

* The table gives Spiking-FCN seven convolutions in the third stage; the text says that the backbone has seven layers in all,
  and the published code has them. So three are in the third stage.
* The table's two wide layers of Spiking-FCN are 1x1; the code's are 3x3, and only with these does the network have the
  13.57 M parameters that MFS-Seg's Table 1 counts. So they are 3x3.
* The table's skip convolutions are 3x3 with stride 2, which does not fit the maps they are added to; the code's are 1x1.
* The code's transposed convolutions are 3x3 with stride 2, whose maps are one row and column too large, and are then
  resized. Here one row and column of padding less do that: no neuron can resize.
* In Spiking-FCN's code the scores before the first transposed convolution, and the last sum, are real numbers. Here neurons
  stand there, as "all layers consist of LIF neurons" says, and the host reads the last ones by a 1x1 map of their counts.
* The paper takes its probabilities from scores that are summed over the T steps (h in equation 5). Here scores are the
  average, a T-th of that (`linear.LinearReadOut`): the class map is the same; the softmax of the loss is flatter at first, and
  its scale is the same for every T.
* Of events the paper's ANNs average the features behind the backbone over the T frames, and classify once. Here every frame
  passes through the classifier's ReLUs, too, in Spiking-FCN's twin also through its way up, and the average is taken before
  the last 1x1 layer. So both have the layers of the spiking network at every step, and differ in their neurons alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from export.errors import UsageError
from neuroseg.config import Inputs
from neuroseg.config.kim import DeepLabConfig, FcnConfig, KimConfig
from neuroseg.models.ann import Relu
from neuroseg.models.blocks import ConvNorm
from neuroseg.models.bntt import Bntt
from neuroseg.models.coding import Poisson
from neuroseg.models.currents import Currents
from neuroseg.models.event_input import EventFrames
from neuroseg.models.linear import LinearReadOut
from neuroseg.models.neuron import Lif
from neuroseg.models.norm import Norm, Tdbn
from neuroseg.models.pool import SumPool
from neuroseg.models.synapse import SynapseConv, SynapseConvT
from neuroseg.models.wiring import ImageInput, ReadOut

RATE_GAIN = 5.0  # logit of a class neuron that fires at every step, at the start


@dataclass(frozen=True)
class Parts:
    """Makes the layers of one network: what its config says once for all of them."""

    config: KimConfig

    @property
    def spiking(self) -> bool:
        """Whether it is not the ANN twin."""
        return self.config.neuron == "lif"

    def neurons(self, steps: int | None = None) -> Lif | Relu:
        """A population; with `steps` it reads a current that is the same at each of so many steps."""
        if not self.spiking:
            return Relu()
        c = self.config
        # The triangle's slope is 1 at the threshold and 0 at rest (equation 6).
        return Lif(c.v_th, c.tau, c.v_th, steps, reset=c.reset, surrogate="triangle")

    def norm(self, channels: int) -> Norm:
        """The norm behind a convolution of that many output channels."""
        if not self.spiking:
            return Tdbn(channels, 1.0)
        c = self.config
        return Bntt(c.steps, channels, c.v_th) if c.norm == "bntt" else Tdbn(channels, c.v_th)

    def synapses(
        self, inputs: int, outputs: int, kernel: int = 3, *, dilation: int = 1, host: bool = False
    ) -> ConvNorm:
        """A convolution (odd kernel) that keeps the size of the map, and its norm; `host`: of real values, on the host."""
        conv = SynapseConv(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation)
        conv.host = host
        return ConvNorm(conv, self.norm(outputs))

    def layer(self, inputs: int, outputs: int, kernel: int = 3, *, dilation: int = 1) -> Layer:
        """A convolution with its norm and neurons, between spikes."""
        return Layer(self.synapses(inputs, outputs, kernel, dilation=dilation), self.neurons())

    def first(self, outputs: int, inputs: Inputs) -> Layer:
        """The first layer. The host computes its convolution unless its inputs are spikes."""
        host = not self.spiking or not self._spikes_come(inputs)
        same = self.spiking and inputs.kind == "image" and host and self.config.norm != "bntt"  # at every step
        synapses = self.synapses(inputs.channels, outputs, host=host)
        return Layer(synapses, self.neurons(self.config.steps if same else None))

    def source(self, inputs: Inputs) -> nn.Module | None:
        """What makes spikes of the inputs, or hands them on as an input population; None where they stay real."""
        if not self.spiking or not self._spikes_come(inputs):
            return None
        if inputs.kind == "spikes":
            return EventFrames()
        return Poisson(self.config.steps, inputs.channels, self.config.coding_seed)

    def pool(self) -> SumPool:
        """An average pool of stride 2 that halves the map."""
        side = self.config.pool
        return SumPool((side, side), (2, 2), (side // 2, side // 2) if side % 2 else (0, 0), fix="model.pool=2")

    def _spikes_come(self, inputs: Inputs) -> bool:
        return inputs.kind == "spikes" or (inputs.kind == "image" and self.config.coding == "poisson")


class Layer(nn.Module):
    """Synapses with their norm, and the neurons that they feed."""

    def __init__(self, synapses: ConvNorm, neurons: Lif | Relu) -> None:
        super().__init__()
        self.synapses = synapses
        self.neurons = neurons

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C, H, W) spikes to spikes; without T for an ANN, or where the host computes the synapses."""
        spikes: Tensor = self.neurons(self.synapses(x))
        return spikes


class Stage(nn.Module):
    """Layers at one size of map: `conv0`, `conv1`, ..."""

    def __init__(self, layers: list[Layer]) -> None:
        super().__init__()
        self.names = [f"conv{i}" for i in range(len(layers))]
        for name, layer in zip(self.names, layers, strict=True):
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C, H, W) to spikes of the same H and W."""
        for name in self.names:
            x = self.get_submodule(name)(x)
        return x


class KimNet(nn.Module):
    """What both networks share: the way in, two stages of the backbone, class scores. A `SegmentationModel`."""

    def __init__(self, config: KimConfig, classes: int, inputs: Inputs) -> None:
        super().__init__()
        self.parts = parts = Parts(config)
        if not parts.spiking and inputs.kind == "image" and config.steps != 1:
            raise UsageError(
                f"model.neuron = relu is an ANN, which has no time, but model.steps = {config.steps}; set model.steps=1"
            )
        self.classes = classes
        self.steps = config.steps
        self.by_rate = parts.spiking and config.readout == "rate"
        first, second, _ = config.widths
        self.images = ImageInput(config.multiple, inputs)
        self.source = parts.source(inputs)
        self.stage0 = Stage([parts.first(first, inputs), parts.layer(first, first)])
        self.pool0 = parts.pool()
        self.stage1 = Stage([parts.layer(first, second), parts.layer(second, second)])
        self.pool1 = parts.pool()

    def encoded(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes of the first two stages, at the image's size and at half of it."""
        x = self.images(images)
        if self.source is not None:
            x = self.source(x)
        fine = self.stage0(x)
        return fine, self.stage1(self.pool0(fine))

    def class_scores(self, logits: Tensor) -> Tensor:
        """(N, classes, H', W'): numbers of spikes by rate, else the last layer's input, averaged over time, in float64."""
        return torch.round(logits).long() if self.by_rate else logits

    def readout_of(self, channels: int) -> LinearReadOut | ReadOut:
        """The host's part: a 1x1 map of spike counts, or the counts themselves as logits."""
        return ReadOut(self.steps) if self.by_rate else LinearReadOut(channels, self.classes, bias=False)


class DeepLab(KimNet):
    """Spiking-DeepLab: images -> (logits (N, classes, H/4, W/4),), which the host resizes bilinearly.

    The last two convolutions of the backbone have dilation 2, the wide 3x3 behind it `dilation`.
    """

    def __init__(self, config: DeepLabConfig, classes: int, inputs: Inputs) -> None:
        super().__init__(config, classes, inputs)
        parts, (_, second, third), wide = self.parts, config.widths, config.classifier
        dilated = [parts.layer(third, third, dilation=2) for _ in range(2)]
        self.stage2 = Stage([parts.layer(second, third), *dilated])
        self.classifier = parts.layer(third, wide, dilation=config.dilation)
        self.score = parts.layer(wide, classes, 1) if self.by_rate else None
        self.readout = self.readout_of(wide)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (N, C, H, W), or events (N, T, C, H, W), to one class map."""
        _, half = self.encoded(images)
        spikes = self.classifier(self.stage2(self.pool1(half)))
        if self.score is not None:
            spikes = self.score(spikes)
        return (self.readout(spikes),)


class Rise(nn.Module):
    """One step back up: transposed convolution of the smaller map plus skip convolution of the larger one -> neurons."""

    def __init__(self, parts: Parts, classes: int, skipped: int) -> None:
        super().__init__()
        up = SynapseConvT(classes, classes, 3, stride=2, padding=1)
        up.output_padding = (1, 1, 0)  # twice the size; SLAYER's constructor does not know it, its forward does
        self.up = ConvNorm(up, parts.norm(classes))
        self.skip = parts.synapses(skipped, classes, 1)
        self.neurons = parts.neurons()

    def forward(self, below: Tensor, beside: Tensor) -> Tensor:
        """(N, T, classes, H/2, W/2) and (N, T, C, H, W) -> (N, T, classes, H, W)."""
        currents: Currents = self.up(below) + self.skip(beside)
        spikes: Tensor = self.neurons(currents)
        return spikes


class Fcn(KimNet):
    """Spiking-FCN: images -> (logits (N, classes, H, W),).

    Three pools, two wide 3x3 layers and class neurons at an eighth; from there up in three steps, each adding a skip.
    """

    def __init__(self, config: FcnConfig, classes: int, inputs: Inputs) -> None:
        super().__init__(config, classes, inputs)
        parts, (first, second, third), wide = self.parts, config.widths, config.classifier
        self.stage2 = Stage([parts.layer(second, third), parts.layer(third, third), parts.layer(third, third)])
        self.pool2 = parts.pool()
        self.classifier = Stage([parts.layer(third, wide), parts.layer(wide, wide)])
        self.score = parts.layer(wide, classes, 1)
        self.rise2 = Rise(parts, classes, third)
        self.rise1 = Rise(parts, classes, second)
        self.rise0 = Rise(parts, classes, first)
        self.readout = self.readout_of(classes)
        if isinstance(self.readout, LinearReadOut):
            # Only `classes` spikes reach the host here: with random weights they would say little for many epochs.
            self.readout.weight.data.copy_(RATE_GAIN * torch.eye(classes)[:, :, None, None])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (N, C, H, W), or events (N, T, C, H, W), to one class map."""
        full, half = self.encoded(images)
        quarter = self.stage2(self.pool1(half))
        scores = self.score(self.classifier(self.pool2(quarter)))
        return (self.readout(self.rise0(self.rise1(self.rise2(scores, quarter), half), full)),)
