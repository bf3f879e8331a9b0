"""Parity finds planted faults at the right population and names the likely cause."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lively import SIZE, compiled_and_recorded, lively_model
from random_flows import RandomFlow, lowered

from export.errors import DataError
from export.execute.integer import run_integer
from export.graph import Lif, Sparse, to_physical
from export.lava import supervise
from export.lava.supervise import run_lava
from export.netx.write import write_netx
from export.parity.compare import class_maps, compare
from export.parity.diagnose import delivered, diagnose, played
from export.passes.balance_delays import balance_delays
from export.pipeline import compile_module
from export.spec import weights_of


@pytest.fixture(scope="module")
def network():
    """A residual network with a relay in front of its second block's fan-in, and its spikes."""
    flow = RandomFlow(21, samples=4, steps=4, size=6)
    traced, inputs = flow.finish(flow.residual(flow.input(3), 2))
    graph, report = balance_delays(lowered(traced))
    assert report.relays
    spikes = run_integer(graph, inputs)
    assert all(0.01 <= values.mean() <= 0.6 for values in spikes.values())
    return graph, inputs, spikes


def fan_in(graph):
    """The last population with several projections, one of them behind relays."""
    return [n for n in graph.populations if len(graph.into(n)) > 1][-1]


def on_lava(graph, inputs, folder):
    """Spikes of stock Lava."""
    path = folder / "network.net"
    write_netx(graph, path)
    return run_lava(path, inputs, fast=False)


def plant(monkeypatch, fault, name, other="-"):
    """Have the Lava child build its processes with a fault in them."""
    script, start = str(Path(__file__).with_name("planted_child.py")), subprocess.Popen

    def popen(command, **options):
        return start([command[0], script, fault, name, other, command[-1]], **options)

    monkeypatch.setattr(supervise.subprocess, "Popen", popen)


def test_equal_sides_have_no_divergence(network):
    graph, _, spikes = network
    result = compare(graph, spikes, spikes, ("a", "b"))
    assert result["mismatches"] == 0
    assert result["first_divergence"] is None
    assert result["samples"] == 4
    assert result["compared"] == sum(values.size for values in spikes.values())


def test_a_planted_weight_is_found_at_its_population(network, tmp_path):
    graph, inputs, spikes = network
    target = fan_in(graph)
    chosen = graph.into(target)[0]

    def other(p):
        if p is not chosen:
            return p
        weight = p.weight.copy()
        weight[1, 0, 0, 0] += 60 if weight[1, 0, 0, 0] < 0 else -60
        return replace(p, weight=weight)

    result = compare(graph, spikes, on_lava(graph.map_projections(other), inputs, tmp_path), ("int", "lava"))
    first = result["first_divergence"]
    assert first["population"] == target
    assert first["cause"] == "rounding: only channel(s) 1 differ: a weight or bias of these is not the same"
    assert first["index"][0] == 1
    assert {first["left"], first["right"]} == {0, 1}


@pytest.mark.parametrize("change", [-7, 12])
def test_a_planted_bias_is_found_at_its_population(change, network, tmp_path):
    graph, inputs, spikes = network
    target = fan_in(graph)

    def other(population):
        if population.name != target:
            return population
        bias = population.bias.copy()
        bias[1] += change
        return replace(population, bias=bias)

    result = compare(graph, spikes, on_lava(graph.map_populations(other), inputs, tmp_path), ("int", "lava"))
    assert result["first_divergence"]["population"] == target
    assert result["first_divergence"]["index"][0] == 1
    assert result["first_divergence"]["cause"].startswith("bias: that of channel 1 seems to differ by")


def test_a_missing_bias_is_named(network):
    graph, inputs, spikes = network
    target = fan_in(graph)
    silent = graph.map_populations(lambda p: replace(p, bias=None) if p.name == target else p)
    first = compare(graph, spikes, run_integer(silent, inputs), ("a", "b"))["first_divergence"]
    assert (first["population"], first["cause"]) == (target, "bias: the bias is missing")


