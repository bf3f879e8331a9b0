"""The model section of a converted network: an ANN's layers, and the neurons that took the place of its ReLUs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from neuroseg.config.model_section import ModelSection
from neuroseg.config.section import Count, Section

Pair = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]
Sides = tuple[Count, Count]
Op = Literal["conv", "conv_transpose", "fire", "average_pool", "sum_pool", "max_pool", "concat", "add", "readout"]
IMAGE = "image"  # the name under which layers read the network's input
WEIGHTED = ("conv", "conv_transpose", "readout")


class Layer(Section):
    """One layer of a network that is a list of layers.

    name      dotted; tensors of the weights file are named after it
    op        conv, conv_transpose: linear, (y, x) geometry as in torch; fire: neurons (a ReLU in the ANN); average_pool,
              sum_pool, max_pool: windows; concat: channels side by side; add: sum of two currents; readout: the last layer,
              a convolution that the host computes from what arrived over time
    inputs    names of earlier layers, or `image`
    channels  (in, out) of a layer with weights
    bias      whether it has one
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    channels: tuple[Count, Count] | None = None
    kernel: Sides = (1, 1)
    stride: Sides = (1, 1)
    padding: Pair = (0, 0)
    output_padding: Pair = (0, 0)
    dilation: Sides = (1, 1)
    groups: Count = 1
    bias: bool = True

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A network has many layers: what is as always is not written."""
        written: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        return {
            key: value
            for key, value in written.items()
            if fields[key].is_required() or getattr(self, key) != fields[key].default
        }

    @model_validator(mode="after")
    def _has_channels(self) -> Layer:
        if (self.channels is None) == (self.op in WEIGHTED):
            raise ValueError(
                f"layer '{self.name}' ({self.op}): channels belong to {', '.join(WEIGHTED)}, and to no other"
            )
        return self


class Origin(Section):
    """What was converted.

    kind       run: a RUN folder of ours; onnx: a file
    name       the run's name, or the file's
    sha256     of the weights file, or of the ONNX file
    normalise  how weights were scaled: layer, channel or connection
    percentile of the activations that became the scale
    samples    training images on which they were measured
    matched    whether each layer's weights took back what the rates before it lose (`neuroseg.convert.match`)
    """

    kind: Literal["run", "onnx"]
    name: str
    sha256: str
    normalise: Literal["layer", "channel", "connection"]
    percentile: Annotated[float, Field(gt=0, le=100)]
    samples: Count
    matched: bool = False


class ConvertedConfig(ModelSection):
    """A network that is a list of layers: what `neuroseg convert` writes.

    neuron      if: one threshold; mt: several, graded output; relu: the ANN itself, T = 1
    reset       soft: the threshold is subtracted; hard: to zero. Only hard deploys, and only with one threshold
    thresholds  descending; 1 is what a firing rate of 1 was normalised to. The weights hold the smallest, so that neurons
                hand on whole numbers: 0 or 1, or levels
    layers      in the order in which they compute
    origin      what was converted
    """

    family: Literal["converted"]
    neuron: Literal["if", "mt", "relu"] = "if"
    reset: Literal["soft", "hard"] = "soft"
    thresholds: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1.0,)
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)]
    origin: Origin | None = None

    @model_validator(mode="after")
    def _sound(self) -> ConvertedConfig:
        if list(self.thresholds) != sorted(set(self.thresholds), reverse=True):
            raise ValueError(f"thresholds {list(self.thresholds)} are not descending, such as [2, 1, 0.5, 0.25]")
        if self.neuron == "if" and len(self.thresholds) > 1:
            raise ValueError(f"neuron = if has one threshold, not {len(self.thresholds)}; use neuron = mt")
        if self.reset == "hard" and len(self.thresholds) > 1:
            raise ValueError(f"reset = hard needs one threshold, not {len(self.thresholds)}; use reset = soft")
        known = {IMAGE}
        for layer in self.layers:
            unknown = [name for name in layer.inputs if name not in known]
            if unknown or layer.name in known:
                what = f"reads '{unknown[0]}', which no layer before it is called" if unknown else "stands there twice"
                raise ValueError(f"layer '{layer.name}' {what}")
            known.add(layer.name)
        if [layer.name for layer in self.layers if layer.op == "readout"] != [self.layers[-1].name]:
            raise ValueError("the last layer, and no other, is a readout")
        return self

    @property
    def unit(self) -> float:
        """What one unit of the neurons' output stands for, in normalised activations: the smallest threshold."""
        return self.thresholds[-1]

    @property
    def multiple(self) -> int:
        """The largest factor by which a map is smaller than the image."""
        factor = {IMAGE: 1.0}
        for layer in self.layers:
            step = max(layer.stride)
            before = max(factor[name] for name in layer.inputs)
            factor[layer.name] = before / step if layer.op == "conv_transpose" else before * step
        return int(max(factor.values()))

    @property
    def why_multiple(self) -> str:
        """Its pools."""
        return "the converted network's pools"
