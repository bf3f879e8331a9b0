"""Delay neurons on the real Lava runtime: their spikes arrive when and where those of relays do."""

import numpy as np
import pytest
from random_flows import RandomFlow, interpret, lowered

from export.errors import GrammarError
from export.execute.integer import run_integer
from export.lava.board import check_board
from export.lava.supervise import run_lava
from export.netx.read import read_netx
from export.netx.write import write_netx
from export.passes.balance_delays import balance_delays


@pytest.fixture(scope="module")
def stream():
    """Two residual blocks whose start is an input too, in its balanced forms: several taps, and inputs sent again."""
    flow = RandomFlow(11, samples=4, steps=3, size=6)
    traced, inputs = flow.finish(flow.residual(flow.fire(flow.conv(flow.input(2), 3, 3)), 2))
    return traced, inputs, lowered(traced)


def on_lava(graph, inputs, folder, populations=None):
    path = folder / "net.net"
    write_netx(graph, path)
    return run_lava(path, inputs, populations=populations, fast=False)


def test_delay_neurons_and_relays_give_the_same_spikes_on_stock_lava(stream, tmp_path):
    flow, inputs, graph = stream
    results = {}
    for mode in ("relay", "neuron"):
        balanced, report = balance_delays(graph, mode)
        (tmp_path / mode).mkdir()
        results[mode] = on_lava(balanced, inputs, tmp_path / mode)
        assert report.relays if mode == "relay" else max(map(len, report.taps.values())) > 1
    expected = interpret(flow, inputs)
    for name, spikes in expected.items():
        np.testing.assert_array_equal(results["relay"][name], spikes)
        np.testing.assert_array_equal(results["neuron"][name], spikes)
        assert 0 < spikes.mean() < 1


def test_a_delay_population_can_be_recorded_and_repeats_its_source(stream, tmp_path):
    _, inputs, graph = stream
    balanced, report = balance_delays(graph, "neuron")
    source = next(iter(report.taps))
    got = on_lava(balanced, inputs, tmp_path, [source, f"{source}.delay[0]"])
    np.testing.assert_array_equal(got[f"{source}.delay[0]"], got[source])


def test_a_file_keeps_taps_and_kinds(stream, tmp_path):
    _, inputs, graph = stream
    balanced, _ = balance_delays(graph, "neuron")
    write_netx(balanced, tmp_path / "net.net")
    again = read_netx(tmp_path / "net.net")
    assert [p.delay for p in again.projections] == [p.delay for p in balanced.projections]
    assert {n: p.kind for n, p in again.populations.items()} == {n: p.kind for n, p in balanced.populations.items()}
    for name, spikes in run_integer(balanced, inputs).items():
        np.testing.assert_array_equal(run_integer(again, inputs)[name], spikes)


def test_a_board_refuses_delay_neurons_and_names_the_way_out(stream):
    balanced, _ = balance_delays(stream[2], "neuron")
    with pytest.raises(GrammarError, match="programmable neuron .microcode. .* Export with --delays relay"):
        check_board(balanced)
