"""Compare the spikes of two executions and find where they part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.errors import DataError
from export.graph import Graph
from export.parity.diagnose import diagnose

Spikes = Mapping[str, NDArray[np.uint8]]
Explain = Callable[[Graph, str, Spikes, Spikes], str]  # (graph, population, left, right) -> one sentence


def compare(
    graph: Graph, left: Spikes, right: Spikes, names: tuple[str, str], explain: Explain = diagnose
) -> dict[str, Any]:
    """Parity JSON of `contracts.md` without the scores (mIoU and pixel agreement need masks: the caller fills them in).

    left, right  population -> uint8 (N, T, C, H, W), logical; populations that only one side has are not compared
    names        of the two sides, such as ("slayer", "lava")
    explain      says why the first population that differs does so
    returns      "compared" counts neuron-steps; "first_divergence" is the earliest population, in the order in which
                 spikes flow, that differs although everything before it agrees
    raises       DataError when nothing can be compared, or shapes differ
    """
    common = [name for name in graph.populations if name in left and name in right]
    if not common:
        raise DataError(f"{names[0]} and {names[1]} have no population in common.")
    rows = [_row(name, left[name], right[name]) for name in common]
    differing = next((row["name"] for row in rows if row["mismatches"]), None)
    return {
        "schema_version": 1,
        "left": names[0],
        "right": names[1],
        "samples": len(left[common[0]]),
        "compared": sum(row["compared"] for row in rows),
        "mismatches": sum(row["mismatches"] for row in rows),
        "populations": rows,
        "first_divergence": None if differing is None else _divergence(graph, differing, left, right, explain),
        "miou_left": None,
        "miou_right": None,
        "pixel_agreement": None,
    }


def class_scores(graph: Graph, spikes: Spikes) -> NDArray[np.int64] | NDArray[np.float64]:
    """(N, classes, H, W): the spike counts, or what the host's linear read-out makes of them (float64)."""
    counts = graph.counted(spikes)
    return counts if graph.readout is None else graph.readout.scores(counts, graph.steps)


def class_maps(graph: Graph, spikes: Spikes) -> NDArray[np.int64]:
    """(N, H, W): arg-max over channels of the class scores; ties go to the lowest class."""
    maps: NDArray[np.int64] = class_scores(graph, spikes).argmax(axis=1)
    return maps


def firing_rate(spikes: NDArray[np.uint8]) -> float:
    """Spikes per neuron and step; a graded spike is one spike."""
    return float(np.count_nonzero(spikes) / spikes.size)


def _row(name: str, left: NDArray[np.uint8], right: NDArray[np.uint8]) -> dict[str, Any]:
    if left.shape != right.shape:
        raise DataError(f"population '{name}' is {left.shape} on the left and {right.shape} on the right.")
    return {
        "name": name,
        "compared": int(left.size),
        "mismatches": int(np.count_nonzero(left != right)),
        "rate_left": firing_rate(left),
        "rate_right": firing_rate(right),
    }


def _divergence(graph: Graph, name: str, left: Spikes, right: Spikes, explain: Explain) -> dict[str, Any]:
    """The first differing neuron-step of a population: earliest sample, then step, then (c, y, x)."""
    at = np.argwhere(left[name] != right[name])[0]
    sample, step, *index = (int(i) for i in at)
    return {
        "population": name,
        "step": step,
        "sample": sample,
        "index": index,
        "left": int(left[name][tuple(at)]),
        "right": int(right[name][tuple(at)]),
        "cause": explain(graph, name, left, right),
    }
