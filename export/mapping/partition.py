"""Pass 8: every population gets cores, as few as the limits of a core allow.

A population is cut into tiles (x, y, c) of its *physical* shape, evenly: along each axis the tile is the smallest for
its number of cuts. One core holds one tile, and one population only. What a core holds: `export.mapping.resources`.

The axon memory of a core depends on the tiles of those who read it, so populations are cut in reverse topological
order: whoever reads a population has been cut before it. All cuts are looked at, in three axes and under all limits at
once: a cut in C sends every input spike to more cores, one in X or Y sends those at its border to more cores, and
either stores weights again. Of the cuts with the fewest cores the one whose sources send the fewest packets wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from export.errors import DataError, UsageError
from export.graph import Conv, Graph, Population, Projection
from export.mapping.axons import Reader, copies, link_of, most_reached, pieces_of
from export.mapping.bound import least_cores, shared_least
from export.mapping.findings import erratum, finding, unchecked
from export.mapping.placement import RESOURCES, Counts, Cut, Limits, Placement, Tile
from export.mapping.resources import Need, Profile, core_limits, load_of, need_of, pool_of, words_of
from hw_configs import Chip

SLACK = 0.02  # fewer packets let those who send them hold more neurons: less is not fewer cores in all


def place(graph: Graph, chip: Chip, *, tiles: Mapping[str, Tile] | None = None, slack: float = SLACK) -> Placement:
    """Give every population its cores, but the inputs of spikes, which the host sends.

    tiles    population -> tile (x, y, c) to take as it is, for comparing mappings
    slack    part of more cores that a population may take if that saves packets
    needs    grammar "balanced"
    ensures  on every core of a cut that fits: every known limit of the chip; without slack the fewest cores of all even
             cuts, given the cuts of those who read it, then the fewest packets, then the smallest load. A population
             that no core can hold becomes a finding, never an error
    raises   HardwareConfigError when the chip's config lacks what nothing can be placed without; DataError for a
             population without neurons; UsageError for a tile that is none
    """
    limits, given = core_limits(chip), dict(tiles or {})
    placed = [p for p in graph.populations.values() if p.kind != "input" or p.lif is not None]
    _check(placed, given)
    into: dict[str, list[Projection]] = {name: [] for name in graph.populations}
    out: dict[str, list[Projection]] = {name: [] for name in graph.populations}
    for projection in graph.projections:
        into[projection.target].append(projection)
        out[projection.source].append(projection)
    chosen: dict[str, Choice] = {}
    profiles: dict[str, Profile] = {}
    for population in reversed(placed):
        name = population.name
        profiles[name] = _profile(graph, population, into[name], out[name], chosen, limits)
        tile = given.get(name)
        chosen[name] = (
            choose(profiles[name], limits, slack) if tile is None else _as_given(profiles[name], tile, limits)
        )
    cuts: dict[str, Cut] = {}
    findings: list[str] = []
    first = 0
    for name in [p.name for p in placed]:
        load = load_of(profiles[name], chosen[name].tile, into[name], limits)
        told = finding(name, load, limits, given=name in given)
        findings += [told] if told else []
        least = least_cores(profiles[name], into[name], limits)
        shape, choice = profiles[name].shape, chosen[name]
        cuts[name] = Cut(name, shape, choice.tile, first, load, least, told is None, choice.binding, choice.packets)
        first += cuts[name].cores
    shared = shared_least([(profiles[name], into[name]) for name in cuts], limits)
    return Placement(chip, limits, cuts, tuple(findings), erratum(graph, cuts, chip), unchecked(chip, limits), shared)


def _check(placed: Sequence[Population], tiles: Mapping[str, Tile]) -> None:
    """DataError for a population without neurons, UsageError for a tile that is none."""
    shapes = {population.name: population.physical_shape for population in placed}
    for name, shape in shapes.items():
        if min(shape) < 1:
            raise DataError(
                f"population '{name}' has shape {shape}: 0 neurons, and at least 1 is needed to place it. Remove the layer, "
                "or give it a larger input."
            )
    for name, tile in tiles.items():
        if name not in shapes:
            raise UsageError(f"a tile is given for '{name}', which is no population that takes cores.")
        if not all(1 <= side <= size for side, size in zip(tile, reversed(shapes[name]), strict=True)):
            raise UsageError(
                f"tile {tile} (x, y, c) of '{name}' does not lie within its shape {shapes[name]} (C, H, W)."
            )


def _profile(
    graph: Graph,
    population: Population,
    into: list[Projection],
    out: list[Projection],
    chosen: Mapping[str, Choice],
    limits: Limits,
) -> Profile:
    """What decides about a population's cut, those of its readers being known."""
    needs, readers = [], []
    for p in into:
        source = graph.populations[p.source]
        link = link_of(p, source.physical_shape, population.physical_shape) if isinstance(p, Conv) else None
        needs.append(need_of(p, source.neurons, limits, link))
    for p in out:
        if isinstance(p, Conv):
            target = graph.populations[p.target]
            readers.append(Reader(link_of(p, population.physical_shape, target.physical_shape), chosen[p.target].tile))
    listed = population.name in graph.outputs or len(readers) < len(out) or not out
    return Profile(population.physical_shape, tuple(needs), tuple(readers), listed, population.kind == "input")


