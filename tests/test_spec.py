"""The grammar names what breaks it."""

from dataclasses import replace

import numpy as np
import pytest
from random_flows import lowered, random_flow

from export.errors import GrammarError
from export.graph import Conv, Graph, Lif, Population
from export.passes.balance_delays import balance_delays
from export.passes.lower import MEMORYLESS_OR, UNIT_WEIGHT
from export.spec import check


@pytest.fixture(scope="module")
def balanced():
    graphs = (balance_delays(lowered(random_flow(seed)[0]))[0] for seed in range(3, 100))
    return next(g for g in graphs if g.neurons(["relay"]))


def with_first(graph, change):
    first, *rest = graph.projections
    return replace(graph, projections=(change(first), *rest))


def with_population(graph, which, **changes):
    """The first population of a kind `which`, changed."""
    first = next(p.name for p in graph.populations.values() if p.kind == which)
    return graph.map_populations(lambda p: replace(p, **changes) if p.name == first else p)


def test_a_balanced_graph_obeys_every_stage(balanced):
    for stage in ("lowered", "quantized", "balanced"):
        assert check(balanced, stage, "test") is balanced


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda g: with_first(g, lambda p: replace(p, weight=p.weight + 1)), "not all even"),
        (lambda g: with_first(g, lambda p: replace(p, weight=p.weight * 300)), "not all even and within"),
        (lambda g: with_first(g, lambda p: replace(p, weight=p.weight.astype(float))), "not integers"),
        (lambda g: with_first(g, lambda p: replace(p, padding=(9, 9))), "delivers .* its target is"),
        (lambda g: with_first(g, lambda p: replace(p, target="nobody")), "unknown population 'nobody'"),
        (lambda g: with_first(g, lambda p: replace(p, source=p.target, target=p.source)), "does not run forward"),
        (lambda g: with_first(g, lambda p: replace(p, delay=1)), "arrives at step"),
        (lambda g: with_first(g, lambda p: replace(p, delay=-1)), "has delay -1; 0 or more"),
        (lambda g: with_first(g, lambda p: replace(p, padding=(-1, 0))), "padding"),
        (lambda g: with_first(g, lambda p: replace(p, weight=p.weight[..., 0])), "in / groups, kH, kW. is needed"),
        (lambda g: with_first(g, lambda p: replace(p, bias=np.zeros(1))), "still carries a bias"),
        (lambda g: with_population(g, "input", bias=np.zeros(1, int)), "carries a bias; a driven input"),
        (lambda g: with_population(g, "lif", lif=None), "has no neuron parameters"),
        (lambda g: with_population(g, "relay", bias=np.zeros(1, int)), "memoryless population .* has a bias"),
        (lambda g: with_population(g, "input", kind="lif", lif=Lif(9, 4096, 0)), "has no incoming projection"),
        (lambda g: with_population(g, "lif", kind="input"), "has incoming projections"),
        (lambda g: replace(g, steps=0), "0 time steps"),
        (lambda g: replace(g, arrivals={}), "has no arrival step"),
        (lambda g: replace(g, outputs=("gone",)), "output 'gone' is not a population"),
        (lambda g: replace(g, projections=(*g.projections, g.projections[0])), "two projections are called"),
        (
            lambda g: g.map_populations(lambda p: replace(p, lif=replace(p.lif, v_th=0.5)) if p.lif else p),
            "threshold 0.5 .* is not an integer",
        ),
        (
            lambda g: g.map_populations(lambda p: replace(p, bias=np.full(p.shape[0], 5000)) if p.kind == "lif" else p),
            "bias of .* is not an integer in",
        ),
        (
            lambda g: g.map_populations(lambda p: replace(p, lif=replace(p.lif, u_decay=5000)) if p.lif else p),
            "decays of .* leave",
        ),
    ],
)
def test_each_fault_is_named_with_the_pass_it_came_after(balanced, fault, message):
    with pytest.raises(GrammarError, match=f"after somepass: .*{message}"):
        check(fault(balanced), "balanced", "somepass")


def test_groups_that_do_not_fit_the_channels_are_named(balanced):
    conv = next(p for p in balanced.projections if isinstance(p, Conv) and p.groups == 1)
    broken = balanced.map_projections(lambda p: replace(p, groups=7) if p is conv else p)
    with pytest.raises(GrammarError, match="expects .* channels, gets"):
        check(broken, "lowered", "test")


def test_only_an_input_and_a_delay_neuron_keep_spikes_for_a_later_reader():
    def waiting(kind):
        lif = None if kind == "input" else MEMORYLESS_OR
        weight = np.full((2, 1, 1, 1), UNIT_WEIGHT, np.int32)
        populations = [Population("x", "input", (2, 3, 3)), Population("a", kind, (2, 3, 3), lif)]
        projections = [Conv("x->a", "x", "a", weight, groups=2), Conv("a->b", "a", "b", weight, groups=2, delay=4)]
        populations.append(Population("b", "lif", (2, 3, 3), Lif(8, 4096, 3072)))
        named = {p.name: p for p in populations}
        if kind == "input":
            named, projections = {n: named[n] for n in ("a", "b")}, projections[1:]
        return Graph(
            named, tuple(projections), ("b",), 3, {n: s for n, s in {"x": 1, "a": 2, "b": 7}.items() if n in named}
        )

    assert check(waiting("delay"), "balanced", "test")
    assert check(waiting("input"), "balanced", "test")
    for kind in ("relay", "or"):
        with pytest.raises(
            GrammarError, match="'a->b' waits 4 step.s. behind 'a', which is neither an input nor a delay"
        ):
            check(waiting(kind), "balanced", "test")
