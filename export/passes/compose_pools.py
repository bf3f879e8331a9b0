"""Average pools become part of the next kernel: a convolution behind a pool is one strided convolution.

With windows of k x k that do not overlap, pooled[Y] = sum of x[k Y + a] for a = 0..k-1, so for a kernel w of stride s,
padding p and dilation d

    y[z] = sum_j w[j] pooled[s z + d j - p] = sum_j sum_a w[j] x[k s z + (k d j + a) - k p]

a kernel that repeats each weight k times (d = 1), of stride k s and padding k p. Every weight stands alone at its taps, so
that it is rounded to the chip's integers as it was before: the spikes are exactly those of the network as trained.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from export.dataflow import Concat, Convolution, Dataflow, Host, Image, Node, Shuffle, SumPool
from export.errors import TraceError
from export.graph import Array, Pair

ONE: Pair = (1, 1)


def compose_pools(flow: Dataflow) -> Dataflow:
    """Take every sum pool of spikes into the convolutions that read it, also through concatenations and shuffles.

    needs    a flow that `check_spikes` accepted: only convolutions read sums
    ensures  no SumPool of spikes is left; values of all other nodes unchanged
    raises   TraceError naming a pool whose windows overlap or leave the map, with the way out
    """
    return _Composing(flow).result()


class _Composing:
    def __init__(self, flow: Dataflow) -> None:
        self.flow = flow
        self.nodes: dict[str, Node] = {}
        self.below: dict[str, tuple[str, Pair]] = {}  # a pooled value -> the value it pools, and the window

    def result(self) -> Dataflow:
        """The flow without pools."""
        for node in self.flow.nodes.values():
            self._visit(node)
        return replace(self.flow, nodes=self.nodes)

    def _visit(self, node: Node) -> None:
        pooled = [i in self.below for i in node.inputs]
        if isinstance(node, SumPool) and not isinstance(self.flow.nodes[node.inputs[0]], (Image, Host)):
            self._pool(node)
        elif isinstance(node, Convolution) and any(pooled):
            below, window = self.below[node.inputs[0]]
            self.nodes[node.name] = replace(composed(node, window), inputs=(below,))
        elif isinstance(node, (Concat, Shuffle)) and any(pooled):
            self._moved(node)
        else:
            assert not any(pooled), f"{node.name} reads a pool"  # `check_spikes` refuses it
            self.nodes[node.name] = node

    def _pool(self, node: SumPool) -> None:
        source = node.inputs[0]
        below, window = self.below.get(source, (source, ONE))
        _check(node, self.flow.nodes[source])
        self.below[node.name] = below, (window[0] * node.kernel[0], window[1] * node.kernel[1])

    def _moved(self, node: Concat | Shuffle) -> None:
        """Channels that are concatenated or shuffled behind pools: done before the pool instead, which changes nothing."""
        parts = [self.below.get(i, (i, ONE)) for i in node.inputs]
        window = parts[0][1]
        if any(part[1] != window for part in parts):
            raise TraceError(
                f"'{node.name}' concatenates pools of different windows; pool alike, or convolve each by itself."
            )
        inputs = tuple(below for below, _ in parts)
        name = f"{node.name}.unpooled"
        self.nodes[name] = replace(
            node, name=name, inputs=inputs, shape=(node.shape[0], *self.nodes[inputs[0]].shape[1:])
        )
        self.below[node.name] = name, window


def composed(conv: Convolution, window: Pair) -> Convolution:
    """A convolution of pooled spikes as one of the spikes themselves: see the equation above."""
    weight = conv.weight
    for axis, size, dilation in zip((2, 3), window, conv.dilation, strict=True):
        weight = _repeated(weight, axis, size, dilation)
    (ky, kx), (sy, sx), (py, px) = window, conv.stride, conv.padding
    return replace(conv, weight=weight, stride=(ky * sy, kx * sx), padding=(ky * py, kx * px), dilation=ONE)


def _repeated(weight: Array, axis: int, size: int, dilation: int) -> Array:
    """Along one axis: tap j stands at size * dilation * j + a for a = 0..size-1; what lies between is zero."""
    taps = weight.shape[axis]
    shape = list(weight.shape)
    shape[axis] = size * (dilation * (taps - 1) + 1)
    wide = np.zeros(shape, weight.dtype)
    for j in range(taps):
        at = [slice(None)] * weight.ndim
        at[axis] = slice(size * dilation * j, size * dilation * j + size)
        wide[tuple(at)] = weight.take([j], axis)
    return wide


def _check(pool: SumPool, source: Node) -> None:
    """TraceError unless windows tile the map: only then is the composition exact."""
    what = f"average pool '{pool.name}' of '{source.name}'"
    if pool.kernel != pool.stride:
        overlap = max(pool.kernel) > min(pool.stride)
        why = "they overlap, so the weights of the kernel behind it would add before they are rounded to 8 bits"
        fits = f"{pool.stride[0]}x{pool.stride[1]} at stride {pool.stride[0]}x{pool.stride[1]}"
        raise TraceError(
            f"{what} has windows of {pool.kernel[0]}x{pool.kernel[1]} at stride {pool.stride[0]}x{pool.stride[1]}: "
            f"{why if overlap else 'they leave pixels out'}, and its spikes would not be those of the trained network. "
            f"Train with windows as large as their stride, {fits}{f': {pool.fix}' if pool.fix else ''}."
        )
    if pool.padding != (0, 0):
        raise TraceError(f"{what} has a padding of {pool.padding[0]}x{pool.padding[1]}; leave it out (padding 0).")
    for size, window in zip(source.shape[1:], pool.kernel, strict=True):
        if size % window:
            raise TraceError(
                f"{what} leaves {size % window} of {size} rows or columns out: behind it they would be read "
                f"as padding. Choose an image size at which this map is a multiple of {window}."
            )
