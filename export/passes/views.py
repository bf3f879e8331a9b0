"""Spike values as channels of populations: concatenation and shuffling move no spikes, they change who reads which channel.

What reads a value reads its populations instead, with a kernel whose input channels stand in their order. A grouped kernel
may lose its groups on the way: it is then written out with zeros, in as many groups as still hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from export.graph import Array


@dataclass(frozen=True)
class Part:
    """All channels of a population, resized by up / down."""

    population: str
    channels: int
    up: int = 1
    down: int = 1


@dataclass(frozen=True, eq=False)
class View:
    """A spike value: the channels of its parts, one part after the other.

    order  channel j of the value is channel order[j] of the parts; None: as they stand
    """

    parts: tuple[Part, ...]
    order: NDArray[np.intp] | None = None

    @property
    def channels(self) -> int:
        """Number of channels."""
        return sum(part.channels for part in self.parts)

    @property
    def places(self) -> NDArray[np.intp]:
        """`order`, also where nothing was moved."""
        return np.arange(self.channels) if self.order is None else self.order


@dataclass(frozen=True, eq=False)
class PartKernel:
    """What is read of one part: weight with the input channels of the part alone, in its order, and its groups."""

    part: Part
    weight: Array
    groups: int


def concatenated(views: Sequence[View]) -> View:
    """Values side by side along the channels."""
    parts = tuple(part for view in views for part in view.parts)
    if all(view.order is None for view in views):
        return View(parts)
    starts = np.cumsum([0, *(view.channels for view in views)])
    return View(parts, np.concatenate([start + view.places for start, view in zip(starts, views, strict=False)]))


def shuffled(view: View, groups: int) -> View:
    """Channel shuffle: channel a g + b is what channel b C / g + a was, for g groups."""
    moved = np.arange(view.channels).reshape(groups, -1).T.ravel()
    return View(view.parts, view.places[moved])


def in_parts_order(weight: Array, view: View, axis: int) -> Array:
    """Weights for the channels of a value as weights for those of its parts, one after the other."""
    return weight if view.order is None else np.take(weight, np.argsort(view.order), axis)


def part_kernels(weight: Array, groups: int, view: View, axis: int) -> list[PartKernel]:
    """A kernel that reads a value as kernels that read its parts; together they deliver the same.

    weight  (out, in / groups, kH, kW) with axis = 1, or (in, out / groups, kH, kW) with axis = 0: where input channels stand
    """
    if len(view.parts) == 1 and view.order is None:
        return [PartKernel(view.parts[0], weight, groups)]
    whole = in_parts_order(_written_out(weight, groups), view, axis)
    used = in_parts_order(_written_out(np.ones(weight.shape[:2]), groups), view, axis)
    found, first = [], 0
    for part in view.parts:
        channels = range(first, first + part.channels)
        found.append(PartKernel(part, *_grouped(whole.take(channels, axis), used.take(channels, axis))))
        first += part.channels
    return found


def _written_out(weight: Array, groups: int) -> Array:
    """(rows, columns / groups, ...) as (rows, columns, ...) in one group: zero where a row does not reach."""
    if groups == 1:
        return weight
    rows, width = weight.shape[:2]
    wide = np.zeros((rows, width * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        members = slice(group * rows // groups, (group + 1) * rows // groups)
        wide[members, group * width : (group + 1) * width] = weight[members]
    return wide


def _grouped(weight: Array, used: Array) -> tuple[Array, int]:
    """(rows, columns, ...) in the largest number of groups outside which nothing is used, and that number."""
    rows, columns = used.shape
    for groups in range(gcd(rows, columns), 1, -1):
        if rows % groups or columns % groups:
            continue
        blocks = used.reshape(groups, rows // groups, groups, columns // groups).any(axis=(1, 3))
        if not (blocks & ~np.eye(groups, dtype=bool)).any():
            width = columns // groups
            parts = np.split(weight, groups, axis=0)
            return np.concatenate([p[:, g * width : (g + 1) * width] for g, p in enumerate(parts)], axis=0), groups
    return weight, 1
