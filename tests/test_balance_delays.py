"""Delay balancing: every fan-in aligned, at the least number of relay neurons."""

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from random_flows import RandomFlow, lowered, random_flow

from export.execute.integer import run_integer
from export.graph import Conv, Graph, Lif, Population
from export.passes.balance_delays import balance_delays
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


def cheapest_by_search(sizes, edges, depth):
    """Smallest number of relay neurons over all schedules up to a depth."""
    best = None
    for steps in product(range(1, depth + 1), repeat=len(sizes)):
        if all(steps[b] > steps[a] for a, b in edges):
            cost = sum(
                n * max((steps[b] - steps[a] - 1 for a, b in edges if a == i), default=0) for i, n in enumerate(sizes)
            )
            best = cost if best is None else min(best, cost)
    return best


@settings(max_examples=40, deadline=None)
@given(data=st.data(), count=st.integers(3, 5))
def test_no_schedule_needs_fewer_relay_neurons(data, count):
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))
    pairs = [(a, b) for b in range(count) for a in range(b)]
    extra = data.draw(st.lists(st.sampled_from(pairs), unique=True, max_size=6))
    edges = sorted({(i, i + 1) for i in range(count - 1)} | set(extra))
    _, report = balance_delays(chainlet(sizes, edges))
    assert report.relay_neurons == cheapest_by_search(sizes, edges, count + 1)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_balanced_networks_are_aligned_and_keep_their_spikes(seed):
    flow, inputs = random_flow(seed)
    graph = lowered(flow)
    balanced, report = balance_delays(graph)
    check(balanced, "balanced", "balance_delays")
    assert report.relay_neurons == balanced.neurons() - graph.neurons()
    before, after = run_integer(graph, inputs), run_integer(balanced, inputs)
    for name, spikes in before.items():
        np.testing.assert_array_equal(after[name], spikes)


def test_relays_are_shared_by_all_readers_of_a_population():
    graph = chainlet([4, 1, 1, 1, 1], [(0, 1), (1, 2), (2, 3), (3, 4), (0, 2), (0, 3), (0, 4)])
    balanced, report = balance_delays(graph)
    assert report.relays == {"p0": 3}  # one line of three, tapped at 1, 2 and 3; not 1 + 2 + 3
    assert {p.source for p in balanced.into("p3")} == {"p2", "p0.relay[2]"}
    assert report.longest == ("p0", "p4", 3)


def test_the_delay_stands_where_neurons_are_fewest():
    # p0 (9) -> p1 (1) -> p3, p0 -> p2 -> p4 -> p3: p1 waits, not p0
    graph = chainlet([9, 1, 9, 9, 1], [(0, 1), (0, 2)])
    _, report = balance_delays(graph)
    assert report.relay_neurons == 0
    graph = chainlet([9, 1, 9, 9, 5], [(0, 1), (0, 2), (2, 3), (1, 4), (3, 4)])
    _, report = balance_delays(graph)
    assert report.relays == {"p1": 1}


def test_inputs_start_late_at_no_cost():
    flow = RandomFlow(3)
    deep = flow.fire(flow.conv(flow.fire(flow.conv(flow.input(2), 2, 3)), 2, 3))
    late = flow.input(2)
    traced, _ = flow.finish(flow.fire(flow.conv(flow.concat([deep, late]), 2, 1)))
    balanced, report = balance_delays(lowered(traced))
    assert report.relay_neurons == 0
    assert balanced.arrivals[late] == balanced.arrivals[deep] == 3
