"""What one core has to hold for a tile of a population.

    neurons   of the tile
    words     of synaptic memory, summed over the projections into the population; w = ceil(log2(max|weight|)) bits:
      Conv    weights are stored once per core, an input channel and tap in a list of its output channels:
              sum over groups of  in / groups * kH * kW * ceil(channels of the tile in the group * bits / word),
              bits = w + conv_overhead; stored zeros count
      Dense   inputs * ceil(channels of the tile * bits / word), bits = w + dense_overhead
      Sparse  sum over source neurons of ceil(synapses into the tile * bits / word), bits as for Dense
    axons     see `export.mapping.axons`
    groups    1: the neurons of a population are one group
    pool      memory_share * (each memory / its limit, summed) + neuron_share * neurons / limit

Source: Intel's compiler on PilotNet (lava-dl's pilotnet_snn notebook): its five convolutions and four dense layers come
out exactly. Limits and bits are in `hw_configs`, with their evidence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from export.graph import Conv, Dense, Projection, Shape, Sparse
from export.mapping.axons import Link, Reader, pieces_of, reached
from export.mapping.placement import Counts, Limits, Load, Pool, Tile, edges_of
from hw_configs import Chip


@dataclass(frozen=True)
class Need:
    """What one projection asks of a core.

    rows     lists of synapses per group: in / groups * kH * kW (Conv), inputs (Dense)
    groups   of output channels
    bits     per synapse in a list; None: unknown
    each     most single synapses per target neuron (Sparse)
    sources  input axons: source neurons (Dense, Sparse); 0 for a Conv, which takes one per piece
    link     the geometry of a Conv
    """

    rows: int = 0
    groups: int = 1
    bits: int | None = None
    each: int = 0
    sources: int = 0
    link: Link | None = None


@dataclass(frozen=True)
class Profile:
    """Everything about a population that decides what its cores hold, but single synapses.

    shape    physical
    needs    of the projections into it
    readers  convolutions that read it, with the tiles of their targets
    listed   whether dense or single synapses or the host read it, neuron by neuron
    driven   an input with neurons of its own
    """

    shape: Shape
    needs: tuple[Need, ...]
    readers: tuple[Reader, ...]
    listed: bool
    driven: bool


def core_limits(chip: Chip) -> Limits:
    """The chip's limits; HardwareConfigError naming one that is null and that nothing can be placed without."""
    core = chip.core

    def known(value: float | None) -> int | None:
        return None if value is None else int(value)

    conv, index = known(core.conv_synapse_overhead.value), known(core.dense_index.value)
    memory, neuron, total = core.pool_memory_share.value, core.pool_neuron_share.value, core.pool_limit.value
    limits = Limits(
        chip.name,
        int(chip.needed("core.neurons")),
        int(chip.needed("usable_cores")),
        known(core.synaptic_words.value),
        known(core.synaptic_word.value),
        conv,
        None if conv is None or index is None else conv + index,
        known(core.axon_in.value),
        known(core.axon_map.value),
        known(core.axon_mem.value),
        known(core.axon_pieces.value),
        known(core.axon_destinations.value),
        known(core.neuron_groups.value),
    )
    counted = [value for key, value in vars(limits).items() if key not in ("groups", "pool")]
    if None in counted or memory is None or neuron is None or total is None:
        return limits  # a sum that lacks a term is not known
    return replace(limits, pool=Pool(memory, neuron, total))


def need_of(projection: Projection, inputs: int, limits: Limits, link: Link | None = None) -> Need:
    """What a projection from a population of `inputs` neurons asks of a core; `link` is a convolution's geometry."""
    if isinstance(projection, Conv):
        _, ins, *kernel = projection.weight.shape
        bits = _bits(projection.weight, limits.conv_overhead)
        return Need(ins * kernel[0] * kernel[1], projection.groups, bits, link=link)
    if isinstance(projection, Dense):
        return Need(inputs, 1, _bits(projection.weight, limits.dense_overhead), sources=inputs)
    each = int(np.diff(projection.matrix.indptr).max(initial=0))
    return Need(bits=_bits(projection.matrix.data, limits.dense_overhead), each=each, sources=inputs)


def _bits(weight: NDArray[np.generic], overhead: int | None) -> int | None:
    largest = max(1, int(np.abs(weight).max(initial=0)))
    return None if overhead is None else ceil(log2(largest)) + overhead


