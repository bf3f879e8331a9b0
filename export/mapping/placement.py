"""What a mapping is: how every population is cut into tiles, one tile per core, and what a core holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from export.graph import Shape
from hw_configs import Chip

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


def edges_of(size: int, tile: int) -> Counts:
    """First index of every tile along an axis, and the end."""
    return np.append(np.arange(0, size, tile), size)
