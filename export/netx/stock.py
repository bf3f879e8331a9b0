"""What lava-dl's own NetX loader can hold: judged by its own code where it rounds or clips."""

from __future__ import annotations

import contextlib
import io

import numpy as np

from export.graph import Array, Conv, Dense, Graph, Sparse

STOCK_GROUPS = 127


def obstacle(graph: Graph) -> str | None:
    """Why a graph does not fit a plain NetX file; None when it does."""
    if not graph.is_chain:
        return (
            "the network has skips, several inputs or several outputs; the stock loader would chain its layers in order"
        )
    for population in graph.populations.values():
        if population.layout != 1:
            return f"population '{population.name}' lives in space-to-depth layout {population.layout}"
        if population.thresholds:
            return f"population '{population.name}' has several thresholds, and fires graded spikes"
    for projection in graph.projections:
        if isinstance(projection, Sparse):
            return f"projection '{projection.name}' is sparse"
        if isinstance(projection, Conv) and projection.groups > STOCK_GROUPS:
            return (
                f"projection '{projection.name}' has {projection.groups} groups; the stock model keeps them in 8 bits and "
                f"gives no spikes above {STOCK_GROUPS}"
            )
        if projection.delay:
            return f"projection '{projection.name}' has a delay of {projection.delay}, which the stock loader ignores"
    return None


def needs_conv(graph: Graph, dense: Dense) -> bool:
    """True when a stock dense layer would not do the same and a convolution over the whole map has to stand in.

    That is so when the stock loader would change the weights (`dense_changes`), when the bias differs from neuron to
    neuron in map form, and when a convolution follows, because stock dense layers lose the (C, H, W) shape.
    """
    bias = graph.populations[dense.target].bias
    followed = any(isinstance(p, Conv) for p in graph.out_of(dense.target))
    return followed or (bias is not None and bias.ndim == 3) or dense_changes(dense.weight)


def dense_changes(weight: Array) -> bool:
    """True when the stock dense layer would use other integers than these.

    lava-dl's `optimize_weight_bits` shifts, and lava's CPU model clips and truncates; an all-zero matrix raises there.
    """
    if not weight.any():
        return True
    with contextlib.redirect_stdout(io.StringIO()), np.errstate(divide="ignore"):
        from lava.lib.dl.netx.utils import (
            optimize_weight_bits,
        )  # slow and talkative: only where a chain has a dense layer
        from lava.utils.weightutils import clip_weights, determine_sign_mode, truncate_weights

        shifted, bits, exponent, _ = optimize_weight_bits(weight.astype(int))
    mode = determine_sign_mode(shifted)
    used = truncate_weights(clip_weights(shifted, mode, num_bits=8), mode, bits)
    return not np.array_equal(used, weight.astype(np.int64) << -exponent)


def as_conv(dense: Dense, source: tuple[int, int, int]) -> Array:
    """(out, C*H*W) as the kernel (out, C, H, W) of a convolution that covers the whole map of its source."""
    return dense.weight.reshape(dense.weight.shape[0], *source)
