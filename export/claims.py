"""What the JSON files of a bundle claim, against the network that it holds.

Each function answers with what does not hold, and raises FileFormatError for a file whose content is of another kind.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from export.bundle import NETWORK, Bundle, describe_graph
from export.errors import FileFormatError
from export.graph import LINES, Graph
from export.report.sizes import ON_CHIP

Answer: TypeAlias = tuple[list[str], str]  # what does not hold, and what to say if everything does
REPEATERS = (*LINES, "interleave")  # they repeat others' spikes; a trained module has no such neurons


def descriptions(bundle: Bundle) -> Answer:
    """graph.json is that of the network, quantization.json holds its thresholds, report.json counts its neurons."""
    told, found = bundle.json("graph.json"), describe_graph(bundle.graph)
    faults = [
        f"graph.json: {k} is {told.get(k)}, {found[k]} in {NETWORK}"
        for k in ("steps", "outputs", "readout")
        if told.get(k) != found[k]
    ]
    for key in ("populations", "projections"):
        faults += _listed_faults(_rows(told.get(key), f"'{key}' in graph.json"), found[key])
    faults += _quantization_faults(bundle.json("quantization.json"), bundle.graph)
    faults += _count_faults(bundle.json("report.json"), bundle.graph)
    return faults, f"graph.json, quantization.json and the neurons of report.json describe {NETWORK}"


def _quantization_faults(told: dict[str, Any], graph: Graph) -> list[str]:
    """Thresholds are whole and those of the network; every scale is positive, and one for all synapses of a population."""
    name, faults = "quantization.json", []
    scales = {n: mapping(e, name) for n, e in mapping(told.get("populations"), f"'populations' in {name}").items()}
    synapses = {n: mapping(e, name) for n, e in mapping(told.get("synapses"), f"'synapses' in {name}").items()}
    for where, entries in (("population", scales), ("synapse", synapses)):
        for key, entry in entries.items():
            if not _positive(entry.get("scale")):
                faults.append(
                    f"{name}: the scale of {where} '{key}' is {entry.get('scale')}; a positive number is needed"
                )
    for key, entry in scales.items():
        lif, v_th = graph.populations[key].lif if key in graph.populations else None, entry.get("v_th")
        if lif is None or type(v_th) is not int or v_th != lif.v_th:
            here = "no neurons" if lif is None else f"{lif.v_th:g}"
            faults.append(f"{name}: threshold of '{key}' is {v_th}, {here} in {NETWORK}")
    trained = [p.name for p in graph.populations.values() if p.kind == "lif"]
    faults += [f"{name} holds no threshold of '{key}'" for key in trained if key not in scales]
    fed = {(p.origin, p.target) for p in graph.projections if p.target in scales}
    for origin, target in sorted(fed):
        scale = synapses.get(origin, {}).get("scale")
        if scale != scales[target].get("scale"):
            faults.append(
                f"{name}: the scale of synapse '{origin}' is {scale}, that of '{target}', which it feeds, "
                f"{scales[target].get('scale')}"
            )
    owners = {origin for origin, _ in fed}
    return faults + [
        f"{name} lists synapse '{key}', which {NETWORK} does not hold" for key in synapses if key not in owners
    ]


def _positive(value: object) -> bool:
    """Whether a JSON value is a finite number above zero."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def _count_faults(told: dict[str, Any], graph: Graph) -> list[str]:
    """The numbers of neurons in report.json."""
    by_kind = {str(kind): graph.neurons([kind]) for kind in ON_CHIP}
    found = {
        "neurons": by_kind["lif"],
        "neurons_deployed": sum(by_kind.values()),
        "host_neurons": graph.neurons(["input"]),
    }
    faults = [
        f"report.json: {key} is {told.get(key)}, {count} in {NETWORK}"
        for key, count in found.items()
        if told.get(key) != count
    ]
    kinds_told = mapping(told.get("neurons_by_kind"), "'neurons_by_kind' in report.json")
    return faults + [
        f"report.json: {kind} neurons are {kinds_told.get(kind, 0)}, {by_kind.get(kind, 0)} in {NETWORK}"
        for kind in sorted({*by_kind, *kinds_told})
        if kinds_told.get(kind, 0) != by_kind.get(kind, 0)
    ]


