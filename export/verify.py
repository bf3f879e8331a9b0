"""What holds of a bundle, found out from its files alone: no training code, no module, no data set.

The checks stand in the order in which a stranger would ask: are these the files that were written, is this a spike-only
network in the chip's numbers, and does it fire as recorded. A check whose files cannot be read, and hashes that differ, end
the list: what would follow means nothing.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.bundle import (
    ALWAYS,
    MANIFEST,
    NETWORK,
    Bundle,
    check_samples,
    check_seal,
    count_vectors,
    open_bundle,
    read_object,
)
from export.claims import REPEATERS, Answer, certificate, descriptions, mapping
from export.errors import FileFormatError, RuntimeFailure
from export.files import sha256
from export.graph import Graph
from export.parity.compare import compare
from export.simulate import BoardTiming, check_backend, check_board_timing, simulate
from export.spec import gates, memoryless, number_formats, shapes, structure, timing

Spikes = dict[str, NDArray[np.uint8]]
Report = Callable[[int, int], None]
Progress = Callable[[str], AbstractContextManager[Report | None]]
UNSEALED = (  # what only the hashes vouch for
    "model/",
    "the pages report.html and certificate.html",
    "the figures of report.json other than its numbers of neurons",
    "that the scales of quantization.json are those of the trained weights",
)


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
        """Whether nothing was found that does not hold, in what was checked."""
        return all(check.holds is not False for check in self.checks)

    @property
    def unchecked(self) -> list[str]:
        """What nothing is known of: questions that were not asked, and without hashes what these alone vouch for."""
        asked = {check.name for check in self.checks if check.holds is not None}
        rest = [name for name in ("hashes", *QUESTIONS, "vectors", "read-out") if name not in asked]
        return rest if "hashes" in asked else [*rest, *UNSEALED]

    def to_json(self) -> dict[str, Any]:
        """{"schema_version", "bundle", "holds", "unchecked", "checks", "replays"}."""
        return {"schema_version": 1, "holds": self.holds, "unchecked": self.unchecked, **asdict(self)}


def verify(
    path: Path,
    *,
    backends: Sequence[str] = ("int", "lava"),
    samples: int | None = None,
    hashes: bool = True,
    deadline_s: float | None = None,
    board_timing: BoardTiming | None = None,
    progress: Progress = lambda _: nullcontext(),
) -> Verdict:
    """Check a bundle.

    backends      that replay the test vectors
    samples       how many vectors to replay; None: all
    hashes        False: go on with files that were changed
    board_timing  of backend "loihi2"
    progress      what is being done -> context of a function that is called with (done, all)
    raises        UsageError for a path that is no bundle, an unknown backend, too many samples; MissingBackend
    """
    check_board_timing(board_timing, backends)
    for backend in backends:
        check_backend(backend)
    verdict = Verdict(str(path))
    if not (path / MANIFEST).is_file():
        open_bundle(path)  # says what is wrong
    _check_samples(path, samples)
    verdict.checks.append(_hashes(path) if hashes else Check("hashes", None, "not checked (--no-verify)"))
    bundle = _static(path, verdict) if verdict.holds else None
    if bundle is None:
        return verdict
    try:
        inputs, recorded = bundle.vectors()
    except FileFormatError as error:
        verdict.checks.append(Check("vectors", False, str(error)))
        return verdict
    verdict.checks.append(_vectors(bundle.graph, inputs, recorded))
    if verdict.checks[-1].holds:
        verdict.checks.append(_readout(bundle, recorded))
        count = check_samples(samples, len(next(iter(inputs.values()))))
        for backend in dict.fromkeys(backends):
            run = partial(simulate, backend=backend, deadline_s=deadline_s)
            if backend == "loihi2":
                run = partial(run, board_timing=board_timing)
            _replay(verdict, bundle, inputs, recorded, backend, count, run, progress)
    return verdict


def _check_samples(path: Path, samples: int | None) -> None:
    """UsageError before anything else is done; vectors that cannot be read are the business of their own check."""
    if samples is None:
        return
    try:
        available = count_vectors(path)
    except FileFormatError:
        available = max(samples, 1)
    check_samples(samples, available)


def _hashes(path: Path) -> Check:
    """Every listed file has the size and SHA-256 of the manifest."""
    try:
        check_seal(path)
        files = read_object(path / MANIFEST)["files"]
        listed = {str(name): (str(entry["sha256"]), int(entry["size_bytes"])) for name, entry in files.items()}
    except FileFormatError as error:
        return Check("hashes", False, str(error))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
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
    return Check("hashes", True, f"SHA-256 of {MANIFEST}, SHA-256 and size of {len(listed)} files{told}")


def _files(path: Path) -> list[str]:
    return sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())


def _static(path: Path, verdict: Verdict) -> Bundle | None:
    """Ask what can be said without running anything; None where a file cannot be read, which ends the list."""
    try:
        bundle = open_bundle(path, verify=False)
    except FileFormatError as error:
        verdict.checks.append(Check("network", False, str(error)))
        return None
    for name, question in QUESTIONS.items():
        try:
            faults, detail = question(bundle)
        except FileFormatError as error:
            verdict.checks.append(Check(name, False, str(error)))
            return None
        verdict.checks.append(_check(name, faults, detail))
    return bundle


def _network(bundle: Bundle) -> Answer:
    graph = bundle.graph
    size = f"{len(graph.populations)} populations, {len(graph.projections)} projections, {graph.neurons():,} neurons"
    return structure(graph) + [f for p in graph.projections for f in shapes(graph, p)], f"{NETWORK}: {size}"


def _gates(bundle: Bundle) -> Answer:
    forgetful = [f for p in bundle.graph.populations.values() for f in memoryless(p)]
    kinds = [p.kind for p in bundle.graph.populations.values()]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("or", "and", "relay", "delay", "interleave"))
    return forgetful or gates(bundle.graph), f"{counts} populations compute what they are called"


def _formats(bundle: Bundle) -> Answer:
    return number_formats(bundle.graph), "even 8-bit weights, 13-bit biases, 17-bit thresholds, 12-bit decays"


def _delays(bundle: Bundle) -> Answer:
    last = max(bundle.graph.arrivals.values(), default=0)
    return timing(bundle.graph), f"every projection delivers at its target's arrival step, 1 to {last}"


def _check(name: str, faults: Sequence[str], detail: str) -> Check:
    """A check that holds when there is no fault; else the first faults are the detail."""
    if not faults:
        return Check(name, True, detail)
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    return Check(name, False, "; ".join(faults[:3]) + more)


def _versions(bundle: Bundle) -> Answer:
    """Versions it was written with against those here: told, never a failure."""
    written = mapping(bundle.json(MANIFEST).get("versions", {}), f"versions in {MANIFEST}")
    differing = []
    for name, version in written.items():
        here = _version(name)
        if here != version:
            differing.append(f"{name} {version} there, {here or 'not installed'} here")
    told = "; ".join(differing) or ", ".join(f"{name} {version}" for name, version in written.items()) + ": as here"
    return [], told


def _version(name: str) -> str | None:
    if name == "python":
        return platform.python_version()
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


QUESTIONS: dict[str, Callable[[Bundle], Answer]] = {
    "versions": _versions,
    "network": _network,
    "descriptions": descriptions,
    "spike-only": certificate,
    "gates": _gates,
    "number formats": _formats,
    "delays": _delays,
}


def _vectors(graph: Graph, inputs: Spikes, recorded: Spikes) -> Check:
    """The test vectors are whole: of the spikes and shapes that the network has, and of all populations that compute."""
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
            elif not np.isin(side[name], range(graph.populations[name].largest_spike + 1)).all():
                largest = graph.populations[name].largest_spike
                faults.append(f"{what}/{name} holds other values than 0 {'and' if largest == 1 else 'to'} {largest}")
    return _check("vectors", faults, f"{count} vectors of {len(needed)} populations: all but those that repeat others")


def _readout(bundle: Bundle, recorded: Spikes) -> Check:
    """The recorded read-out counts the recorded spikes of the outputs."""
    try:
        readout = bundle.readout()
    except FileFormatError as error:
        return Check("read-out", False, str(error))
    counted = bundle.graph.counted(recorded)
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
    count: int,
    run: Callable[..., Spikes],
    progress: Progress,
) -> None:
    """Run the first vectors on a backend and compare every spike that was recorded.

    run  `simulate` with what is peculiar to the backend
    """
    available = len(next(iter(inputs.values())))
    given = {name: values[:count] for name, values in inputs.items()}
    try:
        with progress(f"replay on {backend}") as report:
            spikes = run(bundle.graph, bundle.network, given, on_progress=report)
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
