"""Random networks on the real, stock Lava runtime against the integer executor: every spike, many samples, long skews."""

from collections import Counter

import numpy as np
import pytest
from random_flows import interpret, lowered, random_flow

from export.dataflow import Add, Concat, Convolution, Shuffle, SpikeSource, SumPool, TransposedConvolution
from export.execute.integer import run_integer
from export.lava.supervise import run_lava
from export.netx.write import write_netx
from export.passes.balance_delays import balance_delays
from export.spec import check

FEW, MANY = 6, 200
LAYOUTS = ("auto", "nested", "interleave")
DELAYS = ("relay", "neuron")
MUST_OCCUR = (
    *("residual", "concat", "or", "and", "transposed", "strided", "grouped", "dilated", "interleave"),
    *("relay", "delay", "several taps", "input again", "average pool", "shuffle", "spike source"),
)


def case(seed):
    """(flow, inputs, graph, balanced graph, delay report) of one random network."""
    samples = 8 if seed % 50 == 7 else 3
    flow, inputs = random_flow(seed, samples=samples, steps=2 + seed % 2, size=6, moves=4)
    graph = lowered(flow, LAYOUTS[seed % 3])
    balanced, report = balance_delays(graph, DELAYS[seed // 3 % 2])
    check(balanced, "balanced", "balance_delays")
    return flow, inputs, graph, balanced, report


def features(flow, balanced):
    """Which of the things that a network can have it has."""
    nodes = flow.nodes.values()
    convolutions = [n for n in nodes if isinstance(n, Convolution) and n.inputs[0] != "image"]
    kinds = {p.kind for p in balanced.populations.values()}
    found = {
        "residual": any(isinstance(n, Add) for n in nodes),
        "concat": any(isinstance(n, Concat) for n in nodes),
        "transposed": any(isinstance(n, TransposedConvolution) for n in nodes),
        "strided": any(n.stride != (1, 1) for n in convolutions),
        "grouped": any(n.groups > 1 for n in convolutions),
        "several taps": any(
            len({q.delay for q in balanced.out_of(p.name)}) > 1
            for p in balanced.populations.values()
            if p.kind == "delay"
        ),
        "input again": any(p.delay and balanced.populations[p.source].kind == "input" for p in balanced.projections),
        "average pool": any(isinstance(n, SumPool) for n in nodes),
        "shuffle": any(isinstance(n, Shuffle) for n in nodes),
        "spike source": any(isinstance(n, SpikeSource) for n in nodes),
        "dilated": any(n.dilation != (1, 1) for n in convolutions),
    }
    return kinds | {name for name, there in found.items() if there}


def run_case(seed, folder, fast=False):
    """One random network on Lava, against the integer executor and the interpreter; what the summary needs."""
    flow, inputs, graph, balanced, report = case(seed)
    path = folder / f"case{seed}.net"
    write_netx(balanced, path)
    on_lava = run_lava(path, inputs, fast=fast)
    expected = run_integer(balanced, inputs)
    reference = interpret(flow, inputs)
    pairs = [(spikes, expected[name]) for side in (on_lava, reference) for name, spikes in side.items()]
    rates = [spikes.mean() for spikes in reference.values()]
    return {
        "mismatches": sum(int(np.count_nonzero(a != b)) for a, b in pairs),
        "fires": all(0.01 <= rate <= 0.6 for rate in rates),
        "skewed": report.depth - 1 > 2 * flow.steps,  # inputs start at step 1
        "samples": len(next(iter(inputs.values()))),
        "features": features(flow, balanced),
        "biased": all(p.bias is not None and np.any(p.bias) for p in graph.populations.values() if p.kind == "lif"),
    }


@pytest.mark.parametrize("fast", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["stock", "fast"])
@pytest.mark.parametrize("seed", range(FEW))
def test_a_few_random_networks_agree_on_lava(seed, fast, tmp_path):
    result = run_case(seed, tmp_path, fast)
    assert result["mismatches"] == 0
    assert result["fires"] and result["biased"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_random_networks_agree_on_stock_lava(tmp_path):
    results = [run_case(seed, tmp_path) for seed in range(1000, 1000 + MANY)]
    assert sum(r["mismatches"] for r in results) == 0
    assert sum(r["fires"] for r in results) >= 0.9 * MANY
    assert sum(r["skewed"] for r in results) >= 0.5 * MANY
    assert all(r["biased"] for r in results)
    assert max(r["samples"] for r in results) >= 8
    counts = Counter(feature for r in results for feature in r["features"])
    assert all(counts[feature] >= 10 for feature in MUST_OCCUR), counts
