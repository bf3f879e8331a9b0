"""Axon tables: how a spike finds the cores that read it.

A neuron's spike looks up an entry of its core's axon map; where convolutions read it, the entry names a list in axon
memory with one element per destination core; at the destination an input axon leads to the synapses. With f pieces
(below), for a core that holds `pixels` of a population:

    AxonMap  pixels * f                where convolutions read it: the channels of a pixel share an entry
             + neurons                 where dense or single synapses, or the host, read it
    AxonMem  ceil(pixels * f * cores reached / axon_destinations), the cores reached summed over the convolutions that
             read it: all cores that any spike of *this* core reaches, since the lists of its pixels are equally long
    AxonIn   f per convolution, one per source neuron of dense and single synapses, one for a bias that drives an input
    f        1 if the core's channels are a power of two, or if nothing but its bias drives the population;
             axon_pieces otherwise

Source: fitted to the rows that Intel's compiler prints for PilotNet and YOLO-KP (lava-dl's notebooks), with
axon_pieces 2 and axon_destinations 4 (16-bit core numbers in words of 64 bits). An estimate: no formula is public.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from export.graph import Conv, Shape
from export.mapping.placement import Counts, Tile, edges_of

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Axis:
    """A convolution along one axis: output o reads inputs o * stride - padding + t * dilation, t < kernel."""

    sources: int
    targets: int
    kernel: int
    stride: int
    padding: int
    dilation: int


@dataclass(frozen=True)
class Link:
    """What a convolution joins, apart from its weights. channels: (sources, targets, groups)."""

    channels: tuple[int, int, int]
    rows: Axis
    columns: Axis


@dataclass(frozen=True)
class Reader:
    """A convolution out of a population, and the tile into which its target is cut."""

    link: Link
    tile: Tile


def link_of(conv: Conv, source: Shape, target: Shape) -> Link:
    """The geometry of a convolution between physical shapes."""
    rows, columns = (
        Axis(
            source[i],
            target[i],
            conv.weight.shape[1 + i],
            conv.stride[i - 1],
            conv.padding[i - 1],
            conv.dilation[i - 1],
        )
        for i in (1, 2)
    )
    return Link((source[0], target[0], conv.groups), rows, columns)


@lru_cache(maxsize=16384)
def readers_of(axis: Axis, tile: int) -> Mask:
    """(sources, tiles): whether a tile of the target reads an input."""
    outputs, taps = np.arange(axis.targets), np.arange(axis.kernel)
    inputs = outputs[:, None] * axis.stride - axis.padding + taps * axis.dilation  # (targets, kernel)
    inside = (inputs >= 0) & (inputs < axis.sources)
    mask = np.zeros((axis.sources, -(-axis.targets // tile)), dtype=bool)
    mask[inputs[inside], np.broadcast_to((outputs // tile)[:, None], inputs.shape)[inside]] = True
    return mask


@lru_cache(maxsize=16384)
def slices_of(channels: tuple[int, int, int], c: int) -> Mask:
    """(sources, slices): whether a slice of c output channels reads an input channel."""
    ins, outs, groups = channels
    group, slices = np.arange(ins) // (ins // groups), np.arange(-(-outs // c))
    first, size = group * (outs // groups), outs // groups
    return np.asarray((slices * c < (first + size)[:, None]) & ((slices + 1) * c > first[:, None]))


def reached(reader: Reader, shape: Shape, tile: Tile) -> tuple[Counts, Counts, Counts]:
    """Reading tiles that each tile of a population of this shape reaches, along channels, rows and columns."""
    x, y, c = reader.tile
    masks = slices_of(reader.link.channels, c), readers_of(reader.link.rows, y), readers_of(reader.link.columns, x)
    c_, y_, x_ = (
        np.logical_or.reduceat(mask, edges_of(shape[axis], tile[2 - axis])[:-1], axis=0).sum(axis=1)
        for axis, mask in enumerate(masks)
    )
    return c_, y_, x_


@lru_cache(maxsize=65536)
def most_reached(reader: Reader, shape: Shape, axis: int, sides: tuple[int, ...]) -> Counts:
    """(sides,) most reading tiles that a tile of each side reaches along one axis."""
    mask = (
        slices_of(reader.link.channels, reader.tile[2])
        if axis == 0
        else readers_of((reader.link.rows, reader.link.columns)[axis - 1], reader.tile[2 - axis])
    )
    starts = [edges_of(shape[axis], side)[:-1] for side in sides]
    return np.array([np.logical_or.reduceat(mask, start, axis=0).sum(axis=1).max() for start in starts])


@lru_cache(maxsize=65536)
def copies(link: Link, axis: int, sides: tuple[int, ...]) -> Counts:
    """(sides,) pairs of an input and a tile of the target that reads it, along one axis, for each side of the tile.

    The product over axes is the number of packets that the target's cores get when every neuron of the source fires.
    """
    if axis == 0:
        return np.array([slices_of(link.channels, side).sum() for side in sides])
    return np.array([readers_of((link.rows, link.columns)[axis - 1], side).sum() for side in sides])


def pieces_of(channels: int, driven: bool, axon_pieces: int) -> int:
    """Axons that the channels of one pixel take on a core that holds so many of them."""
    return 1 if driven or channels & (channels - 1) == 0 else axon_pieces
