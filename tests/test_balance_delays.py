"""Delay balancing: every fan-in aligned, at the least number of relay neurons."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_flows import RandomFlow, lowered, random_flow

from export.errors import UsageError
from export.execute.integer import run_integer
from export.graph import Conv, Graph, Lif, Population
from export.passes.balance_delays import MOST_TAPS, balance_delays
from export.passes.schedule import DELAYS
from export.spec import check


def chainlet(sizes, edges):
    """Populations p0, p1, ... of the given neuron counts, joined by edges (source, target)."""
    fed = {target for _, target in edges}
    populations = {
        f"p{i}": Population(
            f"p{i}", "lif" if i in fed else "input", (n, 1, 1), Lif(8, 4096, 3072) if i in fed else None
        )
        for i, n in enumerate(sizes)
    }
    projections = tuple(
        Conv(f"{a}->{b}", f"p{a}", f"p{b}", np.full((sizes[b], sizes[a], 1, 1), 2, np.int32)) for a, b in edges
    )
    return Graph(populations, projections, (f"p{len(sizes) - 1}",), 4)


def cheapest_by_search(sizes, edges, depth, of_lag):
    """Smallest number of neurons that wait, over all schedules up to a depth; inputs wait on the host.

    of_lag  neurons per source neuron for the longest lag behind it
    """
    fed, best = {target for _, target in edges}, None
    for steps in product(range(1, depth + 1), repeat=len(sizes)):
        if all(steps[b] > steps[a] for a, b in edges):
            lags = {i: max((steps[b] - steps[a] - 1 for a, b in edges if a == i), default=0) for i in fed}
            cost = sum(sizes[i] * of_lag(lag) for i, lag in lags.items())
            best = cost if best is None else min(best, cost)
    return best


@settings(max_examples=40, deadline=None)
@given(data=st.data(), count=st.integers(3, 6))
def test_no_schedule_needs_fewer_neurons(data, count):
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))
    pairs = [(a, b) for b in range(count) for a in range(b)]
    extra = data.draw(st.lists(st.sampled_from(pairs), unique=True, max_size=7))
    edges = sorted({(i, i + 1) for i in range(count - 1)} | set(extra))
    graph = chainlet(sizes, edges)
    _, relays = balance_delays(graph)
    assert relays.relay_neurons == cheapest_by_search(sizes, edges, count + 1, lambda lag: lag)
    _, delays = balance_delays(graph, "neuron")
    assert delays.delay_neurons == cheapest_by_search(sizes, edges, count + 1, lambda lag: lag > 0)
    _, either = balance_delays(graph, "auto")
    assert either.delay_neurons + either.relay_neurons == delays.delay_neurons
    assert all(lags[-1] > 1 for lags in either.taps.values())
    assert all(relays == 1 for relays in either.relays.values())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), mode=st.sampled_from(DELAYS))
def test_balanced_networks_are_aligned_and_keep_their_spikes(seed, mode):
    flow, inputs = random_flow(seed)
    graph = lowered(flow)
    balanced, report = balance_delays(graph, mode)
    check(balanced, "balanced", "balance_delays")
    assert report.relay_neurons + report.delay_neurons == balanced.neurons() - graph.neurons()
    before, after = run_integer(graph, inputs), run_integer(balanced, inputs)
    for name, spikes in before.items():
        np.testing.assert_array_equal(after[name], spikes)


FAN = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (1, 3), (1, 4), (1, 5)]


def test_relays_are_shared_by_all_readers_of_a_population():
    graph = chainlet([9, 4, 1, 1, 1, 1], FAN)
    balanced, report = balance_delays(graph)
    assert report.relays == {"p1": 3}  # one line of three, tapped at 1, 2 and 3; not 1 + 2 + 3
    assert {p.source for p in balanced.into("p4")} == {"p3", "p1.relay[2]"}
    assert report.longest == ("p1", "p5", 3)


def test_one_delay_neuron_serves_all_readers_of_its_source_each_by_its_own_tap():
    balanced, report = balance_delays(chainlet([9, 4, 1, 1, 1, 1], FAN), "neuron")
    assert report.taps == {"p1": (1, 2, 3)} and report.delay_neurons == 4
    assert report.neurons_if_a_tap_is_a_neuron == 12
    delayed = {p.target: p.delay for p in balanced.out_of("p1.delay[0]")}
    assert delayed == {"p3": 0, "p4": 1, "p5": 2}
    assert report.to_json()["needs_programmable_neuron"]


def test_a_source_with_more_lags_than_a_delay_neuron_has_taps_gets_a_second_one():
    count = MOST_TAPS + 5
    chain = [(i, i + 1) for i in range(count)]
    balanced, report = balance_delays(
        chainlet([1, 3] + [1] * (count - 1), chain + [(1, i) for i in range(3, count + 1)]), "neuron"
    )
    check(balanced, "balanced", "balance_delays")
    groups = {p.source: 0 for p in balanced.projections if p.source.startswith("p1.delay")}
    for p in balanced.projections:
        if p.source in groups:
            groups[p.source] += 1
    assert groups == {"p1.delay[0]": MOST_TAPS, "p1.delay[1]": count - 2 - MOST_TAPS}
    assert report.delay_neurons == 6


def test_the_delay_stands_where_neurons_are_fewest():
    # p1 (9) -> p2 (1) -> p5, p1 -> p3 -> p4 -> p5: p2 waits, not p1
    _, report = balance_delays(chainlet([1, 9, 1, 9, 9, 5], [(0, 1), (1, 2), (1, 3), (3, 4), (2, 5), (4, 5)]))
    assert report.relays == {"p2": 1}


def test_inputs_start_late_at_no_cost():
    flow = RandomFlow(3)
    deep = flow.fire(flow.conv(flow.fire(flow.conv(flow.input(2), 2, 3)), 2, 3))
    late = flow.input(2)
    traced, _ = flow.finish(flow.fire(flow.conv(flow.concat([deep, late]), 2, 1)))
    balanced, report = balance_delays(lowered(traced))
    assert report.relay_neurons == 0
    assert balanced.arrivals[late] == balanced.arrivals[deep] == 3


def test_delay_neurons_get_their_fewest_even_if_the_schedule_has_to_stretch_for_it():
    # p1 (100) is read by the first and the last of a chain; each short source (10) can be tight only if the chain waits
    chain, sizes, edges = [1, 2], [1, 100, 1], [(0, 1), (1, 2)]
    for _ in range(5):
        head = chain[-1]
        for _ in range(4):  # a long way of small populations ...
            sizes.append(1)
            edges.append((head, len(sizes) - 1))
            head = len(sizes) - 1
        sizes.append(10)  # ... beside a wide one that could follow at once
        edges.append((chain[-1], len(sizes) - 1))
        wide = len(sizes) - 1
        sizes.append(1)
        edges += [(head, len(sizes) - 1), (wide, len(sizes) - 1)]
        chain.append(len(sizes) - 1)
    _, report = balance_delays(chainlet(sizes, edges), "neuron")
    assert report.delay_neurons <= 5  # the forks wait, not the wide ones


def test_the_processes_taps_are_those_that_the_pass_counts_on():
    from export.lava.processes.delay_neuron import MOST_TAPS as PORTS

    assert PORTS == MOST_TAPS + 1  # the first port gives the spikes as they are fired


def test_the_host_sends_an_input_again_for_a_reader_that_needs_it_later():
    balanced, report = balance_delays(chainlet([7, 1, 1, 1], [(0, 1), (1, 2), (2, 3), (0, 2), (0, 3)]))
    assert report.relay_neurons == 0 and report.resends == {"p0": 3}
    assert {p.target: p.delay for p in balanced.out_of("p0")} == {"p1": 0, "p2": 1, "p3": 2}
    assert balanced.arrivals == {"p0": 1, "p1": 2, "p2": 3, "p3": 4}


def test_an_unknown_way_of_waiting_is_refused():
    with pytest.raises(UsageError, match="unknown delays 'magic'; choose one of relay, neuron, auto"):
        balance_delays(chainlet([1, 1], [(0, 1)]), "magic")
