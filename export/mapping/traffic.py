"""Packets between cores, counted exactly: a spike is one packet for each core that it has a stored synapse to.

A convolution joins neurons axis by axis, so the neurons of a source that reach a tile are a product of three sets: of
channels (groups), rows and columns (stride, padding, dilation). Several projections between two populations reach a
union of such products, which is cut into disjoint ones first: a spike that reaches a core by two of them counts once.
Single synapses (`Sparse`) are counted one by one. Stored zeros count: a core keeps and visits them like others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix, kron

from export.errors import DataError
from export.graph import Conv, Dense, Graph, Population, Projection, Shape, Sparse, to_physical
from export.mapping.placement import Cut, Placement, edges_of

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]  # (source channels, rows or columns; tiles of the target along that axis)
Box: TypeAlias = tuple[Mask, Mask, Mask]
Activity: TypeAlias = Mapping[str, "float | NDArray[np.generic]"]
Entries: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], Floats]  # source core, target core, packets

REPEATERS = ("relay", "delay")  # they fire as their source


@dataclass(frozen=True, eq=False)
class Traffic:
    """Packets per sample (all T steps).

    packets   (cores, cores) from a core to another
    local     (cores,) from a core to itself: they never leave it
    host_in   (cores,) from the host
    spikes    (cores,) fired; a delay neuron fires once for every delay that is read
    assumed   populations whose rate was assumed, not measured
    """

    packets: csr_matrix
    local: Floats
    host_in: Floats
    spikes: Floats
    assumed: tuple[str, ...]

    @property
    def total(self) -> float:
        """Packets between different cores."""
        return float(self.packets.sum())


def assumed_activity(graph: Graph, rate: float) -> dict[str, float]:
    """The same rate (spikes per neuron and step) for every population that fires by itself."""
    return {p.name: rate for p in graph.populations.values() if p.kind not in REPEATERS}


def measured_activity(spikes: Mapping[str, NDArray[np.generic]]) -> dict[str, Floats]:
    """Spikes (N, T, C, H, W) of each population -> of each neuron per sample, (C, H, W): the mean of N samples."""
    return {name: fired_in_all(fired) / len(fired) for name, fired in spikes.items()}


def fired_in_all(spikes: NDArray[np.generic]) -> Floats:
    """(N, T, C, H, W) spikes -> (C, H, W): how many of each neuron, exact."""
    total = np.zeros(spikes.shape[2:])
    for frame in spikes.reshape(-1, *spikes.shape[2:]):
        total += frame
    return total


def count_packets(graph: Graph, placement: Placement, activity: Activity) -> Traffic:
    """Count what travels between cores in one sample.

    placement  of this graph
    activity   population -> spikes per neuron and step (a number: assumed, and uniform), or spikes of each neuron per
               sample, (C, H, W), logical; relays and delay neurons may be left out: they fire as their source
    returns    exact counts for whole activities below 2^53; with rates, their expectation
    raises     DataError for a population whose activity is missing, of another shape, negative or not finite
    """
    cores = placement.cores
    host_in, spikes = np.zeros(cores), np.zeros(cores)
    assumed: list[str] = []
    parts: list[Entries] = []
    for population in graph.populations.values():
        fired, uniform = _fired(graph, population, activity)
        if uniform:
            assumed.append(population.name)
        cut = placement.cuts.get(population.name)
        if cut is not None:
            each = cut.neurons().ravel() * fired if isinstance(fired, float) else cut.per_core(fired)
            spikes[cut.first : cut.first + cut.cores] = each * _sends(graph, population)
        for entries in _leaving(graph, population, placement, fired):
            if cut is None:
                host_in += np.bincount(entries[1], entries[2], cores)
            else:
                parts.append((entries[0] + cut.first, entries[1], entries[2]))
    packets, local = _assemble(parts, cores)
    return Traffic(packets, local, host_in, spikes, tuple(assumed))


def population_traffic(traffic: Traffic, placement: Placement) -> dict[tuple[str, str], float]:
    """Packets per sample from population to population, between different cores."""
    names = list(placement.cuts)
    owner = np.repeat(np.arange(len(names)), [cut.cores for cut in placement.cuts.values()])
    entries = traffic.packets.tocoo()
    shape = (len(names), len(names))
    table = coo_matrix((entries.data, (owner[entries.row], owner[entries.col])), shape).tocsr().tocoo()
    return {(names[i], names[j]): float(v) for i, j, v in zip(table.row, table.col, table.data, strict=True)}


def _assemble(parts: list[Entries], cores: int) -> tuple[csr_matrix, Floats]:
    """Matrix of packets between cores, and what stays on a core."""
    rows = np.concatenate([part[0] for part in parts] or [np.zeros(0, dtype=np.int64)])
    columns = np.concatenate([part[1] for part in parts] or [np.zeros(0, dtype=np.int64)])
    values = np.concatenate([part[2] for part in parts] or [np.zeros(0)])
    stays = rows == columns
    local = np.zeros(cores)
    np.add.at(local, rows[stays], values[stays])
    rows, columns, values = rows[~stays], columns[~stays], values[~stays]
    return csr_matrix((values, (rows, columns)), shape=(cores, cores)), local


def _fired(graph: Graph, population: Population, activity: Activity) -> tuple[float | Floats, bool]:
    """Spikes per neuron and sample: a number or (C, H, W), physical; and whether they are assumed."""
    name = population.name
    while name not in activity and graph.populations[name].kind in REPEATERS:
        name = graph.into(name)[0].source
    if name not in activity:
        raise DataError(f"the activity of population '{name}' is missing; give a rate, or spikes of every neuron.")
    given = np.asarray(activity[name], dtype=np.float64)
    if not np.isfinite(given).all() or (given < 0).any():
        raise DataError(f"the activity of population '{name}' must be finite and 0 or more; found {given.min():g}.")
    if given.ndim == 0:
        return float(given) * graph.steps, True
    if given.shape != population.shape:
        raise DataError(f"the activity of '{name}' has shape {given.shape}; its neurons are {population.shape}.")
    return np.asarray(to_physical(given, population.layout), dtype=np.float64), False


def _waits(population: Population, projection: Projection) -> int:
    """What tells packets of one spike apart: the host and delay neurons send again; other delays wait at the synapse."""
    return projection.delay if population.kind in ("input", "delay") else 0


def _sends(graph: Graph, population: Population) -> int:
    """Times that each spike of a population is fired."""
    if population.kind != "delay":
        return 1
    return max(1, len({p.delay for p in graph.out_of(population.name)}))


def _leaving(graph: Graph, population: Population, placement: Placement, fired: float | Floats) -> Iterator[Entries]:
    """Packets of one population: from its own cores, numbered from 0, to all cores."""
    bundles: dict[tuple[str, int], list[Projection]] = {}
    for projection in graph.out_of(population.name):
        bundles.setdefault((projection.target, _waits(population, projection)), []).append(projection)
    shape = population.physical_shape
    own = placement.cuts.get(population.name)
    tile = own.tile if own is not None else (shape[2], shape[1], shape[0])
    for (name, _), projections in bundles.items():
        cut = placement.cuts[name]
        if any(isinstance(p, Sparse) for p in projections):
            rows, columns, values = _single(shape, tile, cut, projections, fired)
        else:
            boxes = _disjoint(_box(p, shape, cut) for p in projections if not isinstance(p, Sparse))
            parts = [_block(shape, tile, box, fired) for box in boxes]
            rows, columns, values = (np.concatenate([part[k] for part in parts]) for k in range(3))
        yield rows, columns + cut.first, values


def _single(
    shape: Shape, tile: tuple[int, int, int], cut: Cut, projections: list[Projection], fired: float | Floats
) -> Entries:
    """Packets where single synapses are among the projections: neuron by neuron."""
    neurons = int(np.prod(shape))
    reach = csr_matrix((neurons, cut.cores), dtype=np.int64)
    for projection in projections:
        if isinstance(projection, Sparse):
            synapses = projection.matrix.tocoo()
            place = (synapses.col, _owners(cut.shape, cut.tile)[synapses.row])
            reach = reach + csr_matrix((np.ones(synapses.nnz, np.int64), place), (neurons, cut.cores))
        else:
            c, y, x = (csr_matrix(mask.astype(np.int64)) for mask in _box(projection, shape, cut))
            reach = reach + kron(kron(c, y), x, format="csr")
    entries = reach.tocoo()
    each = np.broadcast_to(np.asarray(fired), shape).ravel()
    values = each[entries.row]
    sent = values > 0
    return _owners(shape, tile)[entries.row][sent], entries.col[sent].astype(np.int64), values[sent]


def _owners(shape: Shape, tile: tuple[int, int, int]) -> NDArray[np.int64]:
    """Core, numbered from 0, of each neuron in (C, H, W) order."""
    c, y, x = (_tiles(shape[axis], tile[2 - axis]) for axis in range(3))
    return np.asarray(((c[:, None, None] * (y[-1] + 1) + y[:, None]) * (x[-1] + 1) + x).ravel())


@lru_cache(maxsize=4096)
def _tiles(size: int, tile: int) -> NDArray[np.int64]:
    """Tile of each index along an axis."""
    return np.repeat(np.arange(-(-size // tile)), np.diff(edges_of(size, tile)))


def _box(projection: Conv | Dense, source: Shape, cut: Cut) -> Box:
    """Which source channels, rows and columns reach which tiles of the target."""
    x, y, c = cut.tile
    if isinstance(projection, Dense):
        return (
            np.ones((source[0], -(-cut.shape[0] // c)), dtype=np.bool_),
            np.ones((source[1], 1), dtype=np.bool_),
            np.ones((source[2], 1), dtype=np.bool_),
        )
    taps = projection.weight.shape[2:]
    rows, columns = (
        _window(source[1 + a], cut.shape[1 + a], tile, taps[a], projection.stride[a], projection.padding[a], d)
        for a, tile, d in ((0, y, projection.dilation[0]), (1, x, projection.dilation[1]))
    )
    return _groups(source[0], cut.shape[0], c, projection.groups), rows, columns


@lru_cache(maxsize=4096)
def _window(size: int, targets: int, tile: int, taps: int, stride: int, padding: int, dilation: int) -> Mask:
    """(size, tiles): indices along a spatial axis that a tile's neurons read."""
    read = np.arange(targets)[:, None] * stride + np.arange(taps) * dilation - padding
    tiles = np.broadcast_to(_tiles(targets, tile)[:, None], read.shape)
    inside = (read >= 0) & (read < size)
    mask = np.zeros((size, -(-targets // tile)), dtype=np.bool_)
    mask[read[inside], tiles[inside]] = True
    return mask


@lru_cache(maxsize=4096)
def _groups(size: int, targets: int, tile: int, groups: int) -> Mask:
    """(size, tiles): source channels of the groups that a tile holds channels of."""
    held = np.zeros((groups, -(-targets // tile)), dtype=np.bool_)
    held[np.arange(targets) // (targets // groups), _tiles(targets, tile)] = True
    return np.repeat(held, size // groups, axis=0)


def _disjoint(boxes: Iterable[Box]) -> list[Box]:
    """The union of products, as products that share nothing; the largest first, since it may hold the others."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda b: -float(np.prod([mask.sum(dtype=np.float64) for mask in b]))):
        pieces = [box]
        for other in kept:
            pieces = [part for piece in pieces for part in _without(piece, other)]
        kept += pieces
    return kept


def _without(box: Box, other: Box) -> Iterator[Box]:
    """A product less another one: at most three disjoint products."""
    rest = box
    for axis in range(3):
        outside = rest[axis] & ~other[axis]
        if outside.any():
            yield rest[0] if axis else outside, outside if axis == 1 else rest[1], outside if axis == 2 else rest[2]
        shared = rest[axis] & other[axis]
        if not shared.any():
            return
        rest = (shared, rest[1], rest[2]) if axis == 0 else (rest[0], shared if axis == 1 else rest[1], rest[2])


def _block(shape: Shape, tile: tuple[int, int, int], box: Box, fired: float | Floats) -> Entries:
    """Packets of one product, from the source's tiles to the target's."""
    axes = [_pairs(shape[axis], tile[2 - axis], box[axis].tobytes(), box[axis].shape[1]) for axis in range(3)]
    if isinstance(fired, float):
        c, y, x = (members.sum(axis=1, dtype=np.float64) for _, _, members in axes)
        values = c[:, None, None] * y[:, None] * x * fired
    else:
        values = fired
        for axis in sorted(range(3), key=lambda a: len(axes[a][0]) / shape[a]):  # what shrinks most comes first
            values = np.moveaxis(np.tensordot(values, axes[axis][2].astype(np.float64), axes=(axis, 1)), 2, axis)
    sources, targets = _counts(shape, tile, box)
    rows, columns = _numbered([a[0] for a in axes], sources), _numbered([a[1] for a in axes], targets)
    sent = values.ravel() > 0
    return rows[sent], columns[sent], values.ravel()[sent]


def _counts(shape: Shape, tile: tuple[int, int, int], box: Box) -> tuple[list[int], list[int]]:
    """Tiles along each axis, of the source and of the target."""
    return [-(-shape[axis] // tile[2 - axis]) for axis in range(3)], [mask.shape[1] for mask in box]


def _numbered(axes: list[NDArray[np.int64]], counts: list[int]) -> NDArray[np.int64]:
    """Core of each combination of tiles along channels, rows and columns."""
    c, y, x = axes
    return np.asarray(((c[:, None, None] * counts[1] + y[:, None]) * counts[2] + x).ravel())


@lru_cache(maxsize=4096)
def _pairs(size: int, tile: int, mask: bytes, tiles: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Mask]:
    """Pairs (source tile, target tile) that an axis joins, and (pairs, size): the indices that join them."""
    reach = np.frombuffer(mask, dtype=np.bool_).reshape(size, tiles)
    own = _tiles(size, tile)
    joined = np.zeros((own[-1] + 1, tiles), dtype=np.bool_)
    index, target = np.nonzero(reach)
    joined[own[index], target] = True
    sources, targets = np.nonzero(joined)
    return sources, targets, (own == sources[:, None]) & reach[:, targets].T
