"""Lower bounds on cores: no placement, even or not, needs fewer."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

import numpy as np

from export.graph import Projection, Sparse
from export.mapping.placement import Counts, Limits
from export.mapping.resources import Profile, words_of


def least_cores(profile: Profile, projections: Sequence[Projection], limits: Limits) -> int:
    """Cores that one population needs with cores of its own, whatever boxes it is cut into.

    The largest of: all neurons over what one core holds of them (at the number of channels per core that is best for
    it), all words over those of a core, and the sum of what enters the pool.
    """
    neurons = prod(profile.shape)
    return max(1, ceil(neurons / _most_neurons(profile, limits)), _by_sums([(profile, projections)], limits))


def shared_least(populations: Sequence[tuple[Profile, Sequence[Projection]]], limits: Limits) -> int:
    """Cores that all populations need, even where a core holds parts of several."""
    return max(_by_sums(populations, limits), ceil(sum(prod(p.shape) for p, _ in populations) / limits.neurons))


def _most_neurons(profile: Profile, limits: Limits) -> int:
    """Most neurons of a population that any one core holds: a box of c channels, the best c.

    Words of a box of c channels are at least rows * max(ceil(c * bits / word), groups that c channels meet), its axon
    map at least an entry per pixel, or per neuron where these are listed.
    """
    channels = profile.shape[0]
    c = np.arange(1, channels + 1)
    pixels = limits.neurons // c
    words = np.zeros_like(c)
    if limits.words is not None and limits.word is not None:
        words = _fewest_words(profile, c, limits.word)
        pixels = np.where(words <= limits.words, pixels, 0)
    entries = c if profile.listed else np.ones_like(c)
    if limits.axon_map is not None and limits.axon_pieces is not None:
        pixels = np.minimum(pixels, limits.axon_map // entries)
    if limits.pool is not None:
        fixed = limits.pool.memory_share * words / limits.words if limits.words else 0 * c
        each = limits.pool.neuron_share * c / limits.neurons
        if limits.axon_map is not None and limits.axon_pieces is not None:
            each = each + limits.pool.memory_share * entries / limits.axon_map
        pixels = np.minimum(pixels, np.floor((limits.pool.total - fixed) / each + 1e-9).astype(np.int64))
    most = int((np.minimum(pixels, prod(profile.shape[1:])) * c).max())
    return most or limits.neurons  # where no core holds even one channel, only the neurons bound what there is


def _fewest_words(profile: Profile, c: Counts, word: int) -> Counts:
    total = np.zeros_like(c)
    for need in profile.needs:
        if need.rows and need.bits is not None:
            size = profile.shape[0] // need.groups
            total += need.rows * np.maximum(-(-c * need.bits // word), -(-c // size))
    return total


def _by_sums(populations: Sequence[tuple[Profile, Sequence[Projection]]], limits: Limits) -> int:
    """Words, and parts of the pool, of all populations together over those of a core."""
    words = sum(_all_words(profile, projections, limits) for profile, projections in populations)
    least = 1 if limits.words is None else ceil(words / limits.words)
    if limits.pool is None:
        return least
    filled = limits.pool.neuron_share * sum(prod(p.shape) for p, _ in populations) / limits.neurons
    if limits.words is not None:
        filled += limits.pool.memory_share * words / limits.words
    return max(least, ceil(filled / limits.pool.total - 1e-9))


def _all_words(profile: Profile, projections: Sequence[Projection], limits: Limits) -> int:
    """Words of a population whose every synapse is stored once."""
    whole = words_of(profile.needs, profile.shape[0], profile.shape[0], limits.word)
    if whole is None or limits.word is None:
        return 0
    bits = sum(
        p.matrix.nnz * need.bits
        for p, need in zip(projections, profile.needs, strict=True)
        if isinstance(p, Sparse) and need.bits is not None
    )
    return int(whole[0]) + ceil(bits / limits.word)
