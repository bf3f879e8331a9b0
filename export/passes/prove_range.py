"""Pass 6: can a sum, current or membrane leave the chip's 24 bits?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from export.execute.neuron import STATE_LIMIT, Extremes
from export.graph import DECAY_ONE, V_TH_SHIFT, Array, Graph, Population, Projection, Sparse

PROVED = "cannot overflow"
SEEN = "was not seen to overflow"
UNKNOWN = "may overflow"
OVERFLOWS = "overflows"


def prove_range(graph: Graph, extremes: Mapping[str, Extremes] | None = None) -> dict[str, Any]:
    """Interval analysis of every neuron's sum a, current u and membrane v over T steps.

    needs    grammar "quantized"
    returns  {"populations": [{"name", "verdict", "a", "u", "v"}]}, intervals in weight units (a) and state units (u, v).
             The verdict is proved for any spikes; where that fails, `extremes` (measured by the integer executor) decide

    a in [sum of negative weights, sum of positive weights], times the largest graded spike of their source; u and v follow
    `export.graph.Lif` by interval arithmetic, v after a step being at most v_th << 6 (it is reset above), of a graded
    population at most that or what all thresholds leave.
    """
    rows = []
    for population in graph.populations.values():
        if population.kind == "input" or population.lif is None:
            continue
        low, high = _sum_interval(graph, population)
        u, v = _state_intervals(population, low, high, graph.steps)
        row: dict[str, Any] = {"name": population.name, "a": [low, high], "u": list(u), "v": list(v)}
        inside = all(-STATE_LIMIT < x < STATE_LIMIT for x in (low, high, *u, *v))
        row["verdict"] = PROVED if inside else _measured(population.name, extremes)
        rows.append(row)
    return {"schema_version": 1, "state_limit": STATE_LIMIT, "populations": rows}


def _measured(name: str, extremes: Mapping[str, Extremes] | None) -> str:
    if extremes is None or name not in extremes:
        return UNKNOWN
    return OVERFLOWS if extremes[name].saturated else SEEN


def _sum_interval(graph: Graph, population: Population) -> tuple[int, int]:
    """Smallest and largest synaptic sum over all neurons of a population."""
    low = high = np.zeros(1, dtype=np.int64)
    for projection in graph.into(population.name):
        weight = _per_channel(projection) * graph.populations[projection.source].largest_spike
        low = low + np.minimum(weight, 0).sum(axis=1)
        high = high + np.maximum(weight, 0).sum(axis=1)
    return int(low.min()), int(high.max())


def _per_channel(projection: Projection) -> Array:
    """(output channels, synapses) weights; for single synapses one row that bounds every neuron."""
    if isinstance(projection, Sparse):
        matrix = projection.matrix.astype(np.int64)
        positive, negative = matrix.maximum(0).sum(axis=1).max(), matrix.minimum(0).sum(axis=1).min()
        return np.array([[positive, negative]], dtype=np.int64)
    return projection.weight.astype(np.int64).reshape(projection.weight.shape[0], -1)


def _state_intervals(
    population: Population, low: int, high: int, steps: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    lif = population.lif
    assert lif is not None
    bias = population.bias if population.bias is not None else np.zeros(1, dtype=np.int64)
    push = (int(bias.min()) << V_TH_SHIFT, int(bias.max()) << V_TH_SHIFT)
    u = v = kept = (0, 0)
    widest_u, widest_v = (0, 0), (0, 0)
    for _ in range(steps):
        u = (_kept(u[0], lif.u_decay) + (low << V_TH_SHIFT), _kept(u[1], lif.u_decay) + (high << V_TH_SHIFT))
        v = (_kept(kept[0], lif.v_decay) + u[0] + push[0], _kept(kept[1], lif.v_decay) + u[1] + push[1])
        most, taken = int(lif.v_th) << V_TH_SHIFT, sum(population.thresholds) * (int(lif.v_th) << V_TH_SHIFT)
        left = max(most, v[1] - taken) if population.thresholds else most
        kept = (min(v[0], 0), max(0, min(v[1], left)))
        widest_u = (min(widest_u[0], u[0]), max(widest_u[1], u[1]))
        widest_v = (min(widest_v[0], v[0]), max(widest_v[1], v[1]))
    return widest_u, widest_v


def _kept(x: int, decay: int) -> int:
    """trunc(x (4096 - decay) / 4096)."""
    size = abs(x) * max(0, DECAY_ONE - decay) // DECAY_ONE
    return size if x >= 0 else -size
