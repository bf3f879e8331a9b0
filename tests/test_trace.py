"""Tracing: modules that describe themselves become a Dataflow; everything else is refused by its dotted name."""

import numpy as np
import pytest
import torch
from lively import SIZE, lively_model
from torch import nn

from export.dataflow import Add, Concat, Convolution, Fire, MaxPool, Nearest, Norm, Product, TransposedConvolution
from export.errors import TraceError
from export.passes.fold_norm import fold_norm
from export.passes.trace import trace
from neuroseg.models.neuron import Lif
from neuroseg.models.norm import Tdbn
from neuroseg.models.synapse import SynapseConv
from neuroseg.models.wiring import ReadOut

IMAGE = (3, *SIZE)


class Chain(nn.Module):
    """The smallest network that can be exported, with a place for something else in the middle."""

    def __init__(self, middle=None):
        super().__init__()
        self.stem = SynapseConv(3, 4, 3, padding=1)
        self.first = Lif(steps=3)
        self.middle = middle if middle is not None else SynapseConv(4, 4, 1)
        self.second = Lif()
        self.readout = ReadOut(1.0)

    def forward(self, images):
        return self.readout(self.second(self.middle(self.first(self.stem(images)))))


def test_mfs_seg_is_traced_with_every_kind_of_operation():
    flow = trace(lively_model(), IMAGE)
    kinds = {type(node) for node in flow.nodes.values()}
    assert {Add, Concat, Convolution, Fire, MaxPool, Nearest, Norm, Product, TransposedConvolution} <= kinds
    assert flow.steps == 4
    assert flow.nodes["encoder0.block0.lif_in"].shape == (4, *SIZE)
    assert flow.nodes[flow.output].shape == (2, *SIZE)


def test_auxiliary_heads_are_left_out():
    flow = trace(lively_model(), IMAGE)
    assert any(name.startswith("head0.") for name in flow.nodes)
    assert not any(name.startswith(("head1.", "head2.")) for name in flow.nodes)


def test_tracing_leaves_the_module_as_it_was():
    model = lively_model().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trace(model, IMAGE)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("middle", "named"),
    [
        (nn.Sequential(SynapseConv(4, 4, 1), nn.ReLU()), r"module 'middle\.1' \(ReLU\)"),
        (nn.Sequential(nn.Conv2d(4, 4, 1)), r"module 'middle\.0' \(Conv2d\)"),
    ],
)
def test_an_unsupported_layer_is_refused_by_its_dotted_name(middle, named):
    with pytest.raises(TraceError, match=named):
        trace(Chain(middle), IMAGE)


def test_an_unsupported_operation_is_refused_by_the_module_that_uses_it():
    class Subtract(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = SynapseConv(4, 4, 1)

        def forward(self, x):
            return self.conv(x) - self.conv(x)

    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = nn.Module()

        def forward(self, x):
            return torch.sigmoid(x)

    with pytest.raises(TraceError, match="called twice"):
        trace(Chain(Subtract()), IMAGE)
    with pytest.raises(TraceError, match=r"'middle' \(operation sigmoid\)"):
        trace(Chain(Root()), IMAGE)


def test_a_branch_on_values_is_refused_with_the_reason():
    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(TraceError, match="cannot be traced.*without branches on values"):
        trace(Chain(Branch()), IMAGE)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(value):
    model = lively_model()
    name, module = next((n, m) for n, m in model.named_modules() if isinstance(m, SynapseConv) and "block0" in n)
    with torch.no_grad():
        module.weight.view(-1)[0] = value
    with pytest.raises(TraceError, match=f"module '{name}': 1 of .* values of its weight are NaN or infinite"):
        trace(model, IMAGE)


def test_a_module_whose_first_output_is_no_class_map_is_refused():
    class Headless(Chain):
        def forward(self, images):
            return self.second(self.middle(self.first(self.stem(images))))

    with pytest.raises(TraceError, match="first output must be a read-out"):
        trace(Headless(), IMAGE)


def test_folded_norms_compute_the_same_currents():
    class Normed(Chain):
        def __init__(self):
            super().__init__(nn.Sequential(SynapseConv(4, 4, 1), Tdbn(4, 0.5)))

    model = Normed()
    norm = model.middle[1]
    for parameter in (norm.gain, norm.shift):
        parameter.data.uniform_(-1, 1)
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.1, 2)
    flow = fold_norm(trace(model.eval(), IMAGE))
    assert not any(isinstance(node, Norm) for node in flow.nodes.values())
    conv = flow.nodes["middle.0"]
    spikes = (torch.rand(1, 3, 4, *SIZE) < 0.4).float()
    expected = model.middle(spikes).detach().numpy()[0]
    got = np.einsum("oikl,tihw->tohw", conv.weight, spikes[0].numpy()) + conv.bias[:, None, None]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_norm_of_something_else_than_a_convolution_is_refused():
    model = Chain(nn.Sequential(SynapseConv(4, 4, 1), Tdbn(4, 0.5), Tdbn(4, 0.5)))
    fold_norm(trace(model, IMAGE))  # two in a row fold one after the other

    class AfterSpikes(Chain):
        def __init__(self):
            super().__init__(nn.Sequential(Tdbn(4, 0.5), SynapseConv(4, 4, 1)))

    with pytest.raises(TraceError, match=r"'middle\.0' must follow one convolution"):
        fold_norm(trace(AfterSpikes(), IMAGE))
