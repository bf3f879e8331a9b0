"""Reading a trained ANN from an ONNX file, and checking the reading against onnxruntime."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from export.errors import FileFormatError, UsageError
from neuroseg.config.converted import IMAGE
from neuroseg.convert.ann import Ann, Builder, Last, network

LASTS: dict[str, Last] = {"Sigmoid": "sigmoid", "Softmax": "softmax", "LogSoftmax": "log_softmax"}
NUMBERS = ("value_float", "value_floats", "value_int", "value_ints")  # attributes of a Constant
AS_IT_IS = ("Identity", "Dropout")
WAYS_OUT = {
    "Resize": "up-sample by a transposed convolution",
    "Upsample": "up-sample by a transposed convolution",
    "LeakyRelu": "train with ReLU: spikes know no negative activations",
    "PRelu": "train with ReLU: spikes know no negative activations",
    "Elu": "train with ReLU: spikes know no negative activations",
    "HardSwish": "train with ReLU",
    "Mul": "a gate of activations has no counterpart here; leave it out",
    "GlobalAveragePool": "pool by windows of a fixed size",
    "InstanceNormalization": "use batch normalisation, whose statistics stand still",
}
TOLERANCE = 1e-3  # of the largest output: float32 sums in another order


def read_onnx(path: Path) -> Ann:
    """The layers of a network of convolutions, ReLUs, pools and concatenations, which reads one image (N, C, H, W).

    raises  FileFormatError for a file that is no ONNX; UsageError naming the node that cannot be converted, and the way out
    """
    import onnx

    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except FileNotFoundError:
        raise UsageError(f"'{path}' does not exist") from None
    except Exception as error:  # protobuf and onnx raise many kinds
        raise FileFormatError(f"'{path}' is not a whole ONNX file: {' '.join(str(error).split())[:300]}") from None
    return _Reader(model.graph).read()


def verify_onnx(path: Path, ann: Ann, images: Tensor) -> float:
    """Largest difference between onnxruntime's outputs and ours, in units of the largest output; UsageError above 1e-3."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    try:
        theirs = session.run(None, {name: images.numpy()})[0]
    except Exception as error:  # onnxruntime raises its own kinds
        raise UsageError(
            f"onnxruntime does not run '{path}' on images {tuple(images.shape)}: {' '.join(str(error).split())[:300]}. Export it "
            "with dynamic axes, or set data.size and the channels to what it takes"
        ) from None
    with torch.no_grad():
        ours = network(ann)(images)[0].float()
    ours = _behind(ann.last, ours)
    largest = float(np.abs(theirs).max()) or 1.0
    difference = float(np.abs(theirs - ours.numpy()).max()) / largest
    if not difference <= TOLERANCE:
        raise UsageError(
            f"'{path}': onnxruntime and our reading of it differ by {difference:.2g} of the largest output; {TOLERANCE:g} is "
            "allowed. This is a bug of neuroseg: please report the file's nodes"
        )
    return difference


def _behind(last: Last, scores: Tensor) -> Tensor:
    """What the original gives."""
    if last == "sigmoid":
        return torch.sigmoid(scores)
    if last == "softmax":
        return torch.softmax(scores, 1)
    return torch.log_softmax(scores, 1) if last == "log_softmax" else scores