def _listed_faults(told: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[str]:
    """Rows of graph.json against those of the network."""
    rows, faults = {str(row.get("name")): row for row in told}, []
    for row in found:
        other = rows.pop(row["name"], None)
        if other is None:
            faults.append(f"graph.json does not list '{row['name']}'")
            continue
        key = next((k for k, v in row.items() if other.get(k) != v), None)
        if key is not None:
            faults.append(f"graph.json: {key} of '{row['name']}' is {other.get(key)}, {row[key]} in {NETWORK}")
    return faults + [f"graph.json lists '{name}', which {NETWORK} does not hold" for name in rows]


def certificate(bundle: Bundle) -> Answer:
    """The certificate proves what the network holds: every synapse reads spikes that were proved binary, or graded with
    the bits that the network's thresholds give.
    """
    told, graph = bundle.json("certificate.json"), bundle.graph
    faults = []
    edges = _rows(told.get("edges"), "'edges' in certificate.json")
    graded = [e for e in edges if e.get("type") == "graded"]
    if told.get("spike_only") is not True or told.get("multiplications_on_chip") != len(graded):
        faults.append("certificate.json does not say that the network is spike-only")
    faults += _graded_faults(_rows(told.get("graded", []), "'graded' in certificate.json"), graph)
    allowed = ("binary", "graded") if any(p.thresholds for p in graph.populations.values()) else ("binary",)
    faults += [f"'{e.get('source')}' sends {e.get('type')} values" for e in edges if e.get("type") not in allowed]
    for kind, key in (("and", "and"), ("or", "or"), ("input", "input_populations")):
        named = _names(told.get(key), f"'{key}' in certificate.json")
        there = {p.name for p in graph.populations.values() if p.kind == kind}
        faults += [
            f"only one of certificate.json and {NETWORK} calls '{name}' {kind}" for name in sorted(named ^ there)
        ]
    proved = {str(edge.get("target")) for edge in edges}
    for projection in graph.projections:
        source, target = graph.populations[projection.source], graph.populations[projection.target]
        if source.kind == "input" and source.lif is not None:
            faults.append(f"input '{source.name}' is driven by numbers, not by spikes")
        if target.kind not in REPEATERS and projection.origin not in proved:
            faults.append(f"projection '{projection.name}' belongs to '{projection.origin}', which is not certified")
    spikes = (
        f"; graded ones on {len(graded)} edges, each a multiplication" if graded else "; no multiplication on the chip"
    )
    return faults, f"{len(graph.projections)} projections start at spiking neurons{spikes}"


def _graded_faults(told: list[dict[str, Any]], graph: Graph) -> list[str]:
    """Graded populations and their bits, against the thresholds of the network."""
    named = {str(row.get("population")): row.get("bits") for row in told}
    found = {
        p.name: p.largest_spike.bit_length()
        for p in graph.populations.values()
        if p.thresholds and p.kind not in REPEATERS
    }
    return [
        f"certificate.json says {named.get(name, 'no')} bits of graded spikes of '{name}', {found.get(name, 'none')} in {NETWORK}"
        for name in sorted({*named, *found})
        if named.get(name) != found.get(name)
    ]


def mapping(value: object, what: str) -> dict[str, Any]:
    """A JSON object; FileFormatError for anything else (a file that was changed by hand)."""
    if not isinstance(value, dict):
        raise FileFormatError(f"{what} is damaged: a JSON object is needed, not {type(value).__name__}.")
    return value


def _rows(value: object, what: str) -> list[dict[str, Any]]:
    """A JSON list of objects; FileFormatError for anything else."""
    if not isinstance(value, list):
        raise FileFormatError(f"{what} is damaged: a JSON list is needed, not {type(value).__name__}.")
    return [mapping(row, what) for row in value]


def _names(value: object, what: str) -> set[str]:
    """A JSON list of names; FileFormatError for anything else."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise FileFormatError(f"{what} is damaged: a JSON list of names is needed.")
    return set(value)
