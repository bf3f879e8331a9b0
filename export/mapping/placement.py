"""What a mapping is: how every population is cut into tiles, one tile per core, and what a core holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from export.errors import UsageError
from export.graph import Shape
from hw_configs import Chip

Tile: TypeAlias = tuple[int, int, int]
Counts: TypeAlias = NDArray[np.int64]

RESOURCES = ("neurons", "words", "axon_in", "axon_map", "axon_mem", "groups", "pool")
BOUNDS = (
    "neurons per core",
    "words of synaptic memory per core",
    "input axons, axon map and axon memory per core (estimates)",
    "the pool that a core's memories and neurons share",
    "one population per core",
)
NOT_MODELLED = (
    "several populations on one core",
    "memory for the state of programmable neurons, and for delays of axons and synapses",
)


@dataclass(frozen=True)
class Pool:
    """What the memories and neurons of a core share: memory_share * (used / limit of words and of each axon memory,
    summed) + neuron_share * neurons / limit <= total.
    """

    memory_share: float
    neuron_share: float
    total: float


@dataclass(frozen=True)
class Limits:
    """What one core holds, and how wide synapses are stored there (bits). None: the chip's config does not know it.

    word, conv_overhead, dense_overhead   bits: see `export.mapping.resources`
    axon_pieces, axon_destinations        see `export.mapping.axons`
    """

    chip: str
    neurons: int
    usable_cores: int
    words: int | None = None
    word: int | None = None
    conv_overhead: int | None = None
    dense_overhead: int | None = None
    axon_in: int | None = None
    axon_map: int | None = None
    axon_mem: int | None = None
    axon_pieces: int | None = None
    axon_destinations: int | None = None
    groups: int | None = None
    pool: Pool | None = None

    def cap(self, resource: str) -> float | None:
        """The limit of one of RESOURCES; None: not known. The pool is counted in parts of itself."""
        if resource == "pool":
            return 1.0 if self.pool else None
        value: float | None = getattr(self, resource)
        return value


@dataclass(frozen=True, eq=False)
class Load:
    """What every core of a cut holds, (nc, ny, nx) each. None: a coefficient of its model is unknown.

    words     of synaptic memory
    axon_in, axon_map, axon_mem   entries of the axon tables, estimates
    groups    of neurons
    pool      part of the shared pool, 1 is all of it
    """

    neurons: Counts
    words: Counts | None
    axon_in: Counts | None
    axon_map: Counts | None
    axon_mem: Counts | None
    groups: Counts
    pool: NDArray[np.float64] | None

    def of(self, resource: str) -> NDArray[np.int64] | NDArray[np.float64] | None:
        """One of RESOURCES."""
        value: NDArray[np.int64] | NDArray[np.float64] | None = getattr(self, resource)
        return value


@dataclass(frozen=True, eq=False)
class Cut:
    """How one population is spread over cores.

    shape    physical (C, H, W)
    tile     (x, y, c) of a whole tile; the last ones along each axis may be smaller
    first    number of its first core; x runs fastest, then y, then c
    load     what each core holds
    least    no placement of this population by itself needs fewer cores
    fits     whether every core holds what it has to
    binding  the resource whose limit costs the most cores; "none" for a population on one core
    packets  that its sources send to its cores if each of their neurons fires once; single synapses are not counted
    """

    population: str
    shape: Shape
    tile: Tile
    first: int
    load: Load
    least: int
    fits: bool
    binding: str = "none"
    packets: int = 0

    @property
    def cores(self) -> int:
        """ceil(W / x) * ceil(H / y) * ceil(C / c)."""
        return int(self.load.neurons.size)

    @property
    def words(self) -> Counts:
        """(nc, ny, nx) words of synaptic memory; UsageError where the chip's config does not know how wide they are."""
        if self.load.words is None:
            raise UsageError(
                f"synaptic memory of '{self.population}' is unknown: the hardware config has no core.conv_synapse_overhead, "
                "core.dense_index or core.synaptic_word. Use loihi2, or a config that has them."
            )
        return self.load.words

    def neurons(self) -> Counts:
        """(nc, ny, nx) neurons of each core."""
        return self.load.neurons

    def edges(self, axis: int) -> Counts:
        """First channel (axis 0), row (1) or column (2) of every tile, and the end."""
        return edges_of(self.shape[axis], self.tile[2 - axis])

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
    cuts      population -> cut, in topological order; inputs of spikes have none, the host drives them
    findings  sentences on populations that no core can hold
    warnings  sentences on known faults of the chip that this network may meet
    unchecked limits that could not be checked, with what is unknown
    shared_least   no placement at all needs fewer cores, even with several populations on a core
    """

    chip: Chip
    limits: Limits
    cuts: Mapping[str, Cut]
    findings: tuple[str, ...]
    warnings: tuple[str, ...]
    unchecked: tuple[str, ...]
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


def edges_of(size: int, tile: int) -> Counts:
    """First index of every tile along an axis, and the end."""
    return np.append(np.arange(0, size, tile), size)
