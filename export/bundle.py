"""The bundle: a folder with everything that a stranger needs to run and check a compiled network.

network.net        NetX HDF5: what runs
graph.json         populations, projections, arrival steps (no weights)
certificate.json   the spike-only proof
quantization.json  scales, thresholds, rounding errors
report.json        counts, placement, firing rates, synops, energy, delays, ranges
report.html        the same as a page with plots
certificate.html   the certificate as a page
vectors.npz        inputs/<population>, spikes/<population>, readout
model/             config.yaml, weights.safetensors
manifest.json      versions, SHA-256 of every file and of its own content
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.errors import FileFormatError, UsageError
from export.files import json_text, replacing_folder, sha256, write_json
from export.graph import Conv, Graph, Projection, Sparse
from export.netx.read import read_netx
from export.netx.write import write_netx
from export.pipeline import Compiled
from export.report.about import About, versions
from export.report.build import build_report
from hw_configs import System

MANIFEST = "manifest.json"
NETWORK = "network.net"
VECTORS = "vectors.npz"
ALWAYS = (NETWORK, "graph.json", "certificate.json", "quantization.json", "report.json", VECTORS)
READOUT = "readout"
SEAL = "sha256"  # in the manifest: of the manifest without it
# What zipfile, zlib and numpy raise on a damaged .npz: its headers are Python literals, its sizes and flags numbers.
DAMAGED = (
    *(OSError, ValueError, EOFError, AttributeError, TypeError, LookupError, RuntimeError, SyntaxError),
    *(MemoryError, OverflowError, zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)


@dataclass(frozen=True)
class Bundle:
    """An opened bundle whose hashes were checked (or, on demand, not)."""

    path: Path
    graph: Graph

    @property
    def network(self) -> Path:
        """The NetX file."""
        return self.path / NETWORK

    def json(self, name: str) -> dict[str, Any]:
        """Content of one of the JSON files; FileFormatError if it cannot be read or is no JSON object."""
        return read_object(self.path / name)

    def vectors(self) -> tuple[dict[str, NDArray[np.uint8]], dict[str, NDArray[np.uint8]]]:
        """Test vectors: (inputs, spikes), each population -> uint8 (N, T, C, H, W); FileFormatError if they are damaged."""
        path = self.path / VECTORS
        inputs, spikes = (_arrays(path, kind) for kind in ("inputs/", "spikes/"))
        names = {p.name for p in self.graph.inputs}
        if set(inputs) != names or not set(self.graph.outputs) <= set(spikes):
            raise FileFormatError(
                f"'{path}' holds inputs {sorted(inputs)}, the network has {sorted(names)}; its spikes must hold the outputs "
                f"{', '.join(self.graph.outputs)}. Export the run again."
            )
        flat = [
            f"{kind}/{n}" for kind, side in (("inputs", inputs), ("spikes", spikes)) for n in side if side[n].ndim != 5
        ]
        if flat:
            raise FileFormatError(f"'{path}': {flat[0]} has not the five axes (N, T, C, H, W). Export the run again.")
        return inputs, spikes

    def readout(self) -> NDArray[Any] | None:
        """Recorded spike counts of the outputs, (N, C, H, W) int32, before any linear read-out; None if there are none."""
        return _arrays(self.path / VECTORS, READOUT).get("")


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; FileFormatError if it cannot be read or holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileFormatError(f"'{path}' cannot be read: {error}. Export the run again.") from error
    if not isinstance(content, dict):
        raise FileFormatError(
            f"'{path}' is damaged: a JSON object is needed, not {type(content).__name__}. Export the run again."
        )
    return content


def count_vectors(path: Path) -> int:
    """How many test vectors a bundle holds, from one array of `vectors.npz`; FileFormatError if that is damaged."""
    for values in _arrays(path / VECTORS, "inputs/", most=1).values():
        if values.ndim:
            return len(values)
    raise FileFormatError(f"'{path / VECTORS}' holds no inputs. Export the run again.")


def check_samples(samples: int | None, available: int) -> int:
    """How many test vectors to run, None meaning all; UsageError for none or more than there are."""
    count = available if samples is None else samples
    if not 1 <= count <= available:
        raise UsageError(
            f"--samples {count} is out of range: the bundle holds {available} test vectors, 1 is the least."
        )
    return count


def _arrays(path: Path, prefix: str, most: int | None = None) -> dict[str, NDArray[Any]]:
    """Arrays of an .npz file by the rest of their names, the first few if `most`; FileFormatError if it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            names = [name for name in file.files if name.startswith(prefix)][:most]
            return {name.removeprefix(prefix): file[name] for name in names}
    except DAMAGED as error:
        raise FileFormatError(f"'{path}' cannot be read: {error}. Export the run again.") from error


