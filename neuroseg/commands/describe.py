"""`neuroseg describe`: what a network costs, before anybody trains it."""

from __future__ import annotations

from typing import Any

import numpy as np

from export.graph import Conv, Graph, Population
from export.passes.balance_delays import balance_delays
from export.passes.check_spikes import check_spikes
from export.passes.count_macs import count_macs
from export.passes.fold_norm import fold_norm
from export.passes.lower import lower
from export.passes.trace import trace
from export.pipeline import check_layout
from export.report.sizes import network_counts
from neuroseg.commands.console import show
from neuroseg.config import Config
from neuroseg.models import build_model, parameter_count


def describe(config: Config, layout: str = "auto") -> dict[str, Any]:
    """Parameters, operations and neurons of a config's network, with the relays that align its skips (JSON-ready).

    Weights do not matter: the compiler's passes up to the delays run on untrained ones. Raises what `export` would raise.
    """
    check_layout(layout)
    model = build_model(config.model, config.data.classes)
    flow = fold_norm(trace(model, (3, *config.data.size)))
    check_spikes(flow)
    trained = lower(flow, layout)
    deployed, delays = balance_delays(trained)
    rows = [_row(p, trained, deployed.arrivals[p.name], delays.relays) for p in trained.populations.values()]
    return {
        "schema_version": 1,
        "name": config.name,
        "input": [3, *config.data.size],
        "steps": config.model.steps,
        "params": parameter_count(model),
        **network_counts(deployed, count_macs(flow)),
        "populations": rows,
    }


def _row(population: Population, graph: Graph, arrival: int, relays: dict[str, int]) -> dict[str, Any]:
    into = graph.into(population.name)
    count = relays.get(population.name, 0)
    return {
        "name": population.name,
        "kind": population.kind,
        "shape": list(population.shape),
        "neurons": population.neurons,
        "arrival": arrival,
        "projections": len(into),
        # synapses of one neuron, stored zeros of a space-to-depth layout included
        "fan_in": sum(int(np.prod(p.weight.shape[1:])) if isinstance(p, Conv) else 1 for p in into),
        "relays": count,
        "relay_neurons": count * population.neurons,
    }


def show_description(result: dict[str, Any]) -> None:
    """The same as tables."""
    kinds = result["neurons_by_kind"]
    gates = kinds["or"] + kinds["and"] + kinds["interleave"]
    shape = "x".join(map(str, result["input"]))
    rows = [
        ("parameters", f"{result['params']:,}"),
        ("multiply-accumulates per step", f"{result['macs_per_step']:,} (host: {result['host_macs']:,})"),
        ("neurons as trained", f"{result['neurons']:,} (+ {result['host_neurons']:,} on the host)"),
        ("relays that align the skips", f"{kinds['relay']:,}"),
        ("OR, AND and interleave neurons", f"{gates:,}"),
        ("neurons as deployed", f"{result['neurons_deployed']:,}"),
        ("depth, latency", f"{result['depth']} steps, {result['latency_steps']} steps to the last spike of a sample"),
    ]
    show(f"{result['name']}: input {shape}, T = {result['steps']}", ("what", "value"), rows)
    columns = ("population", "kind", "shape", "neurons", "arrives", "relays", "relay neurons")
    show("populations", columns, [_cells(row) for row in result["populations"]])


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    shape = "x".join(map(str, row["shape"]))
    return row["name"], row["kind"], shape, row["neurons"], row["arrival"], row["relays"], row["relay_neurons"]