def test_one_sample_is_never_blamed_on_a_reset(network):
    graph, inputs, _ = network
    target = fan_in(graph)
    chosen = graph.into(target)[0]

    def negated(p):
        if p is not chosen:
            return p
        weight = p.weight.copy()
        weight[0] *= -1
        return replace(p, weight=weight)

    one = {name: values[:1] for name, values in inputs.items()}
    left, right = run_integer(graph, one), run_integer(graph.map_projections(negated), one)
    cause = compare(graph, left, right, ("a", "b"))["first_divergence"]["cause"]
    assert cause.startswith(("rounding: only channel(s) 0", "bias: that of channel 0"))


def test_a_planted_delay_is_found_at_its_population(network, tmp_path, monkeypatch):
    graph, inputs, spikes = network
    target = fan_in(graph)
    late = next(p for p in graph.into(target) if graph.populations[p.source].kind == "relay")
    plant(monkeypatch, "delay", late.name, graph.into(late.source)[0].source)  # listens one tap too early
    result = compare(graph, spikes, on_lava(graph, inputs, tmp_path), ("int", "lava"))
    assert result["first_divergence"]["population"] == target
    assert result["first_divergence"]["cause"] == f"lag: projection '{late.name}' arrives 1 step(s) early"


def test_a_planted_reset_is_found_at_its_population(network, tmp_path, monkeypatch):
    graph, inputs, spikes = network
    target = [p.name for p in graph.populations.values() if p.kind == "lif" and p.lif.v_decay < 4096][-2]
    plant(monkeypatch, "reset", target)
    result = compare(graph, spikes, on_lava(graph, inputs, tmp_path), ("int", "lava"))
    assert result["first_divergence"]["population"] == target
    cause = "reset: the membrane is reset 1 step(s) after a sample starts, not when it starts"
    assert result["first_divergence"]["cause"] == cause


def test_a_planted_threshold_is_found_and_named(network):
    graph, inputs, spikes = network
    target = fan_in(graph)
    raised = replace(graph.populations[target], lif=replace(graph.populations[target].lif))
    raised = replace(raised, lif=replace(raised.lif, v_th=raised.lif.v_th + 1))
    other = run_integer(replace(graph, populations={**graph.populations, target: raised}), inputs)
    assert not np.array_equal(other[target], spikes[target])
    first = compare(graph, spikes, other, ("a", "b"))["first_divergence"]
    assert first["population"] == target
    assert first["cause"].startswith("rounding: ") and first["cause"].endswith("the threshold differs by 1")


@pytest.mark.parametrize("change", [-40, 25])
def test_a_threshold_that_the_network_does_not_share_with_its_recorded_spikes_is_named(change, network):
    """The graph at hand is the one that was changed, as in a bundle: its own integers give the right-hand side."""
    graph, inputs, spikes = network
    target = fan_in(graph)
    v_th = graph.populations[target].lif.v_th + change
    other = graph.map_populations(lambda p: replace(p, lif=replace(p.lif, v_th=v_th)) if p.name == target else p)
    first = compare(other, spikes, run_integer(other, inputs), ("recorded", "int"))["first_divergence"]
    assert first["population"] == target
    told = int(first["cause"].removeprefix("rounding: the threshold differs by "))
    assert 1 <= abs(told) <= abs(change)
    assert told * change > 0  # right minus left
    explained = graph.map_populations(
        lambda p: replace(p, lif=replace(p.lif, v_th=p.lif.v_th + told)) if p.name == target else p
    )
    np.testing.assert_array_equal(run_integer(explained, inputs)[target], run_integer(other, inputs)[target])


