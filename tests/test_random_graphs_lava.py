"""Random networks on the real, stock Lava runtime against the integer executor: every spike, many samples, long skews."""

from collections import Counter

import numpy as np
import pytest
from random_flows import interpret, lowered, random_flow

from export.execute.integer import run_integer
from export.lava.supervise import run_lava
from export.netx.write import write_netx
from export.passes.balance_delays import balance_delays
from export.spec import check

FEW, MANY = 6, 200
LAYOUTS = ("auto", "nested", "interleave")


def run_case(seed, folder, fast=False):
    """One random network on Lava; returns what the summary needs."""
    samples = 8 if seed % 50 == 7 else 3
    flow, inputs = random_flow(seed, samples=samples, steps=2 if seed % 3 else None, size=6, moves=3)
    graph = lowered(flow, LAYOUTS[seed % 3])
    balanced, report = balance_delays(graph)
    check(balanced, "balanced", "balance_delays")
    path = folder / f"case{seed}.net"
    write_netx(balanced, path)
    on_lava = run_lava(path, inputs, fast=fast)
    expected = run_integer(balanced, inputs)
    reference = interpret(flow, inputs)
    mismatches = 0
    for name, spikes in on_lava.items():
        mismatches += int(np.count_nonzero(spikes != expected[name]))
    for name, spikes in reference.items():
        mismatches += int(np.count_nonzero(spikes != expected[name]))
    rates = [spikes.mean() for spikes in reference.values()]
    return {
        "mismatches": mismatches,
        "fires": all(0.01 <= rate <= 0.6 for rate in rates),
        "skewed": report.depth > 2 * flow.steps,
        "samples": samples,
        "kinds": {p.kind for p in balanced.populations.values()}
        | {f"layout{p.layout}" for p in graph.populations.values()},
        "biased": any(p.bias is not None and np.any(p.bias) for p in graph.populations.values()),
    }


@pytest.mark.parametrize("seed", range(FEW))
def test_a_few_random_networks_agree_on_stock_lava(seed, tmp_path):
    assert run_case(seed, tmp_path)["mismatches"] == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_random_networks_agree_on_stock_lava(tmp_path):
    results = [run_case(seed, tmp_path) for seed in range(1000, 1000 + MANY)]
    assert sum(r["mismatches"] for r in results) == 0
    assert sum(r["fires"] for r in results) >= 0.9 * MANY
    assert sum(r["skewed"] for r in results) >= 0.5 * MANY
    assert all(r["biased"] for r in results)
    assert max(r["samples"] for r in results) >= 8
    kinds = Counter(kind for r in results for kind in r["kinds"])
    assert all(kinds[kind] >= 10 for kind in ("or", "and", "relay", "interleave", "layout2")), kinds
