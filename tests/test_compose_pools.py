"""Average pools are composed into the next kernel, exactly, or refused by name."""

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_flows import RandomFlow, interpret, lowered
from torch import nn

from export.dataflow import Convolution, Dataflow, ReadOut, SumPool
from export.errors import CertificateError, TraceError
from export.execute.integer import run_integer
from export.passes.check_spikes import check_spikes
from export.passes.compose_pools import compose_pools
from export.passes.count_macs import count_macs
from export.pipeline import compile_module
from neuroseg.config import Inputs, load_config
from neuroseg.config.converted import ConvertedConfig
from neuroseg.models import build
from neuroseg.models.converted import POOL_FIX, Converted
from neuroseg.models.neuron import Lif
from neuroseg.models.pool import SumPool as SumPoolModule
from neuroseg.models.synapse import SynapseConv
from neuroseg.models.wiring import ImageInput
from neuroseg.models.wiring import ReadOut as ReadOutModule

SEEDS = st.integers(0, 2**31)


def assert_exact(flow, inputs, layout="auto"):
    """Pools gone, and every spike as before."""
    check_spikes(flow)
    assert not any(isinstance(n, SumPool) for n in compose_pools(flow).nodes.values())
    graph = lowered(flow, layout)
    spikes = run_integer(graph, inputs)
    for name, expected in interpret(flow, inputs).items():
        np.testing.assert_array_equal(spikes[name], expected, err_msg=name)
    return graph


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    window=st.sampled_from([2, 3, (2, 3), (1, 2)]),
    kernel=st.sampled_from([1, 2, 3]),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 3),
    groups=st.sampled_from([1, 2, 4]),
)
def test_a_pool_and_a_convolution_are_one_strided_convolution(seed, window, kernel, stride, dilation, groups):
    flow = RandomFlow(seed, size=12)
    conv = flow.conv(flow.sum_pool(flow.input(4), window), 4, kernel, stride, dilation, groups)
    graph = assert_exact(*flow.finish(flow.fire(conv)))
    sides = (window, window) if isinstance(window, int) else window
    (synapses,) = graph.into(graph.outputs[0])
    assert synapses.stride == tuple(stride * side for side in sides)
    assert synapses.weight.shape[2:] == tuple(side * (dilation * (kernel - 1) + 1) for side in sides)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, layout=st.sampled_from(["auto", "nested", "interleave"]))
def test_pools_among_skips_up_sampling_and_further_pools_stay_exact(seed, layout):
    flow = RandomFlow(seed, size=8)
    first, other = flow.source(2), flow.input(2)
    joined = flow.shuffle(flow.concat([flow.sum_pool(first), flow.sum_pool(other)]), 2)
    half = flow.fire(flow.conv(joined, 4, 3, groups=int(flow.rng.choice([1, 2, 4]))))
    quarter = flow.fire(flow.conv(flow.sum_pool(flow.sum_pool(first)), 4, 1))
    up = flow.fire(flow.transposed(quarter, 4))
    assert_exact(*flow.finish(flow.fire(flow.conv(flow.concat([up, half]), 3, 3))), layout)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_pools_of_an_up_sampled_population_stay_exact_in_every_layout(seed):
    flow = RandomFlow(seed, size=4)
    up = flow.fire(flow.transposed(flow.input(4), 4))
    for layout in ("nested", "interleave"):
        assert_exact(*flow.finish(flow.fire(flow.conv(flow.sum_pool(up), 3, 3))), layout)
        flow.nodes.pop("readout")


def test_two_convolutions_of_one_pool_take_it_in_each():
    flow = RandomFlow(3)
    pool = flow.sum_pool(flow.input(2))
    parts = [flow.fire(flow.conv(pool, 2, kernel)) for kernel in (1, 3)]
    graph = assert_exact(*flow.finish(flow.fire(flow.conv(flow.concat(parts), 2, 1))))
    assert [p.weight.shape[2:] for p in graph.projections[:2]] == [(2, 2), (6, 6)]


