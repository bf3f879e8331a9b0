"""The integer executor against a naive one: no plan, no layouts undone, nothing shared, the plain neuron."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from random_flows import RandomFlow, lowered, random_flow
from scipy.sparse import csr_matrix

from export.errors import TraceError
from export.execute import deliver
from export.execute.deliver import wide
from export.execute.integer import run_integer
from export.execute.neuron import Extremes, lif
from export.execute.plan import plan_of
from export.execute.synapse import synaptic_sum, wraps
from export.graph import LINES, Conv, Dense, Graph, Lif, Population, Sparse, to_logical, to_physical
from export.passes.balance_delays import balance_delays


def naive(graph, inputs, extremes=None):
    """Spikes of every population but relays and delay neurons, logical: one projection after another, all kept."""
    physical = {}
    for name, population in graph.populations.items():
        if population.kind == "input":
            physical[name] = torch.from_numpy(to_physical(inputs[name].astype(np.uint8), population.layout))
        elif population.kind in LINES:
            physical[name] = physical[graph.into(name)[0].source]
        else:
            sums = [synaptic_sum(p, physical[p.source].flatten(0, 1)) for p in graph.into(name)]
            total = torch.stack(sums).sum(0).to(torch.int32).unflatten(0, (-1, graph.steps))
            seen = None if extremes is None else extremes.setdefault(name, Extremes())
            if seen is not None:
                seen.see("a", total)
            bias = population.physical_bias()
            push = None if bias is None else torch.from_numpy(bias.astype(np.int32))
            push = push[:, None, None] if push is not None and push.ndim == 1 else push
            physical[name] = lif(total, population.lif, push, seen)
    return {
        name: to_logical(spikes.numpy(), graph.populations[name].layout)
        for name, spikes in physical.items()
        if graph.populations[name].kind not in LINES
    }


def same(graph, inputs, **options):
    """Assert equal spikes everywhere; returns them."""
    want, got = naive(graph, inputs), run_integer(graph, inputs, **options)
    assert list(got) == list(want)
    for name in want:
        np.testing.assert_array_equal(got[name], want[name], err_msg=name)
    return got


def only_floats(monkeypatch):
    monkeypatch.setattr(deliver, "bytes_are_fast", lambda: False)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    layout=st.sampled_from(["auto", "nested", "interleave"]),
    batch=st.integers(1, 4),
    relayed=st.booleans(),
)
def test_random_networks_fire_as_the_naive_executor_says(seed, layout, batch, relayed):
    flow, inputs = random_flow(seed, size=8)
    try:
        graph = lowered(flow, layout)
    except TraceError:  # a map of odd size has no such layout
        reject()
    same(balance_delays(graph)[0] if relayed else graph, inputs, batch=batch)


@pytest.mark.parametrize("seed", range(4))
def test_floats_give_what_bytes_give(seed, monkeypatch):
    only_floats(monkeypatch)
    flow, inputs = random_flow(seed, size=8)
    same(lowered(flow), inputs)


def one_projection(projection, source, target, bias=None):
    """A network of one projection between two populations: (C, H, W), layout."""
    x = Population("x", "input", source[0], layout=source[1])
    y = Population("y", "lif", target[0], Lif(90, 1024, 512), bias, target[1])
    return Graph({"x": x, "y": y}, (projection,), ("y",), 4)


def noise(shape, seed=0, rate=0.4, steps=4):
    return {"x": (np.random.default_rng(seed).random((3, steps, *shape)) < rate).astype(np.uint8)}


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    layouts=st.sampled_from([(1, 1), (2, 2), (1, 2), (2, 1), (4, 2), (2, 4), (4, 4)]),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 2),
    grouped=st.booleans(),
)
def test_a_kernel_that_stands_for_no_logical_one_runs_between_the_layouts(seed, layouts, kernel, stride, grouped):
    rng = np.random.default_rng(seed)
    r_s, r_t = layouts
    ins, outs, groups = 4 * r_s**2, 2 * r_t**2, 2 if grouped else 1
    weight = rng.integers(-128, 128, (outs, ins // groups, *kernel)) * 2
    conv = Conv("c", "x", "y", weight, (stride, stride), (1, 1), groups=groups)
    _, height, width = conv.output_shape((ins, 5, 4))
    source, target = ((4, 5 * r_s, 4 * r_s), r_s), ((2, height * r_t, width * r_t), r_t)
    same(one_projection(conv, source, target, rng.integers(-50, 50, 2)), noise(source[0], seed))


def test_foreign_weights_odd_or_large_take_a_wider_type():
    rng = np.random.default_rng(3)
    for weight in (rng.integers(-127, 128, (5, 3, 3, 3)), rng.integers(-9000, 9000, (5, 3, 3, 3))):
        conv = Conv("c", "x", "y", weight, padding=(1, 1))
        same(one_projection(conv, ((3, 6, 7), 1), ((5, 6, 7), 1)), noise((3, 6, 7)))


@pytest.mark.parametrize("kind", ["conv", "dense", "sparse", "permutation"])
def test_sums_that_leave_24_bits_wrap_in_convolutions_only(kind):
    large = 5_000_000 if kind != "permutation" else 9_000_000
    weight = np.array([[large, large, 3], [-large, large, -large]])
    projections = {
        "conv": Conv("p", "x", "y", weight[:, :, None, None]),
        "dense": Dense("p", "x", "y", weight),
        "sparse": Sparse("p", "x", "y", csr_matrix(weight), (2, 1, 1)),
        "permutation": Sparse("p", "x", "y", csr_matrix(np.array([[0, 0, large], [-large, 0, 0]])), (2, 1, 1)),
    }
    graph = one_projection(projections[kind], ((3, 1, 1), 1), ((2, 1, 1), 1))
    assert wide(projections[kind]) and wraps(projections[kind]) == (kind == "conv")
    same(graph, noise((3, 1, 1), rate=0.7))
    same(doubled(graph), noise((3, 1, 1), rate=0.7))


@pytest.mark.parametrize("kind", ["conv", "dense", "sparse"])
def test_36100_inputs_of_weight_254_fire_but_in_a_convolution(kind):
    weight = np.full((1, 36_100), 254)
    projection = {
        "conv": Conv("p", "x", "y", weight[:, :, None, None]),
        "dense": Dense("p", "x", "y", weight),
        "sparse": Sparse("p", "x", "y", csr_matrix(weight), (1, 1, 1)),
    }[kind]
    graph = one_projection(projection, ((36_100, 1, 1), 1), ((1, 1, 1), 1))
    spikes = same(graph, {"x": np.ones((1, 4, 36_100, 1, 1), np.uint8)})
    assert spikes["y"].all() if kind != "conv" else not spikes["y"].any()


def test_a_small_shared_sum_is_added_to_one_that_needs_integers():
    large, small = np.array([[5_000_000, 5_000_000, 3], [9, 0, -7]]), np.array([[40, -3, 90], [-8, 70, 11]])
    x = Population("x", "input", (3, 1, 1))
    y, z = (Population(name, "lif", (2, 1, 1), Lif(90, 1024, 512)) for name in "yz")
    parts = (
        Dense("large", "x", "y", large),
        Dense("a", "x", "y", small),
        Dense("again", "x", "z", small),
        Dense("other", "x", "z", small + 2),
    )
    graph = Graph({"x": x, "y": y, "z": z}, parts, ("z",), 4)
    assert [step.dtype for step in plan_of(graph, torch.device("cpu")).steps[1:]] == [torch.int32, torch.float32]
    same(graph, noise((3, 1, 1), rate=0.6))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), bits=st.lists(st.integers(3, 25), min_size=2, max_size=4))
def test_sums_of_any_size_shared_in_any_order(seed, bits):
    """Several populations, each the target of a random choice of the same projections: narrow, wide, of every kind."""
    rng = np.random.default_rng(seed)
    pool = []
    for n, size in enumerate(bits):
        weight = rng.integers(-(1 << size), 1 << size, (2, 3))
        kind = rng.choice(["conv", "dense", "sparse"])
        pool.append(
            {
                "conv": Conv(f"{n}", "x", "y", weight[:, :, None, None]),
                "dense": Dense(f"{n}", "x", "y", weight),
                "sparse": Sparse(f"{n}", "x", "y", csr_matrix(weight), (2, 1, 1)),
            }[kind]
        )
    populations, projections = {"x": Population("x", "input", (3, 1, 1))}, []
    for target in "abcd":
        populations[target] = Population(target, "lif", (2, 1, 1), Lif(int(rng.integers(1, 1 << 17)), 1024, 512))
        for i, chosen in enumerate(rng.choice(len(pool), rng.integers(1, 5))):
            projections.append(replace(pool[chosen], name=f"{target}{i}", target=target))
    same(Graph(populations, tuple(projections), ("d",), 4), noise((3, 1, 1), seed, 0.6))


def doubled(graph):
    """The same network with a second target that hears the first one's projection twice and itself once."""
    again = replace(graph.populations["y"], name="z")
    (first,) = graph.projections
    more = [replace(first, name=f"again{i}", target="z") for i in range(2)]
    loop = Dense("loop", "y", "z", np.array([[60, -4], [2, 50]]))
    return replace(graph, populations={**graph.populations, "z": again}, projections=(first, *more, loop))


