"""What holds of a bundle, found out from its files alone: no training code, no module, no data set.

The checks stand in the order in which a stranger would ask: are these the files that were written, is this a spike-only
network in the chip's numbers, and does it fire as recorded. A check whose files cannot be read, and hashes that differ, end
the list: what would follow means nothing.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.bundle import ALWAYS, MANIFEST, NETWORK, VECTORS, Bundle, describe_graph, open_bundle
from export.errors import FileFormatError, RuntimeFailure, UsageError
from export.files import sha256
from export.graph import Graph
from export.parity.compare import compare
from export.simulate import check_backend, simulate
from export.spec import gates, memoryless, number_formats, shapes, structure, timing

Spikes = dict[str, NDArray[np.uint8]]
Report = Callable[[int, int], None]
Progress = Callable[[str], AbstractContextManager[Report | None]]
REPEATERS = ("relay", "interleave")  # they repeat others' spikes; a trained module has no such neurons


@dataclass(frozen=True)
class Check:
    """One question about a bundle. holds: None where it was not asked (`--no-verify`); detail: one plain sentence."""

    name: str
    holds: bool | None
    detail: str


@dataclass(frozen=True)
class Replay:
    """The recorded vectors, run by one backend. `first_divergence` as in the parity JSON."""

    backend: str
    samples: int
    compared: int
    mismatches: int
    first_divergence: dict[str, Any] | None


@dataclass
class Verdict:
    """All checks and replays of a bundle."""

    bundle: str
    checks: list[Check] = field(default_factory=list)
    replays: list[Replay] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing was found that does not hold."""
        return all(check.holds is not False for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """{"schema_version", "bundle", "holds", "checks", "replays"}."""
        return {"schema_version": 1, "holds": self.holds, **asdict(self)}


def verify(
    path: Path,
    *,
    backends: Sequence[str] = ("int", "lava"),
    samples: int | None = None,
    hashes: bool = True,
    deadline_s: float | None = None,
    progress: Progress = lambda _: nullcontext(),
) -> Verdict:
    """Check a bundle.

    backends  that replay the test vectors
    samples   how many vectors to replay; None: all
    hashes    False: go on with files that were changed
    progress  what is being done -> context of a function that is called with (done, all)
    raises    UsageError for a path that is no bundle, an unknown backend, too many samples; MissingBackend
    """
    for backend in backends:
        check_backend(backend)
    verdict = Verdict(str(path))
    if not (path / MANIFEST).is_file():
        open_bundle(path)  # says what is wrong
    verdict.checks.append(_hashes(path) if hashes else Check("hashes", None, "not checked (--no-verify)"))
    if not verdict.holds:
        return verdict
    unread = "network"
    try:
        bundle = open_bundle(path, verify=False)
        unread = "descriptions"
        verdict.checks += _static(bundle)
        unread = "vectors"
        inputs, recorded = bundle.vectors()
    except FileFormatError as error:
        verdict.checks.append(Check(unread, False, str(error)))
        return verdict
    verdict.checks.append(_vectors(bundle.graph, inputs, recorded))
    if verdict.checks[-1].holds:
        verdict.checks.append(_readout(bundle, recorded))
        for backend in dict.fromkeys(backends):
            _replay(verdict, bundle, inputs, recorded, backend, samples, deadline_s, progress)
    return verdict


def _hashes(path: Path) -> Check:
    """Every listed file has the size and SHA-256 of the manifest."""
    try:
        files = Bundle(path, Graph({}, (), (), 1)).json(MANIFEST)["files"]
        listed = {str(name): (str(entry["sha256"]), int(entry["size_bytes"])) for name, entry in files.items()}
    except (FileFormatError, KeyError, TypeError, AttributeError, ValueError) as error:
        return Check("hashes", False, f"{MANIFEST} is damaged: {error}")
    faults = [f"'{name}' is not listed in {MANIFEST}" for name in ALWAYS if name not in listed]
    for name, (digest, size) in listed.items():
        file = path / name
        if not file.is_file():
            faults.append(f"'{name}' is missing")
        elif file.stat().st_size != size or sha256(file) != digest:
            faults.append(f"'{name}' was changed after the export")
    unlisted = [name for name in _files(path) if name not in listed and name != MANIFEST]
    told = f"; not covered: {', '.join(unlisted)}" if unlisted else ""
    if faults:
        return Check("hashes", False, "; ".join(faults) + told + ". Export the run again, or pass --no-verify.")
    return Check("hashes", True, f"SHA-256 and size of {len(listed)} files{told}")


def _files(path: Path) -> list[str]:
    return sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())


