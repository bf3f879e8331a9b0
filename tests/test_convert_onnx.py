"""Networks of others, as ONNX files: what we read is what onnxruntime computes, or is refused by its node's name."""

import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from export.errors import FileFormatError, UsageError
from neuroseg.convert import network, read_onnx, verify_onnx
from neuroseg.convert.ann import with_classes


class PlainUNet(nn.Module):
    """As others write it: nothing of ours in it."""

    def __init__(self, pool=None, last=None, norm=True, up=None, act=nn.ReLU):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), *([nn.BatchNorm2d(3)] if norm else []), act())
        self.pool = pool or nn.AvgPool2d(2)
        self.b = nn.Sequential(nn.Conv2d(3, 4, 3, padding=2, dilation=2, bias=False), nn.ReLU())
        self.up = nn.Sequential(up or nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1), nn.ReLU())
        self.c = nn.Sequential(nn.Conv2d(3 + (up is None) * 3 + (up is not None) * 4, 3, 3, padding=1), nn.ReLU())
        self.head = nn.Sequential(nn.Conv2d(3, 1, 1), *([last] if last else []))

    def forward(self, x):
        a = self.a(x)
        return self.head(self.c(torch.cat([a, self.up(self.b(self.pool(a)))], 1)))


class Residual(nn.Module):
    """Two convolutions into one ReLU, grouped and strided."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Conv2d(2, 4, 1, stride=2, groups=2)
        self.head = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x):
        return torch.softmax(self.head(torch.relu(self.a(x) + self.b(x))), 1)


def exported(module, folder, images, train_norms=True):
    module = module.train()
    if train_norms:
        for _ in range(3):
            module(images + torch.randn_like(images))
    path = folder / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), (images,), str(path), dynamo=False, do_constant_folding=False, opset_version=13
        )
    return path


@pytest.mark.parametrize(
    "module",
    [
        PlainUNet(),
        PlainUNet(pool=nn.MaxPool2d(2)),
        PlainUNet(norm=False, last=nn.Sigmoid()),
        Residual(),
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.LogSoftmax(1)),
    ],
    ids=["average", "maximum", "sigmoid", "sum and softmax", "log softmax"],
)
def test_our_reading_computes_what_onnxruntime_does(module, tmp_path):
    torch.manual_seed(0)
    channels = next(module.parameters()).shape[1]
    images = torch.rand(2, channels, 16, 16)
    path = exported(module, tmp_path, images)
    assert verify_onnx(path, read_onnx(path), torch.rand(2, channels, 16, 16)) < 1e-5


def test_one_score_behind_a_sigmoid_becomes_two_classes(tmp_path):
    images = torch.rand(2, 1, 16, 16)
    ann = read_onnx(exported(PlainUNet(last=nn.Sigmoid()), tmp_path, images))
    with torch.no_grad():
        score, classes = network(ann)(images)[0], network(with_classes(ann))(images)[0]
    assert (ann.last, with_classes(ann).last, with_classes(ann).channels) == ("sigmoid", "none", (1, 2))
    assert torch.equal(classes.argmax(1), (torch.sigmoid(score[:, 0]) > 0.5).long())


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (PlainUNet(act=nn.LeakyReLU), r"LeakyRelu\) cannot be converted: train with ReLU"),
        (
            PlainUNet(up=nn.Upsample(scale_factor=2)),
            r"Resize\) cannot be converted: up-sample by a transposed convolution",
        ),
        (PlainUNet(pool=nn.MaxPool2d(3, 2, 1)), r"MaxPool\) has windows \(3, 3\) at a stride of \(2, 2\)"),
        (PlainUNet(pool=nn.AvgPool2d(3, 2, 1, count_include_pad=False)), r"AveragePool\) averages over fewer pixels"),
        (nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU()), "must end with a convolution"),
        (nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sigmoid(), nn.Conv2d(2, 1, 1)), "follows a sigmoid"),
        (nn.Sequential(nn.ReLU(), nn.BatchNorm2d(1), nn.Conv2d(1, 1, 1)), "can be folded into it"),
    ],
    ids=["leaky", "resize", "overlapping", "border", "relu at the end", "sigmoid inside", "norm of a ReLU"],
)
def test_what_has_no_counterpart_is_refused_by_its_node(module, says, tmp_path):
    path = exported(module, tmp_path, torch.rand(1, 1, 16, 16), train_norms=False)
    with pytest.raises(UsageError, match=says):
        read_onnx(path)


def written(folder, *nodes):
    """An ONNX file of nodes that read `image` and give `scores`; `weight` (2, 1, 1, 1) is a constant of the file."""
    weight = numpy_helper.from_array(np.array([1.0, -2.0], np.float32).reshape(2, 1, 1, 1), "weight")
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in ("image", "scores")]
    graph = helper.make_graph(list(nodes), "net", ports[:1], ports[1:], [weight])
    path = folder / "written.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


CONV = helper.make_node("Conv", ["image", "weight"], ["scores"], name="head")


@pytest.mark.parametrize(
    "held", [{"value_float": 2.0}, {"value_floats": [0.5, 2.0]}, {"value_int": 2}, {"value_ints": [1, 2]}], ids=str
)
def test_constants_are_read_from_whichever_attribute_holds_them(held, tmp_path):
    (value,) = held.values()
    constant = helper.make_node("Constant", [], ["bias"], **held)
    conv = helper.make_node("Conv", ["image", "weight", "bias"], ["scores"], name="head")
    assert read_onnx(written(tmp_path, constant, conv)).tensors["head.bias"].tolist() == value


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (
            helper.make_node("Constant", [], ["word"], name="label", value_string=b"cat"),
            r"node 'label' \(Constant\) holds value_string; write its numbers as a dense tensor",
        ),
        (
            helper.make_node("MaxPool", ["image"], ["small"], name="line", kernel_shape=[2], strides=[2]),
            r"node 'line' \(MaxPool\) has kernel_shape \(2,\) of 1 numbers; maps have two dimensions",
        ),
        (
            helper.make_node("AveragePool", ["image"], ["small"], name="cube", kernel_shape=[2, 2, 2]),
            r"node 'cube' \(AveragePool\) has kernel_shape \(2, 2, 2\) of 3 numbers",
        ),
        (
            helper.make_node("AveragePool", ["image"], ["small"], name="odd", kernel_shape=[2, 2], pads=[1, 1]),
            r"node 'odd' \(AveragePool\) has pads \(1, 1\) of 2 numbers",
        ),
        (
            helper.make_node("Conv", ["image", "weight"], ["small"], name="step", strides=[2]),
            r"node 'step' \(Conv\) has strides \(2,\) of 1 numbers",
        ),
    ],
    ids=["string", "pool of a line", "pool of a volume", "pads of a line", "stride of a line"],
)
def test_numbers_of_other_dimensions_are_refused_by_their_node(node, says, tmp_path):
    with pytest.raises(UsageError, match=says):
        read_onnx(written(tmp_path, node, CONV))


def test_a_softmax_without_an_axis_is_along_the_last_one_and_refused(tmp_path):
    path = exported(Residual(), tmp_path, torch.rand(1, 2, 8, 8))
    model = onnx.load(str(path))
    (softmax,) = [node for node in model.graph.node if node.op_type == "Softmax"]
    del softmax.attribute[:]
    onnx.save(model, str(path))
    with pytest.raises(UsageError, match=r"\(Softmax\) runs along axis -1; class scores are channels, axis 1"):
        read_onnx(path)


def test_a_damaged_file_is_refused(tmp_path):
    path = exported(PlainUNet(), tmp_path, torch.rand(2, 1, 16, 16))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FileFormatError, match=r"net.onnx' is not a whole ONNX file"):
        read_onnx(path)


def test_a_reading_that_computes_something_else_is_found_out(tmp_path):
    images = torch.rand(2, 1, 16, 16)
    path = exported(PlainUNet(), tmp_path, images)
    ann = read_onnx(path)
    name = next(key for key in ann.tensors if key.endswith("weight"))
    ann.tensors[name] += 0.1
    with pytest.raises(UsageError, match="onnxruntime and our reading of it differ"):
        verify_onnx(path, ann, images)
    with pytest.raises(UsageError, match="does not run"):
        verify_onnx(path, read_onnx(path), torch.rand(2, 3, 16, 16))
    assert np.isfinite(verify_onnx(path, read_onnx(path), images))