def test_many_projections_whose_sum_passes_float32_are_added_in_integers():
    x, weight = Population("x", "input", (40, 1, 1)), np.full((1, 40, 1, 1), 200_000)
    weight[0, ::2] -= 1
    y = Population("y", "lif", (1, 1, 1), Lif(30, 4096, 4096))
    parts = tuple(Conv(f"c{i}", "x", "y", weight + i) for i in range(3))
    graph = Graph({"x": x, "y": y}, parts, ("y",), 4)
    assert not any(map(wide, parts)) and plan_of(graph, torch.device("cpu")).steps[1].dtype == torch.int32
    extremes, wanted = {}, {}
    run_integer(graph, noise((40, 1, 1), rate=0.9), extremes=extremes)
    naive(graph, noise((40, 1, 1), rate=0.9), wanted)
    assert extremes == wanted and extremes["y"].a[1] > 1 << 24


@pytest.mark.parametrize("seed", [1, 5, 9])
def test_extremes_are_those_of_the_naive_executor(seed):
    flow, inputs = random_flow(seed)
    graph, seen, wanted = lowered(flow), {}, {}
    run_integer(graph, inputs, extremes=seen, batch=2)
    naive(graph, inputs, wanted)
    assert seen == wanted


def test_a_bias_may_differ_from_pixel_to_pixel_in_any_layout():
    rng = np.random.default_rng(0)
    for r in (1, 2):
        conv = Conv("c", "x", "y", rng.integers(-100, 100, (3 * r * r, 2, 1, 1)) * 2)
        graph = one_projection(conv, ((2, 8, 6), 1), ((3, 8 * r, 6 * r), r), rng.integers(-90, 90, (3, 8 * r, 6 * r)))
        same(graph, noise((2, 8, 6)))


