"""Synapses, spikes and synaptic operations of every population and core, counted on test vectors.

A synop is a non-zero synapse that a spike touches; at the border of a map a kernel has fewer. A synop is counted where
the synapse ends, so that it belongs to the core that stores it. `stored` counts zero weights too, which a core stores
and visits like others. A relay fires as the population that it repeats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.execute.integer import run_integer
from export.execute.synapse import fingerprint, synaptic_sum
from export.graph import Conv, Dense, Graph, Population, Projection, Shape, Sparse, to_physical
from export.mapping.placement import Cut, Placement

Spikes = Mapping[str, NDArray[np.uint8]]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Load:
    """One population at work; N samples of T steps.

    synapses         (cores,) non-zero synapses that end on each core
    synapses_stored  with stored zeros
    fan_in           most non-zero synapses of one neuron
    synops           (N, T, cores)
    synops_stored    per sample, with stored zeros
    spikes           (cores,) fired per sample
    """

    synapses: Floats
    synapses_stored: int
    fan_in: int
    synops: Floats
    synops_stored: float
    spikes: Floats


def complete(graph: Graph, inputs: Spikes, spikes: Spikes) -> dict[str, NDArray[np.uint8]]:
    """Spikes of every population but relays, (N, T, C, H, W), logical; what was not recorded is computed exactly."""
    known = {**spikes, **inputs}
    missing = [p.name for p in graph.populations.values() if p.kind != "relay" and p.name not in known]
    return {**known, **(run_integer(graph, inputs, populations=missing) if missing else {})}


def measure(graph: Graph, placement: Placement, spikes: Spikes) -> dict[str, Load]:
    """Loads of all placed populations.

    spikes   population -> uint8 (N, T, C, H, W), logical, as `complete` gives them
    returns  population (relays too) -> load
    """
    meter = _Meter(graph, spikes)
    return {name: meter.load(name, cut) for name, cut in placement.cuts.items()}


def touched(projection: Projection, spikes: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Non-zero synapses at which spikes arrive, per target neuron.

    spikes   (M, C, H, W), physical
    returns  (M, C', H', W'), physical; exact, borders included
    """
    present: Projection
    if isinstance(projection, Sparse):
        matrix = projection.matrix.copy()
        matrix.data = (matrix.data != 0).astype(np.int64)
        present = replace(projection, matrix=matrix)
    else:
        present = replace(projection, weight=(projection.weight != 0).astype(np.int32))
    counts: NDArray[np.int32] = synaptic_sum(present, torch.from_numpy(np.ascontiguousarray(spikes))).numpy()
    return counts


def stored_fan_out(projection: Projection, source: Shape) -> Floats:
    """Stored synapses (zeros too) that a spike of each source neuron touches: (C, H, W), physical, or (1, H, W)."""
    if isinstance(projection, Sparse):
        columns = np.bincount(projection.matrix.indices, minlength=int(np.prod(source)))
        return columns.reshape(source).astype(np.float64)
    if isinstance(projection, Dense):
        return np.full((1, *source[1:]), float(projection.weight.shape[0]))
    rows, columns = (_readers(projection, axis, source) for axis in (0, 1))
    per_group = projection.weight.shape[0] // projection.groups
    return np.asarray(per_group * rows[:, None] * columns, dtype=np.float64)[None]


def _readers(conv: Conv, axis: int, source: Shape) -> NDArray[np.int64]:
    """For each source row (axis 0) or column (axis 1): pairs of a kernel tap and a target row that read it."""
    size = source[1 + axis]
    targets = conv.output_shape(source)[1 + axis]
    taps = np.arange(conv.weight.shape[2 + axis])
    read = np.arange(targets)[:, None] * conv.stride[axis] + taps * conv.dilation[axis] - conv.padding[axis]
    inside = read[(read >= 0) & (read < size)]
    return np.bincount(inside, minlength=size)


class _Meter:
    """Counts each projection once: relays of a line, and neurons of a residual stream, share what they read."""

    def __init__(self, graph: Graph, spikes: Spikes) -> None:
        self.graph = graph
        self.spikes = spikes
        self.synops: dict[Any, Floats] = {}
        self.loads: dict[Any, Load] = {}

    def load(self, name: str, cut: Cut) -> Load:
        """Load of one population; relays of a line have equal ones."""
        projections = self.graph.into(name)
        prints = [fingerprint(p, self._origin(p.source).name) for p in projections]
        origin = self._origin(name)
        key = (origin.name, tuple(prints), cut.shape, cut.tile)
        if key not in self.loads:
            self.loads[key] = self._load(origin, cut, projections, prints)
        return self.loads[key]

    def _load(self, origin: Population, cut: Cut, projections: list[Projection], prints: list[str]) -> Load:
        fan_in = np.zeros(cut.shape, dtype=np.int64)
        stored, stored_synops = 0.0, 0.0
        for projection in projections:
            source = self.graph.populations[projection.source].physical_shape
            fan_in += touched(projection, np.ones((1, *source), dtype=np.uint8))[0]
            fan_out = np.broadcast_to(stored_fan_out(projection, source), source)
            stored += float(fan_out.sum())
            fired = self._fired(self._origin(projection.source))
            stored_synops += float((fan_out * fired).sum())
        return Load(
            cut.per_core(fan_in),
            round(stored),
            int(fan_in.max(initial=0)),
            np.sum([self._synops(p, key, cut) for p, key in zip(projections, prints, strict=True)], axis=0),
            stored_synops,
            cut.per_core(self._fired(origin)),
        )

    def _synops(self, projection: Projection, key: str, cut: Cut) -> Floats:
        """(N, T, cores) synops of one projection, sample by sample to bound memory."""
        full = (key, cut.shape, cut.tile)
        if full not in self.synops:
            source = self._origin(projection.source)
            self.synops[full] = np.stack(
                [cut.per_core(touched(projection, frames)) for frames in self._physical(source)]
            )
        return self.synops[full]

    def _origin(self, name: str) -> Population:
        while self.graph.populations[name].kind == "relay":
            name = self.graph.into(name)[0].source
        return self.graph.populations[name]

    def _physical(self, population: Population) -> NDArray[np.uint8]:
        return np.asarray(to_physical(self.spikes[population.name], population.layout))

    def _fired(self, population: Population) -> Floats:
        """Spikes of each neuron per sample: (C, H, W), physical."""
        spikes = self.spikes[population.name]
        total = spikes.sum(axis=(0, 1), dtype=np.float64) / len(spikes)
        return np.asarray(to_physical(total, population.layout))