@dataclass(frozen=True)
class Choice:
    """A tile, the resource that asks for it, and the packets that it costs."""

    tile: Tile
    binding: str
    packets: int


@dataclass(frozen=True, eq=False)
class _Cuts:
    """All even cuts of a population. Grids are (sides of c, of y, of x) and tell the fullest core, or a little more.

    used    resource -> grid, in units of its limit: above 1 it does not fit. What is unknown is left out
    cores, packets   grids
    """

    sides: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    cores: Counts
    packets: Counts
    used: Mapping[str, NDArray[np.float64]]

    def fitting(self, left_out: str = "") -> NDArray[np.bool_]:
        """Cuts within all limits, or all but one."""
        fits = np.ones(self.cores.shape, dtype=bool)
        for name, used in self.used.items():
            if name != left_out:
                fits &= used <= 1 + 1e-12
        return fits

    def tile(self, index: int) -> Tile:
        """(x, y, c) of a flat index."""
        c, y, x = np.unravel_index(index, self.cores.shape)
        return self.sides[2][x], self.sides[1][y], self.sides[0][c]


@lru_cache(maxsize=4096)
def choose(profile: Profile, limits: Limits, slack: float = SLACK) -> Choice:
    """The best tile; where none fits, the best of those that overdraw the limits no more than a single neuron does."""
    cuts = _all_cuts(profile, limits)
    fits = cuts.fitting()
    binding = _binding(cuts, fits)
    if not fits.any():
        fits = _overdrawn_least(cuts)
    index = _best(cuts, fits, slack)
    return Choice(cuts.tile(index), binding, int(cuts.packets.flat[index]))


def _overdrawn_least(cuts: _Cuts) -> NDArray[np.bool_]:
    """Where nothing fits: cuts that break no other limit than a core with a single neuron does, and none by more."""
    least = {name: float(used[0, 0, 0]) for name, used in cuts.used.items()}
    broken = any(used > 1 for name, used in least.items() if name != "pool")
    fits = np.ones(cuts.cores.shape, dtype=bool)
    for name, used in cuts.used.items():
        if (
            name != "pool" or not broken
        ):  # the pool holds what breaks another limit: it then says nothing about the rest
            fits &= used <= max(1.0, least[name])
    return fits


def _best(cuts: _Cuts, fits: NDArray[np.bool_], slack: float) -> int:
    """Flat index: fewest packets within the slack, then fewest cores, then the least full core, then the squarest."""
    fewest = int(cuts.cores[fits].min())
    fits = fits & (cuts.cores <= int(fewest * (1 + slack)))
    found = np.flatnonzero(fits)
    full = np.max([used.flat[found] for used in cuts.used.values()], axis=0)
    y, x = np.meshgrid(cuts.sides[1], cuts.sides[2], indexing="ij")
    square = np.broadcast_to(abs(x - y), cuts.cores.shape).flat[found]
    order = np.lexsort((square, full, cuts.cores.flat[found], cuts.packets.flat[found]))
    return int(found[order[0]])


def _binding(cuts: _Cuts, fits: NDArray[np.bool_]) -> str:
    """The resource whose limit costs the most cores; where lifting no single one helps, the fullest."""
    if fits.any() and int(cuts.cores[fits].min()) == 1:
        return "none"
    without = {name: cuts.fitting(name) for name in cuts.used}
    fewest = {name: int(cuts.cores[f].min()) for name, f in without.items() if f.any()}
    full = {name: float(used[fits].max() if fits.any() else used[0, 0, 0]) for name, used in cuts.used.items()}
    return min(full, key=lambda name: (fewest.get(name, cuts.cores.max() + 1), -full[name], RESOURCES.index(name)))


def _as_given(profile: Profile, tile: Tile, limits: Limits) -> Choice:
    """A tile that was asked for."""
    cuts = _all_cuts(profile, limits)
    fits = cuts.fitting()
    packets = _packets(profile, ((tile[2],), (tile[1],), (tile[0],)))
    return Choice(tile, _binding(cuts, fits), int(packets.item()))


