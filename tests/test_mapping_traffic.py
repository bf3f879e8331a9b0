"""Packets are counted exactly: against explicit lists of synapses, on random graphs, layouts and activities."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lively import compiled_and_recorded
from random_flows import lowered, random_flow
from scipy.sparse import random as random_sparse

import hw_configs
from export.errors import DataError
from export.execute.integer import run_integer
from export.graph import Conv, Dense, Graph, Lif, Population, Sparse, to_physical
from export.mapping.partition import place
from export.mapping.traffic import assumed_activity, count_packets, measured_activity, population_traffic
from export.passes.balance_delays import balance_delays

CHIP = hw_configs.load("loihi2")
UNIT = Lif(16, 4096, 4095)


def small_chip(neurons: int):
    """loihi2 with few neurons per core, so that small populations are cut."""
    limit = CHIP.core.neurons.model_copy(update={"value": float(neurons)})
    return CHIP.model_copy(update={"core": CHIP.core.model_copy(update={"neurons": limit})})


def core_of(cut, neuron) -> int:
    """Core of a neuron (c, y, x), by the definition of a cut."""
    tiles = [-(-size // side) for size, side in zip(cut.shape, reversed(cut.tile), strict=True)]
    c, y, x = (at // side for at, side in zip(neuron, reversed(cut.tile), strict=True))
    return cut.first + (c * tiles[1] + y) * tiles[2] + x


def synapses(projection, source):
    """Every stored synapse, (source neuron, target neuron), one by one."""
    target = projection.output_shape(source)
    if isinstance(projection, Sparse):
        rows, columns = projection.matrix.nonzero()
        for row, column in zip(rows, columns, strict=True):
            yield np.unravel_index(column, source), np.unravel_index(row, target)
    elif isinstance(projection, Dense):
        for neuron in np.ndindex(source):
            for channel in range(target[0]):
                yield neuron, (channel, 0, 0)
    else:
        out, ins, *taps = projection.weight.shape
        for (o, y, x), i, ky, kx in product(np.ndindex(target), range(ins), range(taps[0]), range(taps[1])):
            row = y * projection.stride[0] + ky * projection.dilation[0] - projection.padding[0]
            column = x * projection.stride[1] + kx * projection.dilation[1] - projection.padding[1]
            if 0 <= row < source[1] and 0 <= column < source[2]:
                yield (o // (out // projection.groups) * ins + i, row, column), (o, y, x)


def by_hand(graph, placement, activity):
    """(packets, from the host), spike by spike and synapse by synapse."""
    packets = np.zeros((placement.cores, placement.cores))
    host_in = np.zeros(placement.cores)
    for name, population in graph.populations.items():
        origin = name
        while graph.populations[origin].kind in ("relay", "delay"):
            origin = graph.into(origin)[0].source
        fired = to_physical(activity[origin], population.layout)
        reached = {}
        for projection in graph.out_of(name):
            again = projection.delay if population.kind in ("input", "delay") else 0
            for neuron, target in synapses(projection, population.physical_shape):
                core = core_of(placement.cuts[projection.target], target)
                reached.setdefault(tuple(map(int, neuron)), set()).add((core, again))
        for neuron, cores in reached.items():
            for core, _ in cores:
                if name in placement.cuts:
                    packets[core_of(placement.cuts[name], neuron), core] += fired[neuron]
                else:
                    host_in[core] += fired[neuron]
    return packets, host_in


def agree(graph, placement, activity):
    traffic = count_packets(graph, placement, activity)
    packets, host_in = by_hand(graph, placement, activity)
    np.testing.assert_allclose(traffic.packets.toarray(), packets - np.diag(packets.diagonal()), rtol=1e-12)
    np.testing.assert_allclose(traffic.local, packets.diagonal(), rtol=1e-12)
    np.testing.assert_allclose(traffic.host_in, host_in, rtol=1e-12)
    return traffic


@st.composite
def several_projections(draw):
    """A population that reads another by several projections of every kind, cut into small tiles."""
    side = draw(st.integers(3, 7))
    ins, out = draw(st.sampled_from([(2, 4), (4, 4), (6, 3)]))
    target = (out, side, side)
    projections = []
    for number in range(draw(st.integers(1, 4))):
        kernel, dilation = draw(st.sampled_from([(1, 1), (3, 1), (3, 2), (5, 1), (3, 3)]))
        groups = draw(st.sampled_from([g for g in (1, 2, 3) if ins % g == 0 and out % g == 0]))
        weight = np.ones((out, ins // groups, kernel, kernel), np.int32)
        pad = (dilation * (kernel // 2),) * 2
        projections.append(Conv(f"p{number}", "a", "b", weight, (1, 1), pad, (dilation,) * 2, groups))
    if draw(st.booleans()):
        matrix = random_sparse(out * side**2, ins * side**2, 0.03, "csr", random_state=draw(st.integers(0, 9)))
        projections.append(Sparse("s", "a", "b", matrix, target))
    projections.append(Dense("d", "b", "c", np.ones((10, out * side**2), np.int32)))
    populations = {
        "a": Population("a", draw(st.sampled_from(["input", "lif"])), (ins, side, side), UNIT),
        "b": Population("b", "lif", target, UNIT),
        "c": Population("c", "lif", (10, 1, 1), UNIT),
    }
    return Graph(populations, tuple(projections), ("c",), 2), draw(st.integers(7, 40)), draw(st.integers(0, 99))


@settings(max_examples=40, deadline=None)
@given(several_projections())
def test_a_spike_that_reaches_a_core_by_several_projections_is_one_packet(drawn):
    graph, neurons, seed = drawn
    rng = np.random.default_rng(seed)
    activity = {name: rng.integers(0, 9, p.shape).astype(float) for name, p in graph.populations.items()}
    agree(graph, place(graph, small_chip(neurons)), activity)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 500), st.integers(10, 60), st.sampled_from(["relay", "neuron"]))
def test_random_networks_with_relays_or_delay_neurons_agree_with_lists_of_synapses(seed, neurons, delays):
    flow, inputs = random_flow(seed)
    graph, _ = balance_delays(lowered(flow), delays)
    activity = measured_activity({**inputs, **run_integer(graph, inputs)})
    traffic = agree(graph, place(graph, small_chip(neurons)), activity)
    assert traffic.assumed == ()


@settings(max_examples=15, deadline=None)
@given(several_projections())
def test_a_rate_gives_what_equal_neurons_give(drawn):
    graph, neurons, _ = drawn
    placement = place(graph, small_chip(neurons))
    rated = count_packets(graph, placement, assumed_activity(graph, 0.25))
    same = {name: np.full(p.shape, 0.5) for name, p in graph.populations.items()}
    counted = count_packets(graph, placement, same)
    np.testing.assert_allclose(rated.packets.toarray(), counted.packets.toarray(), rtol=1e-12)
    np.testing.assert_allclose(rated.spikes, counted.spikes, rtol=1e-12)
    assert rated.assumed == tuple(graph.populations) and counted.assumed == ()


def two(kind: str, *projections) -> tuple[Graph, object]:
    """Populations a (of a kind) -> r -> b, a and b of 4 neurons, one core each."""
    shape = (1, 2, 2)
    populations = {"a": Population("a", "lif", shape, UNIT), "r": Population("r", kind, shape, UNIT)}
    populations["b"] = Population("b", "lif", shape, UNIT)
    graph = Graph(populations, (Conv("into", "a", "r", np.ones((1, 1, 1, 1))), *projections), ("b",), 3)
    return graph, place(graph, CHIP)


def test_a_delay_neuron_sends_once_for_each_delay_and_a_synaptic_delay_does_not():
    taps = [Conv(f"tap{d}", "r", "b", np.ones((1, 1, 1, 1)), delay=d) for d in (1, 2)]
    fired = {"a": np.full((1, 2, 2), 3.0), "b": np.zeros((1, 2, 2))}
    delayed = count_packets(*two("delay", *taps), fired)
    assert delayed.packets.toarray().tolist() == [[0, 12, 0], [0, 0, 24], [0, 0, 0]]
    assert delayed.spikes.tolist() == [12, 24, 0]
    waiting = count_packets(*two("relay", *taps), fired)
    assert waiting.packets[1, 2] == 12 and waiting.spikes.tolist() == [12, 12, 0]


def test_the_spikes_of_a_real_network_are_all_there():
    compiled, inputs, spikes = compiled_and_recorded()
    graph, placement = compiled.graph, compiled.placement
    fired = {**spikes, **inputs, **run_integer(graph, inputs)}
    traffic = count_packets(graph, placement, measured_activity(fired))
    for name, cut in placement.cuts.items():
        if graph.populations[name].kind not in ("relay", "delay"):
            assert traffic.spikes[cut.first : cut.first + cut.cores].sum() == fired[name].sum() / 2
    table = population_traffic(traffic, placement)
    assert sum(table.values()) == pytest.approx(traffic.total)
    assert set(table) <= {(p.source, p.target) for p in graph.projections}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"a": 0.1}, "activity of population 'b' is missing"),
        ({"a": 0.1, "b": np.zeros((1, 2, 3))}, r"'b' has shape \(1, 2, 3\)"),
        ({"a": 0.1, "b": -0.5}, "0 or more; found -0.5"),
        ({"a": 0.1, "b": float("nan")}, "must be finite"),
    ],
)
def test_a_wrong_activity_is_refused_by_name(wrong, told):
    with pytest.raises(DataError, match=told):
        count_packets(*two("relay"), wrong)


def test_a_network_of_one_core_sends_no_packets():
    graph = Graph({"a": Population("a", "lif", (1, 2, 2), UNIT)}, (), ("a",), 3)
    traffic = count_packets(graph, place(graph, CHIP), {"a": 0.5})
    assert traffic.total == 0 and traffic.spikes.tolist() == [6.0]
    assert count_packets(replace(graph, steps=4), place(graph, CHIP), {"a": 0.5}).spikes.tolist() == [8.0]