@pytest.mark.parametrize(
    ("geometry", "size", "reason"),
    [
        (
            (3, 2, 1),
            8,
            "windows of 3x3 at stride 2x2: they overlap.*add before they are rounded.*stride, 2x2 at stride 2x2.$",
        ),
        ((2, 3, 0), 8, "they leave pixels out"),
        ((2, 2, 1), 8, "has a padding of 1x1"),
        ((2, 2, 0), 9, "leaves 1 of 9 rows or columns out.*multiple of 2"),
    ],
)
def test_a_pool_that_does_not_tile_its_map_is_refused_with_the_way_out(geometry, size, reason):
    flow = RandomFlow(0, size=size)
    pool = flow.sum_pool(flow.input(2), *geometry)
    traced, _ = flow.finish(flow.fire(flow.conv(pool, 2, 3)))
    with pytest.raises(TraceError, match=f"average pool '{pool}'.*{reason}"):
        compose_pools(traced)


def overlapping(**kwargs):
    """A network as somebody else writes it: no config, no key."""
    pool = SumPoolModule((3, 3), (2, 2), (1, 1), **kwargs)
    return nn.Sequential(
        OrderedDict(
            images=ImageInput(2),
            stem=SynapseConv(3, 4, 3, padding=1),
            lif=Lif(0.5, steps=2),
            shrink=pool,
            next=SynapseConv(4, 4, 1),
            lif2=Lif(0.5),
            readout=ReadOutModule(2),
        )
    )


def layers_of_an_ann():
    layer = {"name": "stem", "op": "conv", "inputs": ["image"], "channels": [3, 4]}
    return [
        layer,
        {"name": "fire", "op": "fire", "inputs": ["stem"]},
        {"name": "down", "op": "sum_pool", "inputs": ["fire"], "kernel": [3, 3], "stride": [2, 2], "padding": [1, 1]},
        {**layer, "name": "next", "inputs": ["down"], "channels": [4, 4]},
        {"name": "fire2", "op": "fire", "inputs": ["next"]},
        {**layer, "name": "head", "op": "readout", "inputs": ["fire2"], "channels": [4, 2]},
    ]


def converted():
    fields = {"family": "converted", "reset": "hard", "steps": 2, "layers": layers_of_an_ann()}
    return Converted(ConvertedConfig.model_validate(fields), 2, Inputs())


def deeplab():
    changes = ["data.size=[16,16]", "model.widths=[2,3,4]", "model.classifier=4", "model.steps=2", "model.pool=3"]
    return build(load_config("spiking-deeplab-loihi", changes))


@pytest.mark.parametrize(
    ("network", "pool", "end"),
    [
        (overlapping, "'shrink' of 'lif'", ""),
        (lambda: overlapping(fix="my.key=2"), "'shrink' of 'lif'", ": my.key=2"),
        (deeplab, "'pool0' of 'stage0.conv1.neurons'", ": model.pool=2"),
        (converted, "'down' of 'fire'", f": {POOL_FIX}"),
    ],
    ids=["a module without a config", "a module with a key of its own", "deeplab", "converted"],
)
def test_each_network_is_told_its_own_way_out(network, pool, end):
    with pytest.raises(TraceError) as caught:
        compile_module(network().eval(), (3, 16, 16))
    assert str(caught.value).startswith(f"average pool {pool} has windows of 3x3 at stride 2x2: they overlap")
    assert str(caught.value).endswith(f"stride, 2x2 at stride 2x2{end}.")