def _static(bundle: Bundle) -> Iterator[Check]:
    """What can be said without running anything."""
    graph = bundle.graph
    yield _versions(bundle)
    joins = structure(graph) + [f for p in graph.projections for f in shapes(graph, p)]
    size = f"{len(graph.populations)} populations, {len(graph.projections)} projections, {graph.neurons():,} neurons"
    yield _check("network", joins, f"{NETWORK}: {size}")
    yield _check("descriptions", _description_faults(bundle), f"graph.json and quantization.json describe {NETWORK}")
    edges = f"{len(graph.projections)} projections start at spiking neurons; no multiplication on the chip"
    yield _check("spike-only", _certificate_faults(bundle), edges)
    forgetful = [f for p in graph.populations.values() for f in memoryless(p)]
    kinds = [p.kind for p in graph.populations.values()]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("or", "and", "relay", "interleave"))
    yield _check("gates", forgetful or gates(graph), f"{counts} populations compute what they are called")
    formats = "even 8-bit weights, 13-bit biases, 17-bit thresholds, 12-bit decays"
    yield _check("number formats", number_formats(graph), formats)
    yield _check(
        "delays", timing(graph), f"every projection delivers at its target's arrival step, 1 to {_last(graph)}"
    )


def _last(graph: Graph) -> int:
    return max(graph.arrivals.values(), default=0)


def _check(name: str, faults: Sequence[str], detail: str) -> Check:
    """A check that holds when there is no fault; else the first faults are the detail."""
    if not faults:
        return Check(name, True, detail)
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    return Check(name, False, "; ".join(faults[:3]) + more)


def _versions(bundle: Bundle) -> Check:
    """Versions it was written with against those here: told, never a failure."""
    written = _mapping(_object(bundle, MANIFEST).get("versions", {}), f"versions in {MANIFEST}")
    differing = []
    for name, version in written.items():
        here = _version(name)
        if here != version:
            differing.append(f"{name} {version} there, {here or 'not installed'} here")
    told = "; ".join(differing) or ", ".join(f"{name} {version}" for name, version in written.items()) + ": as here"
    return Check("versions", True, told)


def _version(name: str) -> str | None:
    if name == "python":
        return platform.python_version()
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _object(bundle: Bundle, name: str) -> dict[str, Any]:
    return _mapping(bundle.json(name), name)


def _mapping(value: object, what: str) -> dict[str, Any]:
    """A JSON object; FileFormatError for anything else (a file that was changed by hand)."""
    if not isinstance(value, dict):
        raise FileFormatError(f"{what} is damaged: a JSON object is needed, not {type(value).__name__}.")
    return value


def _rows(value: object, what: str) -> list[dict[str, Any]]:
    """A JSON list of objects; FileFormatError for anything else."""
    if not isinstance(value, list):
        raise FileFormatError(f"{what} is damaged: a JSON list is needed, not {type(value).__name__}.")
    return [_mapping(row, what) for row in value]


def _description_faults(bundle: Bundle) -> list[str]:
    """graph.json is that of the network, quantization.json holds its thresholds, report.json counts its neurons."""
    told, found, graph = _object(bundle, "graph.json"), describe_graph(bundle.graph), bundle.graph
    faults = [
        f"graph.json: {k} is {told.get(k)}, {found[k]} in {NETWORK}"
        for k in ("steps", "outputs")
        if told.get(k) != found[k]
    ]
    for key in ("populations", "projections"):
        faults += _listed_faults(_rows(told.get(key), f"'{key}' in graph.json"), found[key])
    scales = _mapping(_object(bundle, "quantization.json").get("populations"), "'populations' in quantization.json")
    for name, entry in scales.items():
        lif = graph.populations[name].lif if name in graph.populations else None
        v_th = _mapping(entry, "quantization.json").get("v_th")
        if lif is None or v_th != lif.v_th:
            here = "no neurons" if lif is None else f"{lif.v_th:g}"
            faults.append(f"quantization.json: threshold of '{name}' is {v_th}, {here} in {NETWORK}")
    counted = _object(bundle, "report.json").get("neurons")
    if counted != graph.neurons(["lif"]):
        faults.append(f"report.json: {counted} neurons, {graph.neurons(['lif'])} in {NETWORK}")
    return faults


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


