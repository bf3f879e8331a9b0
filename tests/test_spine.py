"""The spine: a whole MFS-Seg in SLAYER, exported, and run on the real Lava runtime, every spike equal."""

import numpy as np
import pytest
from lava_helpers import stock_network
from lively import enliven, images, lively_model
from torch import nn

from export.execute.integer import run_integer
from export.lava.supervise import run_lava
from export.netx.read import read_netx
from export.netx.write import write_netx
from export.parity.compare import compare
from export.pipeline import compile_module
from neuroseg.models import quantized, record_spikes
from neuroseg.models.blocks import ConvNorm
from neuroseg.models.neuron import Lif
from neuroseg.models.norm import Tdbn
from neuroseg.models.synapse import SynapseConv
from neuroseg.models.wiring import MaxPool, ReadOut

SMALL, LARGER = (16, 16), (32, 32)


def exported(model, size, folder, layout="auto", delays="relay"):
    """(compiled, path of the NetX file, quantised SLAYER module)."""
    compiled = compile_module(model, (3, *size), layout=layout, delays=delays)
    path = folder / "network.net"
    write_netx(compiled.graph, path)
    reference = quantized(model, compiled.quantization.weight_scale, compiled.quantization.v_th)
    return compiled, path, reference


def slayer(reference, graph, pictures):
    """Spikes of stock SLAYER, and those of them that the host hands over."""
    _, spikes = record_spikes(reference, pictures, stock=True)
    return spikes, {p.name: spikes[p.name] for p in graph.inputs}


def assert_equal_and_alive(result):
    assert result["mismatches"] == 0, result["first_divergence"]
    rates = [row["rate_left"] for row in result["populations"]]
    assert np.mean([0.01 <= rate <= 0.6 for rate in rates]) >= 0.9, rates


@pytest.mark.parametrize("layout", ["nested", pytest.param("interleave", marks=pytest.mark.slow)])
def test_slayer_and_stock_lava_agree_on_every_spike_of_three_streamed_images(layout, tmp_path):
    compiled, path, reference = exported(lively_model(SMALL), SMALL, tmp_path, layout)
    graph = compiled.graph
    kinds = {p.kind for p in graph.populations.values()}
    assert {"input", "lif", "or", "and", "relay"} <= kinds
    assert all(np.any(p.bias) for p in graph.populations.values() if p.kind == "lif")
    assert max(graph.arrivals.values()) > 2 * graph.steps
    spikes, inputs = slayer(reference, graph, images(3, SMALL))
    result = compare(graph, spikes, run_lava(path, inputs, fast=False), ("slayer", "lava"))
    assert len(result["populations"]) == 40  # 36 neuron populations, 2 OR, 2 AND
    assert_equal_and_alive(result)


def test_slayer_and_stock_lava_agree_on_every_spike_when_skips_wait_in_delay_neurons(tmp_path):
    model = lively_model(SMALL, scales=2, widths=(4, 6), blocks=2)
    compiled, path, reference = exported(model, SMALL, tmp_path, delays="neuron")
    report = compiled.delays
    assert report.relay_neurons == 0 and max(map(len, report.taps.values())) > 1 and max(report.resends.values()) > 1
    spikes, inputs = slayer(reference, compiled.graph, images(3, SMALL))
    result = compare(compiled.graph, spikes, run_lava(path, inputs, fast=True), ("slayer", "lava-fast"))
    assert_equal_and_alive(result)


@pytest.mark.slow
def test_the_integer_executor_and_fast_lava_agree_on_twenty_images_of_a_larger_network(tmp_path):
    model = lively_model(LARGER, widths=(8, 12, 16))
    compiled, path, reference = exported(model, LARGER, tmp_path)
    spikes, inputs = slayer(reference, compiled.graph, images(20, LARGER))
    by_integers = run_integer(compiled.graph, inputs)
    assert_equal_and_alive(compare(compiled.graph, spikes, by_integers, ("slayer", "int")))
    on_lava = run_lava(path, inputs, fast=True)
    assert_equal_and_alive(compare(compiled.graph, by_integers, on_lava, ("int", "lava-fast")))


@pytest.mark.parametrize(
    "change",
    [
        {"scales": 2, "widths": (4, 6)},
        {"scales": 1, "widths": (4,)},
        {"blocks": 2},
        {"head_norm": False},
        {"attention": "first", "scales": 2, "widths": (4, 6)},
        {"blocks": 3, "shortcut_span": 1, "scales": 2, "widths": (4, 6)},
    ],
)
def test_every_configuration_compiles_and_the_integers_equal_slayer(change, tmp_path):
    compiled, path, reference = exported(lively_model(SMALL, **change), SMALL, tmp_path)
    spikes, inputs = slayer(reference, compiled.graph, images(4, SMALL))
    result = compare(compiled.graph, spikes, run_integer(read_netx(path), inputs), ("slayer", "int"))
    assert result["mismatches"] == 0, result["first_divergence"]
    assert result["compared"] > 10_000


def test_odd_image_shapes_work_when_they_divide(tmp_path):
    compiled, _, reference = exported(lively_model((20, 36)), (20, 36), tmp_path)
    spikes, inputs = slayer(reference, compiled.graph, images(2, (20, 36)))
    result = compare(compiled.graph, spikes, run_integer(compiled.graph, inputs), ("slayer", "int"))
    assert result["mismatches"] == 0


class Plain(nn.Module):
    """A network without skips: convolution, pooling, grouped and strided convolutions."""

    def __init__(self):
        super().__init__()
        self.stem, self.pixels = ConvNorm(SynapseConv(3, 4, 3, padding=1), Tdbn(4, 0.5)), Lif(steps=4)
        self.wide, self.first = ConvNorm(SynapseConv(4, 8, 3, padding=1, groups=2), Tdbn(8, 0.5)), Lif()
        self.pool = MaxPool(2)
        self.narrow, self.second = ConvNorm(SynapseConv(8, 3, 3, stride=2, padding=1), Tdbn(3, 0.5)), Lif()
        self.readout = ReadOut(1.0)

    def forward(self, pictures):
        spikes = self.first(self.wide(self.pixels(self.stem(pictures))))
        return self.readout(self.second(self.narrow(self.pool(spikes))))


def test_an_exported_network_without_skips_runs_on_lava_dls_own_loader(tmp_path):
    model = enliven(Plain(), SMALL, 0)
    compiled, path, reference = exported(model, SMALL, tmp_path)
    assert compiled.graph.is_chain
    spikes, inputs = slayer(reference, compiled.graph, images(3, SMALL))
    stock = stock_network(path, inputs["pixels"], compiled.graph, tmp_path)
    names = list(compiled.graph.populations)[1:]
    assert names == ["first", "pool", "second"]
    for name, recorded in zip(names, stock, strict=True):
        assert spikes[name].mean() > 0.01
        np.testing.assert_array_equal(recorded, spikes[name].reshape(recorded.shape))
