"""Pass 5: real weights, biases and thresholds become the chip's integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import floor
from typing import Any

import numpy as np

from export.errors import QuantizeError
from export.graph import Array, Conv, Dense, Graph, Population, Projection

WEIGHT_MIN, WEIGHT_MAX = -256, 254  # even: 8 bits and a sign, as SLAYER and Loihi store them
V_TH_MAX = (1 << 17) - 1
BIAS_MIN, BIAS_MAX = -(1 << 12), (1 << 12) - 1
DECAY_MAX = 4096
EXACT_V_TH = 4095  # SLAYER's float32 threshold keeps its epsilon below 4096
STEP = 2
WHOLE = 1e-6  # how far from a whole number a scaled threshold may lie
COARSE_V_TH = 8  # below this the threshold itself is rounded by more than 6 %


@dataclass(frozen=True)
class Quantization:
    """What was rounded to what.

    scale   population -> integers per unit of weight (one for all populations of a residual stream)
    weight_scale  module of the synapses -> the same number, for quantising the trained module
    v_th    population -> integer threshold
    errors  projection -> root mean square rounding error of its weights over their root mean square
    warnings  plain sentences
    """

    scale: Mapping[str, float]
    weight_scale: Mapping[str, float]
    v_th: Mapping[str, int]
    errors: Mapping[str, float]
    warnings: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dict, the content of `quantization.json`."""
        populations = {n: {"scale": s, "v_th": self.v_th[n]} for n, s in self.scale.items()}
        return {
            "schema_version": 1,
            "weight_range": [WEIGHT_MIN, WEIGHT_MAX],
            "populations": populations,
            "synapses": {n: {"scale": s} for n, s in self.weight_scale.items()},
            "relative_rms_error": dict(self.errors),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class FanIn:
    """What feeds a population: the modules that own its synapses, and the number of its projections."""

    synapses: tuple[str, ...]
    projections: int


def scale_groups(graph: Graph) -> list[dict[str, FanIn]]:
    """Populations that share one scale, with their fan-in: what quantisation-aware training needs to know of a network."""
    groups = []
    for members in _groups(graph):
        fans = {}
        for name in members:
            into = graph.into(name)
            fans[name] = FanIn(tuple(dict.fromkeys(p.origin for p in into)), len(into))
        groups.append(fans)
    return groups


def quantize(graph: Graph) -> tuple[Graph, Quantization]:
    """Round every number to what the chip stores.

    needs    grammar "lowered"
    ensures  grammar "quantized": even weights in [-256, 254], thresholds of 17 bits, biases of 13 bits, decays of 12
             bits. w' = 2 round(w s / 2), b' = sum of round(b s) over the synapses' biases, v_th' = round(v_th s); s is
             the largest scale at which all weights and biases of a residual stream fit and v_th s is whole
    raises   QuantizeError naming the layer and number that no scale can hold
    """
    groups = _groups(graph)
    scale: dict[str, float] = {}
    for members in groups:
        chosen = _scale(graph, members)
        scale.update(dict.fromkeys(members, chosen))
    weights: dict[tuple[int, float], Array] = {}
    errors: dict[str, float] = {}
    projections = tuple(_projection(p, scale, weights, errors) for p in graph.projections)
    populations = {name: _population(graph, p, scale) for name, p in graph.populations.items()}
    v_th = {name: int(p.lif.v_th) for name, p in populations.items() if name in scale and p.lif is not None}
    weight_scale = {p.origin: scale[p.target] for p in graph.projections if p.target in scale}
    warnings = _warnings(graph, scale, v_th)
    quantized = replace(graph, populations=populations, projections=projections)
    return quantized, Quantization(scale, weight_scale, v_th, errors, warnings)


def _warnings(graph: Graph, scale: Mapping[str, float], v_th: Mapping[str, int]) -> tuple[str, ...]:
    """Thresholds that are coarse, or that a shared scale could not keep whole."""
    found = []
    for name, integer in v_th.items():
        lif = graph.populations[name].lif
        assert lif is not None
        exact = lif.v_th * scale[name]
        if integer < COARSE_V_TH:
            found.append(
                f"population '{name}' has a threshold of only {integer} steps: a few large weights take the range, and the "
                "others are rounded coarsely. A network that was trained quantisation-aware has learned with that; "
                "any other: train it quantisation-aware, or with weight decay."
            )
        if abs(exact - integer) > WHOLE:
            found.append(
                f"the threshold of population '{name}' was rounded from {exact:.3f} to {integer} steps: it shares its scale "
                "with neurons of another threshold."
            )
    return tuple(found)


def _groups(graph: Graph) -> list[list[str]]:
    """LIF populations that share synapses must share a scale: the residual streams."""
    leader = {p.name: p.name for p in graph.populations.values() if p.kind == "lif"}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    first: dict[str, str] = {}
    for projection in graph.projections:
        if projection.target in leader:
            other = first.setdefault(projection.origin or projection.name, projection.target)
            leader[find(projection.target)] = find(other)
    groups: dict[str, list[str]] = {}
    for name in leader:
        groups.setdefault(find(name), []).append(name)
    return list(groups.values())


def _scale(graph: Graph, members: list[str]) -> float:
    """Largest scale that holds every weight, bias and threshold, with whole thresholds where possible."""
    limit = float("inf")
    for name in members:
        lif = graph.populations[name].lif
        assert lif is not None
        if not lif.v_th > 0:
            raise QuantizeError(f"population '{name}' has threshold {lif.v_th}; it must be positive.")
        limit = min(limit, EXACT_V_TH / lif.v_th)
        total = np.zeros(1)
        for p in graph.into(name):
            weight = p.matrix.data if not isinstance(p, (Conv, Dense)) else p.weight
            limit = min(limit, _ratio(WEIGHT_MAX, weight.max()), _ratio(WEIGHT_MIN, weight.min()))
            if isinstance(p, Conv) and p.bias is not None:
                total = total + p.bias
        slack = 1 + len(graph.into(name))  # each bias is rounded by itself
        limit = min(limit, _ratio(BIAS_MAX - slack, total.max()), _ratio(BIAS_MIN + slack, total.min()))
    thresholds = [lif.v_th for n in members if (lif := graph.populations[n].lif) is not None]
    whole = floor(thresholds[0] * limit)
    if whole < 1:
        raise QuantizeError(
            f"population '{members[0]}': its largest weight or bias is so big beside the threshold {thresholds[0]} "
            f"that at 8 bits the threshold would be {thresholds[0] * limit:.2f} steps; at least 1 is needed. "
            "Train with weight decay or smaller normalisation gains."
        )
    return whole / thresholds[0]


def _ratio(limit: float, value: float) -> float:
    """Scale at which a value meets its limit; infinite if it points the other way."""
    return limit / float(value) if limit * float(value) > 0 else float("inf")


def _even(weight: Array, scale: float) -> Array:
    return np.asarray(STEP * np.round(weight * scale / STEP), dtype=np.int32)


def _projection(
    projection: Projection,
    scale: Mapping[str, float],
    weights: dict[tuple[int, float], Array],
    errors: dict[str, float],
) -> Projection:
    s = scale.get(projection.target, 1.0)  # OR, AND and interleave synapses hold integers already
    if not isinstance(projection, (Conv, Dense)):
        matrix = projection.matrix.copy()
        matrix.data = _even(matrix.data, s)
        return replace(projection, matrix=matrix)
    key = (id(projection.weight), s)
    if key not in weights:
        weights[key] = _even(projection.weight, s)
    integers = weights[key]
    if integers.min() < WEIGHT_MIN or integers.max() > WEIGHT_MAX:
        raise QuantizeError(
            f"projection '{projection.name}': weights {integers.min()} to {integers.max()} do not fit "
            f"[{WEIGHT_MIN}, {WEIGHT_MAX}]."
        )
    norm = float(np.sqrt(np.mean(np.square(projection.weight)))) or 1.0
    errors[projection.name] = float(np.sqrt(np.mean(np.square(integers / s - projection.weight)))) / norm
    if isinstance(projection, Conv):
        return replace(projection, weight=integers, bias=None)
    return replace(projection, weight=integers)


def _population(graph: Graph, population: Population, scale: Mapping[str, float]) -> Population:
    s = scale.get(population.name)
    if s is None or population.lif is None:
        return population
    biases = [np.round(p.bias * s) for p in graph.into(population.name) if isinstance(p, Conv) and p.bias is not None]
    bias = np.asarray(sum(biases), dtype=np.int32) if biases else None
    if bias is not None and (bias.min() < BIAS_MIN or bias.max() > BIAS_MAX):
        raise QuantizeError(
            f"population '{population.name}': bias {bias.min()} to {bias.max()} does not fit [{BIAS_MIN}, {BIAS_MAX}]."
        )
    v_th = round(population.lif.v_th * s)
    if not 1 <= v_th <= V_TH_MAX:
        raise QuantizeError(f"population '{population.name}': threshold {v_th} does not fit 1 to {V_TH_MAX}.")
    for which, decay in (("u_decay", population.lif.u_decay), ("v_decay", population.lif.v_decay)):
        if not 0 <= decay <= DECAY_MAX:
            raise QuantizeError(f"population '{population.name}': {which} {decay} does not fit 0 to {DECAY_MAX}.")
    return replace(population, lif=replace(population.lif, v_th=v_th), bias=bias)
