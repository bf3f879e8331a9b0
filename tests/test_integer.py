"""The integer executor against a neuron and a network interpreter that were written apart from it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_flows import lowered, neuron, random_flow

from export.errors import DataError
from export.execute.integer import run_integer
from export.execute.neuron import STATE_LIMIT, Extremes, decayed, lif
from export.execute.synapse import synaptic_sum
from export.graph import Conv, Dense, Lif


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    u_decay=st.integers(0, 4096),
    v_decay=st.integers(0, 4096),
    v_th=st.integers(1, 2000),
)
def test_the_neuron_follows_its_equations(seed, u_decay, v_decay, v_th):
    rng = np.random.default_rng(seed)
    sums = rng.integers(-400, 500, (2, 6, 3, 4, 5))
    bias = rng.integers(-50, 80, (3, 1, 1))
    params = Lif(v_th, u_decay, v_decay)
    got = lif(torch.from_numpy(sums.astype(np.int32)), params, torch.from_numpy(bias.astype(np.int32)))
    np.testing.assert_array_equal(got.numpy(), neuron(sums, params, bias))


@given(x=st.integers(-(1 << 24) + 1, (1 << 24) - 1), decay=st.integers(0, 4096))
def test_decay_rounds_toward_zero(x, decay):
    expected = abs(x) * (4096 - decay) // 4096 * (1 if x >= 0 else -1)
    assert int(decayed(torch.tensor([x], dtype=torch.int32), decay)) == expected


def test_the_current_wraps_and_the_membrane_saturates_as_in_stock_lava():
    seen = Extremes()
    sums = torch.tensor([[[STATE_LIMIT >> 6], [(STATE_LIMIT >> 6) + 1]]], dtype=torch.int32)
    spikes = lif(sums, Lif(1000, 4096, 4096), None, seen)
    assert spikes.flatten().tolist() == [1, 0]  # 2^23 is kept (then saturates), one more wraps to the negative side
    assert seen.saturated == 2


def test_ties_at_the_threshold_do_not_fire():
    sums = torch.tensor([[[10], [11]]], dtype=torch.int32)
    assert lif(sums, Lif(10, 4096, 4096)).flatten().tolist() == [0, 1]


def test_sums_beyond_float32_are_still_exact():
    channels = 140_000
    weight = np.full((1, channels, 1, 1), 254, np.int32)
    weight[0, 0] = 252
    conv = Conv("c", "a", "b", weight)
    total = int(synaptic_sum(conv, torch.ones((1, channels, 1, 1), dtype=torch.uint8)))
    exact = 254 * channels - 2
    assert exact > 1 << 24
    assert total == (exact + (1 << 23)) % (1 << 24) - (1 << 23)  # a Lava Conv sum wraps at 24 bits


def test_dense_equals_a_convolution_of_the_whole_map():
    rng = np.random.default_rng(0)
    weight = rng.integers(-100, 100, (5, 3, 4, 2)) * 2
    spikes = torch.from_numpy((rng.random((6, 3, 4, 2)) < 0.4).astype(np.uint8))
    dense = synaptic_sum(Dense("d", "a", "b", weight.reshape(5, -1).astype(np.int32)), spikes)
    conv = synaptic_sum(Conv("c", "a", "b", weight.astype(np.int32)), spikes)
    np.testing.assert_array_equal(dense.numpy(), conv.numpy())


def test_batches_do_not_change_the_result_and_progress_is_reported():
    flow, inputs = random_flow(8, samples=5)
    graph, seen = lowered(flow), []
    whole = run_integer(graph, inputs, batch=5)
    parts = run_integer(graph, inputs, batch=2, on_progress=lambda done, total: seen.append((done, total)))
    for name in whole:
        np.testing.assert_array_equal(whole[name], parts[name])
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_only_the_asked_populations_are_returned():
    flow, inputs = random_flow(8)
    graph = lowered(flow)
    assert list(run_integer(graph, inputs, populations=graph.outputs)) == list(graph.outputs)


def test_wrong_inputs_are_refused_by_name():
    flow, inputs = random_flow(8)
    graph = lowered(flow)
    name = next(iter(inputs))
    with pytest.raises(DataError, match="inputs are .*; given were"):
        run_integer(graph, {})
    with pytest.raises(DataError, match=f"input '{name}' has shape .* expected \\(N, "):
        run_integer(graph, inputs | {name: inputs[name][:, :, :1]})
    with pytest.raises(DataError, match="spikes 0 or 1; found 0 to 3"):
        run_integer(graph, inputs | {name: inputs[name] * 3})
