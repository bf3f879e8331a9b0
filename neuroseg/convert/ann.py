"""A network between reading and running: its layers, as the config has them, and their tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from export.errors import UsageError
from neuroseg.config import Inputs
from neuroseg.config.converted import IMAGE, ConvertedConfig, Layer
from neuroseg.models.converted import Converted

Last = Literal["none", "sigmoid", "softmax", "log_softmax"]


@dataclass(frozen=True, eq=False)
class Ann:
    """Layers in the order in which they compute, and their tensors in torch's layouts.

    tensors  `<layer>.weight` (out, in / groups, kH, kW), of a transposed convolution (in, out / groups, kH, kW), and
             `<layer>.bias` (out,), float64
    last     what follows the read-out in the original: nothing that an arg-max, or a threshold of one half, would notice
    """

    layers: tuple[Layer, ...]
    tensors: Mapping[str, Tensor]
    last: Last = "none"

    @property
    def channels(self) -> tuple[int, int]:
        """Of the image, and of the output."""
        first = next(layer for layer in self.layers if IMAGE in layer.inputs and layer.channels)
        assert first.channels is not None and self.layers[-1].channels is not None
        return first.channels[0], self.layers[-1].channels[1]

    def readers(self, name: str) -> list[Layer]:
        """Layers that read a value."""
        return [layer for layer in self.layers if name in layer.inputs]


def network(ann: Ann, config: ConvertedConfig | None = None) -> Converted:
    """The network of an ANN's layers with its weights, eval mode, float32; config None: the ANN itself."""
    settings = config or ConvertedConfig(family="converted", neuron="relu", steps=1, layers=ann.layers)
    model = Converted(settings, ann.channels[1], Inputs(ann.channels[0]))
    state = model.state_dict()
    for key, value in module_tensors(ann).items():
        assert key in state, f"no tensor is called {key}"
        state[key] = value.to(state[key].dtype).reshape(state[key].shape)
    model.load_state_dict(state)
    return model.eval()


def module_tensors(ann: Ann) -> dict[str, Tensor]:
    """The tensors under the names that they have in `Converted`."""
    found: dict[str, Tensor] = {}
    for layer in ann.layers:
        if layer.channels is None:
            continue
        readout = layer.op == "readout"
        found[f"{layer.name}.weight" if readout else f"{layer.name}.conv.weight"] = ann.tensors[f"{layer.name}.weight"]
        if layer.bias:
            found[f"{layer.name}.bias" if readout else f"{layer.name}.norm.bias"] = ann.tensors[f"{layer.name}.bias"]
    return found


class Builder:
    """Collects layers while a network is read; norms disappear into the convolutions before them."""

    def __init__(self) -> None:
        self.layers: dict[str, Layer] = {}
        self.tensors: dict[str, Tensor] = {}

    def add(self, name: str, op: Any, inputs: tuple[str, ...], **settings: Any) -> str:
        """A layer without weights."""
        self.layers[name] = Layer(name=name, op=op, inputs=inputs, **settings)
        return name

    def add_weighted(
        self, name: str, op: Any, source: str, weight: Tensor, bias: Tensor | None, **settings: Any
    ) -> str:
        """A layer with weights; it always gets a bias, for the norms that may follow."""
        groups = settings.get("groups", 1)
        transposed = op == "conv_transpose"
        inputs = weight.shape[0] if transposed else weight.shape[1] * groups
        outputs = weight.shape[1] * groups if transposed else weight.shape[0]
        kernel = (int(weight.shape[2]), int(weight.shape[3]))
        self.layers[name] = Layer(
            name=name, op=op, inputs=(source,), channels=(inputs, outputs), kernel=kernel, **settings
        )
        self.tensors[f"{name}.weight"] = weight.detach().double()
        self.tensors[f"{name}.bias"] = torch.zeros(outputs).double() if bias is None else bias.detach().double()
        return name

    def fold(self, norm: str, source: str, factor: Tensor, shift: Tensor) -> None:
        """y = factor x + shift, per channel, into the convolution that computes x; UsageError where there is none.

        Source of the equation: Ioffe and Szegedy 2015 at inference.
        """
        layer = self.layers.get(source)
        if layer is None or layer.op not in ("conv", "conv_transpose"):
            what = "the image" if layer is None else f"'{source}' ({layer.op})"
            raise UsageError(
                f"normalisation '{norm}' follows {what}; one that follows a convolution can be folded into it"
            )
        weight, bias = self.tensors[f"{source}.weight"], self.tensors[f"{source}.bias"]
        factor, shift = factor.detach().double(), shift.detach().double()
        self.tensors[f"{source}.weight"] = per_output(weight, factor, layer)
        self.tensors[f"{source}.bias"] = bias * factor + shift

    def finish(self, output: str, last: Last = "none") -> Ann:
        """The network up to an output; its last convolution becomes the read-out."""
        wanted = self._ancestors(output)
        layers = [layer for name, layer in self.layers.items() if name in wanted]
        end = self.layers[output]
        if end.op == "conv" and end.stride == end.dilation == (1, 1) and end.groups == 1:
            layers[-1] = end.model_copy(update={"op": "readout"})
        elif end.op != "readout":
            raise UsageError(
                f"the network ends with '{output}' ({end.op}); it must end with a convolution of stride 1, whose outputs are "
                "the class scores or the image"
            )
        return Ann(tuple(layers), dict(self.tensors), last)

    def _ancestors(self, output: str) -> set[str]:
        found: set[str] = set()
        queue = [output]
        while queue:
            name = queue.pop()
            if name not in found and name != IMAGE:
                found.add(name)
                queue.extend(self.layers[name].inputs)
        return found


def per_output(weight: Tensor, factor: Tensor, layer: Layer) -> Tensor:
    """Weights times a factor per output channel (out,)."""
    if layer.op != "conv_transpose":
        return weight * factor[:, None, None, None]
    ins, outs = weight.shape[:2]
    grouped = weight.view(layer.groups, ins // layer.groups, outs, *weight.shape[2:])
    return (grouped * factor.view(layer.groups, 1, outs, 1, 1)).view_as(weight)


def per_input(weight: Tensor, factor: Tensor, layer: Layer) -> Tensor:
    """Weights times a factor per input channel (in,)."""
    if layer.op == "conv_transpose":
        return weight * factor[:, None, None, None]
    outs, ins = weight.shape[:2]
    grouped = weight.view(layer.groups, outs // layer.groups, ins, *weight.shape[2:])
    return (grouped * factor.view(layer.groups, 1, ins, 1, 1)).view_as(weight)


def with_classes(ann: Ann) -> Ann:
    """The same without what follows its read-out: class scores, whose arg-max is the class map.

    One score z behind a sigmoid becomes the classes (0, z): the arg-max is then `sigmoid(z) > 1/2`.
    """
    if ann.last != "sigmoid" or ann.channels[1] != 1:
        return replace(ann, last="none")
    end = ann.layers[-1]
    weight, bias = ann.tensors[f"{end.name}.weight"], ann.tensors[f"{end.name}.bias"]
    tensors = {
        **ann.tensors,
        f"{end.name}.weight": torch.cat([torch.zeros_like(weight), weight]),
        f"{end.name}.bias": torch.cat([torch.zeros_like(bias), bias]),
    }
    assert end.channels is not None
    readout = end.model_copy(update={"channels": (end.channels[0], 2)})
    return replace(ann, layers=(*ann.layers[:-1], readout), tensors=tensors, last="none")
