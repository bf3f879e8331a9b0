"""What the alignment of skips costs: relays, delay neurons and repeated sends of the host, source by source."""

from __future__ import annotations

from typing import Any

from export.graph import Graph, Population
from export.passes.balance_delays import DelayReport
from export.report.rows import lines_of

Rows = list[dict[str, Any]]


def delay_section(graph: Graph, delays: DelayReport, cores: Rows) -> dict[str, Any]:
    """The part "delays" of `report.json`.

    graph  balanced
    cores  rows of all cores
    """
    lines = lines_of(graph)
    waiting = {line.name for found in lines.values() for line in found}
    deployed = graph.neurons() - graph.neurons(["input"])
    neurons = delays.relay_neurons + delays.delay_neurons
    held = [row for row in cores if row["population"] in waiting]
    energy = {key: sum(row["energy_nominal_j"] for row in rows) for key, rows in (("held", held), ("all", cores))}
    return {
        **delays.to_json(),
        "cost": {
            "neurons": neurons,
            "neurons_share": neurons / deployed if deployed else 0.0,
            "cores": len(held),
            "cores_share": len(held) / len(cores) if cores else 0.0,
            "energy_nominal_j": energy["held"],
            "energy_share": energy["held"] / energy["all"] if energy["all"] else 0.0,
        },
        "sources": [
            _source(graph, delays, name, lines.get(name, []), held)
            for name in graph.populations
            if _waits(delays, name)
        ],
    }


def _waits(delays: DelayReport, name: str) -> bool:
    return name in delays.relays or name in delays.taps or name in delays.resends


def _source(graph: Graph, delays: DelayReport, name: str, lines: list[Population], cores: Rows) -> dict[str, Any]:
    """What waits behind one population: its lines, and which of their cores' rows are its own."""
    names = {line.name for line in lines}
    held = [row for row in cores if row["population"] in names]
    return {
        "name": name,
        "way": "host" if name in delays.resends else "delay neurons" if name in delays.taps else "relays",
        "neurons": graph.populations[name].neurons,
        "longest_wait_steps": _longest(graph, delays, name),
        "relay_populations": delays.relays.get(name, 0),
        "relay_neurons": sum(line.neurons for line in lines if line.kind == "relay"),
        "delay_neurons": sum(line.neurons for line in lines if line.kind == "delay"),
        "delay_taps": list(delays.taps.get(name, ())),
        "host_sends": delays.resends.get(name, 0),
        "cores": len(held),
        "synops_per_sample": sum(row["synops_per_sample"] for row in held),
        "energy_nominal_j": sum(row["energy_nominal_j"] for row in held),
    }


def _longest(graph: Graph, delays: DelayReport, name: str) -> int:
    """Steps by which the last of its readers gets its spikes late."""
    if name in delays.resends:
        return max(projection.delay for projection in graph.out_of(name))
    return max((delays.relays.get(name, 0), *delays.taps.get(name, ())))
