"""Pass 8: every population gets cores, as few as the limits of a core allow.

A population is cut into tiles (x, y, c) of its *physical* shape, evenly: along each axis the tile is the smallest for
its number of cuts. One core holds one tile, and one population only. What a core holds: `export.mapping.resources`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import ceil

import numpy as np

from export.graph import Conv, Graph, Shape
from export.mapping.placement import Counts, Cut, Limits, Placement, Tile
from export.mapping.resources import Need, core_limits, need_of, singles_of, words_of, words_of_cores
from hw_configs import Chip


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
        needs = tuple(need_of(p, graph.populations[p.source].neurons, limits) for p in projections)
        shape = population.physical_shape
        tile, fits = best_tile(shape, needs, limits)
        words = words_of_cores(shape, tile, projections, needs, limits)
        whole = int(words_of(needs, shape[0], shape[0], limits.word)[0]) + sum(singles_of(p) for p in projections)
        least = max(ceil(population.neurons / limits.neurons), ceil(whole / limits.words))
        if not fits:
            findings.append(_finding(population.name, int(words.max()), limits))
        cuts[population.name] = Cut(population.name, shape, tile, first, words, least, fits)
        first += cuts[population.name].cores
        all_words += whole
    neurons = sum(graph.populations[name].neurons for name in cuts)
    shared = max(ceil(neurons / limits.neurons), ceil(all_words / limits.words))
    return Placement(chip, limits, cuts, tuple(findings), _erratum(graph, cuts, chip), shared)


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


def _sides(size: int) -> Counts:
    """Tile sides of all even cuts: the smallest for each number of tiles."""
    return np.asarray(np.unique(-(-size // np.arange(1, size + 1))), dtype=np.int64)


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
