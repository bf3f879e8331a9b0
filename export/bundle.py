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
manifest.json      versions, SHA-256 of every file
"""

from __future__ import annotations

import json
import platform
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.errors import FileFormatError, UsageError
from export.files import replacing_folder, sha256, write_json
from export.graph import Conv, Graph, Projection, Sparse
from export.netx.read import read_netx
from export.netx.write import write_netx
from export.pipeline import Compiled
from export.report.build import build_report

MANIFEST = "manifest.json"
NETWORK = "network.net"
VECTORS = "vectors.npz"
ALWAYS = (NETWORK, "graph.json", "certificate.json", "quantization.json", "report.json", VECTORS)
VERSIONS = ("neuroseg", "lava-nc", "lava-dl", "torch", "numpy", "h5py")


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
        """Content of one of the JSON files; FileFormatError if it cannot be read."""
        try:
            content: dict[str, Any] = json.loads((self.path / name).read_text())
        except (OSError, ValueError) as error:
            raise FileFormatError(f"'{self.path / name}' cannot be read: {error}. Export the run again.") from error
        return content

    def vectors(self) -> tuple[dict[str, NDArray[np.uint8]], dict[str, NDArray[np.uint8]]]:
        """Test vectors: (inputs, spikes), each population -> uint8 (N, T, C, H, W)."""
        path = self.path / VECTORS
        try:
            with np.load(path, allow_pickle=False) as file:
                inputs = {k.removeprefix("inputs/"): file[k] for k in file.files if k.startswith("inputs/")}
                spikes = {k.removeprefix("spikes/"): file[k] for k in file.files if k.startswith("spikes/")}
        except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
            raise FileFormatError(f"'{path}' cannot be read: {error}. Export the run again.") from error
        names = {p.name for p in self.graph.inputs}
        if set(inputs) != names or not set(self.graph.outputs) <= set(spikes):
            raise FileFormatError(
                f"'{path}' holds inputs {sorted(inputs)}, the network has {sorted(names)}; its spikes must hold the outputs "
                f"{', '.join(self.graph.outputs)}. Export the run again."
            )
        return inputs, spikes


def write_bundle(
    compiled: Compiled,
    out: Path,
    *,
    model_files: Mapping[str, Path],
    inputs: Mapping[str, NDArray[np.uint8]],
    spikes: Mapping[str, NDArray[np.uint8]],
) -> dict[str, Any]:
    """Write all files to a temporary folder and put it in place; returns the content of `report.json`.

    model_files     name in `model/` -> file to copy
    inputs, spikes  test vectors, population -> uint8 (N, T, C, H, W), logical
    raises          UsageError when the folder cannot be written or holds something else
    """
    from export.report.pages import CERTIFICATE, certificate_page, report_page  # loads matplotlib: readers need none

    with replacing_folder(out, is_bundle) as folder:
        write_netx(compiled.graph, folder / NETWORK)
        write_json(folder / "graph.json", describe_graph(compiled.graph))
        write_json(folder / "certificate.json", compiled.certificate)
        write_json(folder / "quantization.json", compiled.quantization.to_json())
        content = build_report(compiled, inputs, spikes)
        write_json(folder / "report.json", content)
        (folder / "report.html").write_text(report_page(content), encoding="utf-8")
        (folder / CERTIFICATE).write_text(certificate_page(compiled.certificate), encoding="utf-8")
        readout = np.concatenate([spikes[n].sum(axis=1, dtype=np.int32) for n in compiled.graph.outputs], axis=1)
        named: dict[str, NDArray[np.generic]] = {f"inputs/{n}": v for n, v in inputs.items()}
        named |= {f"spikes/{n}": v for n, v in spikes.items()}
        np.savez_compressed(folder / "vectors.npz", readout=readout, **named)
        (folder / "model").mkdir()
        for name, source in model_files.items():
            shutil.copyfile(source, folder / "model" / name)
        write_json(folder / MANIFEST, _manifest(folder))
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
        for p in graph.populations.values()
    ]
    return {
        "schema_version": 1,
        "steps": graph.steps,
        "outputs": list(graph.outputs),
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
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in VERSIONS}},
        "files": {
            p.relative_to(folder).as_posix(): {"sha256": sha256(p), "size_bytes": p.stat().st_size} for p in files
        },
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


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
    for name, digest in _listed(path).items():
        if not (path / name).is_file():
            raise FileFormatError(f"bundle '{path}': '{name}' is missing. Export the run again.")
        if sha256(path / name) != digest:
            raise FileFormatError(
                f"bundle '{path}': '{name}' was changed after the export (its SHA-256 differs from {MANIFEST}). "
                "Export the run again, or pass --no-verify to go on at your own risk."
            )
