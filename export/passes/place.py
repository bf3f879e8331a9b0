"""Pass 8: every population gets cores, as few as the limits of a core allow.

A population is cut into tiles (x, y, c) of its *physical* shape, evenly: along each axis the tile is the smallest for
its number of cuts. One core holds one tile, and one population only. What a core has to hold:

    neurons   of the tile
    words     of synaptic memory, summed over the projections into the population:
      Conv    weights are stored once per core, an input channel and tap in a list of its output channels:
              sum over groups of  in / groups * kH * kW * ceil(channels of the tile in the group * bits / word),
              bits = ceil(log2(max|w|)) + overhead; stored zeros count
      Dense   inputs * ceil(channels of the tile * bits / word)
      Sparse  one word per synapse, the most that a list can need

Source: Intel's compiler on PilotNet (lava-dl's pilotnet_snn notebook), whose five convolutions the first formula gives
exactly; limits and bits are in `hw_configs`, with their evidence. Axons, the pool that the memories share and
populations that share a core are not modelled: `BOUNDS` says so wherever the result is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log2
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from export.errors import UsageError
from export.graph import Conv, Dense, Graph, Projection, Shape
from hw_configs import Chip, Quantity

Tile: TypeAlias = tuple[int, int, int]
Counts: TypeAlias = NDArray[np.int64]

BOUNDS = (
    "neurons per core",
    "words of synaptic memory per core",
    "one population per core",
)
NOT_MODELLED = (
    "input axons, axon maps and axon memory",
    "the pool that a core's memories and neurons share",
    "several populations on one core",
)


@dataclass(frozen=True)
class Limits:
    """What one core holds, and how wide synapses are stored there (bits)."""

    chip: str
    neurons: int
    words: int
    word: int
    conv_overhead: int
    dense_synapse: int
    usable_cores: int


@dataclass(frozen=True)
class Need:
    """Synaptic memory that one projection asks for: what `words_of` reads.

    rows    lists of synapses per group: in / groups * kH * kW (Conv), inputs (Dense)
    groups  of output channels
    bits    per synapse in a list
    each    most single synapses per target neuron, a word each (Sparse)
    """

    rows: int = 0
    groups: int = 1
    bits: int = 0
    each: int = 0


@dataclass(frozen=True, eq=False)
class Cut:
    """How one population is spread over cores.

    shape    physical (C, H, W)
    tile     (x, y, c) of a whole tile; the last ones along each axis may be smaller
    first    number of its first core; x runs fastest, then y, then c
    words    (nc, ny, nx) words of synaptic memory of each core
    least    no placement of this population by itself needs fewer cores
    fits     whether every core holds what it has to
    """

    population: str
    shape: Shape
    tile: Tile
    first: int
    words: Counts
    least: int
    fits: bool

    @property
    def cores(self) -> int:
        """ceil(W / x) * ceil(H / y) * ceil(C / c)."""
        return int(self.words.size)

    def neurons(self) -> Counts:
        """(nc, ny, nx) neurons of each core."""
        c, h, w = (np.diff(self.edges(axis)) for axis in range(3))
        return np.asarray(c[:, None, None] * h[:, None] * w, dtype=np.int64)

    def edges(self, axis: int) -> Counts:
        """First channel (axis 0), row (1) or column (2) of every tile, and the end."""
        return _edges(self.shape[axis], self.tile[2 - axis])

    def per_core(self, values: NDArray[np.generic]) -> NDArray[np.float64]:
        """Sums of (..., C, H, W), physical, over each tile: (..., cores). Exact for counts below 2^53."""
        total = values.astype(np.float64)
        for axis in range(3):
            total = np.add.reduceat(total, self.edges(axis)[:-1], axis=axis - 3)
        return np.asarray(total.reshape(*total.shape[:-3], self.cores))


@dataclass(frozen=True, eq=False)
class Placement:
    """Where every population runs.

    chip      what it runs on; core n is on chip n // limits.usable_cores
    limits    of one core
    cuts      population -> cut, in topological order; inputs have none, the host drives them
    findings  sentences on populations that no core can hold
    warnings  sentences on known faults of the chip that this network may meet
    shared_least   no placement at all needs fewer cores, even with several populations on a core
    """

    chip: Chip
    limits: Limits
    cuts: Mapping[str, Cut]
    findings: tuple[str, ...]
    warnings: tuple[str, ...]
    shared_least: int

    @property
    def fits(self) -> bool:
        """Whether every core holds what it has to."""
        return not self.findings

    @property
    def cores(self) -> int:
        """All cores."""
        return sum(cut.cores for cut in self.cuts.values())

    @property
    def chips(self) -> int:
        """Chips that these cores fill."""
        return -(-self.cores // self.limits.usable_cores)

    @property
    def least(self) -> int:
        """Lower bound with one population per core."""
        return sum(cut.least for cut in self.cuts.values())


def place(graph: Graph, chip: Chip) -> Placement:
    """Give every population but the inputs its cores.

    needs    grammar "balanced"
    ensures  on every core of a cut that fits: neurons and words within the chip's limits; the fewest cores of all even
             cuts, then the smallest load. A population that no core can hold becomes a finding, never an error
    raises   UsageError when the chip's config lacks a limit
    """
    limits = core_limits(chip)
    cuts: dict[str, Cut] = {}
    findings: list[str] = []
    all_words, first = 0, 0
    for population in graph.populations.values():
        if population.kind == "input":
            continue
        projections = graph.into(population.name)
        needs = tuple(_need(p, graph.populations[p.source].neurons, limits) for p in projections)
        shape = population.physical_shape
        tile, fits = best_tile(shape, needs, limits)
        words = _words_of_cores(shape, tile, projections, needs, limits)
        whole = int(words_of(needs, shape[0], shape[0], limits.word)[0]) + sum(_singles(p) for p in projections)
        least = max(ceil(population.neurons / limits.neurons), ceil(whole / limits.words))
        if not fits:
            findings.append(_finding(population.name, int(words.max()), limits))
        cuts[population.name] = Cut(population.name, shape, tile, first, words, least, fits)
        first += cuts[population.name].cores
        all_words += whole
    neurons = sum(graph.populations[name].neurons for name in cuts)
    shared = max(ceil(neurons / limits.neurons), ceil(all_words / limits.words))
    return Placement(chip, limits, cuts, tuple(findings), _erratum(graph, cuts, chip), shared)


def core_limits(chip: Chip) -> Limits:
    """The chip's limits; UsageError naming one that its config does not know."""
    core = chip.core

    def known(name: str, quantity: Quantity) -> int:
        if quantity.value is None:
            raise UsageError(
                f"hardware config '{chip.name}' has no value for {name} ({quantity.source}), so nothing can be placed on it. "
                "Use loihi2, or a config that has one."
            )
        return int(quantity.value)

    return Limits(
        chip.name,
        known("core.neurons", core.neurons),
        known("core.synaptic_words", core.synaptic_words),
        known("core.synaptic_word", core.synaptic_word),
        known("core.conv_synapse_overhead", core.conv_synapse_overhead),
        known("core.dense_synapse", core.dense_synapse),
        known("usable_cores", chip.usable_cores),
    )


