"""Improving a location: swaps of neighbours by forces (Jin et al., ASPLOS 2023), jumps to partners, and annealing.

All work on a `Layout`: cores of a system, some of them empty, at whole coordinates whose Manhattan distance is what a
packet costs. Costs are packets times distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from export.mapping.traffic import Floats

Places: TypeAlias = NDArray[np.int64]

HOTTEST, COLDEST = 1.0, 0.03  # hops of the packets of an average place
WARM = 0.3  # the same, where jumps begin
AROUND = (0.5, 1.0, 2.0, 4.0, 8.0)  # hops that a jump may miss its goal by
LOOK = 25  # sweeps between two looks at the whole cost
SHARE = 0.3  # of the gaining swaps that one round of forces makes


@dataclass(frozen=True, eq=False)
class Layout:
    """What the search knows.

    weights   (places, places) packets of each pair, both directions together; places without a core have none
    x, y      (places,) coordinates
    """

    weights: csr_matrix
    x: Floats
    y: Floats

    @cached_property
    def rows(self) -> Places:
        """Item of each stored weight."""
        return np.repeat(np.arange(len(self.x)), np.diff(self.weights.indptr))

    def cost(self, at: Places) -> float:
        """Packets times distance, item i at place at[i]."""
        i, j = at[self.rows], at[self.weights.indices]
        return float(self.weights.data @ (abs(self.x[i] - self.x[j]) + abs(self.y[i] - self.y[j]))) / 2


def anneal(layout: Layout, at: Places, sweeps: int, seed: int) -> Places:
    """Simulated annealing: in each sweep all items are paired at random, and each pair swaps places by Metropolis' rule.

    Gains are computed as if the other pairs stood still: wrong now and then while it is hot, hardly ever when few still
    move. The best state seen is returned, never one worse than the first. Temperatures are in units of packets of an
    average place: from one hop of all of them to a thirtieth.
    """
    rng = np.random.default_rng(seed)
    items = np.arange(len(at))
    half = len(at) // 2
    rows, warm = layout.rows, float(layout.weights.sum()) / len(at)
    best, least = at, layout.cost(at)
    for sweep in range(sweeps if least else 0):
        heat = warm * HOTTEST * (COLDEST / HOTTEST) ** (sweep / sweeps)
        drawn = rng.permutation(len(at))
        partner = items.copy()
        partner[drawn[:half]], partner[drawn[half : 2 * half]] = drawn[half : 2 * half], drawn[:half]
        change = _changes(layout, rows, at, partner)
        change += change[partner]
        limit = heat * rng.exponential(size=len(at))[np.minimum(items, partner)]  # one draw for both of a pair
        at = np.where(change < limit, at[partner], at)
        if sweep % LOOK == 0 or sweep == sweeps - 1:
            cost = layout.cost(at)
            if cost < least:
                best, least = at, cost
    return best


def _changes(layout: Layout, rows: Places, at: Places, partner: Places) -> Floats:
    """(items,) what each item's traffic costs more at its partner's place; what the two send each other stays."""
    x, y = layout.x[at], layout.y[at]
    other, columns = partner[rows], layout.weights.indices
    far = (
        abs(x[other] - x[columns]) - abs(x[rows] - x[columns]) + abs(y[other] - y[columns]) - abs(y[rows] - y[columns])
    )
    values = np.where(other == columns, 0.0, layout.weights.data * far)
    return np.asarray(np.bincount(rows, values, len(at)), dtype=np.float64)


def jump(layout: Layout, at: Places, sweeps: int, seed: int) -> Places:
    """Items jump near the middle of those they exchange packets with, and swap places with who stands there.

    Whether a jump is taken is Metropolis' rule as in `anneal`, cooling to nothing. It needs far fewer sweeps than swaps at
    random, which find a better end where there is time for many.
    """
    rng = np.random.default_rng(seed)
    routers, router = np.unique(np.stack([layout.x, layout.y], axis=1), axis=0, return_inverse=True)
    order, count = np.argsort(router.ravel(), kind="stable"), np.bincount(router.ravel())
    tree, first = cKDTree(routers), np.cumsum(count) - count
    packets = np.asarray(layout.weights.sum(axis=1)).ravel()
    busy = np.nonzero(packets)[0]
    warm = WARM * float(packets.sum()) / len(at)
    best, least = at, layout.cost(at)
    for sweep in range(sweeps if least else 0):
        middle = np.stack(
            [(layout.weights @ place[at])[busy] / packets[busy] for place in (layout.x, layout.y)], axis=1
        )
        miss = rng.choice(AROUND, len(busy))[:, None] * rng.normal(size=middle.shape)
        goal = tree.query(middle + miss)[1]
        place = order[first[goal] + rng.integers(0, 1 << 30, len(busy)) % count[goal]]
        at = _swapped(layout, at, (busy, place), warm * (1 - sweep / sweeps), rng)
        if sweep % LOOK == LOOK - 1 or sweep == sweeps - 1:
            cost = layout.cost(at)
            if cost < least:
                best, least = at, cost
    return best


def _swapped(layout: Layout, at: Places, jumps: tuple[Places, Places], heat: float, rng: np.random.Generator) -> Places:
    """After those jumps (items, places) that do not meet and that Metropolis' rule takes."""
    who = np.empty_like(at)
    who[at] = np.arange(len(at))
    drawn = rng.permutation(len(jumps[0]))
    a, b = jumps[0][drawn], who[jumps[1][drawn]]
    a, b = _first_come(a[a != b], b[a != b], len(at))
    partner = np.arange(len(at))
    partner[a], partner[b] = b, a
    change = _changes(layout, layout.rows, at, partner)
    change += change[partner]
    limit = heat * rng.exponential(size=len(at))[np.minimum(np.arange(len(at)), partner)]
    return np.where(change < limit, at[partner], at)


