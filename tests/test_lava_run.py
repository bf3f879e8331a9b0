"""Spikes from the real Lava runtime against the integer executor, the stock loader and lava-dl's recorded truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lava_helpers import chain_graph, even, mixed_graph, relay, residual_graph, spikes_for, stock_network

from export.errors import DataError, UsageError
from export.execute.integer import run_integer
from export.graph import Conv, Graph, Lif, Population
from export.lava.supervise import run_lava
from export.netx.read import read_netx
from export.netx.write import write_netx


def mismatches(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> dict[str, int]:
    """Neuron-steps that differ, per population."""
    assert left.keys() == right.keys()
    return {name: int((left[name] != right[name]).sum()) for name in left}


def fires(spikes: dict[str, np.ndarray]) -> bool:
    """True when every population is neither silent nor always on, so that a comparison says something."""
    return all(0.01 < values.mean() < 0.9 for values in spikes.values())


@pytest.mark.parametrize(
    ("make", "samples", "fast"),
    [
        pytest.param(residual_graph, 3, False, id="residual-stock"),
        pytest.param(residual_graph, 3, True, id="residual-fast"),
        pytest.param(mixed_graph, 8, False, id="mixed-stock"),
        pytest.param(mixed_graph, 8, True, id="mixed-fast", marks=pytest.mark.slow),
    ],
)
def test_streamed_samples_match_the_integer_executor_in_every_population(make, samples, fast, tmp_path):
    graph = make()
    write_netx(graph, tmp_path / "net.net")
    inputs = spikes_for(graph, samples)
    truth = run_integer(graph, inputs)
    assert fires(truth)
    assert not any(mismatches(run_lava(tmp_path / "net.net", inputs, fast=fast), truth).values())


def test_the_residual_graph_has_relays_and_a_pipeline_deeper_than_two_samples():
    graph = residual_graph()
    assert max(graph.arrivals.values()) > 2 * graph.steps
    assert any(p.kind == "relay" for p in graph.populations.values())


def test_the_stock_loader_gives_the_same_spikes_on_a_chain(tmp_path):
    graph = chain_graph()
    path = tmp_path / "net.net"
    write_netx(graph, path)
    inputs = spikes_for(graph, 3)
    ours = run_lava(path, inputs, fast=False)
    assert fires(ours)
    assert not any(mismatches(ours, run_integer(graph, inputs)).values())
    stock = stock_network(path, inputs["in"], graph, tmp_path)
    for name, recorded in zip(list(graph.populations)[1:], stock, strict=True):
        assert np.array_equal(recorded, ours[name].reshape(recorded.shape)), name


@pytest.mark.parametrize(
    "fast", [pytest.param(False, id="stock"), pytest.param(True, id="fast", marks=pytest.mark.slow)]
)
def test_a_depthwise_layer_of_more_than_127_channels_is_exact(fast, tmp_path):
    rng = np.random.default_rng(0)
    shape = (130, 3, 2)
    populations = {
        "x": Population("x", "input", shape),
        "y": Population("y", "lif", shape, Lif(100, 4096, 1024), rng.integers(-9, 30, 130)),
    }
    conv = Conv("p", "x", "y", even(rng, 130, 1, 3, 3), padding=(1, 1), groups=130)
    graph = Graph(populations, (conv,), ("y",), 4, {"x": 1, "y": 2})
    write_netx(graph, tmp_path / "net.net")
    inputs = spikes_for(graph, 2)
    truth = run_integer(graph, inputs)
    assert fires(truth)
    assert not any(mismatches(run_lava(tmp_path / "net.net", inputs, fast=fast), truth).values())


@pytest.mark.slow
def test_relays_are_recorded_only_when_asked_for(tmp_path):
    population, conv = relay("x.relay[0]", "x", (2, 3, 4))
    graph = Graph({"x": Population("x", "input", (2, 3, 4)), "x.relay[0]": population}, (conv,), ("x.relay[0]",), 3,
                  {"x": 1, "x.relay[0]": 2})  # fmt: skip
    write_netx(graph, tmp_path / "net.net")
    inputs = spikes_for(graph, 4)
    spikes = run_lava(tmp_path / "net.net", inputs, fast=True, populations=["x.relay[0]"])
    assert list(spikes) == ["x.relay[0]"]
    assert np.array_equal(spikes["x.relay[0]"], inputs["x"])


def test_tiny_net_gives_its_recorded_spikes_in_all_three_layers(netx_files):
    """The record holds one silent step before the first: lava-dl's SLAYER writes t = 0 as step 1."""
    truth = netx_files / "gts/tinynet"
    bias = np.load(truth / "input_bias.npy").transpose(2, 1, 0)[None].astype(np.int32)  # (X, Y, C) -> (N, C, H, W)
    spikes = run_lava(netx_files / "tiny.net", {"layer0": bias}, fast=False)
    for name, file in (("layer0", "input"), ("layer1", "layer1"), ("layer2", "output")):
        recorded = np.moveaxis(np.load(truth / f"{file}.npy")[0], -1, 0)[1:]
        assert recorded.any()
        assert np.array_equal(spikes[name][0, : len(recorded)], recorded), name


