"""Pass 7: every fan-in arrives at the same step.

What has to wait (`export.passes.schedule` says how long) waits in one of three ways:

    relay          a population that repeats its source's spikes one step later; one line of them serves all readers of a
                   source, each tapping it where its lag ends. Stock Lava, any chip
    delay neuron   one neuron per source neuron whose state is a shift register of the longest lag's bits; every reader
                   takes its own tap. Needs a programmable neuron (Loihi 2 microcode): on the CPU, a process of ours
    input          the host sends the input's spikes again, later

`neuron` uses delay neurons for every lag, `auto` for lags of two steps or more, where they are fewer than relays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from export.errors import UsageError
from export.graph import Conv, Graph, Kind, Population, Projection
from export.passes.lower import UNIT_WEIGHT, repeater
from export.passes.schedule import Delays, arrival_steps, check_delays

MOST_TAPS = 15  # lags that one delay population serves: ports of `export.lava.processes.delay_neuron`, but the first


@dataclass(frozen=True)
class DelayReport:
    """What the alignment costs.

    mode     relay, neuron or auto
    relays   population -> number of relay populations behind it
    taps     population -> lags at which its delay neurons are read
    resends  input population -> times that the host sends its spikes
    relay_neurons, delay_neurons, neurons   of relays, of delay neurons, and neurons without either
    neurons_if_a_tap_is_a_neuron   delay neurons, if one of them can serve one lag only
    depth    largest arrival step
    longest  (source, target, lag) of the longest skip
    """

    mode: Delays
    relays: dict[str, int]
    taps: dict[str, tuple[int, ...]]
    resends: dict[str, int]
    relay_neurons: int
    delay_neurons: int
    neurons_if_a_tap_is_a_neuron: int
    neurons: int
    depth: int
    longest: tuple[str, str, int] | None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dict."""
        skip = self.longest
        return {
            "mode": self.mode,
            "relays": self.relays,
            "delay_taps": {name: list(lags) for name, lags in self.taps.items()},
            "input_sends": self.resends,
            "relay_neurons": self.relay_neurons,
            "delay_neurons": self.delay_neurons,
            "delay_neurons_if_a_tap_is_a_neuron": self.neurons_if_a_tap_is_a_neuron,
            "needs_programmable_neuron": bool(self.taps),
            "neurons_without_relays": self.neurons,
            "depth": self.depth,
            "longest_skip": None if skip is None else {"source": skip[0], "target": skip[1], "lag": skip[2]},
        }


def balance_delays(graph: Graph, delays: str = "relay") -> tuple[Graph, DelayReport]:
    """Insert what makes every fan-in arrive at one step, at the fewest neurons.

    needs    grammar "quantized"
    ensures  grammar "balanced": arrivals[target] == arrivals[source] + 1 + delay for every projection; a delay only
             behind inputs and delay neurons
    raises   UsageError for graded spikes that would wait in delay neurons
    """
    delays = check_delays(delays)
    graded = [p.name for p in graph.populations.values() if p.thresholds]
    if graded and delays != "relay":
        raise UsageError(
            f"--delays {delays}: a delay neuron keeps one bit for each step, but '{graded[0]}' fires graded spikes. Use "
            "--delays relay."
        )
    arrivals = arrival_steps(graph, delays)
    lags = {p.name: arrivals[p.target] - arrivals[p.source] - 1 for p in graph.projections}
    waiting = {name: sorted({lags[p.name] for p in graph.out_of(name)} - {0}) for name in graph.populations}
    populations: dict[str, Population] = {}
    projections: list[Projection] = []
    for name, population in graph.populations.items():
        populations[name] = population
        for again, link, step in _line(population, waiting[name], delays):
            populations[again.name] = again
            arrivals[again.name] = arrivals[name] + step
            projections.append(link)
    projections += [_tapped(graph, p, lags[p.name], waiting[p.source], delays) for p in graph.projections]
    order = sorted(populations, key=lambda n: arrivals[n])
    balanced = replace(
        graph,
        populations={name: populations[name] for name in order},
        projections=tuple(projections),
        arrivals={name: arrivals[name] for name in order},
    )
    return balanced, _report(graph, balanced, lags, waiting, delays)


def _by_neuron(lags: list[int], delays: Delays) -> bool:
    """Whether delay neurons serve a source with these lags; at a lag of one step they equal a relay in cost."""
    return bool(lags) and (delays == "neuron" or (delays == "auto" and lags[-1] > 1))


def _line(population: Population, lags: list[int], delays: Delays) -> list[tuple[Population, Conv, int]]:
    """What stands behind a population: repeating population, its synapses, its step after the source."""
    if not lags or population.kind == "input":
        return []
    if _by_neuron(lags, delays):
        count = -(-len(lags) // MOST_TAPS)
        return [_repeat(population, "delay", _delay(population.name, k), population.name, 1) for k in range(count)]
    names = [_relay(population.name, k) for k in range(lags[-1] + 1)]
    return [_repeat(population, "relay", names[k], names[k - 1], k) for k in range(1, lags[-1] + 1)]


def _tapped(graph: Graph, projection: Projection, lag: int, lags: list[int], delays: Delays) -> Projection:
    """The projection, reading its source where and when its lag ends."""
    source = projection.source
    if not lag:
        return projection
    if graph.populations[source].kind == "input":
        return replace(projection, delay=lag)
    if _by_neuron(lags, delays):
        return replace(projection, source=_delay(source, lags.index(lag) // MOST_TAPS), delay=lag - 1)
    return replace(projection, source=_relay(source, lag))


def _relay(source: str, lag: int) -> str:
    return f"{source}.relay[{lag}]" if lag else source


def _delay(source: str, number: int) -> str:
    return f"{source}.delay[{number}]"


def _repeat(population: Population, kind: Kind, name: str, before: str, step: int) -> tuple[Population, Conv, int]:
    """A memoryless population with one neuron and one synapse per neuron of its source."""
    channels = population.physical_shape[0]
    weight = np.full((channels, 1, 1, 1), UNIT_WEIGHT, dtype=np.int32)
    again = repeater(population, name, kind, population.layout)
    return again, Conv(f"{before}->{name}", before, name, weight, groups=channels, origin=name), step


def _report(
    before: Graph, after: Graph, lags: dict[str, int], waiting: dict[str, list[int]], delays: Delays
) -> DelayReport:
    skip = max(before.projections, key=lambda p: lags[p.name], default=None)
    inputs = {p.name for p in before.inputs}
    taps = {n: tuple(w) for n, w in waiting.items() if n not in inputs and _by_neuron(w, delays)}
    return DelayReport(
        delays,
        {n: w[-1] for n, w in waiting.items() if w and n not in inputs and n not in taps},
        taps,
        {n: len({lags[p.name] for p in before.out_of(n)}) for n in inputs if waiting[n]},
        after.neurons(["relay"]),
        after.neurons(["delay"]),
        sum(before.populations[n].neurons * len(w) for n, w in taps.items()),
        before.neurons(),
        max(after.arrivals.values()),
        None if skip is None or not lags[skip.name] else (skip.source, skip.target, lags[skip.name]),
    )
