"""When every population fires: the arrival steps at which waiting costs the fewest neurons.

Each projection takes one Lava step, so a skip arrives early by the depth it skips and has to wait. With a_s the arrival
step of s and z_s the step at which the last of its readers needs its spikes:

    a_t >= a_s + 1                            for every projection s -> t
    z_s >= a_t - 1 for every reader t of s,   z_s >= a_s

Relays cost their source's neurons once per step of the longest lag, which is a linear program over difference
constraints (its vertices are whole numbers: the dual of a network flow). Delay neurons cost them once, however long the
lag, which makes it a mixed-integer program with one binary y_s for each source:

    relays          minimise  sum of neurons(s) * (z_s - a_s)
    delay neurons   minimise  sum of neurons(s) * y_s      such that  z_s - a_s <= M y_s;
                    then, with these y_s, the linear program above: the shortest registers

Inputs wait at no cost: the host holds their spikes back, and sends them again where readers differ.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import coo_matrix, csr_matrix

from export.errors import GrammarError, NeurosegError, UsageError
from export.graph import Graph

Delays = Literal["relay", "neuron", "auto"]
DELAYS: tuple[Delays, ...] = get_args(Delays)
EARLY = 1e-6  # of the smallest cost, per step of a population's arrival: ties go to the shorter latency
RESEND = 1e-4  # of a neuron's cost, per step: ties go to the schedule in which the host sends an input once
SECONDS = 30.0  # for the mixed-integer program; a network of 120 populations takes less than one
Rows = list[tuple[int, int, int]]


def check_delays(delays: str) -> Delays:
    """The same, known to be a way of waiting; UsageError otherwise."""
    for known in DELAYS:
        if delays == known:
            return known
    raise UsageError(f"unknown delays '{delays}'; choose one of {', '.join(DELAYS)}.")


def arrival_steps(graph: Graph, delays: Delays) -> dict[str, int]:
    """Arrival step of every population, 1-based.

    delays   "relay": fewest relays; "neuron", "auto": fewest neurons where a lag of any length costs a neuron
    raises   GrammarError for a network with a cycle
    """
    names = list(graph.populations)
    rows = _difference_rows(graph)
    cost = np.array(
        [p.neurons * (RESEND if p.kind == "input" else 1.0) for p in graph.populations.values()], dtype=float
    )
    cost /= cost.max()
    solved = _shortest_waits(rows, cost)
    if delays != "relay":
        waits = _fewest_sources(graph, rows, cost)
        tight = [(i, len(names) + i, 0) for i in np.flatnonzero(~waits)]
        solved = _shortest_waits([*rows, *tight], cost)
    steps = np.round(solved).astype(int)
    index = {name: i for i, name in enumerate(names)}
    for population in graph.inputs:  # an input with one reader simply starts later
        read = [steps[index[p.target]] for p in graph.out_of(population.name)]
        steps[index[population.name]] = min(read, default=2) - 1
    for p in graph.projections:
        assert steps[index[p.target]] > steps[index[p.source]], "rounded schedule breaks causality"
    return {name: int(steps[i]) for i, name in enumerate(names)}


def _difference_rows(graph: Graph) -> Rows:
    """(plus, minus, least): x[plus] - x[minus] >= least, with x = (a, z)."""
    index = {name: i for i, name in enumerate(graph.populations)}
    count = len(index)
    rows: Rows = []
    for p in graph.projections:
        source, target = index[p.source], index[p.target]
        rows.append((target, source, 1))
        rows.append((count + source, target, -1))
    return rows + [(count + i, i, 0) for i in range(count)]


def _matrix(rows: Rows, columns: int) -> csr_matrix:
    data = np.tile([1.0, -1.0], len(rows))
    at = np.repeat(np.arange(len(rows)), 2)
    where = np.array([(plus, minus) for plus, minus, _ in rows]).ravel()
    return coo_matrix((data, (at, where)), shape=(len(rows), columns)).tocsr()


def _shortest_waits(rows: Rows, cost: NDArray[np.float64]) -> NDArray[np.float64]:
    count = len(cost)
    limits = [-float(least) for _, _, least in rows]
    both = np.concatenate([-cost + EARLY * cost.min(), cost])
    solution = linprog(both, -_matrix(rows, 2 * count), limits, bounds=(1, None), method="highs-ds")  # type: ignore[call-overload]  # sparse
    if solution.status != 0:
        raise GrammarError(f"the delays cannot be balanced: {solution.message} Is there a cycle in the network?")
    return np.asarray(solution.x[:count])


def _fewest_sources(graph: Graph, rows: Rows, cost: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Behind which sources something may wait (inputs: all), at the fewest neurons; x = (a, z, y)."""
    count = len(cost)
    last = float(count)  # a step at which nothing arrives can be cut out of a schedule: no more steps than populations
    waits = np.array([p.kind != "input" for p in graph.populations.values()])
    differences = _matrix(rows, 3 * count)
    each = np.arange(count)
    big = coo_matrix(
        (
            np.concatenate([np.ones(count), -np.ones(count), np.full(count, -last)]),
            (np.tile(each, 3), np.concatenate([each + count, each, each + 2 * count])),
        ),
        shape=(count, 3 * count),
    ).tocsr()
    solution = milp(
        np.concatenate([np.zeros(2 * count), np.where(waits, cost, 0.0)]),
        constraints=[
            LinearConstraint(differences, [float(least) for _, _, least in rows], np.inf),
            LinearConstraint(big, -np.inf, np.where(waits, 0.0, last)),
        ],
        integrality=np.concatenate([np.ones(count), np.zeros(count), np.ones(count)]),
        bounds=Bounds(np.r_[np.ones(2 * count), np.zeros(count)], np.r_[np.full(2 * count, last), np.ones(count)]),
        options={"time_limit": SECONDS, "mip_rel_gap": 1e-9},
    )
    if solution.status != 0:  # a schedule that is merely good would depend on how busy the machine is
        raise NeurosegError(
            f"no least-cost schedule for delay neurons was found in {SECONDS:g} s ({solution.message}). Use --delays relay, or "
            "try again on a machine that is less busy."
        )
    return np.asarray((solution.x[2 * count :] > 0.5) | ~waits)