class _Reader:
    """Walks an ONNX graph, which is in topological order."""

    def __init__(self, graph: Any) -> None:
        from onnx import numpy_helper

        self.graph = graph
        self.constants: dict[str, Any] = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        self.values: dict[str, str] = {}
        self.lasts: dict[str, Last] = {}
        self.builder = Builder()
        self.readers: dict[str, int] = {}
        for node in graph.node:
            for name in node.input:
                self.readers[name] = self.readers.get(name, 0) + 1

    def read(self) -> Ann:
        images = [i.name for i in self.graph.input if i.name not in self.constants]
        if len(images) != 1:
            raise UsageError(f"the ONNX network has the inputs {images}; one, the image, can be converted")
        self.values[images[0]] = IMAGE
        for node in self.graph.node:
            self._visit(node)
        output = self.graph.output[0].name
        if output not in self.values:
            raise UsageError(f"the ONNX network's output '{output}' is a constant")
        last = self.lasts.get(output, "none")
        return self.builder.finish(self.values[output], last)

    def _visit(self, node: Any) -> None:
        from onnx import helper

        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        what = f"node '{node.name or node.output[0]}' ({node.op_type})"
        if node.op_type == "Constant":
            self.constants[node.output[0]] = _constant(what, settings)
            return
        given = [self.values[name] for name in node.input if name in self.values]
        if any(name in self.lasts for name in node.input):
            raise UsageError(f"{what} follows a sigmoid or softmax, which only the end of a network may have")
        if node.op_type in AS_IT_IS and node.input[0] in self.constants:
            self.constants[node.output[0]] = self.constants[node.input[0]]
            return
        if not given:
            return  # arithmetic on constants, such as sizes: refused where a layer reads its result
        if node.op_type in AS_IT_IS:
            self.values[node.output[0]] = given[0]
            return
        if node.op_type in LASTS:
            axis = settings.get("axis", 1 if node.op_type == "Sigmoid" else -1)  # -1: ONNX's default since opset 13
            if axis not in (1, -3):
                raise UsageError(f"{what} runs along axis {axis}; class scores are channels, axis 1")
            self.values[node.output[0]], self.lasts[node.output[0]] = given[0], LASTS[node.op_type]
            return
        read = self._readers().get(node.op_type)
        if read is None:
            way = WAYS_OUT.get(node.op_type, f"known are {', '.join(sorted([*self._readers(), *LASTS, *AS_IT_IS]))}")
            raise UsageError(f"{what} cannot be converted: {way}")
        self.values[node.output[0]] = read(what, node, given, settings)

    def _readers(self) -> dict[str, Callable[[str, Any, list[str], dict[str, Any]], str]]:
        return {
            "Conv": self._conv,
            "ConvTranspose": self._conv,
            "BatchNormalization": self._norm,
            "Relu": lambda what, node, given, s: self.builder.add(self._name(node), "fire", (given[0],)),
            "AveragePool": self._pool,
            "MaxPool": self._pool,
            "Concat": self._concat,
            "Add": self._add,
        }

    def _name(self, node: Any) -> str:
        """A name that a module can have, not given before."""
        words = [re.sub(r"\W", "_", word) for word in re.split(r"[/.]", node.name or node.output[0]) if word]
        base = ".".join(word if not word[0].isdigit() else f"_{word}" for word in words) or "layer"
        name, count = base, 2
        taken = {*self.builder.layers, IMAGE}
        while any(other == name or other.startswith(f"{name}.") or name.startswith(f"{other}.") for other in taken):
            name, count = f"{base}_{count}", count + 1
        return name

    def _tensor(self, what: str, name: str) -> Tensor:
        if name not in self.constants:
            raise UsageError(f"{what} computes its weights '{name}'; weights must be constants of the file")
        values = np.asarray(self.constants[name], dtype=np.float64)
        if not np.isfinite(values).all():
            raise UsageError(f"{what}: its weights '{name}' hold NaN or infinite values")
        return torch.from_numpy(values.copy())

    def _conv(self, what: str, node: Any, given: list[str], s: dict[str, Any]) -> str:
        weight = self._tensor(what, node.input[1])
        if weight.ndim != 4:
            raise UsageError(f"{what} has weights of shape {tuple(weight.shape)}; maps have two dimensions")
        bias = self._tensor(what, node.input[2]) if len(node.input) > 2 and node.input[2] else None
        transposed = node.op_type == "ConvTranspose"
        geometry = {
            "stride": _pair(what, s, "strides"),
            "padding": _padding(what, s),
            "dilation": _pair(what, s, "dilations"),
            "groups": int(s.get("group", 1)),
        }
        if transposed:
            if s.get("output_shape"):
                raise UsageError(f"{what} has an output_shape; use pads and output_padding")
            geometry["output_padding"] = _pair(what, s, "output_padding", 0)
        op = "conv_transpose" if transposed else "conv"
        return self.builder.add_weighted(self._name(node), op, given[0], weight, bias, **geometry)

    def _norm(self, what: str, node: Any, given: list[str], s: dict[str, Any]) -> str:
        gain, shift, mean, var = (self._tensor(what, name) for name in node.input[1:5])
        if self.readers[node.input[0]] > 1:
            raise UsageError(f"{what} reads '{node.input[0]}', which others read, too: it cannot be folded")
        factor = gain / torch.sqrt(var + float(s.get("epsilon", 1e-5)))
        self.builder.fold(what, given[0], factor, shift - mean * factor)
        return given[0]

    def _pool(self, what: str, node: Any, given: list[str], s: dict[str, Any]) -> str:
        kernel, stride, padding = _pair(what, s, "kernel_shape"), _pair(what, s, "strides"), _padding(what, s)
        average = node.op_type == "AveragePool"
        if s.get("ceil_mode") or _pair(what, s, "dilations") != (1, 1):
            raise UsageError(f"{what} has ceil_mode or dilations; use windows that tile the map")
        if average and padding != (0, 0) and not s.get("count_include_pad"):
            raise UsageError(
                f"{what} averages over fewer pixels at the border; set count_include_pad, or use no padding"
            )
        if not average and (kernel != stride or kernel[0] != kernel[1] or padding != (0, 0)):
            raise UsageError(
                f"{what} has windows {kernel} at a stride of {stride}; square ones that do not overlap convert"
            )
        op = "average_pool" if average else "max_pool"
        return self.builder.add(self._name(node), op, (given[0],), kernel=kernel, stride=stride, padding=padding)

    def _concat(self, what: str, node: Any, given: list[str], s: dict[str, Any]) -> str:
        if s["axis"] not in (1, -3) or len(given) != len(node.input):
            raise UsageError(f"{what} joins along axis {s['axis']}, or with constants; channels, axis 1, convert")
        return self.builder.add(self._name(node), "concat", tuple(given))

    def _add(self, what: str, node: Any, given: list[str], s: dict[str, Any]) -> str:
        if len(given) != 2:
            raise UsageError(f"{what} adds a constant; fold it into a bias")
        return self.builder.add(self._name(node), "add", tuple(given))


