"""Tracing: modules that describe themselves become a Dataflow; everything else is refused by its dotted name."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lively import SIZE, lively_model
from torch import nn

from export.dataflow import (
    Add,
    Concat,
    Convolution,
    Dataflow,
    Fire,
    Image,
    MaxPool,
    Nearest,
    Norm,
    Product,
    TransposedConvolution,
)
from export.errors import TraceError
from export.execute.integer import run_integer
from export.passes.fold_norm import fold_norm
from export.passes.lower import lower
from export.passes.quantize import quantize
from export.passes.trace import trace
from neuroseg.models.neuron import Lif
from neuroseg.models.norm import Tdbn
from neuroseg.models.synapse import SynapseConv, SynapseConvT
from neuroseg.models.wiring import And, ReadOut
from neuroseg.models.wiring import Concat as ConcatSpikes

IMAGE = (3, *SIZE)


def test_tracing_leaves_it_to_lava_how_processes_start():
    """In a process of its own: whoever imports SLAYER has set it already."""
    script = (
        "import multiprocessing; from small_leaves import Conv, chain; from export.passes.trace import trace; "
        "trace(chain(Conv(4, 4)), (3, 6, 8)); print(multiprocessing.get_start_method(allow_none=True))"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": paths}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert run.stdout.strip() == "None"


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


class Gated(Chain):
    """A gate or merge that reads one value twice."""

    def __init__(self, merge, channels):
        super().__init__(SynapseConv(channels, 4, 1))
        self.merge = merge

    def forward(self, images):
        spikes = self.first(self.stem(images))
        return self.readout(self.second(self.middle(self.merge(spikes, spikes))))


@pytest.mark.parametrize(("merge", "channels"), [(And(), 4), (ConcatSpikes(), 8)])
def test_a_value_read_twice_counts_twice(merge, channels):
    model = Gated(merge, channels)
    graph = quantize(lower(fold_norm(trace(model, IMAGE))))[0]
    spikes = (np.random.default_rng(0).random((2, 3, 4, *SIZE)) < 0.4).astype(np.uint8)
    got = run_integer(graph, {"first": spikes})
    if "merge" in got:
        np.testing.assert_array_equal(got["merge"], spikes)
    assert len(graph.into("second" if channels == 8 else "merge")) == 2


def test_a_dilated_transposed_convolution_keeps_its_dilation():
    model = Chain(SynapseConvT(4, 4, 2, stride=2, dilation=3, padding=1))
    conv = fold_norm(trace(model, IMAGE)).nodes["middle"]
    assert conv.dilation == (3, 3)
    assert conv.shape == (4, 32, 32)


def test_a_module_called_with_a_constant_is_refused():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = And()

        def forward(self, x):
            return self.gate(x, 1.0)

    with pytest.raises(TraceError, match=r"'middle\.gate' is called with the constant 1\.0"):
        trace(Chain(Constant()), IMAGE)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    kernel=st.sampled_from([1, 2, 3]),
    groups=st.sampled_from([1, 2, 4]),
    transposed=st.booleans(),
    norms=st.integers(1, 3),
)
def test_folding_is_exact_for_any_convolution_and_row_of_norms(seed, kernel, groups, transposed, norms):
    rng = np.random.default_rng(seed)
    shape, one = (8, 4, 4), (1, 1)
    if transposed:
        weight = rng.normal(size=(4, 8 // groups, kernel, kernel))
        conv = TransposedConvolution("conv", ("x",), shape, weight, None, (2, 2), (0, 0), (0, 0), one, groups)
    else:
        weight = rng.normal(size=(8, 4 // groups, kernel, kernel))
        conv = Convolution("conv", ("x",), shape, weight, None, (2, 2), (0, 0), one, groups)
    nodes = {"x": Image("x", (), (4, 9, 9)), "conv": conv}
    for i in range(norms):
        gain, shift, mean = rng.normal(size=(3, 8))
        nodes[f"n{i}"] = Norm(f"n{i}", (list(nodes)[-1],), shape, gain, shift, mean, rng.uniform(0.1, 2, 8), 1e-5)
    folded = fold_norm(Dataflow(nodes, list(nodes)[-1], 1)).nodes["conv"]

    spikes = torch.from_numpy((rng.random((2, 4, 9, 9)) < 0.4).astype(float))
    run = nn.functional.conv_transpose2d if transposed else nn.functional.conv2d
    expected = run(spikes, torch.from_numpy(weight), None, 2, 0, groups=groups).numpy()
    for norm in list(nodes.values())[2:]:
        gain, shift, mean, var = (v[:, None, None] for v in (norm.gain, norm.shift, norm.mean, norm.var))
        expected = gain * (expected - mean) / np.sqrt(var + norm.eps) + shift
    bias = torch.from_numpy(folded.bias)
    got = run(spikes, torch.from_numpy(folded.weight), bias, 2, 0, groups=groups).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


class Sum(Chain):
    """Two branches joined by an operator, the second of one channel or of another size."""

    def __init__(self, join, channels=4, kernel=1):
        super().__init__(SynapseConv(4, 4, 1))
        self.other = SynapseConv(4, channels, kernel)
        self.join = join

    def forward(self, images):
        spikes = self.first(self.stem(images))
        return self.readout(self.second(self.join(self.middle(spikes), self.other(spikes))))


def test_operators_with_further_arguments_are_refused():
    with pytest.raises(TraceError, match="adds or multiplies with a constant"):
        trace(Sum(lambda a, b: torch.add(a, b, alpha=2)), IMAGE)


def test_broadcasting_is_refused_with_both_shapes():
    with pytest.raises(TraceError, match=r"broadcasts \(4, 16, 16\) and \(1, 16, 16\)"):
        trace(Sum(lambda a, b: a + b, channels=1), IMAGE)


def test_shapes_that_do_not_fit_are_a_trace_error():
    with pytest.raises(TraceError, match=r"does not run on one image \(3, 16, 16\)"):
        trace(Sum(lambda a, b: a + b, kernel=3), IMAGE)
