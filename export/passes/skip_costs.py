"""What every skip would cost, by each way of making it wait: the candidates side by side, before one is chosen.

    relay           one line behind a source serves all its readers: neurons(source) * longest lag
    delay neuron    neurons(source), once for up to 15 lags: a register of as many bits as the longest, one tap per
                    reader; or once per tap, if a neuron can serve one lag only: what a chip's microcode allows is not public
    synaptic delay  no neuron, but a ring of dendritic accumulators in every neuron that listens: neurons(target) * lag of
                    them. What they take from a core is not published: nothing at least, a relay's room each at most
    host            an input waits on the host, which sends it once per lag

The lags are those of a schedule (`export.passes.schedule`); each way has a schedule of its own that suits it best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import hw_configs
from export.graph import Graph
from export.passes.balance_delays import MOST_TAPS
from export.passes.schedule import DELAYS, arrival_steps

CHIP = "loihi2"


@dataclass(frozen=True)
class SkipCost:
    """One source whose spikes have to wait for some of their readers; counts are neurons, unless they say otherwise.

    lags            steps that its readers wait, ascending, without 0
    readers         populations that wait for it
    host_sends      times that the host sends it; 0 for what is not an input
    register_bits   of one delay neuron
    synaptic        most steps that a synaptic delay of the chip can hold are enough; None: not known of this chip
    accumulators    dendritic accumulators of the listening neurons, if their synapses delayed this source alone
    """

    source: str
    kind: str
    neurons: int
    lags: tuple[int, ...]
    readers: tuple[str, ...]
    relay_neurons: int
    delay_neurons: int
    delay_neurons_if_a_tap_is_a_neuron: int
    host_sends: int
    register_bits: int
    synaptic: bool | None
    accumulators: int

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dict."""
        return asdict(self)


def skip_costs(graph: Graph, arrivals: Mapping[str, int], chip: str = CHIP) -> list[SkipCost]:
    """Every source with a lag, in topological order.

    graph     before `balance_delays`
    arrivals  of `arrival_steps`
    """
    limit = hw_configs.load(chip).core.synaptic_delay.value
    found = []
    for population in graph.populations.values():
        lag_of = {p: arrivals[p.target] - arrivals[p.source] - 1 for p in graph.out_of(population.name)}
        late = {p: lag for p, lag in lag_of.items() if lag}
        if not late:
            continue
        lags, n = tuple(sorted(set(late.values()))), population.neurons
        host = population.kind == "input"
        reached = {(p.target, lag) for p, lag in late.items()}
        found.append(
            SkipCost(
                population.name,
                population.kind,
                n,
                lags,
                tuple(dict.fromkeys(p.target for p in late)),
                0 if host else n * lags[-1],
                0 if host else n * -(-len(lags) // MOST_TAPS),
                0 if host else n * len(lags),
                len(set(lag_of.values())) if host else 0,
                0 if host else lags[-1],
                None if limit is None else lags[-1] <= limit,
                0 if host else sum(graph.populations[name].neurons * lag for name, lag in reached),
            )
        )
    return found


@dataclass(frozen=True)
class Way:
    """A whole network, all its skips waiting in one way.

    neurons_low, neurons_high   deployed; they differ where the cost is not published
    ratio_low, ratio_high       to the neurons as trained
    stock    stock neurons and synapses of Lava suffice
    """

    name: str
    neurons_low: int
    neurons_high: int
    ratio_low: float
    ratio_high: float
    depth: int
    stock: bool

    def to_json(self) -> dict[str, Any]:
        """JSON-ready dict."""
        return asdict(self)


def ways(graph: Graph) -> list[Way]:
    """Relays, delay neurons and synaptic delays, each with the schedule that suits it best; inputs wait on the host."""
    trained = graph.neurons(["lif"])
    kept = graph.neurons() - graph.neurons(["input"])

    def way(name: str, low: int, high: int, depth: int, stock: bool) -> Way:
        return Way(name, kept + low, kept + high, (kept + low) / trained, (kept + high) / trained, depth, stock)

    schedules = {mode: arrival_steps(graph, mode) for mode in DELAYS if mode != "auto"}
    depths = {mode: max(steps.values()) for mode, steps in schedules.items()}
    lines, registers = (skip_costs(graph, schedules[mode]) for mode in ("relay", "neuron"))
    relays = sum(s.relay_neurons for s in lines)
    return [
        way("relay", relays, relays, depths["relay"], True),
        way(
            "delay neuron",
            sum(s.delay_neurons for s in registers),
            sum(s.delay_neurons_if_a_tap_is_a_neuron for s in registers),
            depths["neuron"],
            False,
        ),
        way("synaptic delay", 0, _accumulators(graph, schedules["relay"]), depths["relay"], False),
    ]


def _accumulators(graph: Graph, arrivals: Mapping[str, int]) -> int:
    """Of all listening neurons: one ring, as long as the longest lag that it hears, serves all its synapses."""
    longest: dict[str, int] = {}
    for p in graph.projections:
        if graph.populations[p.source].kind != "input":
            lag = arrivals[p.target] - arrivals[p.source] - 1
            longest[p.target] = max(longest.get(p.target, 0), lag)
    return sum(graph.populations[name].neurons * lag for name, lag in longest.items())
