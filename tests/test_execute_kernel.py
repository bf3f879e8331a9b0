"""The compiled LIF against the torch LIF that it replaces."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from export.execute.integer import _write
from export.execute.lif_kernel import BLOCK, lif_steps
from export.execute.neuron import STATE_LIMIT, lif
from export.graph import Lif


def ran(sums, params, bias, out=np.uint8, calls=1):
    """Spikes (T, n) of the kernel, over one call or several that hand the state on."""
    n = sums.shape[1]
    u, v, push = np.zeros(n, np.int32), np.zeros(n, np.int32), (np.asarray(bias, np.int64) << 6).astype(np.int32)
    fired = np.empty(sums.shape, out)
    for rows, row_out in zip(np.array_split(sums, calls), np.array_split(fired, calls), strict=True):
        lif_steps(rows, u, v, push, row_out, params.u_decay, params.v_decay, int(params.v_th))
    return fired


def expected(sums, params, bias):
    flat = torch.from_numpy(sums.astype(np.int32))[None]
    return lif(flat, params, torch.from_numpy(np.broadcast_to(bias, sums.shape[1:]).astype(np.int32)))[0].numpy()


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    u_decay=st.integers(0, 4096),
    v_decay=st.integers(0, 4096),
    v_th=st.integers(1, 1 << 19),
    size=st.integers(1, 29),  # bits: from quiet neurons to currents that wrap and sums that leave 32 bits
    each=st.booleans(),
    calls=st.integers(1, 6),
)
def test_the_kernel_gives_the_torch_neurons_spikes(seed, u_decay, v_decay, v_th, size, each, calls):
    rng = np.random.default_rng(seed)
    sums = rng.integers(-(1 << size), (1 << size) + 1, (6, 40), dtype=np.int32)
    bias = rng.integers(-4096, 4096, 40 if each else 1)
    params = Lif(v_th, u_decay, v_decay)
    np.testing.assert_array_equal(ran(sums, params, bias, calls=calls), expected(sums, params, bias))


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("out", [np.uint8, np.int32])
def test_sums_and_spikes_may_be_held_in_other_types(dtype, out):
    rng = np.random.default_rng(1)
    sums, bias = rng.integers(-300, 400, (4, 2 * BLOCK + 77)), rng.integers(-50, 50, 2 * BLOCK + 77)
    params = Lif(100, 1024, 128)
    fired = ran(sums.astype(dtype), params, bias, out)
    assert fired.dtype == out and 0.05 < fired.mean() < 0.95
    np.testing.assert_array_equal(fired, expected(sums, params, bias))


def test_the_edges_of_24_bits_are_those_of_stock_lava():
    edge = STATE_LIMIT >> 6
    sums = np.array([[edge], [edge + 1], [-edge], [-edge - 1]], np.int32)
    for decays in ((4096, 4096), (0, 0), (4096, 0)):
        params = Lif(1000, *decays)
        np.testing.assert_array_equal(ran(sums, params, np.zeros(1)), expected(sums, params, np.zeros(1)))
    assert ran(sums, Lif(1000, 4096, 4096), np.zeros(1)).ravel().tolist() == [1, 0, 1, 1]


def test_a_forked_process_may_call_the_kernel():
    sums = np.full((3, 10), 40, np.int32)
    here = ran(sums, Lif(50, 4096, 0), np.zeros(1))
    child = os.fork()
    if not child:
        status = 1
        try:
            status = 0 if np.array_equal(ran(sums, Lif(50, 4096, 0), np.zeros(1)), here) else 1
        finally:
            os._exit(status)  # never back into the test runner
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("channels", [1, 7, 8, 24, 64])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (2, 4), (6, 20), (60, 80)])
def test_maps_are_written_in_logical_order_whatever_their_bytes(channels, size):
    maps = torch.randint(0, 256, (2, 3, *size, channels), dtype=torch.uint8)
    out = torch.zeros((4, 3, channels, *size), dtype=torch.uint8)
    _write(maps, out[1:3])
    assert torch.equal(out[1:3], maps.permute(0, 1, 4, 2, 3)) and not out[0].any() and not out[3].any()