def _constant(what: str, settings: dict[str, Any]) -> Any:
    """The numbers of a Constant, whichever attribute holds them."""
    from onnx import numpy_helper

    if "value" in settings:
        return numpy_helper.to_array(settings["value"])
    for name in NUMBERS:
        if name in settings:
            return np.asarray(settings[name])
    raise UsageError(
        f"{what} holds {' and '.join(sorted(settings)) or 'nothing'}; write its numbers as a dense tensor, 'value'"
    )


def _pair(what: str, s: dict[str, Any], name: str, default: int = 1) -> tuple[int, int]:
    values = s.get(name) or (default, default)
    if len(values) != 2:
        raise UsageError(f"{what} has {name} {tuple(values)} of {len(values)} numbers; maps have two dimensions")
    return int(values[0]), int(values[1])


def _padding(what: str, s: dict[str, Any]) -> tuple[int, int]:
    if s.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise UsageError(f"{what} pads by auto_pad={s['auto_pad'].decode()}; write explicit pads")
    pads = tuple(s.get("pads") or (0, 0, 0, 0))
    if len(pads) != 4:
        raise UsageError(
            f"{what} has pads {pads} of {len(pads)} numbers; maps have two dimensions, which are four pads"
        )
    top, left, bottom, right = pads
    if (top, left) != (bottom, right):
        raise UsageError(f"{what} pads {top},{left} before and {bottom},{right} behind; only equal pads convert")
    return int(top), int(left)
