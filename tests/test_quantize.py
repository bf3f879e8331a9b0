"""Quantisation: even 8-bit weights, whole thresholds, one scale per residual stream; nothing is clipped in silence."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_flows import RandomFlow, random_flow

from export.errors import QuantizeError
from export.passes.compose_pools import compose_pools
from export.passes.lower import lower
from export.passes.quantize import WEIGHT_MAX, WEIGHT_MIN, quantize
from export.spec import check


def real_graph(seed, spread=1.0):
    """A lowered graph with real weights, biases and thresholds."""
    graph = lower(compose_pools(random_flow(seed)[0]))
    rng = np.random.default_rng(seed)
    factors = {}

    def scaled(p):
        if p.target not in {q.name for q in graph.populations.values() if q.kind == "lif"}:
            return p
        factor = factors.setdefault(p.origin, rng.uniform(0.003, 0.003 * (1 + spread)))
        return replace(p, weight=p.weight * factor, bias=None if p.bias is None else p.bias * factor)

    half = graph.map_populations(lambda p: replace(p, lif=replace(p.lif, v_th=0.5)) if p.kind == "lif" else p)
    return half.map_projections(scaled)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_quantised_graphs_obey_the_chips_formats(seed):
    graph, quantization = quantize(real_graph(seed))
    check(graph, "quantized", "quantize")
    for name, v_th in quantization.v_th.items():
        assert v_th == pytest.approx(0.5 * quantization.scale[name])  # the threshold itself is exact


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_rounding_is_to_the_nearest_even_integer_at_the_reported_scale(seed):
    real = real_graph(seed)
    graph, quantization = quantize(real)
    for before, after in zip(real.projections, graph.projections, strict=True):
        if before.target in quantization.scale:
            scale = quantization.scale[before.target]
            assert np.abs(after.weight - before.weight * scale).max() <= 1 + 1e-9
            assert quantization.weight_scale[before.origin] == scale
    for population in graph.populations.values():
        biases = [p.bias for p in real.into(population.name) if getattr(p, "bias", None) is not None]
        if biases and population.kind == "lif":
            exact = sum(biases) * quantization.scale[population.name]
            assert np.abs(population.bias - exact).max() <= 0.5 * len(biases) + 1e-9


def test_the_range_is_used():
    graph, quantization = quantize(real_graph(11))
    for name in quantization.scale:
        group = [n for n in quantization.scale if quantization.scale[n] == quantization.scale[name]]
        largest = max(p.weight.max() / WEIGHT_MAX for n in group for p in graph.into(n))
        smallest = max(p.weight.min() / WEIGHT_MIN for n in group for p in graph.into(n))
        assert max(largest, smallest) > 0.97 or quantization.v_th[name] < 33  # whole thresholds cost a little


def test_all_neurons_of_a_residual_stream_share_scale_and_integers():
    flow = RandomFlow(2)
    traced, _ = flow.finish(flow.residual(flow.input(2), 3))
    graph, quantization = quantize(lower(traced))
    by_origin = {}
    for p in graph.projections:
        by_origin.setdefault(p.origin, []).append(p)
    shared = [copies for copies in by_origin.values() if len(copies) > 1]
    assert shared
    for copies in shared:
        assert len({quantization.scale[p.target] for p in copies}) == 1
        for p in copies[1:]:
            np.testing.assert_array_equal(p.weight, copies[0].weight)


def test_a_weight_too_large_for_its_threshold_is_refused_by_name():
    graph = real_graph(4)
    first = next(p for p in graph.projections if graph.populations[p.target].kind == "lif")
    huge = graph.map_projections(lambda p: replace(p, weight=p.weight * 1e6) if p.origin == first.origin else p)
    with pytest.raises(QuantizeError, match="at 8 bits the threshold would be .* at least 1"):
        quantize(huge)


def test_a_threshold_that_is_not_positive_is_refused():
    graph = real_graph(4).map_populations(lambda p: replace(p, lif=replace(p.lif, v_th=0.0)) if p.kind == "lif" else p)
    with pytest.raises(QuantizeError, match="must be positive"):
        quantize(graph)


def test_a_coarse_threshold_is_warned_about():
    graph = real_graph(4)
    first = next(p for p in graph.projections if graph.populations[p.target].kind == "lif")
    wide = graph.map_projections(lambda p: replace(p, weight=p.weight * 60) if p.origin == first.origin else p)
    _, quantization = quantize(wide)
    assert any(first.target in warning for warning in quantization.warnings)
    assert quantization.to_json()["warnings"] == list(quantization.warnings)
