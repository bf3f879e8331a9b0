"""Our Conv model against stock's, and the parameters with which stock's Dense and Sparse keep our integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lava.proc.conv.models import PyConvModelFixed
from lava.utils.weightutils import clip_weights, truncate_weights

from export.errors import GrammarError
from export.lava.build import STOCK_LIMIT, _exact, merged_groups
from export.lava.models.fast_conv import FastConv


class Port:
    """A port that hands out one map and remembers what is sent."""

    def __init__(self, data: np.ndarray) -> None:
        self.data, self.shape, self.sent = data, data.shape, []

    def recv(self) -> np.ndarray:
        return self.data

    def send(self, data: np.ndarray) -> None:
        self.sent.append(data)


def sums(model: type[Any], spikes: np.ndarray, weight: np.ndarray, geometry: dict[str, Any]) -> np.ndarray:
    """What a Conv model has in its buffer after one step."""
    from lava.proc.conv.utils import output_shape

    kernel = weight.shape[1:3]
    shape = output_shape(spikes.shape, len(weight), kernel, *(geometry[k] for k in ("stride", "padding", "dilation")))
    instance = model.__new__(model)
    values = {
        **{key: np.atleast_1d(np.array(value)) for key, value in geometry.items()},
        "kernel_size": np.array(kernel),
        "num_message_bits": np.array([0]),
        "weight": weight.astype(np.int32),
        "s_in": Port(spikes.astype(np.int32)),
        "a_out": Port(np.zeros(shape, np.int32)),
        "a_buf": np.zeros(shape, np.int32),
    }
    vars(instance).update(values)
    instance.run_spk()
    return instance.a_buf


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_fast_conv_model_equals_stock_bit_for_bit(seed):
    rng = np.random.default_rng(seed)
    groups, inner, outer = rng.integers(1, 4, 3)
    kernel, stride, dilation = rng.integers(1, 4, 2), rng.integers(1, 4, 2), rng.integers(1, 3, 2)
    padding = rng.integers(0, 3, 2)
    size = dilation * (kernel - 1) + 1 + rng.integers(0, 5, 2)
    weight = 2 * rng.integers(-128, 128, (groups * outer, *kernel, inner))
    spikes = rng.random((*size, groups * inner)) < rng.choice([0.0, 0.3, 1.0])
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    fast, stock = (sums(m, spikes, weight, geometry) for m in (FastConv, PyConvModelFixed))
    assert fast.dtype == stock.dtype
    assert np.array_equal(fast, stock)


@pytest.mark.parametrize("step", [(1 << 23) - 1, 1 << 23, (1 << 24) + 1, -(1 << 23) - 3])
def test_sums_beyond_24_bits_wrap_as_stock_does_and_stay_exact(step):
    weight = np.array([step, 1, 1]).reshape(1, 1, 1, 3)
    geometry = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    spikes = np.ones((2, 2, 3), bool)
    fast, stock = (sums(m, spikes, weight, geometry) for m in (FastConv, PyConvModelFixed))
    assert np.array_equal(fast, stock)
    assert abs(int(stock.flat[0])) <= 1 << 23


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_merging_groups_changes_no_sum_and_respects_the_limit_of_stock(seed):
    rng = np.random.default_rng(seed)
    groups, inner, outer = int(rng.integers(100, 300)), int(rng.integers(1, 3)), int(rng.integers(1, 3))
    weight = 2 * rng.integers(-128, 128, (groups * outer, inner, 2, 1))
    wide, fewer = merged_groups(weight, groups)
    x = torch.from_numpy(rng.integers(0, 2, (1, groups * inner, 3, 2))).double()
    want, got = (
        torch.nn.functional.conv2d(x, torch.from_numpy(w).double(), groups=g)
        for w, g in ((weight, groups), (wide, fewer))
    )
    assert fewer <= STOCK_LIMIT
    assert torch.equal(want, got)


@pytest.mark.parametrize(
    "rows", [[[-256, -2], [0, -128]], [[254, 2]], [[-256, 254, 0]], [[0, 0]], [[1, 255, 3]], [[-128, 0, -2]]]
)
def test_stock_dense_and_sparse_use_exactly_our_integers(rows):
    weight = np.array(rows)
    parameters = _exact("p", weight)
    clipped = clip_weights(weight, parameters["sign_mode"], num_bits=8)
    used = truncate_weights(clipped, parameters["sign_mode"], parameters["num_weight_bits"])
    assert np.array_equal(used, weight)


@pytest.mark.parametrize("row", [[-1, 2], [1, -255], [257]])
def test_weights_that_stock_dense_would_round_are_refused_by_name(row):
    with pytest.raises(GrammarError, match="'head' has odd weights"):
        _exact("head", np.array([row]))
