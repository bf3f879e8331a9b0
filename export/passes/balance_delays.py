"""Pass 7: every fan-in arrives at the same step.

Each projection takes one Lava step, so a skip arrives early by the depth it skips and has to wait. Waiting costs
neurons: a relay population repeats its source's spikes one step later. One line of relays serves all readers of a
population, each tapping it where its lag ends, so a source pays for its longest lag only. Which population fires when
is a linear program over difference constraints (its vertices are whole numbers: the dual of a network flow):

    minimise   sum over sources s of  neurons(s) * (z_s - a_s)
    such that  a_t >= a_s + 1      for every projection s -> t
               z_s >= a_t - 1      for every reader t of s,   z_s >= a_s

a_s is the arrival step, z_s - a_s the number of relays behind s. Inputs may start late without cost: the host holds
them back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_matrix

from export.errors import GrammarError
from export.graph import Conv, Graph, Population, Projection
from export.passes.lower import MEMORYLESS_OR, UNIT_WEIGHT


@dataclass(frozen=True)
class DelayReport:
    """What the alignment costs.

    relays   population -> number of relay populations behind it
    relay_neurons, neurons   relay neurons, and neurons without relays
    depth    largest arrival step
    longest  (source, target, lag) of the longest skip
    """

    relays: dict[str, int]
    relay_neurons: int
    neurons: int
    depth: int
    longest: tuple[str, str, int] | None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dict."""
        skip = self.longest
        return {
            "relays": self.relays,
            "relay_neurons": self.relay_neurons,
            "neurons_without_relays": self.neurons,
            "depth": self.depth,
            "longest_skip": None if skip is None else {"source": skip[0], "target": skip[1], "lag": skip[2]},
        }


def balance_delays(graph: Graph) -> tuple[Graph, DelayReport]:
    """Insert the relays that cost the fewest neurons.

    needs    grammar "quantized"
    ensures  grammar "balanced": arrivals[target] == arrivals[source] + 1 for every projection
    """
    arrivals = _arrivals(graph)
    lags = {p.name: arrivals[p.target] - arrivals[p.source] - 1 for p in graph.projections}
    longest = {name: max((lags[p.name] for p in graph.out_of(name)), default=0) for name in graph.populations}
    populations: dict[str, Population] = {}
    projections: list[Projection] = []
    for name, population in graph.populations.items():
        populations[name] = population
        for k in range(1, longest[name] + 1):
            relay, link = _relay(population, k)
            populations[relay.name] = relay
            arrivals[relay.name] = arrivals[name] + k
            projections.append(link)
    projections += [replace(p, source=_tap(p.source, lags[p.name])) for p in graph.projections]
    order = sorted(populations, key=lambda n: arrivals[n])
    balanced = replace(
        graph,
        populations={name: populations[name] for name in order},
        projections=tuple(projections),
        arrivals={name: arrivals[name] for name in order},
    )
    return balanced, _report(graph, balanced, lags, longest)


def _tap(source: str, lag: int) -> str:
    return f"{source}.relay[{lag}]" if lag else source


def _relay(population: Population, k: int) -> tuple[Population, Conv]:
    """The k-th relay behind a population: one neuron and one synapse per neuron, memoryless."""
    name, before = _tap(population.name, k), _tap(population.name, k - 1)
    channels = population.physical_shape[0]
    weight = np.full((channels, 1, 1, 1), UNIT_WEIGHT, dtype=np.int32)
    relay = Population(name, "relay", population.shape, MEMORYLESS_OR, None, population.layout)
    return relay, Conv(f"{before}->{name}", before, name, weight, groups=channels, origin=name)


def _arrivals(graph: Graph) -> dict[str, int]:
    """Solve the linear program; populations x (a, z)."""
    names = list(graph.populations)
    index = {name: i for i, name in enumerate(names)}
    count = len(names)
    rows: list[tuple[int, int, int]] = []  # (plus, minus, at least): x[plus] - x[minus] >= at least
    for p in graph.projections:
        source, target = index[p.source], index[p.target]
        rows.append((target, source, 1))
        rows.append((count + source, target, -1))
    rows += [(count + i, i, 0) for i in range(count)]
    data = np.tile([-1.0, 1.0], len(rows))
    at = np.repeat(np.arange(len(rows)), 2)
    columns = np.array([(plus, minus) for plus, minus, _ in rows]).ravel()
    matrix = coo_matrix((data, (at, columns)), shape=(len(rows), 2 * count)).tocsr()
    neurons = np.array([graph.populations[name].neurons for name in names], dtype=float)
    cost = np.concatenate([-neurons, neurons]) / neurons.max()
    limits = [-float(least) for _, _, least in rows]
    solution = linprog(cost, matrix, limits, bounds=(1, None), method="highs-ds")  # type: ignore[call-overload]  # sparse
    if solution.status != 0:
        raise GrammarError(f"the delays cannot be balanced: {solution.message} Is there a cycle in the network?")
    steps = np.round(solution.x[:count]).astype(int)
    for p in graph.projections:
        assert steps[index[p.target]] > steps[index[p.source]], "rounded schedule breaks causality"
    return {name: int(steps[i]) for name, i in index.items()}


def _report(before: Graph, after: Graph, lags: dict[str, int], longest: dict[str, int]) -> DelayReport:
    skip = max(before.projections, key=lambda p: lags[p.name], default=None)
    return DelayReport(
        {name: k for name, k in longest.items() if k},
        after.neurons(["relay"]),
        before.neurons(),
        max(after.arrivals.values()),
        None if skip is None or not lags[skip.name] else (skip.source, skip.target, lags[skip.name]),
    )