def _all_cuts(profile: Profile, limits: Limits) -> _Cuts:
    """Every even cut with what its fullest core holds."""
    channels, height, width = profile.shape
    sides = _sides(channels), _sides(height), _sides(width)
    c, y, x = np.array(sides[0])[:, None, None], np.array(sides[1])[:, None], np.array(sides[2])
    pixels, neurons = y * x + 0 * c, c * y * x
    cores = -(-channels // c) * -(-height // y) * -(-width // x)
    words = _most_words(profile, sides[0], limits)
    if words is not None:
        words = sum(
            (_most_singles(need, neurons, limits) for need in profile.needs), words[:, None, None] + 0 * neurons
        )
    axons = _most_axons(profile, sides, pixels, neurons, limits)
    held = (neurons, words, *axons, np.ones_like(neurons), pool_of(neurons, (words, *axons), limits))
    used: dict[str, NDArray[np.float64]] = {}
    for name, grid in zip(RESOURCES, held, strict=True):
        cap = limits.cap(name)
        if grid is not None and cap is not None:
            used[name] = np.asarray(grid / cap, dtype=np.float64)
    return _Cuts(sides, np.asarray(cores), _packets(profile, sides), used)


def _most_singles(need: Need, neurons: Counts, limits: Limits) -> Counts:
    """Words of single synapses that no core of so many neurons exceeds: a list per source, each at most one word too long."""
    bits, word = need.bits or 0, limits.word or 1
    synapses = need.each * neurons
    lists = np.minimum(need.sources, synapses)
    alone = synapses * -(-bits // word)
    full = need.sources * -(-neurons * bits // word)
    most: Counts = np.minimum(np.minimum(alone, full), -(-synapses * bits // word) + lists)
    return most


def _most_words(profile: Profile, sides: tuple[int, ...], limits: Limits) -> Counts | None:
    """(sides of c,) words of the slice that needs the most, without single synapses."""
    slices = [words_of(profile.needs, profile.shape[0], c, limits.word) for c in sides]
    return None if slices[0] is None else np.array([words.max() for words in slices if words is not None])


def _most_axons(
    profile: Profile, sides: tuple[tuple[int, ...], ...], pixels: Counts, neurons: Counts, limits: Limits
) -> tuple[Counts | None, Counts | None, Counts | None]:
    """Grids of AxonIn, AxonMap, AxonMem: no core of the cut holds more."""
    if limits.axon_pieces is None:
        return None, None, None
    channels = profile.shape[0]
    f = np.array([_most_pieces(channels, c, profile.driven, limits.axon_pieces) for c in sides[0]])[:, None, None]
    axon_in = f * sum(need.link is not None for need in profile.needs) + int(profile.driven) + 0 * neurons
    for need in profile.needs:
        axon_in = axon_in + (np.minimum(need.sources, need.each * neurons) if need.each else need.sources)
    axon_map = (pixels * f if profile.readers else 0) + (neurons if profile.listed else 0) + 0 * neurons
    if limits.axon_destinations is None:
        return axon_in, axon_map, None
    axon_mem = np.zeros_like(neurons)
    for reader in profile.readers:
        c, y, x = (most_reached(reader, profile.shape, axis, sides[axis]) for axis in range(3))
        axon_mem += pixels * f * c[:, None, None] * y[:, None] * x
    return axon_in, axon_map, -(-axon_mem // limits.axon_destinations)


def _most_pieces(channels: int, c: int, driven: bool, axon_pieces: int) -> int:
    """Of whole slices and of the last one."""
    last = channels % c or c
    return max(pieces_of(c, driven, axon_pieces), pieces_of(last, driven, axon_pieces))


def _packets(profile: Profile, sides: tuple[tuple[int, ...], ...]) -> Counts:
    """Grid of the packets that the sources send when each of their neurons fires once; single synapses left out."""
    total = np.zeros(tuple(len(s) for s in sides), dtype=np.int64)
    c, y, x = (-(-profile.shape[axis] // np.array(sides[axis])) for axis in range(3))
    for need in profile.needs:
        if need.link is not None:
            c_, y_, x_ = (copies(need.link, axis, sides[axis]) for axis in range(3))
            total += c_[:, None, None] * y_[:, None] * x_
        elif need.rows:
            total += need.sources * c[:, None, None] * y[:, None] * x
    return total


@lru_cache(maxsize=4096)
def _sides(size: int) -> tuple[int, ...]:
    """Tile sides of all even cuts: the smallest for each number of tiles."""
    return tuple(int(side) for side in np.unique(-(-size // np.arange(1, size + 1))))