def words_of(needs: tuple[Need, ...], channels: int, c: int, word: int | None) -> Counts | None:
    """Words of synaptic memory per slice of c output channels (ceil(channels / c),), without single synapses."""
    if word is None or any(need.bits is None for need in needs):
        return None
    total = np.zeros(-(-channels // c), dtype=np.int64)
    for need in set(needs):
        if need.rows and need.bits is not None:
            total += needs.count(need) * need.rows * _lists(channels, need.groups, c, need.bits, word)
    return total


@lru_cache(maxsize=65536)
def _lists(channels: int, groups: int, c: int, bits: int, word: int) -> Counts:
    """Words of one list of synapses per slice, summed over the groups that the slice meets."""
    slices = edges_of(channels, c)
    pieces = np.union1d(slices, np.arange(0, channels + 1, channels // groups))
    words = -(-np.diff(pieces) * bits // word)
    return np.asarray(np.add.reduceat(words, np.searchsorted(pieces, slices[:-1])), dtype=np.int64)


def load_of(profile: Profile, tile: Tile, projections: list[Projection], limits: Limits) -> Load:
    """What every core of a cut holds."""
    shape = profile.shape
    c, h, w = (np.diff(edges_of(shape[axis], tile[2 - axis])) for axis in range(3))
    neurons = np.asarray(c[:, None, None] * h[:, None] * w, dtype=np.int64)
    lists, single = _single_synapses(shape, tile, projections, profile.needs, limits)
    words = words_of(profile.needs, shape[0], tile[2], limits.word)
    if words is not None:
        words = single + words[:, None, None]
    axon_in, axon_map, axon_mem = _axons(profile, tile, neurons, lists, limits)
    groups = np.ones_like(neurons)
    pool = pool_of(neurons, (words, axon_in, axon_map, axon_mem), limits)
    return Load(neurons, words, axon_in, axon_map, axon_mem, groups, pool)


def _axons(
    profile: Profile, tile: Tile, neurons: Counts, lists: Counts, limits: Limits
) -> tuple[Counts | None, Counts | None, Counts | None]:
    """AxonIn, AxonMap, AxonMem of every core."""
    if limits.axon_pieces is None:
        return None, None, None
    channels = np.diff(edges_of(profile.shape[0], tile[2]))
    f = np.array([pieces_of(int(n), profile.driven, limits.axon_pieces) for n in channels])[:, None, None]
    pixels = neurons // channels[:, None, None]
    convs = sum(need.link is not None for need in profile.needs)
    dense = sum(need.sources for need in profile.needs if need.rows)
    axon_in = lists + convs * f + dense + int(profile.driven)
    axon_map = np.zeros_like(neurons)
    if profile.readers:
        axon_map += pixels * f
    if profile.listed:
        axon_map += neurons
    if limits.axon_destinations is None:
        return axon_in, axon_map, None
    axon_mem = np.zeros_like(neurons)
    for reader in profile.readers:
        c, y, x = reached(reader, profile.shape, tile)
        axon_mem += pixels * f * c[:, None, None] * y[:, None] * x
    return axon_in, axon_map, -(-axon_mem // limits.axon_destinations)


def pool_of(neurons: Counts, memories: tuple[Counts | None, ...], limits: Limits) -> NDArray[np.float64] | None:
    """Part of the pool that neurons and the memories (words, axon_in, axon_map, axon_mem) take; None: not known."""
    caps = (limits.words, limits.axon_in, limits.axon_map, limits.axon_mem)
    if limits.pool is None:
        return None
    total = limits.pool.neuron_share * neurons / limits.neurons
    for used, cap in zip(memories, caps, strict=True):
        if used is None or cap is None:
            return None
        total = total + limits.pool.memory_share * used / cap
    return np.asarray(total / limits.pool.total, dtype=np.float64)


def _single_synapses(
    shape: Shape, tile: Tile, projections: list[Projection], needs: tuple[Need, ...], limits: Limits
) -> tuple[Counts, Counts]:
    """(nc, ny, nx) lists of single synapses of each core, one per source neuron, and the words that they take."""
    counts = [-(-shape[axis] // tile[2 - axis]) for axis in range(3)]
    lists, words = np.zeros(counts, dtype=np.int64), np.zeros(counts, dtype=np.int64)
    for projection, need in zip(projections, needs, strict=True):
        if not isinstance(projection, Sparse):
            continue
        c, y, x = (np.arange(shape[axis]) // tile[2 - axis] for axis in range(3))
        core = ((c[:, None, None] * counts[1] + y[:, None]) * counts[2] + x).reshape(-1)
        matrix = projection.matrix
        rows = np.repeat(core, np.diff(matrix.indptr))
        found, synapses = np.unique(rows * matrix.shape[1] + matrix.indices, return_counts=True)
        at = found // matrix.shape[1]
        lists += np.bincount(at, minlength=lists.size).reshape(counts)
        if need.bits is not None and limits.word is not None:
            sizes = -(-synapses * need.bits // limits.word)
            words += np.bincount(at, weights=sizes, minlength=lists.size).astype(np.int64).reshape(counts)
    return lists, words