def test_an_unrolled_residual_stream_computes_every_delivery_once():
    flow = RandomFlow(2, size=8)
    stream = flow.residual(flow.input(3), 4)
    flow, inputs = flow.finish(flow.fire(flow.conv(stream, 2, 1)))
    graph = balance_delays(lowered(flow))[0]
    same(graph, inputs)
    added = sum(len(step.terms) for step in plan_of(graph, torch.device("cpu")).steps)
    fan_ins = sum(len(graph.into(p.name)) for p in graph.populations.values() if p.kind not in (*LINES, "input"))
    assert added == 1 + 3 * 4 + 1 < fan_ins


def test_relays_and_delay_neurons_return_what_they_repeat():
    flow, inputs = random_flow(8)
    graph = balance_delays(lowered(flow))[0]
    lines = [p.name for p in graph.populations.values() if p.kind in LINES]
    got = run_integer(graph, inputs, populations=list(graph.populations))
    assert lines
    for name in lines:
        np.testing.assert_array_equal(got[name], got[graph.into(name)[0].source])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("layout", ["nested", "interleave"])
def test_a_gpu_gives_the_processors_spikes(layout):
    flow, inputs = random_flow(8)
    graph = lowered(flow, layout)
    here, there = run_integer(graph, inputs), run_integer(graph, inputs, device="cuda")
    for name in here:
        np.testing.assert_array_equal(there[name], here[name], err_msg=name)
