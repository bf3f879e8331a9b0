"""Every rewrite of `lower` is exact: the lowered graph fires the same spikes as the network it came from."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_flows import RandomFlow, interpret, lowered, random_flow

from export.errors import TraceError
from export.execute.integer import run_integer
from export.passes.layout import plan_layouts
from export.passes.lower import lower
from export.passes.taps import Axis, axis_kernel
from export.spec import check

LAYOUTS = st.sampled_from(["auto", "nested", "interleave"])
SEEDS = st.integers(0, 2**31)


def assert_exact(flow, inputs, layout="auto"):
    graph = check(lowered(flow, layout), "lowered", "lower")
    spikes = run_integer(graph, inputs)
    for name, expected in interpret(flow, inputs).items():
        np.testing.assert_array_equal(spikes[name], expected, err_msg=name)
    return graph


def finish(flow, source):
    return flow.finish(flow.fire(flow.conv(source, 2, 1)))


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, layout=LAYOUTS)
def test_random_networks_fire_the_same_spikes_before_and_after_lowering(seed, layout):
    flow, inputs = random_flow(seed)
    assert_exact(flow, inputs, layout)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, blocks=st.integers(1, 4))
def test_a_residual_stream_becomes_fan_in(seed, blocks):
    flow = RandomFlow(seed)
    graph = assert_exact(*finish(flow, flow.residual(flow.input(2), blocks)))
    last = [n for n in graph.populations if n.startswith("lif")][-2]
    assert len(graph.into(last)) == blocks + 1  # the stem and every block's branch


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, count=st.integers(2, 4), kernel=st.sampled_from([1, 2, 3]))
def test_a_concatenation_becomes_split_kernels(seed, count, kernel):
    flow = RandomFlow(seed)
    parts = [flow.input(c + 1) for c in range(count)]
    joined = flow.fire(flow.conv(flow.concat(parts), 3, kernel))
    assert len(assert_exact(*flow.finish(joined)).into(joined)) == count


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_max_pool_becomes_or_and_product_becomes_and(seed):
    flow = RandomFlow(seed)
    a, b = flow.input(2), flow.input(2)
    both = flow.product(flow.pool(a), flow.pool(b)) if seed % 2 else flow.pool(flow.product(a, b))
    if flow.shape(both)[1:] and flow.nodes[both].inputs:
        graph = assert_exact(*finish(flow, both))
    kinds = [p.kind for p in graph.populations.values()]
    assert kinds.count("and") == 1
    assert kinds.count("or") == (2 if seed % 2 else 1)


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    layout=LAYOUTS,
    groups=st.sampled_from([1, 2]),
    size=st.sampled_from([2, 3, 5, 8]),
    nested=st.booleans(),
    skip=st.booleans(),
)
def test_transposed_convolutions_are_exact_in_polyphase_form(seed, layout, groups, size, nested, skip):
    flow = RandomFlow(seed, size=size)
    up = flow.fire(flow.transposed(flow.input(4), 4, groups))
    deep = flow.fire(flow.conv(up, 8, 3, groups=4))
    if skip:  # a full-resolution spike source enters the up-sampled stage
        flow.size = 2 * size
        deep = flow.fire(flow.conv(flow.concat([deep, flow.input(2)]), 4, 3))
    if nested:
        deep = flow.fire(flow.transposed(deep, 4, groups))
        deep = flow.residual(deep, 1)
    graph = assert_exact(*finish(flow, deep), layout)
    if layout == "interleave":
        assert any(p.kind == "interleave" for p in graph.populations.values())
    if layout == "nested":
        assert max(p.layout for p in graph.populations.values()) == (4 if nested else 2)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, layout=LAYOUTS, factor=st.sampled_from([2, 4]), down=st.booleans())
def test_nearest_resizing_is_composed_into_the_next_kernel(seed, layout, factor, down):
    flow = RandomFlow(seed, size=8 if down else 4)
    resized = flow.nearest(flow.input(3), **({"down": factor} if down else {"up": factor}))
    fine = flow.fire(flow.conv(resized, 4, 3 if down else 1))
    assert_exact(*finish(flow, flow.fire(flow.conv(fine, 4, 3))), layout)


@settings(max_examples=30, deadline=None)
@given(
    seed=SEEDS,
    kernel=st.sampled_from([1, 2, 3]),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 4),
    groups=st.sampled_from([1, 2, 4]),
)
def test_strided_dilated_and_grouped_convolutions_stay_what_they_are(seed, kernel, stride, dilation, groups):
    flow = RandomFlow(seed)
    conv = flow.conv(flow.input(4), 8, kernel, stride, dilation, groups)
    graph = assert_exact(*flow.finish(flow.fire(conv)))
    (projection,) = graph.into(graph.outputs[0])
    assert (projection.stride, projection.dilation, projection.groups) == ((stride,) * 2, (dilation,) * 2, groups)


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    layout=LAYOUTS,
    dilation=st.integers(2, 5),
    kernel=st.sampled_from([2, 3]),
    stride=st.integers(1, 2),
    groups=st.sampled_from([1, 4]),
)
def test_dilated_convolutions_of_up_sampled_populations_are_exact_in_every_layout(
    seed, layout, dilation, kernel, stride, groups
):
    assume(kernel == 3 or dilation % 2 == 0)  # an even map
    flow = RandomFlow(seed, size=4)
    up = flow.fire(flow.transposed(flow.input(4), 4))
    wide = flow.fire(flow.conv(up, 4, kernel, stride, dilation, groups))
    assert_exact(*flow.finish(flow.fire(flow.conv(wide, 2, 1))), layout)


def test_one_pixel_maps_can_be_upsampled():
    flow = RandomFlow(5, size=1)
    assert_exact(*finish(flow, flow.fire(flow.transposed(flow.input(4), 4))), "nested")


def test_upsampling_before_a_wide_kernel_is_refused_with_the_way_out():
    flow = RandomFlow(1, size=4)
    conv = flow.fire(flow.conv(flow.nearest(flow.input(2), up=2), 2, 3))
    with pytest.raises(TraceError, match="3x3 kernel behind up-sampling by 2.*1x1"):
        lower(flow.finish(conv)[0])


def test_reading_out_resized_spikes_is_refused_with_the_way_out():
    flow = RandomFlow(1, size=4)
    fired = flow.fire(flow.conv(flow.input(2), 2, 1))
    with pytest.raises(TraceError, match="resized; resize on the host"):
        lower(flow.finish(flow.nearest(fired, up=2))[0])


def test_pooling_a_concatenation_is_refused_with_the_way_out():
    flow = RandomFlow(1)
    pooled = flow.pool(flow.concat([flow.input(2), flow.input(2)]))
    with pytest.raises(TraceError, match="OR each part first, then concatenate"):
        lower(finish(flow, pooled)[0])


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, groups=st.sampled_from([2, 4]))
def test_a_grouped_convolution_of_a_concatenation_reads_each_part(seed, groups):
    flow = RandomFlow(seed)
    conv = flow.fire(flow.conv(flow.concat([flow.input(1), flow.input(3)]), 4, 3, groups=groups))
    graph = assert_exact(*flow.finish(conv))
    assert [p.source for p in graph.projections] == ["in0", "in1"]


def test_a_size_that_no_layout_holds_is_refused_with_the_way_out():
    flow = RandomFlow(1, size=4)
    up = flow.transposed(flow.input(4), 4)
    node = flow.nodes[up]
    from dataclasses import replace

    odd = replace(node, shape=(4, 7, 7))  # what output_padding 0 would give
    flow.nodes[up] = odd
    fired = flow.fire(up)
    flow.nodes[fired] = replace(flow.nodes[fired], shape=(4, 7, 7))
    with pytest.raises(TraceError, match="multiples of every up-sampling factor"):
        lower(flow.finish(fired)[0])


def test_auto_takes_the_layout_with_fewer_estimated_cores():
    flow = RandomFlow(7, size=8)
    up = flow.fire(flow.transposed(flow.input(4), 4))
    traced, _ = finish(flow, flow.fire(flow.conv(up, 4, 3)))
    nested, interleaved = lower(traced, "nested"), lower(traced, "interleave")
    assert nested.neurons() < interleaved.neurons()
    assert lower(traced, "auto").neurons() == nested.neurons()  # kernels are tiny here, neurons decide
    assert plan_layouts({"a": (1, 2, 2)}, {}, "auto").layouts == {"a": 1}


def test_a_three_by_three_kernel_in_layout_two_is_a_quarter_nonzero():
    axis = Axis(3, 1, 1, 1, False, 1, 1, 8, 8)
    taps = axis_kernel(axis, 2, 2).taps.sum(axis=1)  # (target phase, position, source phase)
    assert np.outer(taps.ravel(), taps.ravel()).astype(bool).mean() == 0.25
