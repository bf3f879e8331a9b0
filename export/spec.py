"""The grammar of the graph at each stage: one list of rules, for every pass and for every file.

lowered     the structure is sound, sources come before targets; every shape fits; memoryless populations have no bias
quantized   + weights are even integers in [-256, 254], thresholds, biases and decays fit their bits; OR, AND, relay and
            interleave neurons have the numbers that make them so; those of graded spikes repeat every one
balanced    + arrivals[target] == arrivals[source] + 1 + delay for every projection; a delay only behind an input, which
            the host sends again, or a delay neuron, which keeps its spikes

Each rule gives plain sentences without a full stop; the caller chooses the error that carries them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np

from export.errors import GrammarError
from export.graph import MEMORYLESS, Array, Conv, Dense, Graph, Population, Projection, Sparse
from export.passes.lower import interleave
from export.passes.quantize import BIAS_MAX, BIAS_MIN, DECAY_MAX, V_TH_MAX, WEIGHT_MAX, WEIGHT_MIN

Stage = Literal["lowered", "quantized", "balanced"]
GATE_V_TH_MAX = 63  # of v <= v_th << 6 a decay of 4095 / 4096 leaves trunc(v / 4096): nothing, up to here
GATE_WEIGHTS = (2, 62)
GRADED_KINDS = ("input", "lif", "relay", "interleave")


def check(graph: Graph, stage: Stage, after: str) -> Graph:
    """Return the graph if it obeys the grammar of a stage; GrammarError names the pass, the thing and the rule."""
    for fault in _faults(graph, stage):
        raise GrammarError(f"after {after}: {fault}. This is a bug of neuroseg, or the file was changed by hand.")
    return graph


def _faults(graph: Graph, stage: Stage) -> list[str]:
    faults = structure(graph)
    if faults:
        return faults  # what follows needs a sound structure
    for projection in graph.projections:
        faults += shapes(graph, projection)
    for population in graph.populations.values():
        faults += memoryless(population)
    if stage in ("quantized", "balanced"):
        faults += number_formats(graph) or gates(graph)
    if stage == "balanced":
        faults += timing(graph) or keepers(graph)
    return faults


def structure(graph: Graph) -> list[str]:
    """Ends of projections exist and run forward; inputs are driven from outside, all others by neurons with parameters."""
    faults, seen = [], set()
    order = {name: i for i, name in enumerate(graph.populations)}
    for projection in graph.projections:
        if projection.name in seen:
            faults.append(f"two projections are called '{projection.name}'; names must differ")
        seen.add(projection.name)
        for end in (projection.source, projection.target):
            if end not in order:
                faults.append(
                    f"projection '{projection.name}' ends at an unknown population '{end}', which does not exist"
                )
                return faults
        if order[projection.source] >= order[projection.target]:
            faults.append(
                f"projection '{projection.name}' does not run forward: its source '{projection.source}' is listed behind "
                f"its target '{projection.target}', and populations stand in the order in which spikes flow"
            )
    fed = {p.target for p in graph.projections}
    for population in graph.populations.values():
        faults += _drive(population, population.name in fed)
    faults += [f"output '{name}' is not a population" for name in graph.outputs if name not in order]
    faults += _readout(graph) if not faults and graph.readout is not None else []
    if graph.steps < 1:
        faults.append(f"{graph.steps} time steps per sample; at least 1 is needed")
    return faults


def _readout(graph: Graph) -> list[str]:
    """A linear read-out has a column for each channel of the outputs, and a bias for each row."""
    assert graph.readout is not None
    weight, bias = graph.readout.weight, graph.readout.bias
    channels = sum(graph.populations[name].shape[0] for name in graph.outputs)
    if weight.ndim != 2 or weight.shape[1] != channels:
        return [f"the read-out has weights {weight.shape}; its outputs have {channels} channels, one for each column"]
    if bias is not None and bias.shape != weight.shape[:1]:
        return [f"the read-out has a bias {bias.shape} for {weight.shape[0]} classes"]
    return []


def _drive(population: Population, fed: bool) -> list[str]:
    """What makes a population fire."""
    name = population.name
    if population.kind == "input":
        faults = [f"input '{name}' has incoming projections"] if fed else []
        if population.bias is not None:
            faults.append(f"input '{name}' carries a bias; a driven input gets its bias with each sample")
        return faults
    faults = [] if fed else [f"population '{name}' has no incoming projection"]
    if population.lif is None:
        faults.append(f"population '{name}' has no neuron parameters")
    if population.thresholds and population.kind not in GRADED_KINDS:
        faults.append(f"{population.kind} population '{name}' has several thresholds, which such neurons cannot have")
    return faults


def memoryless(population: Population) -> list[str]:
    """OR, AND, relay and interleave neurons have no bias."""
    if population.kind in ("input", "lif") or population.bias is None:
        return []
    return [f"memoryless population '{population.name}' has a bias"]


def shapes(graph: Graph, projection: Projection) -> list[str]:
    """Synapses fit their source, and deliver the physical shape of their target."""
    source, target = graph.populations[projection.source], graph.populations[projection.target]
    faults = (
        _conv_shapes(projection, source) if isinstance(projection, Conv) else _matrix_shape(projection, source, target)
    )
    if faults:
        return faults
    delivered = projection.output_shape(source.physical_shape)
    if delivered == target.physical_shape:
        return []
    return [
        f"projection '{projection.name}' delivers {delivered}, its target is '{target.name}' of physical shape "
        f"{target.physical_shape}"
    ]


def _conv_shapes(conv: Conv, source: Population) -> list[str]:
    where, channels = f"projection '{conv.name}'", source.physical_shape[0]
    if conv.weight.ndim != 4 or conv.groups < 1:
        return [
            f"{where} has weights {conv.weight.shape} in {conv.groups} groups; (out, in / groups, kH, kW) is needed"
        ]
    expected = conv.weight.shape[1] * conv.groups
    if expected != channels:
        return [f"{where} expects {expected} channels, gets {channels} channels of '{source.name}'"]
    if conv.weight.shape[0] % conv.groups:
        return [f"{where} has {conv.weight.shape[0]} output channels, which {conv.groups} groups do not divide"]
    if min(conv.stride + conv.dilation) < 1 or min(conv.padding) < 0:
        return [f"{where} has stride {conv.stride}, dilation {conv.dilation}, padding {conv.padding}"]
    return []


def _matrix_shape(projection: Dense | Sparse, source: Population, target: Population) -> list[str]:
    shape = projection.weight.shape if isinstance(projection, Dense) else projection.matrix.shape
    if shape == (target.neurons, source.neurons):
        return []
    return [
        f"projection '{projection.name}' is {shape}; '{target.name}' has {target.neurons} neurons, "
        f"'{source.name}' {source.neurons}"
    ]


def weights_of(projection: Projection) -> Array:
    """Stored weights, whatever the type of the synapses."""
    values: Array = projection.matrix.data if isinstance(projection, Sparse) else projection.weight
    return values


def whole_numbers(projection: Projection) -> list[str]:
    """Weights have an integer type, and no real bias is left on the synapses."""
    values = weights_of(projection)
    if not np.issubdtype(values.dtype, np.integer):
        return [f"weights of '{projection.name}' are {values.dtype}, not integers; integers are needed: quantise first"]
    if isinstance(projection, Conv) and projection.bias is not None:
        return [
            f"projection '{projection.name}' still carries a bias: quantise first, which moves it into the population"
        ]
    return []


def number_formats(graph: Graph) -> list[str]:
    """Even 8-bit weights, 13-bit biases, 17-bit thresholds, decays in 1/4096."""
    faults = []
    for projection in graph.projections:
        faults += _even_weights(projection)
    for population in graph.populations.values():
        faults += _neuron_formats(population)
    return faults


def _even_weights(projection: Projection) -> list[str]:
    faults, values = whole_numbers(projection), weights_of(projection)
    if not faults and values.size and (values.min() < WEIGHT_MIN or values.max() > WEIGHT_MAX or np.any(values & 1)):
        return [f"weights of '{projection.name}' are not all even and within [{WEIGHT_MIN}, {WEIGHT_MAX}]"]
    return faults


def _neuron_formats(population: Population) -> list[str]:
    lif = population.lif
    if lif is None:
        return []
    faults = []
    ratios = population.thresholds
    if list(ratios) != sorted(ratios, reverse=True) or (ratios and ratios[-1] != 1):
        faults.append(f"thresholds {ratios} of '{population.name}' are not descending whole numbers that end with 1")
    elif ratios and lif.v_th * ratios[0] > V_TH_MAX:
        faults.append(f"the largest threshold of '{population.name}', {ratios[0]} x {lif.v_th}, exceeds {V_TH_MAX}")
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


def gates(graph: Graph, names: Collection[str] | None = None) -> list[str]:
    """Memoryless neurons compute what their kind says, whatever spikes come in, and keep nothing for the next step.

    names       of the populations that are looked at; None: all

    or          any one spike fires
    and         all spikes together fire, one less does not; each projection brings one spike
    relay, delay, interleave   one synapse, whose spike fires; from the neuron at the same place
    """
    chosen = [p for p in graph.populations.values() if names is None or p.name in names]
    return [fault for p in chosen if p.kind not in ("input", "lif") for fault in _gate(graph, p)]


def _gate(graph: Graph, population: Population) -> list[str]:
    lif, into = population.lif, graph.into(population.name)
    assert lif is not None
    where = f"{population.kind.upper()} population '{population.name}'"
    if (lif.u_decay, lif.v_decay) != (MEMORYLESS["u_decay"], MEMORYLESS["v_decay"]) or lif.v_th > GATE_V_TH_MAX:
        return [f"{where} has memory: threshold {lif.v_th}, decays {lif.u_decay} and {lif.v_decay}"]
    rows = [_rows(p) for p in into]
    used = np.concatenate([row[row != 0] for row in rows])
    low, high = GATE_WEIGHTS
    if used.size and (used.min() < low or used.max() > high):
        return [f"{where} has weights {used.min()} to {used.max()}; {low} to {high} leave nothing behind"]
    counts = np.stack([np.count_nonzero(row, axis=1) for row in rows])
    numbers = f"weights {used.min() if used.size else 0} to {used.max() if used.size else 0}, threshold {lif.v_th:g}"
    if population.kind == "or":
        holds = bool(counts.sum(axis=0).all()) and used.min() > lif.v_th
        return [] if holds else [f"{where} is not an OR: with {numbers} one spike does not always fire it"]
    if population.kind == "and":
        weights = np.stack([row.sum(axis=1) for row in rows])
        whole = weights.sum(axis=0)
        holds = len(into) > 1 and bool((counts == 1).all()) and (whole - weights.min(axis=0)).max() <= lif.v_th
        holds = holds and whole.min() > lif.v_th
        return [] if holds else [f"{where} is not an AND: {len(into)} projection(s), {numbers}"]
    holds = len(into) == 1 and bool((counts == 1).all()) and used.min() > lif.v_th and _straight(graph, into[0])
    holds = holds and _repeats(population, graph.populations[into[0].source], used)
    return [] if holds else [f"{where} does not repeat its source: {numbers}"]


def _repeats(population: Population, source: Population, weights: Array) -> bool:
    """Whether every graded spike of the source comes out as it went in; binary ones do where a single one fires."""
    if population.thresholds != source.thresholds:
        return False
    assert population.lif is not None
    v_th, ratios = int(population.lif.v_th), population.thresholds
    spikes = {_fired(s, 1, ratios, reached=True) for s in range(source.largest_spike + 1)} if ratios else set()
    return all(_fired(int(w) * s, v_th, ratios) == s for w in np.unique(weights) for s in spikes)


def _fired(membrane: int, v_th: int, ratios: Sequence[int], reached: bool = False) -> int:
    """Graded spike of a membrane, from the largest threshold down; reached: to reach a threshold is enough."""
    fired = 0
    for ratio in ratios:
        if membrane > ratio * v_th - reached:
            membrane, fired = membrane - ratio * v_th, fired + ratio
    return fired


def _rows(projection: Projection) -> Array:
    """(output channels, synapses) weights; for single synapses (neurons, 1) their only weight, 0 unless there is one."""
    if not isinstance(projection, Sparse):
        return projection.weight.reshape(projection.weight.shape[0], -1)
    single = projection.matrix.getnnz(axis=1) == 1
    return np.where(single, np.asarray(projection.matrix.sum(axis=1)).ravel(), 0)[:, None]


def _straight(graph: Graph, projection: Projection) -> bool:
    """Whether every neuron reads the one at its own place (logical channel, y, x)."""
    source, target = graph.populations[projection.source], graph.populations[projection.target]
    if isinstance(projection, Sparse):
        expected = interleave(source)[1].matrix
        return (
            target.layout == 1
            and expected.shape == projection.matrix.shape
            and (expected.indices == projection.matrix.indices).all()
        )
    if not isinstance(projection, Conv) or projection.weight.shape[2:] != (1, 1) or source.layout != target.layout:
        return False
    plain = projection.stride == (1, 1) and projection.padding == (0, 0)
    return plain and projection.groups == source.physical_shape[0]


def timing(graph: Graph) -> list[str]:
    """Every population has an arrival step, and every projection delivers its first data exactly then."""
    missing = [name for name in graph.populations if graph.arrivals.get(name, 0) < 1]
    if missing:
        return [f"population '{missing[0]}' has no arrival step of 1 or more"]
    late = [p for p in graph.projections if p.delay < 0]
    if late:
        return [f"projection '{late[0].name}' has delay {late[0].delay}; 0 or more is needed"]
    return [
        f"projection '{p.name}' arrives at step {graph.arrivals[p.source] + 1 + p.delay}, "
        f"its target '{p.target}' starts at {graph.arrivals[p.target]}"
        for p in graph.projections
        if graph.arrivals[p.target] != graph.arrivals[p.source] + 1 + p.delay
    ]


def keepers(graph: Graph) -> list[str]:
    """A projection waits only behind what keeps its spikes: stock neurons and synapses do not."""
    return [
        f"projection '{p.name}' waits {p.delay} step(s) behind '{p.source}', which is neither an input nor a delay neuron"
        for p in graph.projections
        if p.delay and graph.populations[p.source].kind not in ("input", "delay")
    ]
