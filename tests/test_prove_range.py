"""Interval analysis bounds what the executor can see, and says so when it cannot."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from random_flows import lowered, random_flow

from export.execute.integer import run_integer
from export.graph import Conv, Graph, Lif, Population
from export.passes.prove_range import OVERFLOWS, PROVED, SEEN, UNKNOWN, prove_range


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_nothing_measured_leaves_the_proved_intervals(seed):
    flow, inputs = random_flow(seed)
    graph, extremes = lowered(flow), {}
    run_integer(graph, inputs, extremes=extremes)
    for row in prove_range(graph)["populations"]:
        seen = extremes[row["name"]]
        for which in ("a", "u", "v"):
            low, high = getattr(seen, which)
            assert row[which][0] <= low and high <= row[which][1], (row["name"], which)
        assert row["verdict"] == PROVED


def wide(channels, weight, u_decay=4096):
    populations = {
        "in": Population("in", "input", (channels, 1, 1)),
        "out": Population("out", "lif", (1, 1, 1), Lif(100, u_decay, 4096)),
    }
    conv = Conv("in->out", "in", "out", np.full((1, channels, 1, 1), weight, np.int32))
    return Graph(populations, (conv,), ("out",), 3)


def test_a_sum_that_can_leave_24_bits_is_not_called_safe():
    graph = wide(600, 254)  # 600 * 254 << 6 > 2^23
    (row,) = prove_range(graph)["populations"]
    assert row["verdict"] == UNKNOWN
    quiet = {"in": np.zeros((1, 3, 600, 1, 1), np.uint8)}
    loud = {"in": np.ones((1, 3, 600, 1, 1), np.uint8)}
    for inputs, verdict in ((quiet, SEEN), (loud, OVERFLOWS)):
        extremes = {}
        run_integer(graph, inputs, extremes=extremes)
        (row,) = prove_range(graph, extremes)["populations"]
        assert row["verdict"] == verdict


def test_a_slow_current_decay_widens_the_interval():
    fast, slow = (prove_range(wide(8, 100, decay))["populations"][0] for decay in (4096, 100))
    assert slow["u"][1] > 2 * fast["u"][1]
    biased = wide(8, 100)
    out = replace(biased.populations["out"], bias=np.array([50], np.int32))
    moved = prove_range(replace(biased, populations={**biased.populations, "out": out}))["populations"][0]
    assert moved["v"][1] == fast["v"][1] + (50 << 6)
