"""A whole network of Lava processes as one: its cells, stepped together through Lava's time.

One Lava step takes every population one step further. A synapse adds one step, as in stock Lava: what it delivers at
step t comes from the spikes of step t - 1, or of `lag` steps before. So all cells of a step are independent of each
other, and are shared out among threads. Nothing here knows T, samples or arrival steps: delays and resets are those of
the processes that were fused, and where they are wrong, the spikes are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from export.lava.cells import DenseSynapses, Ints, Neurons, Spikes, Synapses
from export.lava.job import SMALL

SLAB = 1 << 16  # sums that are computed at a time: they stay in a core's own cache

Shape = tuple[int, int, int]


@dataclass
class Record:
    """Spikes of a cell, `lag` steps late, written to row step - first_step of an existing `.npy` file."""

    path: str
    first_step: int
    lag: int
    rows: Spikes | None = None

    def write(self, cell: Cell, step: int, x0: int, x1: int) -> None:
        """Write columns x0 to x1 of a step."""
        rows = self.rows
        if rows is None:  # opened in the process that records; two threads may both do it
            rows = self.rows = np.load(self.path, mmap_mode="r+")
        row = step - self.first_step
        if 0 <= row < len(rows):
            rows[row, x0:x1] = cell.at(step - self.lag)[x0:x1]


@dataclass
class Cell(ABC):
    """Something that fires: a ring of the last maps of its spikes.

    name     of the process, for messages
    shape    (W, H, C)
    longest  most steps before the present that anybody asks for, beyond the one that a synapse adds
    """

    name: str
    shape: Shape
    longest: int = 0
    records: list[Record] = field(default_factory=list)
    ring: Spikes | None = None

    def at(self, step: int) -> Spikes:
        """The spikes (W, H, C) of a step, of `longest` + 1 steps ago at most; silence before step 1."""
        if self.ring is None:
            self.ring = np.zeros((self.longest + 2, *self.shape), np.uint8)
        spikes: Spikes = self.ring[step % len(self.ring)]
        return spikes

    @abstractmethod
    def fire(self, step: int, x0: int, x1: int, sums: Ints) -> None:
        """Compute columns x0 to x1 of a step; sums: (x1 - x0, H, C) of zeros, to be left so."""

    @property
    def divisible(self) -> bool:
        """Whether columns can be computed apart."""
        return True


@dataclass
class SourceCell(Cell):
    """Plays row k of a file at step first_step + k, and silence before and after (`SpikeSource`)."""

    path: str = ""
    first_step: int = 1
    rows: Spikes | None = None

    def fire(self, step: int, x0: int, x1: int, sums: Ints) -> None:
        """Copy this step's row."""
        if self.rows is None:
            self.rows = np.load(self.path, mmap_mode="r")
        row = step - self.first_step
        self.at(step)[x0:x1] = self.rows[row, x0:x1] if 0 <= row < len(self.rows) else 0


@dataclass(frozen=True)
class Feed:
    """Synapses into a cell: they deliver at step t what `source` fired at step t - 1 - lag."""

    source: Cell
    lag: int
    synapses: Synapses


@dataclass
class FedCell(Cell):
    """A cell that adds up what its synapses deliver."""

    feeds: Sequence[Feed] = ()

    @property
    def divisible(self) -> bool:
        """All-to-all synapses compute all their sums at once."""
        return not any(isinstance(feed.synapses, DenseSynapses) for feed in self.feeds)

    def collect(self, step: int, x0: int, sums: Ints) -> None:
        """Add everything that arrives at a step."""
        for feed in self.feeds:
            feed.synapses.add(feed.source.at(step - 1 - feed.lag), sums, x0)


@dataclass
class LifCell(FedCell):
    """`LIF` or `LIFReset`."""

    neurons: Neurons | None = None

    def fire(self, step: int, x0: int, x1: int, sums: Ints) -> None:
        """Collect, integrate, fire."""
        assert self.neurons is not None
        self.collect(step, x0, sums)
        self.neurons.fire(sums, self.at(step)[x0:x1], step, x0)


@dataclass
class DelayCell(FedCell):
    """`DelayNeuron`: its taps are lags of who reads it."""

    vth: int = 0

    def fire(self, step: int, x0: int, x1: int, sums: Ints) -> None:
        """Collect, and compare with the threshold."""
        self.collect(step, x0, sums)
        self.at(step)[x0:x1] = sums > self.vth
        sums[:] = 0


class Program:
    """All cells of a network, stepped together.

    threads  that share the work of a step; they are started in the process that steps
    """

    def __init__(self, cells: Sequence[Cell], threads: int) -> None:
        self.cells = tuple(cells)
        neurons = sum(int(np.prod(cell.shape)) for cell in self.cells)
        self.slabs = sorted(
            (slab for cell in self.cells for slab in _slabs(cell)),
            key=lambda slab: -_size(slab[0].shape, slab[2] - slab[1]),
        )
        self.threads = 1 if neurons < SMALL else max(1, min(threads, len(self.slabs)))
        self.room = max((_size(cell.shape, x1 - x0) for cell, x0, x1 in self.slabs), default=0)
        self.scratch: list[Ints] = []
        self.pool: ThreadPoolExecutor | None = None

    def step(self, step: int) -> None:
        """Take every cell through one Lava step (1-based, ascending by one)."""
        if not self.scratch:
            self._start()
        waiting = deque(self.slabs)  # largest first; whoever is free takes the next
        others = [self.pool.submit(_work, waiting, step, sums) for sums in self.scratch[1:]] if self.pool else []
        _work(waiting, step, self.scratch[0])
        for other in others:
            other.result()

    def _start(self) -> None:
        """Everything that must not be made before the fork: threads, and memory of this process."""
        for cell in self.cells:
            cell.at(0)
        self.scratch = [np.zeros(self.room, np.int32) for _ in range(self.threads)]
        if self.threads > 1:
            self.pool = ThreadPoolExecutor(self.threads - 1)


def _work(waiting: deque[tuple[Cell, int, int]], step: int, scratch: Ints) -> None:
    """Compute slabs until none waits."""
    while True:
        try:
            cell, x0, x1 = waiting.popleft()
        except IndexError:
            return
        sums = scratch[: _size(cell.shape, x1 - x0)].reshape(x1 - x0, *cell.shape[1:])
        cell.fire(step, x0, x1, sums)
        for record in cell.records:
            record.write(cell, step, x0, x1)


def _slabs(cell: Cell) -> list[tuple[Cell, int, int]]:
    """A cell's map in runs of columns of at most SLAB neurons, as far as that is possible."""
    width = cell.shape[0]
    columns = max(1, min(width, SLAB // max(1, _size(cell.shape, 1)))) if cell.divisible else width
    return [(cell, x0, min(width, x0 + columns)) for x0 in range(0, width, columns)]


def _size(shape: Shape, columns: int) -> int:
    return columns * shape[1] * shape[2]