def test_the_refusals_are_needed_since_composing_anyway_would_fire_other_spikes():
    """An odd map: the row that the pool leaves out would be read as padding."""
    flow = RandomFlow(5, size=9)
    pool = flow.sum_pool(flow.input(2))
    conv = flow.conv(pool, 2, 3)
    traced, inputs = flow.finish(flow.fire(conv))
    node = traced.nodes[conv]
    weight = node.weight.repeat(2, axis=2).repeat(2, axis=3)
    source = traced.nodes[pool].inputs
    forced = replace(node, inputs=source, weight=weight, stride=(2, 2), padding=(2, 2), dilation=(1, 1))
    nodes = {name: forced if name == conv else n for name, n in traced.nodes.items() if name != pool}
    spikes = run_integer(lowered(Dataflow(nodes, "readout", traced.steps)), inputs)
    expected = interpret(traced, inputs)
    assert any((spikes[name] != expected[name]).any() for name in spikes if name not in inputs)


@pytest.mark.parametrize("reader", ["neuron", "read-out", "sum", "or", "mixed concatenation", "transposed"])
def test_sums_are_read_by_convolutions_only(reader):
    flow = RandomFlow(1)
    spikes = flow.input(2)
    pool = flow.sum_pool(spikes)
    if reader == "read-out":
        flow._add(ReadOut("readout", (pool,), flow.shape(pool)))
        traced = Dataflow(flow.nodes, "readout", flow.steps)
    else:
        half = flow.fire(flow.conv(spikes, 2, 2, stride=2))
        flow.nodes[half] = replace(flow.nodes[half], shape=flow.shape(pool))
        from export.dataflow import Add, Concat, Fire, MaxPool
        from export.graph import Lif

        shape = flow.shape(pool)
        bad = {
            "neuron": Fire("bad", (pool,), shape, Lif(1.0, 4096, 0)),
            "sum": Add("bad", (pool, pool), shape),
            "or": MaxPool("bad", (pool,), shape, (2, 2), (2, 2), (0, 0)),
            "mixed concatenation": Concat("bad", (pool, half), (4, *shape[1:])),
            "transposed": None,
        }[reader]
        if bad is None:
            flow.values[pool] = flow.values[pool].astype(np.float64)
            bad = flow.nodes[flow.transposed(pool, 2)]
        flow.nodes[bad.name] = bad
        traced = Dataflow(flow.nodes, bad.name, flow.steps)
    with pytest.raises(CertificateError, match="average pool"):
        check_spikes(traced)


def test_macs_are_those_of_the_network_as_trained_not_of_the_composed_kernel():
    flow = RandomFlow(2, size=8)
    conv = flow.conv(flow.sum_pool(flow.input(2)), 3, 3)
    traced, _ = flow.finish(flow.fire(conv))
    assert count_macs(traced)[conv].per_step == 3 * 2 * 9 * 4 * 4
    composed = compose_pools(traced).nodes[conv]
    assert isinstance(composed, Convolution) and composed.weight.size == 4 * traced.nodes[conv].weight.size


def test_a_pool_of_pixels_stays_on_the_host():
    flow = RandomFlow(4)
    flow.nodes["shrunk"] = SumPool("shrunk", ("image",), (3, 4, 4), (2, 2), (2, 2), (0, 0))
    flow.values["shrunk"] = None
    weight = np.ones((2, 3, 1, 1))
    flow._add(Convolution("stem", ("shrunk",), (2, 4, 4), weight, None, (1, 1), (0, 0), (1, 1), 1))
    from export.dataflow import Fire
    from export.graph import Lif

    flow.inputs["first"] = (flow.rng.random((3, flow.steps, 2, 4, 4)) < 0.3).astype(np.uint8)
    flow._add(Fire("first", ("stem",), (2, 4, 4), Lif(1.0, 4096, 0)))
    traced, inputs = flow.finish(flow.fire(flow.conv("first", 2, 1)))
    certificate = check_spikes(traced)
    assert {"shrunk", "stem"} <= set(certificate["on_host"]) and certificate["composed_pools"] == []
    assert count_macs(traced)["stem"].on_host
    assert next(iter(lowered(traced).populations)) == "first"
    assert inputs.keys() == {"first"}
