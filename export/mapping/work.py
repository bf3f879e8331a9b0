"""The work of every core: synapses, spikes, synaptic operations and neuron updates, counted on test vectors or assumed.

A synop is a non-zero synapse that a spike touches; at the border of a map a kernel has fewer. A synop is counted where
the synapse ends, so that it belongs to the core that stores it. `stored` counts zero weights too, which a core stores
and visits like others. Relays and delay neurons fire as the population that they repeat.
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
from export.graph import LINES, Conv, Dense, Graph, Population, Projection, Shape, Sparse, to_physical
from export.mapping.placement import Cut, Placement
from export.mapping.traffic import fired_in_all

Spikes = Mapping[str, NDArray[Any]]
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


@dataclass(frozen=True, eq=False)
class Work:
    """What all cores do for one sample while samples follow one another without a gap, one every T steps.

    steps          T
    chips          that the cores fill
    synops         (N, T, cores) non-zero synapses touched; along T stand Lava's steps: cores that work at the same time
                   stand in the same row, though each is at another step of its sample
    synops_stored  per sample, all cores, with stored zeros
    neurons        (cores,) updated every step
    spikes         (cores,) fired per sample
    changed        (cores,) updates per sample that find a state or an input other than zero; None: not known
    """

    steps: int
    chips: int
    synops: Floats
    synops_stored: float
    neurons: Floats
    spikes: Floats
    changed: Floats | None = None

    def scaled(self, factor: float) -> Work:
        """The same distribution over cores and steps at another activity: spikes and synops times `factor`."""
        return replace(
            self,
            synops=self.synops * factor,
            synops_stored=self.synops_stored * factor,
            spikes=self.spikes * factor,
            changed=None,  # how many neurons are touched does not grow in proportion
        )

    @property
    def core_synops(self) -> Floats:
        """(cores,) per sample."""
        return np.asarray(self.synops.sum(axis=1).mean(axis=0))

    @property
    def synops_per_sample(self) -> float:
        """Of all cores."""
        return float(self.core_synops.sum())

    @property
    def updates_per_sample(self) -> float:
        """Of all cores: every neuron in every step."""
        return float(self.neurons.sum()) * self.steps


def complete(graph: Graph, inputs: Spikes, spikes: Spikes) -> dict[str, NDArray[np.uint8]]:
    """Spikes of all populations but relays and delay neurons, (N, T, C, H, W), logical; what was not recorded is computed.

    inputs  of the network: spikes, or the bias (N, C, H, W) of a driven input
    """
    given = {name: values for name, values in inputs.items() if graph.populations[name].lif is None}
    known = {**spikes, **given}
    missing = [p.name for p in graph.populations.values() if p.kind not in LINES and p.name not in known]
    return {**known, **(run_integer(graph, inputs, populations=missing) if missing else {})}


def measure(graph: Graph, placement: Placement, spikes: Spikes) -> dict[str, Load]:
    """Loads of all placed populations.

    spikes   population -> uint8 (N, T, C, H, W), logical, as `complete` gives them
    returns  population (relays too) -> load
    """
    meter = _Meter(graph, spikes)
    return {name: meter.load(name, cut) for name, cut in placement.cuts.items()}


def work_of(graph: Graph, placement: Placement, loads: Mapping[str, Load], chips: int | None = None) -> Work:
    """The loads of all cores side by side, in the order of core numbers, on Lava's clock.

    graph  balanced: arrival steps say which data meet in one step
    chips  that hold a core on the system at hand; None: as many as the chip's own usable cores fill
    """
    cuts = placement.cuts
    return Work(
        graph.steps,
        placement.chips if chips is None else chips,
        np.concatenate([np.roll(loads[name].synops, graph.arrivals[name], axis=1) for name in cuts], axis=2),
        sum(loads[name].synops_stored for name in cuts),
        np.concatenate([cut.neurons().ravel() for cut in cuts.values()]).astype(np.float64),
        np.concatenate([loads[name].spikes for name in cuts]),
    )


def assume(graph: Graph, placement: Placement, rates: Mapping[str, float] | float) -> dict[str, Load]:
    """Loads that nothing measured: all neurons of a population fire at one rate, alike in every step.

    rates  spikes per neuron and step, of every population but relays and delay neurons, or one for all
    """
    origins = [p.name for p in graph.populations.values() if p.kind not in LINES]
    every = {name: rates if isinstance(rates, int | float) else rates[name] for name in origins}
    always = {name: np.ones((1, 1, *graph.populations[name].shape), dtype=np.uint8) for name in origins}
    meter = _Meter(graph, always, every)
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


def synops_per_core(projection: Projection, cut: Cut, spikes: NDArray[np.uint8]) -> Floats:
    """`touched`, summed over the cores of a cut; of a convolution without its maps, one product per axis.

    Sums are linear: spikes are added up over the window that a tile reads through each tap, weights over its channels.

    spikes   (M, C, H, W), physical
    returns  (M, cores); exact
    """
    if not isinstance(projection, Conv):
        return cut.per_core(touched(projection, spikes))
    source: Shape = (spikes.shape[1], spikes.shape[2], spikes.shape[3])
    rows, columns = (_through_taps(projection, axis, source, cut) for axis in (0, 1))  # (taps, tiles, size)
    seen = np.matmul(spikes.astype(np.float32), columns.reshape(-1, columns.shape[2]).T)  # (M, C, H, kW nx)
    seen = np.matmul(rows.reshape(-1, rows.shape[2]), seen)  # (M, C, kH ny, kW nx): at most H W, exact in float32
    m, c = seen.shape[:2]
    seen = seen.reshape(m, c, *rows.shape[:2], *columns.shape[:2]).transpose(0, 1, 2, 4, 3, 5)
    weights = _present_per_tile(projection, cut)
    sums = np.matmul(weights.reshape(len(weights), -1), seen.reshape(m, weights[0].size, -1).astype(np.float64))
    return np.asarray(sums.reshape(m, cut.cores))


def _through_taps(conv: Conv, axis: int, source: Shape, cut: Cut) -> NDArray[np.float32]:
    """(taps, tiles, size) along y (axis 0) or x (axis 1): 1 where a target of the tile reads the index through the tap."""
    read, inside = _inside(conv, axis, source)
    edges = cut.edges(1 + axis)
    tile = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    reads = np.zeros((read.shape[1], len(edges) - 1, source[1 + axis]), dtype=np.float32)
    target, tap = np.nonzero(inside)
    reads[tap, tile[target], read[target, tap]] = 1
    return reads


def _present_per_tile(conv: Conv, cut: Cut) -> Floats:
    """(tiles of channels, source channels, kH, kW): non-zero synapses of a source channel into a tile, tap by tap."""
    outputs, each = conv.weight.shape[:2]
    edges = cut.edges(0)
    tile = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    first = np.arange(outputs) // (outputs // conv.groups) * each
    total = np.zeros((len(edges) - 1, each * conv.groups, *conv.weight.shape[2:]))
    np.add.at(total, (tile[:, None], first[:, None] + np.arange(each)), conv.weight != 0)
    return total


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


def fan_in(projection: Projection, source: Shape) -> NDArray[np.int64]:
    """Non-zero synapses of each target neuron: (C', H', W'), physical; at the border of a map a kernel has fewer."""
    target = projection.output_shape(source)
    if isinstance(projection, Sparse):
        present = projection.matrix.copy()
        present.data = (present.data != 0).astype(np.int64)
        return np.asarray(present.sum(axis=1), dtype=np.int64).reshape(target)
    if isinstance(projection, Dense):
        return np.asarray((projection.weight != 0).sum(axis=1), dtype=np.int64).reshape(target)
    taps = (projection.weight != 0).sum(axis=1)  # (out, kH, kW)
    rows, columns = (_inside(projection, axis, source)[1].astype(np.int64) for axis in (0, 1))
    return np.asarray(np.einsum("okl,yk,xl->oyx", taps, rows, columns, optimize=True))


def _inside(conv: Conv, axis: int, source: Shape) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(targets, taps): the source row (axis 0) or column (axis 1) that a tap of a kernel reads, and whether there is one."""
    targets = conv.output_shape(source)[1 + axis]
    taps = np.arange(conv.weight.shape[2 + axis])
    read = np.arange(targets)[:, None] * conv.stride[axis] + taps * conv.dilation[axis] - conv.padding[axis]
    return read, (read >= 0) & (read < source[1 + axis])


def _readers(conv: Conv, axis: int, source: Shape) -> NDArray[np.int64]:
    """For each source row (axis 0) or column (axis 1): pairs of a kernel tap and a target row that read it."""
    read, inside = _inside(conv, axis, source)
    return np.bincount(read[inside], minlength=source[1 + axis])


class _Meter:
    """Counts each projection once: relays of a line, and neurons of a residual stream, share what they read.

    rates  population -> spikes per neuron and step, instead of recorded ones; `spikes` are then ones, of a single step
    """

    def __init__(self, graph: Graph, spikes: Spikes, rates: Mapping[str, float] | None = None) -> None:
        self.graph = graph
        self.spikes = spikes
        self.rates = rates
        self.synops: dict[Any, Floats] = {}
        self.loads: dict[Any, Load] = {}
        self.fired: dict[str, Floats] = {}

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
        most = np.zeros(cut.shape, dtype=np.int64)
        stored, stored_synops = 0.0, 0.0
        synops = np.zeros((len(self.spikes[origin.name]), self.graph.steps, cut.cores))  # a driven input has no others
        for projection, key in zip(projections, prints, strict=True):
            source = self.graph.populations[projection.source].physical_shape
            present = fan_in(projection, source)
            most += present
            fan_out = np.broadcast_to(stored_fan_out(projection, source), source)
            stored += float(fan_out.sum())
            stored_synops += float((fan_out * self._fired(self._origin(projection.source))).sum())
            synops += self._synops(projection, key, cut, present)
        return Load(
            cut.per_core(most),
            round(stored),
            int(most.max(initial=0)),
            synops,
            stored_synops,
            cut.per_core(self._fired(origin)),
        )

    def _synops(self, projection: Projection, key: str, cut: Cut, present: NDArray[np.int64]) -> Floats:
        """(N, T, cores) synops of one projection, sample by sample to bound memory; (1, 1, cores) where rates are assumed."""
        full = (key, cut.shape, cut.tile)
        if full not in self.synops:
            source = self._origin(projection.source)
            if self.rates is not None:
                self.synops[full] = self.rates[source.name] * cut.per_core(present)[None, None]
            else:
                frames = np.asarray(to_physical(self.spikes[source.name], source.layout))
                self.synops[full] = np.stack([synops_per_core(projection, cut, sample) for sample in frames])
        return self.synops[full]

    def _origin(self, name: str) -> Population:
        while self.graph.populations[name].kind in LINES:
            name = self.graph.into(name)[0].source
        return self.graph.populations[name]

    def _fired(self, population: Population) -> Floats:
        """Spikes of each neuron per sample: (C, H, W), physical."""
        name = population.name
        if name not in self.fired:
            spikes = self.spikes[name]
            rate = 1.0 if self.rates is None else self.rates[name] * self.graph.steps
            total = rate * fired_in_all(spikes) / len(spikes)
            self.fired[name] = np.asarray(to_physical(total, population.layout))
        return self.fired[name]
