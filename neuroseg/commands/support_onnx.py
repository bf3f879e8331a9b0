"""For `neuroseg support`: an ANN on the way that networks of others come, through an ONNX file."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuroseg.config.converted import IMAGE, Layer
from neuroseg.convert import Ann, read_onnx, verify_onnx
from neuroseg.convert.ann import with_classes

OPSET = 13


class PlainNetwork(nn.Module):
    """An ANN's layers as torch's own functions, which torch's exporter knows; (N, C, H, W) -> (N, classes, H, W)."""

    def __init__(self, ann: Ann) -> None:
        super().__init__()
        self.plan = ann.layers
        self.tensors = {name: tensor.float() for name, tensor in ann.tensors.items()}

    def forward(self, images: Tensor) -> Tensor:
        """The read-out."""
        values = {IMAGE: images}
        for layer in self.plan:
            values[layer.name] = self._value(layer, [values[name] for name in layer.inputs])
        return values[self.plan[-1].name]

    def _value(self, layer: Layer, given: list[Tensor]) -> Tensor:
        (x, *others) = given
        if layer.op == "fire":
            return F.relu(x)
        if layer.op == "add":
            return x + others[0]
        if layer.op == "concat":
            return torch.cat(given, 1)
        if layer.op == "max_pool":
            return F.max_pool2d(x, layer.kernel)
        if layer.op == "average_pool":
            return F.avg_pool2d(x, layer.kernel, layer.stride, layer.padding)
        weight, bias = self.tensors[f"{layer.name}.weight"], self.tensors[f"{layer.name}.bias"]
        if layer.op == "conv_transpose":
            return F.conv_transpose2d(
                x, weight, bias, layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation
            )
        assert layer.op in ("conv", "readout"), f"no line of support.yaml writes a {layer.op} as ONNX"
        return F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def through_onnx(ann: Ann, images: Tensor) -> Ann:
    """The ANN written as ONNX and read again, checked against onnxruntime on images (N, C, H, W)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls this exporter, which needs no further package, old
            torch.onnx.export(PlainNetwork(ann).eval(), (images,), str(path), dynamo=False, opset_version=OPSET)
        found = read_onnx(path)
        verify_onnx(path, found, images)
    return with_classes(found)
