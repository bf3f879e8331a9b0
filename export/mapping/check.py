"""Recount of a placement: every core's load and every limit, from the graph and the cuts alone.

Written apart from the partitioner: it shares only the types with `resources`, `axons` and `partition`, reads limits from
the chip itself, and counts by enumerating destinations where they use masks and products. Slower, and plainer.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from export.graph import Conv, Dense, Graph, Sparse
from export.mapping.placement import Cut, Placement
from hw_configs import Chip

Grid = NDArray[np.float64]  # (nc, ny, nx)
Ranges = list[range]
MEMORIES = ("words", "axon_in", "axon_map", "axon_mem")


def faults(graph: Graph, placement: Placement) -> tuple[str, ...]:
    """Sentences on everything that is wrong with a placement: numbers that differ from a recount, broken limits of a
    population that is said to fit, cores missing or taken twice. Empty for a sound one.
    """
    found: list[str] = []
    first = 0
    for name, population in graph.populations.items():
        if population.kind == "input" and population.lif is None:
            continue
        cut = placement.cuts.get(name)
        if cut is None:
            found.append(f"population '{name}' has no cores")
            continue
        if cut.shape != population.physical_shape or cut.first != first:
            found.append(f"population '{name}' has shape {cut.shape} from core {cut.first}; expected {first}")
        first += cut.cores
        found += _of_population(graph, placement, cut)
    return tuple(found)


def recount(graph: Graph, placement: Placement, name: str) -> dict[str, Grid]:
    """Resource -> (nc, ny, nx) of one population; what the chip's config does not know is left out."""
    cut, chip = placement.cuts[name], placement.chip
    channels, rows, columns = _tiles(cut)
    sizes = [np.array([len(r) for r in side], dtype=float) for side in (channels, rows, columns)]
    neurons = np.einsum("i,j,k->ijk", *sizes)
    loads: dict[str, Grid] = {"neurons": neurons, "groups": np.ones_like(neurons)}
    single = _singles(graph, cut, chip)
    words = _words(graph, cut, chip)
    if words is not None:
        loads["words"] = single["words"] + words[:, None, None]
    if chip.core.axon_pieces.value is not None:
        driven = graph.populations[name].kind == "input"
        f = np.array([_pieces(len(r), driven, chip.core.axon_pieces.value) for r in channels])
        loads["axon_in"] = single["lists"] + _inputs(graph, name, f)[:, None, None]
        loads["axon_map"] = _map(graph, name, neurons, f, sizes)
        if chip.core.axon_destinations.value is not None:
            loads["axon_mem"] = _memory(graph, placement, cut, f, sizes, chip.core.axon_destinations.value)
    pool = _pool(loads, chip)
    return loads if pool is None else {**loads, "pool": pool}


def _of_population(graph: Graph, placement: Placement, cut: Cut) -> Iterator[str]:
    loads, caps = recount(graph, placement, cut.population), _caps(placement.chip)
    covered = sum(len(c) * len(y) * len(x) for c in _tiles(cut)[0] for y in _tiles(cut)[1] for x in _tiles(cut)[2])
    if covered != graph.populations[cut.population].neurons:
        yield f"population '{cut.population}' has {covered:,} neurons on its cores, not all of them"
    fits = True
    for name, grid in loads.items():
        told = cut.load.of(name)
        if told is None or told.shape != grid.shape or not np.allclose(told, grid, rtol=1e-9, atol=0):
            yield f"population '{cut.population}': {name} per core differs from a recount"
        cap = caps.get(name)
        over = cap is not None and bool((grid > cap * (1 + 1e-9)).any())
        fits &= not over
        if over and cut.fits:
            yield f"population '{cut.population}': a core holds {grid.max():,.4g} {name}, its limit is {cap:,.4g}"
    if fits and not cut.fits:
        yield f"population '{cut.population}' is said not to fit, but every limit holds"


def _caps(chip: Chip) -> dict[str, float]:
    core = chip.core
    values = {
        "neurons": core.neurons.value,
        "words": core.synaptic_words.value,
        "axon_in": core.axon_in.value,
        "axon_map": core.axon_map.value,
        "axon_mem": core.axon_mem.value,
        "groups": core.neuron_groups.value,
        "pool": 1.0,
    }
    return {name: value for name, value in values.items() if value is not None}


def _tiles(cut: Cut) -> tuple[Ranges, Ranges, Ranges]:
    """Channels, rows and columns of the tiles."""
    x, y, c = cut.tile
    sides = zip(cut.shape, (c, y, x), strict=True)
    channels, rows, columns = ([range(a, min(a + side, n)) for a in range(0, n, side)] for n, side in sides)
    return channels, rows, columns


def _width(values: NDArray[np.generic]) -> int:
    return ceil(log2(max(1, int(np.abs(values).max(initial=0)))))


