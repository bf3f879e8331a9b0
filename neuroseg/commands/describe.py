"""`neuroseg describe`: what a network costs, before anybody trains it."""

from __future__ import annotations

from typing import Any

import numpy as np

from export.graph import Conv, Graph, Population
from export.passes.balance_delays import MOST_TAPS, DelayReport, balance_delays
from export.passes.schedule import check_delays
from export.pipeline import check_layout, lower_module
from export.report.sizes import network_counts
from neuroseg.commands.console import show
from neuroseg.config import Config
from neuroseg.models import build, parameter_count


def describe(config: Config, layout: str = "auto", delays: str = "relay") -> dict[str, Any]:
    """Parameters, operations and neurons of a config's network, with what aligns its skips (JSON-ready).

    Weights do not matter: the compiler's passes up to the delays run on untrained ones. Raises what `export` would raise.
    """
    check_layout(layout)
    check_delays(delays)
    model = build(config)
    lowered = lower_module(model, config.input_shape, layout=layout)
    trained = lowered.graph
    deployed, report = balance_delays(trained, delays)
    rows = [_row(p, trained, deployed.arrivals[p.name], report) for p in trained.populations.values()]
    return {
        "schema_version": 1,
        "name": config.name,
        "input": list(config.input_shape),
        "steps": config.model.steps,
        "delays": delays,
        "params": parameter_count(model),
        **network_counts(deployed, lowered.macs),
        "populations": rows,
    }


def _row(population: Population, graph: Graph, arrival: int, report: DelayReport) -> dict[str, Any]:
    into = graph.into(population.name)
    count = report.relays.get(population.name, 0)
    taps = report.taps.get(population.name, ())
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
        "delay_taps": list(taps),
        "delay_neurons": population.neurons * -(-len(taps) // MOST_TAPS),
        "host_sends": report.resends.get(population.name, 1) if population.kind == "input" else 0,
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
        (f"relays{_delay_words(result)} that align the skips", f"{kinds['relay'] + kinds['delay']:,}"),
        ("OR, AND and interleave neurons", f"{gates:,}"),
        ("neurons as deployed", f"{result['neurons_deployed']:,}"),
        ("depth, latency", f"{result['depth']} steps, {result['latency_steps']} steps to the last spike of a sample"),
    ]
    show(f"{result['name']}: input {shape}, T = {result['steps']}", ("what", "value"), rows)
    columns = ("population", "kind", "shape", "neurons", "arrives", "waits by", "neurons for it")
    show("populations", columns, [_cells(row) for row in result["populations"]])


def _delay_words(result: dict[str, Any]) -> str:
    return " and delay neurons" if result["neurons_by_kind"]["delay"] else ""


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    shape = "x".join(map(str, row["shape"]))
    if row["host_sends"] > 1:
        waits = f"host, {row['host_sends']} times"
    elif row["delay_taps"]:
        waits = f"delay neuron, {len(row['delay_taps'])} tap(s)"
    else:
        waits = f"{row['relays']} relay(s)" if row["relays"] else ""
    spent = row["relay_neurons"] + row["delay_neurons"]
    return row["name"], row["kind"], shape, row["neurons"], row["arrival"], waits, spent or ""
