"""Sizes that need no test vector: what `describe` says of a config and the report of a compiled network, by equal keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from export.dataflow import Macs
from export.graph import Graph, Kind

ON_CHIP: tuple[Kind, ...] = ("lif", "or", "and", "interleave", "relay", "delay")


def network_counts(graph: Graph, macs: Mapping[str, Macs]) -> dict[str, Any]:
    """Neurons, depth, latency and operations, JSON-ready.

    graph  balanced: with its relays and arrival steps
    macs   of `count_macs`: auxiliary heads included

    macs_per_step           all convolutions of one time step, as trained; macs_per_step_deployed: without auxiliary heads
    host_macs               those of macs_per_step that read pixels
    readout_host_macs       those of the host's linear read-out, once per sample; in macs_per_step, too, as it was trained
    depth                   the last arrival step
    latency_steps           from the first step of a sample's input to the last of its output
    """
    kinds = {kind: graph.neurons([kind]) for kind in ON_CHIP}
    return {
        "macs_per_step": sum(m.per_step for m in macs.values()),
        "macs_per_step_deployed": sum(m.per_step for m in macs.values() if m.deployed),
        "host_macs": sum(m.per_step for m in macs.values() if m.on_host),
        "readout_host_macs": sum(m.per_step for m in macs.values() if m.by_readout),
        "neurons": kinds["lif"],
        "neurons_deployed": sum(kinds.values()),
        "neurons_by_kind": kinds,
        "host_neurons": graph.neurons(["input"]),
        "depth": max(graph.arrivals.values()),
        "latency_steps": max(graph.arrivals[n] for n in graph.outputs) + graph.steps - 1,
    }


def cores_used(content: Mapping[str, Any]) -> str:
    """'119 of 120 cores of one chip', from the content of `report.json`."""
    chips = "one chip" if content["chips"] == 1 else f"{content['chips']:,} chips"
    return f"{content['cores']:,} of {content['chips'] * content['usable_cores_per_chip']:,} cores of {chips}"
