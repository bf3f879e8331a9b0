"""Read NetX files: both of our forms, and the files that lava-dl's users already have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import h5py

from export.errors import FileFormatError, UsageError
from export.graph import Graph, LinearReadOut
from export.netx.chain import Reasons, read_chain
from export.netx.check import defects
from export.netx.fields import Fields
from export.netx.population_graph import read_population_graph
from export.netx.write import FORMAT
from export.spec import shapes, structure

NAMED = 3  # layers that a sentence lists by name


@dataclass(frozen=True)
class InputTransform:
    """How a pixel x in [0, 1] becomes the constant bias of a driven input neuron: round(weight x + bias)."""

    weight: int
    bias: int


def read_netx(path: Path, *, steps: int | None = None) -> Graph:
    """Read a file into a graph with integer weights and known arrivals.

    steps    T for files that do not say (`simulation/tSample`); files that do say win
    raises   UsageError when the file cannot be opened; FileFormatError, naming file, layer and key, for what is in it
    """
    with _opened(Path(path)) as root:
        time_steps = _steps(root, steps)
        form = root.group.attrs.get("form", "chain")
        if int(root.group.attrs.get("neuroseg_format", FORMAT)) > FORMAT:
            root.fail("it was written by a newer neuroseg: update this one")
        graph = read_population_graph(root, time_steps) if form == "graph" else read_chain(root, time_steps)
        graph = replace(graph, readout=_read_readout(root))
        for defect in defects(graph):
            root.fail(defect)
        return graph


@dataclass(frozen=True)
class Foreign:
    """A network as far as mapping needs it: shapes, weights and who reads whom.

    graph        neurons that neuroseg does not know stand in as LIF neurons
    cannot_run   sentences on what keeps neuroseg from running it; empty for a file that `read_netx` takes
    """

    graph: Graph
    cannot_run: tuple[str, ...]


def read_for_mapping(path: Path) -> Foreign:
    """Read a file of any neuron model, sigma-delta ones included, to see which cores it takes.

    raises   UsageError when the file cannot be opened; FileFormatError where shapes or weights are missing or wrong
    """
    with _opened(Path(path)) as root:
        reasons: Reasons = {}
        if root.group.attrs.get("form", "chain") == "graph":
            graph = read_population_graph(root, _steps(root, 1))
        else:
            graph = read_chain(root, _steps(root, 1), reasons)
        wrong = structure(graph) or [fault for p in graph.projections for fault in shapes(graph, p)]
        for fault in wrong:
            root.fail(fault)
        told = [f"{_layers(where, root.where)}: {reason}" for reason, where in reasons.items()]
        return Foreign(graph, (*told, *defects(graph)))


def _layers(where: list[str], file: str) -> str:
    """'layer 1 (conv), layer 2 (conv)', or how many."""
    names = [place.removeprefix(f"{file}: ") for place in where]
    return ", ".join(names) if len(names) <= NAMED else f"{len(names)} layers from {names[0]} on"


def read_input_transform(path: Path) -> InputTransform | None:
    """The pixel transform of a driven input layer; None when layer 0 has no neuron of its own.

    Defaults as in lava-dl's loader: weight 64, bias 0.
    """
    with _opened(Path(path)) as root:
        layer = root.child("layer", root.where).child("0", f"{root.where}: layer 0")
        if layer.text("type") != "input" or not layer.has("neuron"):
            return None
        weight = layer.integer("weight") if layer.has("weight") else 64
        return InputTransform(weight, layer.integer("bias") if layer.has("bias") else 0)


@contextmanager
def _opened(path: Path) -> Iterator[Fields]:
    """The root of an HDF5 file, closed again whatever happens."""
    if not path.is_file():
        raise UsageError(f"network file {path} does not exist.")
    try:
        file = h5py.File(path, "r")
    except PermissionError as error:
        raise UsageError(f"network file {path} cannot be read: {error.strerror}.") from error
    except OSError as error:
        raise FileFormatError(f"{path} is not a complete HDF5 file: truncated, or of another format.") from error
    with file:
        try:
            yield Fields(file, str(path))
        except (OSError, RuntimeError, KeyError) as error:
            raise FileFormatError(f"{path} is damaged: {error}. Write or copy it again.") from error


def _read_readout(root: Fields) -> LinearReadOut | None:
    if not root.has("readout"):
        return None
    group = root.child("readout", f"{root.where}: readout")
    return LinearReadOut(group.reals("weight", 2), group.reals("bias", 1) if group.has("bias") else None)


def _steps(root: Fields, fallback: int | None) -> int:
    if root.has("simulation/tSample"):
        return root.integer("simulation/tSample")
    if fallback is None:
        root.fail("key 'simulation/tSample' (time steps per sample) is missing: pass steps=T")
    return fallback
