"""Networks of others, as ONNX files: what we read is what onnxruntime computes, or is refused by its node's name."""

import warnings

import numpy as np
import pytest
import torch
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
    ],
    ids=["average", "maximum", "sigmoid", "sum"],
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
