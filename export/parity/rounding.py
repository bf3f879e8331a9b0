"""Whether the rounding of weights to 8 bits is all that parts real from integer arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from export.graph import Graph, Population, to_physical
from export.parity.compare import Explain, Spikes
from export.parity.diagnose import delivered, diagnose, played


def explained_by_rounding(errors: Mapping[str, float]) -> Explain:
    """An explanation for a left-hand side of real weights and a right-hand side of the graph's integers.

    errors  projection -> relative rms rounding error of its weights (`quantization.json`)

    The population's inputs are equal on both sides. So the graph's integers, applied to them, must give the right-hand
    spikes exactly; if they do, nothing but the rounding of this population's numbers parts the sides. If they do not,
    something else does, and `diagnose` says what.
    """

    def explain(graph: Graph, name: str, left: Spikes, right: Spikes) -> str:
        population = graph.populations[name]
        sums = None if population.kind == "input" else delivered(graph, population, left)
        if sums is None:
            return diagnose(graph, name, left, right)
        spikes, overflows = played(population, sums, graph.steps)
        if overflows or not np.array_equal(spikes, to_physical(right[name], population.layout)):
            return diagnose(graph, name, left, right)
        return f"rounding: {_weights(graph, population, errors)} explain every difference of this population"

    return explain


def _weights(graph: Graph, population: Population, errors: Mapping[str, float]) -> str:
    """The modules whose weights were rounded, with the largest error."""
    into = [p for p in graph.into(population.name) if p.name in errors]
    if not into:
        return "the integers of its synapses"
    worst = max(into, key=lambda p: errors[p.name])
    more = len({p.origin for p in into}) - 1
    others = f" and of {more} more synapse(s)" if more else ""
    error = f"relative rms error {'up to ' if more else ''}{errors[worst.name]:.2%}"
    return f"the 8-bit weights of '{worst.origin}'{others} ({error})"
