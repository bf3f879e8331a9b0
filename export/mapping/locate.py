"""Gives every core of a placement a core of a system, so that packets travel few hops.

    sequential  Lava's own: core after core, chip after chip
    hilbert     cores in their order along a Hilbert curve over all routers
    force       that, refined by forces between neighbours (Jin et al., ASPLOS 2023)
    best        ours: annealed on the fewest chips, where a border between chips weighs more than a hop. A network too
                large for that is refined by jumps and forces, from its order along the curve or a banded one

All are deterministic. None knows populations: the traffic between cores is enough.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import reverse_cuthill_mckee

from export.errors import DataError, UsageError
from export.mapping.hilbert import along_curve, compact_chips
from export.mapping.mesh import Location, Mesh, Spots, mesh_of
from export.mapping.refine import Layout, anneal, force, jump
from export.mapping.traffic import Traffic
from hw_configs import System

Method = Literal["sequential", "hilbert", "force", "best"]
METHODS: tuple[Method, ...] = get_args(Method)

BORDER = 4  # what the search takes a crossing between chips for, in hops; the true price is not published
WORK = 300_000_000  # looks at a packet count that annealing may take
SWEEPS = 60_000
FEWEST_SWEEPS = 2000  # annealing with fewer is worse than none
ROUNDS = 400  # of forces
JUMPS = 400
JUMP_WORK = 500_000_000
FORCE_WORK = 600_000_000  # looks at a packet count that forces may take


def locate(
    traffic: Traffic, system: System, method: Method = "best", *, seed: int = 0, sweeps: int = SWEEPS
) -> Location:
    """Places for all cores.

    seed    of the annealing; equal seeds give equal places
    sweeps  of the annealing, at most; fewer are faster and worse
    raises  UsageError for an unknown method, or where the config lacks the arrangement of routers or chips; DataError
            when the system has too few cores
    """
    mesh = mesh_of(system)
    cores = traffic.packets.shape[0]
    if method not in METHODS:
        raise UsageError(f"unknown method '{method}'; choose one of {', '.join(METHODS)}.")
    if cores > mesh.spots:
        raise DataError(
            f"the network needs {cores:,} cores; system '{system.name}' has {mesh.spots:,} that can be used "
            f"({mesh.chips:,} chips of {mesh.usable}). Take a larger system or a smaller network."
        )
    notes: tuple[str, ...] = ("how chips are arranged is an estimate: crossings between them are counted apart",)
    if method == "sequential":
        spot = np.arange(cores)
    elif method == "hilbert":
        spot = along_curve(mesh, np.arange(mesh.spots))[:cores]
    elif method == "force":
        spot = _forced(traffic, mesh)
    else:
        spot, found = _best(traffic, mesh, seed, sweeps)
        notes += found
    return Location(method, np.asarray(spot, dtype=np.int64), len(np.unique(spot // mesh.usable)), notes)


def _both(traffic: Traffic, places: int) -> csr_matrix:
    """(places, places) packets between two cores, both ways; places beyond the cores are empty."""
    both = (traffic.packets + traffic.packets.T).tocsr()
    rows = np.append(both.indptr, np.full(places - both.shape[0], both.indptr[-1]))
    return csr_matrix((both.data, both.indices, rows), shape=(places, places))


def _layout(traffic: Traffic, mesh: Mesh, spots: Spots, border: int) -> Layout:
    """Cores of a system as places; a border between chips is as wide as `border` hops."""
    x, y = mesh.router_at(spots)
    chip_x, chip_y = mesh.chip_at(spots)
    apart = border - 1
    weights = _both(traffic, len(spots))
    return Layout(weights, (x + apart * chip_x).astype(np.float64), (y + apart * chip_y).astype(np.float64))


def _forced(traffic: Traffic, mesh: Mesh) -> Spots:
    """Hilbert order, refined over as much of the curve again as it takes."""
    spots = along_curve(mesh, np.arange(mesh.spots))[: 2 * traffic.packets.shape[0]]
    at = _refined(_layout(traffic, mesh, spots, 1), np.arange(len(spots)), mesh, spots)
    return np.asarray(spots[at[: traffic.packets.shape[0]]])


def _best(traffic: Traffic, mesh: Mesh, seed: int, most: int) -> tuple[Spots, tuple[str, ...]]:
    """Places on the fewest chips, and what was left out."""
    cores = traffic.packets.shape[0]
    chips = compact_chips(mesh, -(-cores // mesh.usable))
    spots = along_curve(mesh, (chips[:, None] * mesh.usable + np.arange(mesh.usable)).ravel())
    layout = _layout(traffic, mesh, spots, BORDER)
    starts = [np.arange(len(spots)), _banded(layout, cores)]
    jumps = min(JUMPS, JUMP_WORK // (layout.weights.nnz + len(spots)))
    found = [_refined(layout, jump(layout, min(starts, key=layout.cost), jumps, seed), mesh, spots, 0.25)]
    affordable = WORK // (layout.weights.nnz + len(spots))
    if affordable >= FEWEST_SWEEPS:
        found.append(anneal(layout, starts[0], min(affordable, most), seed))
        return np.asarray(spots[min(found, key=layout.cost)[:cores]]), ()
    note = f"{cores:,} cores are too many to anneal: they were placed by jumps and forces from an order along a Hilbert curve"
    return np.asarray(spots[found[0][:cores]]), (note,)


def _refined(layout: Layout, at: Spots, mesh: Mesh, spots: Spots, share: float = 1.0) -> Spots:
    """Forces for a share of the rounds that are affordable."""
    rounds = min(FORCE_WORK // (layout.weights.nnz + len(spots)), ROUNDS)
    return force(layout, at, neighbours(mesh, spots), round(share * rounds))


def _banded(layout: Layout, cores: int) -> Spots:
    """Cores in the order of reverse Cuthill and McKee: those that exchange packets get near numbers."""
    order = reverse_cuthill_mckee(layout.weights[:cores, :cores], symmetric_mode=True)
    at = np.arange(len(layout.x))
    at[order] = np.arange(cores)
    return at


def neighbours(mesh: Mesh, spots: Spots) -> Spots:
    """(pairs, 2) indices of spots whose routers are neighbours on the plane: every core of one with every of the other."""
    columns, rows = mesh.size
    x, y = mesh.router_at(spots)
    slot = spots % mesh.usable % mesh.per_router
    table = np.full((columns, rows, mesh.per_router), -1, dtype=np.int64)
    table[x, y, slot] = np.arange(len(spots))
    found = []
    for turn in range(mesh.per_router):
        turned = np.roll(table, turn, axis=2)
        found += [(table[:-1], turned[1:]), (table[:, :-1], turned[:, 1:])]
    pairs = np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in found])
    return np.asarray(pairs[(pairs >= 0).all(axis=1)])