def _words(graph: Graph, cut: Cut, chip: Chip) -> Grid | None:
    """(nc,) words of lists that belong to channels."""
    word, overhead, index = (
        chip.core.synaptic_word.value,
        chip.core.conv_synapse_overhead.value,
        chip.core.dense_index.value,
    )
    if (
        word is None
        or overhead is None
        or (index is None and not all(isinstance(p, Conv) for p in graph.into(cut.population)))
    ):
        return None
    slices = _tiles(cut)[0]
    total = np.zeros(len(slices))
    for p in graph.into(cut.population):
        if isinstance(p, Sparse):
            continue
        out = p.weight.shape[0]
        size = out // (p.groups if isinstance(p, Conv) else 1)
        bits = _width(p.weight) + overhead + (0 if isinstance(p, Conv) else float(index or 0))
        lists = int(np.prod(p.weight.shape[1:]))
        for i, channels in enumerate(slices):
            for group in range(channels[0] // size, channels[-1] // size + 1):
                here = min(channels[-1], (group + 1) * size - 1) - max(channels[0], group * size) + 1
                total[i] += lists * ceil(here * bits / word)
    return total


def _singles(graph: Graph, cut: Cut, chip: Chip) -> dict[str, Grid]:
    """Lists of single synapses on each core, one per source neuron, and their words."""
    word, overhead, index = (
        chip.core.synaptic_word.value,
        chip.core.conv_synapse_overhead.value,
        chip.core.dense_index.value,
    )
    tiles = _tiles(cut)
    lists, words = np.zeros([len(t) for t in tiles]), np.zeros([len(t) for t in tiles])
    ids = np.arange(np.prod(cut.shape)).reshape(cut.shape)
    for p in graph.into(cut.population):
        if not isinstance(p, Sparse):
            continue
        for at in np.ndindex(*lists.shape):
            c, y, x = (tiles[axis][at[axis]] for axis in range(3))
            part = csr_matrix(p.matrix)[
                ids[c[0] : c[-1] + 1, y[0] : y[-1] + 1, x[0] : x[-1] + 1].ravel().tolist()
            ].tocsc()
            synapses = np.diff(part.indptr)
            lists[at] += np.count_nonzero(synapses)
            if word is not None and overhead is not None and index is not None:
                words[at] += np.ceil(synapses * (_width(p.matrix.data) + overhead + index) / word).sum()
    return {"lists": lists, "words": words}


def _pieces(channels: int, driven: bool, pieces: float) -> float:
    return 1 if driven or bin(channels).count("1") == 1 else pieces


def _inputs(graph: Graph, name: str, f: Grid) -> Grid:
    total = np.ones(len(f)) if graph.populations[name].kind == "input" else np.zeros(len(f))
    for p in graph.into(name):
        if isinstance(p, Conv):
            total += f
        elif isinstance(p, Dense):
            total += graph.populations[p.source].neurons
    return total


def _map(graph: Graph, name: str, neurons: Grid, f: Grid, sizes: list[Grid]) -> Grid:
    out = graph.out_of(name)
    by_pixel = any(isinstance(p, Conv) for p in out)
    by_neuron = not out or name in graph.outputs or not all(isinstance(p, Conv) for p in out)
    total = np.zeros_like(neurons)
    if by_pixel:
        total += np.einsum("i,j,k->ijk", f, sizes[1], sizes[2])
    if by_neuron:
        total += neurons
    return total


def _memory(graph: Graph, placement: Placement, cut: Cut, f: Grid, sizes: list[Grid], destinations: float) -> Grid:
    """Entries of axon memory: every pixel's list names each core that anything on this core reaches."""
    total = np.zeros([len(s) for s in sizes])
    for p in graph.out_of(cut.population):
        if isinstance(p, Conv):
            reach = _reach(p, cut, placement.cuts[p.target])
            total += np.einsum("i,j,k->ijk", f * reach[0], sizes[1] * reach[1], sizes[2] * reach[2])
    return np.asarray(np.ceil(total / destinations))


def _reach(conv: Conv, source: Cut, target: Cut) -> list[Grid]:
    """Per axis, (tiles,) tiles of the target that each tile of the source reaches."""
    x, y, c = target.tile
    out, ins = conv.weight.shape[0] // conv.groups, conv.weight.shape[1]
    found: list[dict[int, set[int]]] = [{}, {}, {}]
    for group in range(conv.groups):
        slices = {o // c for o in range(group * out, (group + 1) * out)}
        found[0] |= dict.fromkeys(range(group * ins, (group + 1) * ins), slices)
    for axis, side in ((1, y), (2, x)):
        stride, padding, dilation = (v[axis - 1] for v in (conv.stride, conv.padding, conv.dilation))
        for o in range(target.shape[axis]):
            for tap in range(conv.weight.shape[axis + 1]):
                found[axis].setdefault(o * stride - padding + tap * dilation, set()).add(o // side)
    return [
        np.array([len(set().union(*(found[axis].get(i, set()) for i in tile))) for tile in tiles], dtype=float)
        for axis, tiles in enumerate(_tiles(source))
    ]


def _pool(loads: dict[str, Grid], chip: Chip) -> Grid | None:
    core, caps = chip.core, _caps(chip)
    memory, share, limit = core.pool_memory_share.value, core.pool_neuron_share.value, core.pool_limit.value
    if memory is None or share is None or limit is None or not all(n in loads and n in caps for n in MEMORIES):
        return None
    if core.dense_index.value is None:
        return None  # a network has no sum if some of its layers could have none
    filled = sum(memory * loads[name] / caps[name] for name in MEMORIES) + share * loads["neurons"] / caps["neurons"]
    return np.asarray(filled / limit)
