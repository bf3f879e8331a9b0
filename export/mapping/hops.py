"""How far packets travel: hops between routers, crossings between chips, the busiest link, and a lower bound.

A packet goes along its source's row first, then along its target's column (X-Y routing, as published for Loihi). A step
to the next router is one hop; one that leaves a chip is counted as a crossing instead. Packets from and to the host are
not in these numbers: where they enter a chip is not published.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from export.mapping.mesh import Location, Mesh, mesh_of
from export.mapping.traffic import Floats, Traffic
from hw_configs import System

FEW_ROUTERS = 600  # up to here the bound looks at the mesh itself, beyond it at a plane without borders


@dataclass(frozen=True)
class Hops:
    """Per sample (all T steps).

    packets           between different cores
    hops_east_west, hops_north_south   packets times steps to the next router, within chips
    inter_chip        packets times borders crossed between chips that stand side by side
    between_chips     packets that leave their chip
    busiest_link      most packets over one link between two routers of a chip, one way
    busiest_border    most packets over one link between two chips, one way
    lower_bound       no location on this system has fewer hops and crossings together
    chips             in use
    """

    packets: float
    hops_east_west: float
    hops_north_south: float
    inter_chip: float
    between_chips: float
    busiest_link: float
    busiest_border: float
    lower_bound: float
    chips: int

    @property
    def hops(self) -> float:
        """Hop-weighted packets: hops within chips, and each crossing as one."""
        return self.hops_east_west + self.hops_north_south + self.inter_chip

    @property
    def times_lower_bound(self) -> float:
        """Hop-weighted packets over the lower bound; 1 where nothing has to travel."""
        return self.hops / self.lower_bound if self.lower_bound else (1.0 if not self.hops else float("inf"))


def measure_hops(traffic: Traffic, location: Location, system: System) -> Hops:
    """Hops of all packets of one sample.

    raises  UsageError where the config lacks the arrangement of routers or chips
    """
    mesh = mesh_of(system)
    entries = traffic.packets.tocoo()
    source, target, packets = location.spot[entries.row], location.spot[entries.col], entries.data
    (x0, y0), (x1, y1) = mesh.router_at(source), mesh.router_at(target)
    (cx0, cy0), (cx1, cy1) = mesh.chip_at(source), mesh.chip_at(target)
    across, down = abs(cx1 - cx0), abs(cy1 - cy0)
    links, borders = _links(mesh, (x0, y0, x1, y1), packets)
    return Hops(
        packets=float(packets.sum()),
        hops_east_west=float(packets @ (abs(x1 - x0) - across)),
        hops_north_south=float(packets @ (abs(y1 - y0) - down)),
        inter_chip=float(packets @ (across + down)),
        between_chips=float(packets @ (across + down > 0)),
        busiest_link=float(links.max(initial=0)),
        busiest_border=float(borders.max(initial=0)),
        lower_bound=lower_bound(traffic.packets, mesh),
        chips=location.chips,
    )


def lower_bound(packets: csr_matrix, mesh: Mesh) -> float:
    """Hop-weighted packets that every location needs.

    Core by core, its traffic in descending order meets the distances of the best placed core in ascending order: other
    cores of its own router first (distance 0). Pairing all traffic with all distances at once could only give less.
    """
    both = (packets + packets.T).tocsr()
    most = int(np.diff(both.indptr).max(initial=0))
    if not most:
        return 0.0
    distances = _ascending(mesh, most)
    core = np.repeat(np.arange(both.shape[0]), np.diff(both.indptr))
    order = np.lexsort((-both.data, core))  # entries stay with their core, the heaviest first
    rank = np.arange(both.nnz) - both.indptr[core]
    return float(both.data[order] @ distances[rank]) / 2


def _ascending(mesh: Mesh, count: int) -> Floats:
    """(count,) hops to the nearest other cores, for each rank the least that any core has."""
    routers = np.arange(mesh.chips * -(-mesh.usable // mesh.per_router))
    if len(routers) <= FEW_ROUTERS and count < mesh.spots:
        spots = np.arange(mesh.spots)
        x, y = mesh.router_at(spots)
        rx, ry = (np.unique(np.stack([x, y]), axis=1)[k][:, None] for k in range(2))
        distances = np.sort(abs(rx - x) + abs(ry - y), axis=1).min(axis=0)[1:]  # without the core itself
        return np.asarray(distances[:count], dtype=np.float64)
    rings = 4 * np.arange(2 + int(np.sqrt(count)))  # a router has 4 d routers at distance d
    rings[0] = 1
    ascending = np.repeat(np.arange(len(rings)), rings * mesh.per_router)[1:]
    return np.asarray(ascending[:count], dtype=np.float64)


def _links(mesh: Mesh, ends: tuple[NDArray[np.int64], ...], packets: Floats) -> tuple[Floats, Floats]:
    """Packets over every link of the plane: (within chips, between chips), all four directions."""
    x0, y0, x1, y1 = ends
    columns, rows = mesh.size
    within, between = [], []
    for line, start, end, lines, length, side in (
        (y0, x0, x1, rows, columns, mesh.columns),
        (x1, y0, y1, columns, rows, mesh.rows),
    ):
        for first, last in ((start, end), (end, start)):
            ahead = first < last  # one direction: a load between them on link i, from i to i + 1
            at = line * (length + 1)
            marks = np.bincount((at + first)[ahead], packets[ahead], lines * (length + 1))
            marks -= np.bincount((at + last)[ahead], packets[ahead], lines * (length + 1))
            loads = np.cumsum(marks.reshape(lines, length + 1), axis=1)[:, : length - 1]
            border = np.arange(length - 1) % side == side - 1
            within.append(loads[:, ~border].ravel())
            between.append(loads[:, border].ravel())
    return np.concatenate(within), np.concatenate(between)