def force(layout: Layout, at: Places, pairs: Places, rounds: int) -> Places:
    """Force-directed refinement: neighbours whose swap gains most swap first.

    pairs    (P, 2) places that are neighbours
    rounds   at most so many; it ends earlier when a round gains nothing
    returns  the best state seen
    """
    best, least = at, layout.cost(at)
    who = np.empty_like(at)
    share = SHARE
    for _ in range(rounds):
        who[at] = np.arange(len(at))
        a, b = who[pairs[:, 0]], who[pairs[:, 1]]
        gain = _gains(layout, at, a, b)
        chosen = np.argsort(-gain, kind="stable")[: int((gain > 0).sum() * share) + 1]
        chosen = chosen[gain[chosen] > 0]
        if not len(chosen):
            break
        a, b = _first_come(a[chosen], b[chosen], len(at))
        moved = at.copy()
        moved[a], moved[b] = at[b], at[a]
        cost = layout.cost(moved)
        if cost < least:
            at, best, least = moved, moved, cost
        else:
            share /= 2  # swaps of one round got in each other's way
            if share < 1e-3:
                break
    return best


def _gains(layout: Layout, at: Places, a: Places, b: Places) -> Floats:
    """What each swap of two neighbouring items saves."""
    rows, columns, weights = layout.rows, layout.weights.indices, layout.weights.data
    gain = np.zeros(len(a))
    for place in (layout.x, layout.y):
        here = place[at]
        ahead = np.bincount(rows, weights * np.sign(here[columns] - here[rows]), len(at))
        level = np.bincount(rows, weights * (here[columns] == here[rows]), len(at))
        step = here[b] - here[a]  # no item stands between neighbours, so an item is ahead of both or of none
        gain += step * (ahead[a] - ahead[b]) - abs(step) * (level[a] + level[b])
    between = abs(layout.x[at[a]] - layout.x[at[b]]) + abs(layout.y[at[a]] - layout.y[at[b]])
    joined = np.asarray(layout.weights[a, b]).ravel()
    return np.asarray(gain - 2 * joined * between)


def _first_come(a: Places, b: Places, items: int) -> tuple[Places, Places]:
    """Swaps whose items stand in no earlier swap."""
    rank = np.arange(len(a))
    first = np.full(items, len(a))
    np.minimum.at(first, a, rank)
    np.minimum.at(first, b, rank)
    alone = (first[a] == rank) & (first[b] == rank)
    return a[alone], b[alone]
