"""mfs-nano itself, trained on CamVid (tests/data/mfs-nano), fires the same spikes in SLAYER, in integers and on Lava."""

from pathlib import Path

import numpy as np
import pytest
from lively import images

from export.execute.integer import run_integer
from export.netx.write import write_netx
from export.parity.compare import compare
from export.pipeline import compile_module
from export.simulate import simulate
from neuroseg.commands.reference import inputs_of, slayer_spikes
from neuroseg.models import quantized
from neuroseg.train import load_run

NANO = Path(__file__).parent / "data" / "mfs-nano"
CHIP_NEURONS = 416_000


@pytest.fixture(scope="module")
def nano():
    """(config, module folded and quantised, compiled network)."""
    config, model = load_run(NANO)
    compiled = compile_module(model, (3, *config.data.size))
    return config, quantized(model, compiled.quantization.weight_scale, compiled.quantization.v_th), compiled


def spikes_of(nano, count):
    """SLAYER's spikes of photographs with digits: pictures of the right size that are always there."""
    config, module, compiled = nano
    spikes = slayer_spikes(module, images(count, config.data.size))
    return {name: values for name, values in spikes.items() if name in compiled.graph.populations}


def test_the_trained_network_fits_one_chip_as_deployed(nano):
    compiled = nano[2]
    kinds = ("lif", "or", "and", "interleave", "relay", "input")
    assert compiled.graph.neurons(kinds) <= CHIP_NEURONS
    assert compiled.placement.fits and compiled.placement.chips == 1


def test_the_integers_fire_as_slayer_does_and_every_population_is_alive(nano):
    spikes = spikes_of(nano, 4)
    graph = nano[2].graph
    result = compare(graph, spikes, run_integer(graph, inputs_of(graph, spikes)), ("slayer", "int"))
    assert result["mismatches"] == 0 and result["compared"] > 2_000_000
    alive = [name for name, values in spikes.items() if values.any()]
    assert len(alive) == len(spikes)


@pytest.mark.slow
def test_stock_lava_fires_as_slayer_does_in_two_streamed_samples(nano, tmp_path):
    """Stock processes and stock models in every population: the bar of the network that ships."""
    spikes, graph = spikes_of(nano, 2), nano[2].graph
    write_netx(graph, tmp_path / "network.net")
    on_lava = simulate(graph, tmp_path / "network.net", inputs_of(graph, spikes), "lava")
    result = compare(graph, spikes, on_lava, ("slayer", "lava"))
    assert result["mismatches"] == 0, result["first_divergence"]
    assert {row["name"] for row in result["populations"]} == {
        n for n, p in graph.populations.items() if p.kind != "relay"
    }
    assert not np.array_equal(on_lava[graph.outputs[0]][0], on_lava[graph.outputs[0]][1])


@pytest.mark.slow
def test_lava_with_fast_models_fires_as_the_integers_do_in_twenty_samples(nano, tmp_path):
    spikes, graph = spikes_of(nano, 20), nano[2].graph
    write_netx(graph, tmp_path / "network.net")
    inputs = inputs_of(graph, spikes)
    result = compare(
        graph,
        run_integer(graph, inputs),
        simulate(graph, tmp_path / "network.net", inputs, "lava-fast"),
        ("int", "lava-fast"),
    )
    assert result["mismatches"] == 0, result["first_divergence"]
    assert result["samples"] == 20