@pytest.mark.parametrize("changed_side", ["left", "right"])
def test_biases_of_several_channels_are_inferred_from_the_spikes(changed_side, network):
    graph, inputs, spikes = network
    target = fan_in(graph)
    size = max(abs(graph.populations[target].lif.v_th) // 2, 12)

    def other(population):
        if population.name != target:
            return population
        bias = population.bias.copy()
        bias[0] += size
        bias[1] -= size
        return replace(population, bias=bias)

    changed = graph.map_populations(other)
    at_hand = changed if changed_side == "left" else graph
    first = compare(at_hand, spikes, run_integer(changed, inputs), ("a", "b"))["first_divergence"]
    assert first["population"] == target
    assert first["cause"].startswith("bias: those of 2 channels seem to differ, that of channel 0 by +")
    told = int(first["cause"].rpartition("+")[2])
    assert 1 <= told <= size


def test_a_network_whose_sums_overflow_is_told_apart_from_rounding():
    flow = RandomFlow(5, samples=2, steps=4, size=4)
    traced, inputs = flow.finish(flow.fire(flow.conv(flow.input(3), 3, 1)))
    graph, _ = balance_delays(lowered(traced))
    target = graph.outputs[0]
    leak = {"bias": np.full(graph.populations[target].shape[0], -4095), "lif": Lif(4000, 4096, 0)}
    graph = graph.map_populations(lambda p: replace(p, **leak) if p.name == target else p)
    deep = replace(graph, steps=64)  # without decay the membrane sinks below -2^23
    long = {name: np.tile(values, (1, 16, 1, 1, 1)) for name, values in inputs.items()}
    right = run_integer(deep, long)
    left = {**right, target: right[target].copy()}
    left[target][0, -1, 0, 0, 0] ^= 1
    cause = diagnose(deep, target, left, right)
    assert cause.startswith("overflow: ") and "leave the chip's 24 bits" in cause


def test_different_inputs_are_called_different_inputs(network):
    graph, _, spikes = network
    name = graph.inputs[0].name
    other = {**spikes, name: 1 - spikes[name]}
    assert diagnose(graph, name, spikes, other) == "the two sides were given different inputs"


def test_differences_in_later_samples_alone_are_no_reset_fault_where_no_reset_explains_them(network):
    """Resets were played through: a guess would be wrong."""
    graph, _, spikes = network
    name = fan_in(graph)
    other = {**spikes, name: spikes[name].copy()}
    other[name][1:, 0] ^= 1
    for left, right in ((spikes, other), (other, spikes)):
        assert diagnose(graph, name, left, right).startswith("rounding: ")


def test_a_population_whose_inputs_were_not_recorded_is_not_guessed_at(network):
    graph, _, spikes = network
    name = fan_in(graph)
    other = {name: 1 - spikes[name]}
    assert diagnose(graph, name, {name: spikes[name]}, other).startswith("unknown: not all spikes that enter")


def stored(projection):
    """Its weights, flat, whatever the type of the synapses."""
    return weights_of(projection).ravel()


def with_weight(graph, projection, place, value):
    """The graph with one stored weight replaced."""

    def other(p):
        if p is not projection:
            return p
        if isinstance(p, Sparse):
            matrix = p.matrix.copy()
            matrix.data[place] = value
            return replace(p, matrix=matrix)
        weight = p.weight.copy()
        weight.flat[place] = value
        return replace(p, weight=weight)

    return graph.map_projections(other)


def logical_channel(graph, projection, place):
    """The channel of the target that a stored weight drives."""
    target = graph.populations[projection.target]
    if isinstance(projection, Sparse):
        row = int(np.searchsorted(projection.matrix.indptr, place, side="right")) - 1
        return row // (target.neurons // target.shape[0])
    return int(np.unravel_index(place, projection.weight.shape)[0]) // target.layout**2


@pytest.fixture(scope="module")
def exported():
    """A compiled MFS-Seg with OR, AND, relays and up-sampled stages in both layouts, and two recorded samples."""
    compiled, inputs, recorded = compiled_and_recorded()
    assert {"or", "and", "relay", "lif"} <= {p.kind for p in compiled.graph.populations.values()}
    return compiled.graph, inputs, recorded


@pytest.mark.parametrize("changed_side", ["left", "right"])
def test_one_changed_weight_is_never_called_a_reset_or_a_delay_and_its_channel_is_named(changed_side, exported):
    """The changed network is the one at hand (a bundle that somebody edited), or the one that was run (a wrong loader)."""
    graph, inputs, recorded = exported
    rng, seen = np.random.default_rng(7), 0
    for _ in range(60):
        projection = graph.projections[rng.integers(len(graph.projections))]
        values = stored(projection)
        place, value = int(rng.integers(values.size)), 2 * int(rng.integers(-128, 128))
        changed = with_weight(graph, projection, place, value)
        fired = run_integer(changed, inputs)
        at_hand = changed if changed_side == "left" else graph
        first = compare(at_hand, recorded, fired, ("recorded", "int"))["first_divergence"]
        if first is None:
            continue
        seen += 1
        told = f"{projection.name}[{place}] {values[place]} -> {value}: {first}"
        target, cause = graph.populations[projection.target], first["cause"]
        if target.kind == "interleave":  # it is not recorded: its reader is named, and neither time nor reset is blamed
            assert not cause.startswith(("lag", "reset")), told
            continue
        assert cause.startswith(("rounding: only channel", "bias: that of channel", "gate: ")), told
        if cause.startswith("gate: "):
            assert f"'{target.name}'" in cause, told
            continue
        channel = logical_channel(graph, projection, place)
        assert (first["population"], first["index"][0]) == (target.name, channel), told
        assert re.search(rf"channel(\(s\))? {channel}\b", cause), told
    assert seen >= 20


def test_a_relay_that_does_not_repeat_is_blamed_and_not_the_population_behind_it(exported):
    """On Lava, that is: the integer executor needs no relays."""
    graph, _, recorded = exported
    kinds = {name: p.kind for name, p in graph.populations.items()}
    last = next(p for p in graph.projections if kinds[p.source] == "relay" and kinds[p.target] == "lif")
    (relay,) = graph.into(last.source)
    broken = with_weight(graph, relay, 0, 2)
    fired = {**recorded, last.target: 1 - recorded[last.target]}
    cause = compare(broken, recorded, fired, ("recorded", "lava"))["first_divergence"]["cause"]
    assert cause.startswith(f"gate: RELAY population '{relay.target}' does not repeat its source: weights 2 to")


def test_what_only_repeats_others_need_not_be_recorded_to_play_a_population_through():
    graph = compile_module(lively_model(), (3, *SIZE), layout="interleave").graph
    assert any(p.kind == "interleave" for p in graph.populations.values())
    rng = np.random.default_rng(0)
    inputs = {p.name: (rng.random((2, graph.steps, *p.shape)) < 0.3).astype(np.uint8) for p in graph.inputs}
    spikes = run_integer(graph, inputs)
    kept = {name: s for name, s in spikes.items() if graph.populations[name].kind not in ("relay", "interleave")}
    for target in (p for p in graph.populations.values() if p.kind == "lif"):
        sums = delivered(graph, target, kept)
        assert sums is not None, target.name
        own, _ = played(target, sums, graph.steps)
        np.testing.assert_array_equal(own, to_physical(kept[target.name], target.layout), err_msg=target.name)


def test_nothing_in_common_and_different_shapes_are_refused(network):
    graph, _, spikes = network
    with pytest.raises(DataError, match="no population in common"):
        compare(graph, spikes, {}, ("a", "b"))
    with pytest.raises(DataError, match="is .* on the left and .* on the right"):
        compare(graph, spikes, {name: values[:1] for name, values in spikes.items()}, ("a", "b"))


def test_class_maps_count_spikes_and_ties_go_to_the_lowest_class():
    flow = RandomFlow(0, samples=1, steps=2, size=2)
    graph = lowered(flow.finish(flow.fire(flow.conv(flow.input(2), 3, 1)))[0])
    spikes = np.zeros((1, 2, 3, 2, 2), np.uint8)
    spikes[0, :, 2, 0, 0] = 1  # two spikes for class 2
    spikes[0, 0, 1, 0, 1] = spikes[0, 1, 2, 0, 1] = 1  # one each for 1 and 2
    maps = class_maps(graph, {graph.outputs[0]: spikes})
    assert maps.tolist() == [[[2, 1], [0, 0]]]
