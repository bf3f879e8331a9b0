"""What one core has to hold for a tile of a population.

    neurons   of the tile
    words     of synaptic memory, summed over the projections into the population:
      Conv    weights are stored once per core, an input channel and tap in a list of its output channels:
              sum over groups of  in / groups * kH * kW * ceil(channels of the tile in the group * bits / word),
              bits = ceil(log2(max|w|)) + overhead; stored zeros count
      Dense   inputs * ceil(channels of the tile * bits / word)
      Sparse  one word per synapse, the most that a list can need

Source: Intel's compiler on PilotNet (lava-dl's pilotnet_snn notebook), whose five convolutions the first formula gives
exactly; limits and bits are in `hw_configs`, with their evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log2

import numpy as np

from export.errors import UsageError
from export.graph import Conv, Dense, Projection, Shape
from export.mapping.placement import Counts, Limits, Tile, edges_of
from hw_configs import Chip, Quantity


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


def words_of(needs: tuple[Need, ...], channels: int, c: int, word: int) -> Counts:
    """Words of synaptic memory per slice of c output channels (ceil(channels / c),), without single synapses."""
    total = np.zeros(len(edges_of(channels, c)) - 1, dtype=np.int64)
    for need in set(needs):
        if need.rows:
            total += needs.count(need) * need.rows * _lists(channels, need.groups, c, need.bits, word)
    return total


@lru_cache(maxsize=65536)
def _lists(channels: int, groups: int, c: int, bits: int, word: int) -> Counts:
    """Words of one list of synapses per slice, summed over the groups that the slice meets."""
    slices = edges_of(channels, c)
    pieces = np.union1d(slices, np.arange(0, channels + 1, channels // groups))
    words = -(-np.diff(pieces) * bits // word)
    return np.asarray(np.add.reduceat(words, np.searchsorted(pieces, slices[:-1])), dtype=np.int64)


def need_of(projection: Projection, inputs: int, limits: Limits) -> Need:
    """What a projection from a population of `inputs` neurons asks of a core."""
    if isinstance(projection, Conv):
        _, ins, *kernel = projection.weight.shape
        largest = max(1, int(np.abs(projection.weight).max()))
        bits = ceil(log2(largest)) + limits.conv_overhead
        return Need(ins * kernel[0] * kernel[1], projection.groups, bits)
    if isinstance(projection, Dense):
        return Need(inputs, 1, limits.dense_synapse)
    return Need(each=int(np.diff(projection.matrix.indptr).max(initial=0)))


def singles_of(projection: Projection) -> int:
    """Synapses that are stored one by one."""
    return 0 if isinstance(projection, (Conv, Dense)) else int(projection.matrix.nnz)


def words_of_cores(
    shape: Shape, tile: Tile, projections: list[Projection], needs: tuple[Need, ...], limits: Limits
) -> Counts:
    """(nc, ny, nx) words of each core."""
    edges = [edges_of(shape[axis], tile[2 - axis]) for axis in range(3)]
    counts = [len(e) - 1 for e in edges]
    words = np.broadcast_to(words_of(needs, shape[0], tile[2], limits.word)[:, None, None], counts).copy()
    for projection in projections:
        if not isinstance(projection, (Conv, Dense)):
            synapses = np.diff(projection.matrix.indptr).astype(np.int64).reshape(shape)
            for axis in range(3):
                synapses = np.add.reduceat(synapses, edges[axis][:-1], axis=axis)
            words += synapses
    return words