def write_bundle(
    compiled: Compiled,
    out: Path,
    *,
    model_files: Mapping[str, Path],
    inputs: Mapping[str, NDArray[np.uint8]],
    spikes: Mapping[str, NDArray[np.uint8]],
    computed: Mapping[str, NDArray[np.uint8]] | None = None,
    about: About | None = None,
    system: System | None = None,
) -> dict[str, Any]:
    """Write all files to a temporary folder and put it in place; returns the content of `report.json`.

    model_files     name in `model/` -> file to copy
    inputs, spikes  test vectors, population -> uint8 (N, T, C, H, W), logical
    computed        for the report, of more populations, as the integer executor gave them; what is missing is run again
    about           name and score of the network, for the report
    system          on which the report shows its cores; None: a square of as many chips as it needs
    raises          UsageError when the folder cannot be written or holds something else
    """
    from export.report.pages import CERTIFICATE, certificate_page, report_page  # loads matplotlib: readers need none

    with replacing_folder(out, is_bundle) as folder:
        write_netx(compiled.graph, folder / NETWORK)
        write_json(folder / "graph.json", describe_graph(compiled.graph))
        write_json(folder / "certificate.json", compiled.certificate)
        write_json(folder / "quantization.json", compiled.quantization.to_json())
        content = build_report(compiled, inputs, {**(computed or {}), **spikes}, about, system)
        write_json(folder / "report.json", content)
        (folder / "report.html").write_text(report_page(content), encoding="utf-8")
        (folder / CERTIFICATE).write_text(certificate_page(compiled.certificate), encoding="utf-8")
        readout = compiled.graph.counted(spikes).astype(np.int32)
        named: dict[str, NDArray[np.generic]] = {f"inputs/{n}": v for n, v in inputs.items()}
        named |= {f"spikes/{n}": v for n, v in spikes.items()}
        np.savez_compressed(folder / VECTORS, **{READOUT: readout}, **named)
        (folder / "model").mkdir()
        for name, source in model_files.items():
            shutil.copyfile(source, folder / "model" / name)
        write_json(folder / MANIFEST, sealed(_manifest(folder)))
    return content


def open_bundle(path: Path, *, verify: bool = True) -> Bundle:
    """Check the hashes and read the network.

    raises  UsageError when this is no bundle; FileFormatError naming the file that was changed, is missing or broken
    """
    if not (path / MANIFEST).is_file():
        raise UsageError(
            f"'{path}' is no bundle: it has no {MANIFEST}. Make one with `neuroseg export RUN --out {path}`."
        )
    if verify:
        _verify(path)
    return Bundle(path, read_netx(path / NETWORK))


def is_bundle(path: Path) -> bool:
    """Whether a folder holds a bundle of ours and nothing else: only then may an export replace it."""
    try:
        listed = set(_listed(path))
    except FileFormatError:
        return False
    found = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
    return found <= listed | {MANIFEST}


def check_outside(path: Path) -> None:
    """UsageError when an output would land inside a bundle: its folder holds what its manifest lists, and nothing else.

    path  a file or folder to write; for a bundle to be replaced, give the folder above it
    """
    whole = path.resolve()
    for folder in (whole, *whole.parents):
        if (folder / MANIFEST).is_file() and any((folder / name).is_file() for name in ALWAYS):
            raise UsageError(
                f"'{path}' lies inside the bundle '{folder}', whose files are sealed by {MANIFEST}: nothing can be added. "
                f"Choose a place outside, such as '{folder.with_name(f'{folder.stem}.{whole.name}')}'."
            )