def _certificate_faults(bundle: Bundle) -> list[str]:
    """The certificate proves what the network holds: every synapse reads a value that was proved binary."""
    certificate, graph = _object(bundle, "certificate.json"), bundle.graph
    faults = []
    if certificate.get("spike_only") is not True or certificate.get("multiplications_on_chip") != 0:
        faults.append("certificate.json does not say that the network is spike-only")
    edges = _rows(certificate.get("edges"), "'edges' in certificate.json")
    faults += [f"'{e.get('source')}' sends {e.get('type')} values" for e in edges if e.get("type") != "binary"]
    for kind, key in (("and", "and"), ("or", "or"), ("input", "input_populations")):
        named = {str(name) for name in certificate.get(key) or ()}
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
    return faults


def _vectors(graph: Graph, inputs: Spikes, recorded: Spikes) -> Check:
    """The test vectors are whole: binary, of the network's shapes, and of all populations that compute."""
    needed = [p.name for p in graph.populations.values() if p.kind not in REPEATERS]
    faults = [f"no spikes of population '{name}' were recorded" for name in needed if name not in recorded]
    faults += [
        f"spikes of '{name}', which {NETWORK} does not hold" for name in recorded if name not in graph.populations
    ]
    count = len(next(iter(inputs.values())))
    if not count:
        faults.append("there is no vector")
    for what, side in (("inputs", inputs), ("spikes", recorded)):
        for name in (n for n in side if n in graph.populations):
            wanted = (count, graph.steps, *graph.populations[name].shape)
            if side[name].shape != wanted:
                faults.append(f"{what}/{name} has shape {side[name].shape}; {wanted} is needed")
            elif not np.isin(side[name], (0, 1)).all():
                faults.append(f"{what}/{name} holds other values than 0 and 1")
    return _check("vectors", faults, f"{count} vectors of {len(needed)} populations: all but those that repeat others")


def _readout(bundle: Bundle, recorded: Spikes) -> Check:
    """The recorded read-out counts the recorded spikes of the outputs."""
    with np.load(bundle.path / VECTORS, allow_pickle=False) as file:
        readout = file["readout"] if "readout" in file.files else None
    counted = np.concatenate([recorded[name].sum(axis=1, dtype=np.int32) for name in bundle.graph.outputs], axis=1)
    if readout is None or readout.shape != counted.shape:
        given = "is missing" if readout is None else f"has shape {readout.shape}"
        return Check("read-out", False, f"the recorded read-out {given}; {counted.shape} is needed")
    wrong = int(np.count_nonzero(readout != counted))
    faults = (
        [f"the recorded read-out differs from the spike counts at {wrong} of {counted.size} neurons"] if wrong else []
    )
    return _check("read-out", faults, f"{counted.size:,} recorded counts are those of the output spikes")


def _replay(
    verdict: Verdict,
    bundle: Bundle,
    inputs: Spikes,
    recorded: Spikes,
    backend: str,
    samples: int | None,
    deadline_s: float | None,
    progress: Progress,
) -> None:
    """Run the vectors on a backend and compare every spike that was recorded."""
    available = len(next(iter(inputs.values())))
    count = available if samples is None else samples
    if not 1 <= count <= available:
        raise UsageError(f"--samples {count} is out of range: the bundle holds {available} test vectors.")
    given = {name: values[:count] for name, values in inputs.items()}
    try:
        with progress(f"replay on {backend}") as report:
            spikes = simulate(bundle.graph, bundle.network, given, backend, deadline_s=deadline_s, on_progress=report)
    except RuntimeFailure as error:
        verdict.checks.append(Check(f"replay {backend}", False, str(error)))
        return
    known = {name: values[:count] for name, values in recorded.items()}
    result = compare(bundle.graph, known, spikes, ("recorded", backend))
    first = result["first_divergence"]
    verdict.replays.append(Replay(backend, count, result["compared"], result["mismatches"], first))
    detail = f"{count} of {available} vectors, {result['compared']:,} neuron-steps, {result['mismatches']:,} differ"
    if first is not None:
        detail += f"; first in '{first['population']}', sample {first['sample']}, step {first['step']}, neuron "
        detail += f"(c, y, x) = {tuple(first['index'])}: recorded {first['left']}, {backend} {first['right']}; {first['cause']}"
    verdict.checks.append(Check(f"replay {backend}", first is None, detail))
