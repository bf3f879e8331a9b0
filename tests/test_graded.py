"""Neurons of several thresholds: the integer executor, Lava and the trained module hand on the same levels."""

import numpy as np
import pytest
import torch

from export.errors import CertificateError, DataError, UsageError
from export.execute.integer import run_integer
from export.execute.neuron import graded
from export.graph import Lif
from export.lava.supervise import run_lava
from export.netx.write import write_netx
from export.parity.compare import compare
from export.pipeline import compile_module
from neuroseg.config.converted import IMAGE, ConvertedConfig
from neuroseg.convert import activation_scales, network, normalised
from neuroseg.convert.ann import Builder
from neuroseg.models import quantized, record_spikes

MT = (2.0, 1.0, 0.5, 0.25)
SHAPE = (2, 8, 8)


def small_ann():
    """A pool, a transposed convolution, a concatenation whose skip has to wait."""
    generator = torch.Generator().manual_seed(4)

    def weights(*shape):
        return torch.randn(shape, generator=generator) / float(np.sqrt(np.prod(shape[1:]) / 2))

    b = Builder()

    def layer(name, source, ins, outs):
        b.add_weighted(f"{name}.conv", "conv", source, weights(outs, ins, 3, 3), 0.1 * torch.ones(outs), padding=(1, 1))
        return b.add(f"{name}.fire", "fire", (f"{name}.conv",))

    top = layer("inner", layer("top", IMAGE, 2, 3), 3, 3)
    b.add("pool", "average_pool", (top,), kernel=(2, 2), stride=(2, 2))
    below = layer("bottom", "pool", 3, 3)
    b.add_weighted("up.conv", "conv_transpose", below, 2 * weights(3, 2, 2, 2), None, stride=(2, 2))
    b.add("concat", "concat", (top, b.add("up.fire", "fire", ("up.conv",))))
    layer("last", "concat", 5, 3)
    b.add_weighted("head", "readout", "last.fire", weights(2, 3, 1, 1), torch.zeros(2))
    return b.finish("head")


def converted(neuron, reset, thresholds, steps=4):
    ann, images = small_ann(), torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    scaled = normalised(ann, activation_scales(ann, [images], 3, "connection", 99.9), "connection", thresholds[-1])
    config = ConvertedConfig(
        family="converted", neuron=neuron, reset=reset, thresholds=thresholds, steps=steps, layers=scaled.layers
    )
    return network(scaled, config), images


def reference(model, compiled, images):
    """Spikes of the trained module with the compiler's integers."""
    found = compiled.quantization
    _, spikes = record_spikes(quantized(model, found.weight_scale, found.v_th), images)
    return spikes


@pytest.fixture(scope="module")
def compiled_graded():
    model, images = converted("mt", "soft", MT)
    compiled = compile_module(model, SHAPE, allow_graded=True)
    return compiled, reference(model, compiled, images)


def inputs_of(graph, spikes):
    return {population.name: spikes[population.name] for population in graph.inputs}


def test_the_integer_executor_hands_on_what_the_trained_module_does(compiled_graded):
    compiled, spikes = compiled_graded
    got = run_integer(compiled.graph, inputs_of(compiled.graph, spikes))
    assert {name: int(values.max()) for name, values in spikes.items()}["last.fire"] > 1
    known = {name: values for name, values in spikes.items() if name in compiled.graph.populations}
    assert len(known) == 5
    result = compare(compiled.graph, known, got, ("module", "int"))
    assert (result["mismatches"], result["compared"]) == (0, 3 * 4 * 8 * 8 * (3 + 3 + 2 + 3) + 3 * 4 * 4 * 4 * 3)


def test_the_certificate_says_how_many_bits_travel(compiled_graded):
    compiled, _ = compiled_graded
    bits = {edge["bits"] for edge in compiled.certificate["edges"] if edge["type"] == "graded"}
    assert bits == {4}


def test_stock_synapses_carry_the_levels_through_lava(compiled_graded, tmp_path):
    compiled, spikes = compiled_graded
    path = tmp_path / "network.net"
    write_netx(compiled.graph, path)
    inputs = inputs_of(compiled.graph, spikes)
    got = run_lava(path, inputs, fast=False)
    assert compare(compiled.graph, run_integer(compiled.graph, inputs), got, ("int", "lava"))["mismatches"] == 0
    assert {p.kind for p in compiled.graph.populations.values() if p.thresholds} >= {"input", "lif", "relay"}


def test_one_threshold_with_hard_reset_is_binary_and_runs_on_stock_neurons(tmp_path):
    model, images = converted("if", "hard", (1.0,), steps=8)
    compiled = compile_module(model, SHAPE)
    spikes = reference(model, compiled, images)
    rates = {name: float(values.mean()) for name, values in spikes.items()}
    assert all(0.01 < rate < 0.6 for rate in rates.values()), rates
    path = tmp_path / "network.net"
    write_netx(compiled.graph, path)
    inputs = inputs_of(compiled.graph, spikes)
    integer, lava = run_integer(compiled.graph, inputs), run_lava(path, inputs, fast=False)
    known = {name: values for name, values in spikes.items() if name in compiled.graph.populations}
    assert compare(compiled.graph, known, integer, ("module", "int"))["mismatches"] == 0
    assert compare(compiled.graph, integer, lava, ("int", "lava"))["mismatches"] == 0


@pytest.mark.parametrize(
    ("how", "says"),
    [(("if", "soft", (1.0,)), "reset"), (("mt", "soft", MT), "graded")],
    ids=["soft reset", "several thresholds"],
)
def test_what_no_stock_neuron_does_is_refused_with_the_way_out(how, says):
    model, _ = converted(*how)
    with pytest.raises(CertificateError, match=says):
        compile_module(model, SHAPE)


def test_the_fast_models_refuse_graded_spikes(compiled_graded, tmp_path):
    compiled, spikes = compiled_graded
    path = tmp_path / "network.net"
    write_netx(compiled.graph, path)
    with pytest.raises(UsageError, match="'top.fire' fires graded spikes.*--backend lava"):
        run_lava(path, inputs_of(compiled.graph, spikes), fast=True)


def test_an_input_may_hold_what_its_thresholds_add_up_to(compiled_graded):
    compiled, spikes = compiled_graded
    inputs = inputs_of(compiled.graph, spikes)
    too_many = {name: values + np.uint8(16) for name, values in inputs.items()}
    with pytest.raises(DataError, match="must hold spikes 0 to 15; found 16 to"):
        run_integer(compiled.graph, too_many)


def test_levels_are_those_of_integers_reduced_from_the_largest_threshold():
    a = torch.randint(-40, 80, (2, 6, 5), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    got = graded(a, Lif(10, 4096, 0), (8, 4, 2, 1))
    v = np.zeros((2, 5), int)
    for t in range(6):
        v += a[:, t].numpy()
        level = np.zeros_like(v)
        for ratio in (8, 4, 2, 1):
            fires = v > 10 * ratio
            v -= 10 * ratio * fires
            level += ratio * fires
        assert np.array_equal(got[:, t].numpy(), level)
