"""Channels that are concatenated and shuffled: kernels are permuted, spikes stay where they are."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_flows import RandomFlow, interpret, lowered
from torch import nn

from export.errors import TraceError
from export.execute.integer import run_integer
from export.passes.lower import lower
from export.passes.views import Part, View, concatenated, part_kernels, shuffled
from export.spec import gates

SEEDS = st.integers(0, 2**31)
GROUPS = st.sampled_from([1, 2, 3, 6])


def assert_exact(flow, source, layout="auto"):
    traced, inputs = flow.finish(source)
    graph = lowered(traced, layout)
    spikes = run_integer(graph, inputs)
    for name, expected in interpret(traced, inputs).items():
        np.testing.assert_array_equal(spikes[name], expected, err_msg=name)
    assert gates(graph) == []
    return graph


def test_a_shuffle_is_torchs_channel_shuffle():
    channels = np.arange(12)
    expected = nn.ChannelShuffle(3)(torch.arange(12.0)[None, :, None, None])
    view = shuffled(View((Part("a", 12),)), 3)
    np.testing.assert_array_equal(channels[view.order], expected.flatten().numpy())


@settings(max_examples=50, deadline=None)
@given(
    seed=SEEDS,
    groups=GROUPS,
    next_groups=GROUPS,
    kernel=st.sampled_from([1, 3]),
    layout=st.sampled_from(["auto", "nested"]),
)
def test_a_shuffle_permutes_the_next_kernel_grouped_or_not(seed, groups, next_groups, kernel, layout):
    flow = RandomFlow(seed)
    mixed = flow.shuffle(flow.input(6), groups)
    graph = assert_exact(flow, flow.fire(flow.conv(mixed, 6, kernel, groups=next_groups)), layout)
    assert len(graph.projections) == 1
    (synapses,) = graph.projections
    if groups in (1, 6):  # nothing moves: the groups stay
        assert synapses.groups == next_groups


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, counts=st.lists(st.integers(1, 4), min_size=2, max_size=3), data=st.data())
def test_grouped_kernels_read_shuffled_concatenations_part_by_part(seed, counts, data):
    flow = RandomFlow(seed, size=4)
    joined = flow.concat([flow.input(count) for count in counts])
    total = sum(counts)
    divisors = [n for n in range(1, total + 1) if total % n == 0]
    mixed = flow.shuffle(joined, data.draw(st.sampled_from(divisors)))
    mixed = flow.shuffle(mixed, data.draw(st.sampled_from(divisors)))
    groups = data.draw(st.sampled_from(divisors))
    graph = assert_exact(flow, flow.fire(flow.conv(mixed, 2 * total, 3, groups=groups)))
    assert sorted(p.source for p in graph.projections) == sorted(f"in{i}" for i in range(len(counts)))


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_a_shuffle_passes_pools_products_transposed_convolutions_and_streams(seed):
    flow = RandomFlow(seed)
    mixed = flow.shuffle(flow.input(4), 2)
    pooled = flow.pool(mixed)
    both = flow.product(mixed, flow.shuffle(flow.fire(flow.conv(mixed, 4, 3, groups=4)), 2))
    up = flow.fire(flow.transposed(flow.shuffle(pooled, 2), 4, groups=2))
    graph = assert_exact(flow, flow.residual(flow.concat([flow.shuffle(both, 4), up]), 1))
    assert {"or", "and"} <= {p.kind for p in graph.populations.values()}


def test_two_concatenations_keep_their_own_orders():
    a, b = shuffled(View((Part("a", 4),)), 2), View((Part("b", 2),))
    joined = concatenated([b, a])
    np.testing.assert_array_equal(joined.places, [0, 1, 2, 4, 3, 5])


def test_groups_that_still_hold_are_kept():
    weight = np.arange(8.0).reshape(8, 1, 1, 1) + 1
    swapped = View((Part("a", 4), Part("b", 4)), np.array([4, 5, 6, 7, 0, 1, 2, 3]))
    kernels = part_kernels(weight, 8, swapped, 1)
    assert [k.part.population for k in kernels] == ["a", "b"]
    assert all(k.weight.shape[0] == 8 for k in kernels), "each part feeds all outputs, those of the other with zeros"
    halves = part_kernels(weight[:4], 4, View((Part("a", 4),), np.array([1, 0, 3, 2])), 1)
    assert halves[0].groups == 2 and halves[0].weight.shape == (4, 2, 1, 1)


def test_reading_out_shuffled_spikes_is_refused_with_the_way_out():
    flow = RandomFlow(1)
    fired = flow.fire(flow.conv(flow.input(2), 4, 1))
    with pytest.raises(TraceError, match="counts spikes whose channels were shuffled.*1x1 convolution"):
        lower(flow.finish(flow.shuffle(fired, 2))[0])