@lru_cache(maxsize=4096)
def best_tile(shape: Shape, needs: tuple[Need, ...], limits: Limits) -> tuple[Tile, bool]:
    """Tile (x, y, c) of the fewest cores within the limits, then of the fewest neurons and words per core.

    returns  the tile and whether it fits; if none does, the tile that needs the fewest words
    """
    channels, height, width = shape
    each = sum(need.each for need in needs)
    widths = _sides(width)
    best: tuple[int, int, int, int, int, int] | None = None
    for c in _sides(channels):
        words = int(words_of(needs, channels, int(c), limits.word).max())
        room = limits.neurons if not each else min(limits.neurons, (limits.words - words) // each)
        if words > limits.words or room < c:
            continue
        x = widths[widths * c <= room]
        y = np.minimum(height, room // (x * c))
        y = -(-height // -(-height // y))
        cores = -(-width // x) * -(-height // y) * -(-channels // int(c))
        i = int(np.lexsort((abs(x - y), x * y, cores))[0])
        found = (int(cores[i]), int(x[i] * y[i] * c), words, int(x[i]), int(y[i]), int(c))
        best = found if best is None else min(best, found)
    if best is not None:
        return (best[3], best[4], best[5]), True
    x_pixels = min(width, limits.neurons)
    return (x_pixels, min(height, max(1, limits.neurons // x_pixels)), 1), False


def words_of(needs: tuple[Need, ...], channels: int, c: int, word: int) -> Counts:
    """Words of synaptic memory per slice of c output channels (ceil(channels / c),), without single synapses."""
    total = np.zeros(len(_edges(channels, c)) - 1, dtype=np.int64)
    for need in set(needs):
        if need.rows:
            total += needs.count(need) * need.rows * _lists(channels, need.groups, c, need.bits, word)
    return total


@lru_cache(maxsize=65536)
def _lists(channels: int, groups: int, c: int, bits: int, word: int) -> Counts:
    """Words of one list of synapses per slice, summed over the groups that the slice meets."""
    slices = _edges(channels, c)
    pieces = np.union1d(slices, np.arange(0, channels + 1, channels // groups))
    words = -(-np.diff(pieces) * bits // word)
    return np.asarray(np.add.reduceat(words, np.searchsorted(pieces, slices[:-1])), dtype=np.int64)


def _edges(size: int, tile: int) -> Counts:
    return np.append(np.arange(0, size, tile), size)


def _sides(size: int) -> Counts:
    """Tile sides of all even cuts: the smallest for each number of tiles."""
    return np.asarray(np.unique(-(-size // np.arange(1, size + 1))), dtype=np.int64)


def _need(projection: Projection, inputs: int, limits: Limits) -> Need:
    if isinstance(projection, Conv):
        _, ins, *kernel = projection.weight.shape
        largest = max(1, int(np.abs(projection.weight).max()))
        bits = ceil(log2(largest)) + limits.conv_overhead
        return Need(ins * kernel[0] * kernel[1], projection.groups, bits)
    if isinstance(projection, Dense):
        return Need(inputs, 1, limits.dense_synapse)
    return Need(each=int(np.diff(projection.matrix.indptr).max(initial=0)))


def _singles(projection: Projection) -> int:
    return 0 if isinstance(projection, (Conv, Dense)) else int(projection.matrix.nnz)


def _words_of_cores(
    shape: Shape, tile: Tile, projections: list[Projection], needs: tuple[Need, ...], limits: Limits
) -> Counts:
    """(nc, ny, nx) words of each core."""
    edges = [_edges(shape[axis], tile[2 - axis]) for axis in range(3)]
    counts = [len(e) - 1 for e in edges]
    words = np.broadcast_to(words_of(needs, shape[0], tile[2], limits.word)[:, None, None], counts).copy()
    for projection in projections:
        if not isinstance(projection, (Conv, Dense)):
            synapses = np.diff(projection.matrix.indptr).astype(np.int64).reshape(shape)
            for axis in range(3):
                synapses = np.add.reduceat(synapses, edges[axis][:-1], axis=axis)
            words += synapses
    return words


def _finding(name: str, words: int, limits: Limits) -> str:
    return (
        f"population '{name}' needs {words:,} words of synaptic memory on a core that holds a single channel of it; "
        f"{limits.chip} has {limits.words:,}. Give its neurons a smaller fan-in: fewer input channels, a smaller kernel, "
        "or fewer blocks on its residual stream."
    )


def _erratum(graph: Graph, cuts: Mapping[str, Cut], chip: Chip) -> tuple[str, ...]:
    """Convolutions wider than the chip is known to handle."""
    safe = chip.safe_conv_width
    if safe.value is None:
        return ()
    wide = [
        name
        for name, cut in cuts.items()
        if cut.shape[2] > safe.value and any(isinstance(p, Conv) for p in graph.into(name))
    ]
    return tuple(
        f"population '{name}' is {cuts[name].shape[2]} wide; {chip.name} may drop spikes in convolutions wider than "
        f"{safe.value:g} ({safe.source})."
        for name in wide
    )
