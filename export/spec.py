"""The grammar of the graph at each stage, checked after every pass.

lowered     every shape fits; sources come before targets; memoryless populations have no bias
quantized   + weights are even integers in [-256, 254], thresholds, biases and decays fit their bits
balanced    + arrivals[target] == arrivals[source] + 1 + delay for every projection
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from export.errors import GrammarError
from export.graph import Conv, Graph, Population, Projection, Sparse
from export.passes.quantize import BIAS_MAX, BIAS_MIN, DECAY_MAX, V_TH_MAX, WEIGHT_MAX, WEIGHT_MIN

Stage = Literal["lowered", "quantized", "balanced"]


def check(graph: Graph, stage: Stage, after: str) -> Graph:
    """Return the graph if it obeys the grammar of a stage; GrammarError names the pass, the thing and the rule."""
    for fault in _faults(graph, stage):
        raise GrammarError(f"after {after}: {fault}. This is a bug of neuroseg, or the file was changed by hand.")
    return graph


def _faults(graph: Graph, stage: Stage) -> list[str]:
    faults = _structure(graph)
    if faults:
        return faults  # what follows needs a sound structure
    for projection in graph.projections:
        faults += _shapes(graph, projection)
    if stage in ("quantized", "balanced"):
        for projection in graph.projections:
            faults += _integers(projection)
        for population in graph.populations.values():
            faults += _formats(population)
    if stage == "balanced":
        faults += _timing(graph)
    return faults


def _structure(graph: Graph) -> list[str]:
    faults, seen = [], set()
    order = {name: i for i, name in enumerate(graph.populations)}
    for projection in graph.projections:
        if projection.name in seen:
            faults.append(f"two projections are called '{projection.name}'")
        seen.add(projection.name)
        for end in (projection.source, projection.target):
            if end not in order:
                faults.append(f"projection '{projection.name}' ends at an unknown population '{end}'")
                return faults
        if order[projection.source] >= order[projection.target]:
            faults.append(f"projection '{projection.name}' does not run forward")
    fed = {p.target for p in graph.projections}
    for population in graph.populations.values():
        if (population.kind == "input") == (population.name in fed):
            faults.append(f"population '{population.name}' ({population.kind}) has the wrong number of inputs")
        if population.kind not in ("input", "lif") and population.bias is not None:
            faults.append(f"memoryless population '{population.name}' has a bias")
    faults += [f"output '{name}' is not a population" for name in graph.outputs if name not in order]
    return faults


def _shapes(graph: Graph, projection: Projection) -> list[str]:
    source = graph.populations[projection.source].physical_shape
    target = graph.populations[projection.target].physical_shape
    if isinstance(projection, Conv) and projection.weight.shape[1] * projection.groups != source[0]:
        return [
            f"projection '{projection.name}' expects {projection.weight.shape[1] * projection.groups} channels, gets {source[0]}"
        ]
    if isinstance(projection, Sparse) and projection.matrix.shape != (int(np.prod(target)), int(np.prod(source))):
        return [f"projection '{projection.name}' is {projection.matrix.shape}, between {source} and {target}"]
    delivered = projection.output_shape(source)
    return (
        [] if delivered == target else [f"projection '{projection.name}' delivers {delivered}, its target is {target}"]
    )


def _integers(projection: Projection) -> list[str]:
    values = projection.matrix.data if isinstance(projection, Sparse) else projection.weight
    if not np.issubdtype(values.dtype, np.integer):
        return [f"weights of '{projection.name}' are {values.dtype}, not integers"]
    if values.size and (values.min() < WEIGHT_MIN or values.max() > WEIGHT_MAX or np.any(values & 1)):
        return [f"weights of '{projection.name}' are not all even and within [{WEIGHT_MIN}, {WEIGHT_MAX}]"]
    if isinstance(projection, Conv) and projection.bias is not None:
        return [f"projection '{projection.name}' still has a bias"]
    return []


def _formats(population: Population) -> list[str]:
    lif = population.lif
    if lif is None:
        return []
    faults = []
    if not (float(lif.v_th).is_integer() and 1 <= lif.v_th <= V_TH_MAX):
        faults.append(f"threshold {lif.v_th} of '{population.name}' is not an integer in [1, {V_TH_MAX}]")
    if not (0 <= lif.u_decay <= DECAY_MAX and 0 <= lif.v_decay <= DECAY_MAX):
        faults.append(f"decays of '{population.name}' leave [0, {DECAY_MAX}]")
    bias = population.bias
    if bias is not None and (
        not np.issubdtype(bias.dtype, np.integer) or bias.min() < BIAS_MIN or bias.max() > BIAS_MAX
    ):
        faults.append(f"bias of '{population.name}' is not an integer in [{BIAS_MIN}, {BIAS_MAX}]")
    return faults


def _timing(graph: Graph) -> list[str]:
    missing = [name for name in graph.populations if name not in graph.arrivals]
    if missing:
        return [f"population '{missing[0]}' has no arrival step"]
    return [
        f"projection '{p.name}' arrives at step {graph.arrivals[p.source] + 1 + p.delay}, "
        f"its target '{p.target}' starts at {graph.arrivals[p.target]}"
        for p in graph.projections
        if graph.arrivals[p.target] != graph.arrivals[p.source] + 1 + p.delay
    ]