def describe_graph(graph: Graph) -> dict[str, Any]:
    """JSON-ready structure of a graph, without weights."""
    populations = [
        {
            "name": p.name,
            "kind": p.kind,
            "shape": list(p.shape),
            "layout": p.layout,
            "neurons": p.neurons,
            "arrival": graph.arrivals.get(p.name),
            "lif": None if p.lif is None else {"v_th": p.lif.v_th, "u_decay": p.lif.u_decay, "v_decay": p.lif.v_decay},
        }
        | ({"thresholds": list(p.thresholds)} if p.thresholds else {})
        for p in graph.populations.values()
    ]
    linear = graph.readout
    return {
        "schema_version": 1,
        "steps": graph.steps,
        "outputs": list(graph.outputs),
        "readout": None if linear is None else {"classes": len(linear.weight), "bias": linear.bias is not None},
        "populations": populations,
        "projections": [_describe(p) for p in graph.projections],
    }


def _describe(projection: Projection) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": projection.name,
        "type": type(projection).__name__.lower(),
        "source": projection.source,
        "target": projection.target,
        "delay": projection.delay,
        "origin": projection.origin,
    }
    if isinstance(projection, Sparse):
        return row | {"synapses": int(projection.matrix.nnz)}
    row["weight_shape"] = list(projection.weight.shape)
    if isinstance(projection, Conv):
        for key in ("stride", "padding", "dilation"):
            row[key] = list(getattr(projection, key))
        row["groups"] = projection.groups
    return row


def _manifest(folder: Path) -> dict[str, Any]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {
        "schema_version": 1,
        "versions": versions(),
        "files": {
            p.relative_to(folder).as_posix(): {"sha256": sha256(p), "size_bytes": p.stat().st_size} for p in files
        },
    }


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with the SHA-256 of its own content: of its JSON with sorted keys, no spaces, and without that SHA-256."""
    content = {key: value for key, value in manifest.items() if key != SEAL}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return {**content, SEAL: hashlib.sha256(text.encode()).hexdigest()}


def check_seal(path: Path) -> None:
    """FileFormatError when the manifest of a bundle is not, byte for byte, the one that the export wrote."""
    manifest, file = read_object(path / MANIFEST), path / MANIFEST
    if SEAL not in manifest:
        raise FileFormatError(
            f"'{file}' holds no SHA-256 of its own: the bundle was written by an older neuroseg, or changed. Export the "
            "run again, or pass --no-verify to go on at your own risk."
        )
    if json_text(sealed(manifest)) != file.read_text(encoding="utf-8"):
        raise FileFormatError(
            f"'{file}' was changed after the export (it does not have its own SHA-256). Export the run again, or pass "
            "--no-verify to go on at your own risk."
        )


def _listed(path: Path) -> dict[str, str]:
    """File -> SHA-256, from a manifest of ours."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        listed = {str(name): str(entry["sha256"]) for name, entry in manifest["files"].items()}
        if "neuroseg" not in manifest["versions"]:
            raise ValueError("it was not written by neuroseg")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileFormatError(f"'{path / MANIFEST}' is damaged ({error!r}). Export the run again.") from error
    missing = [name for name in ALWAYS if name not in listed]
    if missing:
        raise FileFormatError(f"'{path / MANIFEST}' is damaged: it does not list '{missing[0]}'. Export the run again.")
    return listed


def _verify(path: Path) -> None:
    check_seal(path)
    for name, digest in _listed(path).items():
        if not (path / name).is_file():
            raise FileFormatError(f"bundle '{path}': '{name}' is missing. Export the run again.")
        if sha256(path / name) != digest:
            raise FileFormatError(
                f"bundle '{path}': '{name}' was changed after the export (its SHA-256 differs from {MANIFEST}). "
                "Export the run again, or pass --no-verify to go on at your own risk."
            )