def test_pilotnet_gives_its_recorded_spikes_in_all_nine_layers(netx_files):
    """Layer k is recorded with k silent or bias-driven steps before its arrival, on Loihi's own clock."""
    truth = netx_files / "gts/pilotnet_lif"
    image = np.load(truth / "image.npy").transpose(2, 1, 0)[None]
    spikes = run_lava(truth / "network.net", {"layer0": image}, fast=True)
    files = ["input", "conv-0", "conv-1", "conv-2", "conv-3", "conv-4", "fc-0", "fc-1", "fc-2"]
    for skew, (name, file) in enumerate(zip(spikes, files, strict=False)):
        recorded = np.load(truth / f"{file}.npy")
        recorded = np.moveaxis(recorded, -1, 0)[skew : skew + 15]
        recorded = recorded.transpose(0, 3, 2, 1) if recorded.ndim == 4 else recorded[:, :, None, None]
        assert recorded.any()
        assert np.array_equal(spikes[name][0, :15], recorded), name


@pytest.mark.slow
def test_pilotnet_is_the_same_with_stock_models(netx_files):
    network = netx_files / "gts/pilotnet_lif/network.net"
    image = np.load(network.parent / "image.npy").transpose(2, 1, 0)[None]
    stock = run_lava(network, {"layer0": image}, fast=False)
    assert not any(mismatches(stock, run_integer(read_netx(network), {"layer0": image})).values())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": np.zeros((2, 4, 4, 10, 11), np.uint8)}, DataError, "input 'x' has shape"),
        ({"y": np.zeros((2, 4, 4, 10, 12), np.uint8)}, DataError, "inputs are"),
        ({"x": np.full((2, 4, 4, 10, 12), 2, np.uint8)}, DataError, "0 or 1"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_before_anything_starts(change, error, message, tmp_path):
    write_netx(residual_graph(), tmp_path / "net.net")
    with pytest.raises(error, match=message):
        run_lava(tmp_path / "net.net", change, fast=True)


def test_an_unknown_population_is_refused_by_name(tmp_path):
    graph = residual_graph()
    write_netx(graph, tmp_path / "net.net")
    with pytest.raises(UsageError, match="no population 'b9'"):
        run_lava(tmp_path / "net.net", spikes_for(graph, 1), fast=True, populations=["b9"])


@pytest.fixture(scope="module")
def netx_files() -> Path:
    """The trained nets that are installed with the lava-dl wheel."""
    import lava.lib.dl as installed

    return Path(next(iter(installed.__path__))).parents[2] / "tests/lava/lib/dl/netx"
