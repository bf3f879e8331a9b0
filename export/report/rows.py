"""Rows of the report: one per population, with its relays and delay neurons apart, and one per core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.graph import LINES, Graph, Population
from export.mapping.cost import Cost
from export.mapping.placement import RESOURCES, Cut, Placement
from export.mapping.work import Load, Work
from export.report.mapped import Mapped

Rows = list[dict[str, Any]]
KEYS = {  # resource of `export.mapping` -> key of a core's row; "..._per_core" in a population's
    "neurons": "neurons",
    "words": "synaptic_words",
    "axon_in": "axon_in",
    "axon_map": "axon_map",
    "axon_mem": "axon_mem",
    "groups": "neuron_groups",
    "pool": "pool",
}


def lines_of(graph: Graph) -> dict[str, list[Population]]:
    """Population -> relays and delay neurons that repeat it."""
    lines: dict[str, list[Population]] = {}
    source = {projection.target: projection.source for projection in graph.projections}
    repeated: dict[str, str] = {}  # populations come in topological order
    for name, population in graph.populations.items():
        if population.kind in LINES:
            repeated[name] = repeated.get(source[name], source[name])
            lines.setdefault(repeated[name], []).append(population)
    return lines


def repeats(graph: Graph) -> dict[str, str]:
    """Relay or delay neurons -> the population whose spikes they repeat."""
    return {line.name: name for name, lines in lines_of(graph).items() for line in lines}


def core_limits(placement: Placement) -> dict[str, float | None]:
    """What a core holds of each resource; None: not known."""
    return {key: placement.limits.cap(resource) for resource, key in KEYS.items()}


def population_rows(graph: Graph, placement: Placement, loads: Mapping[str, Load], rates: Mapping[str, float]) -> Rows:
    """One row per population but relays and delay neurons, which stand in its row: all rows add up to the network."""
    lines, rows = lines_of(graph), []
    for population in graph.populations.values():
        if population.kind in LINES:
            continue
        row = {
            "name": population.name,
            "kind": population.kind,
            "shape": list(population.shape),
            "layout": population.layout,
            "neurons": population.neurons,
            "firing_rate": rates[population.name],
        }
        row |= _own(population, graph, placement, loads)
        rows.append(row | _lines(lines.get(population.name, []), graph.steps, placement, loads))
    return rows


def _own(population: Population, graph: Graph, placement: Placement, loads: Mapping[str, Load]) -> dict[str, Any]:
    """What a population needs on the chip; an input of spikes, nothing."""
    cut, load = placement.cuts.get(population.name), loads.get(population.name)
    placed = cut is not None and load is not None
    return {
        "cores": cut.cores if cut else 0,
        "cores_lower_bound": cut.least if cut else 0,
        "tile": list(cut.tile) if cut else None,
        "fits": cut.fits if cut else True,
        "binding": cut.binding if cut else None,
        **{f"{KEYS[resource]}_per_core": _fullest(cut, resource) for resource in RESOURCES},
        "synapses": int(load.synapses.sum()) if load else 0,
        "synapses_stored": load.synapses_stored if load else 0,
        "fan_in": load.fan_in if load else 0,
        "synops_per_sample": per_sample(load) if load else 0.0,
        "synops_stored_per_sample": load.synops_stored if load else 0.0,
        "updates_per_sample": population.neurons * graph.steps if placed else 0,
    }


def _fullest(cut: Cut | None, resource: str) -> float | int | None:
    """Most that a core of this population holds; 0 without cores, None where it is not known."""
    if cut is None:
        return 0
    load = cut.load.of(resource)
    return None if load is None else load.max().item()


def _lines(lines: list[Population], steps: int, placement: Placement, loads: Mapping[str, Load]) -> dict[str, Any]:
    """Relays and delay neurons behind a population, together; `delay_neurons`: how many are the latter."""
    names, neurons = [line.name for line in lines], sum(line.neurons for line in lines)
    return {
        "relays": len(names),
        "relay_neurons": neurons,
        "delay_neurons": sum(line.neurons for line in lines if line.kind == "delay"),
        "relay_cores": sum(placement.cuts[name].cores for name in names),
        "relay_synops_per_sample": float(sum(per_sample(loads[name]) for name in names)),
        "relay_updates_per_sample": neurons * steps,
    }


def core_rows(placement: Placement, loads: Mapping[str, Load], work: Work, mapped: Mapped, cost: Cost) -> Rows:
    """One row per core, in the order of their numbers; energies and times at their nominal level."""
    columns = _columns(work, mapped, cost)
    rows = []
    for name, cut in placement.cuts.items():
        load = loads[name]
        held = {key: cut.load.of(resource) for resource, key in KEYS.items()}
        for i in range(cut.cores):
            core, neurons = cut.first + i, int(cut.load.neurons.flat[i])
            rows.append(
                {
                    "core": core,
                    "population": name,
                    **{key: None if grid is None else grid.flat[i].item() for key, grid in held.items()},
                    "synapses": int(load.synapses[i]),
                    "firing_rate": float(load.spikes[i] / (neurons * work.steps)),
                    "updates_per_sample": neurons * work.steps,
                    **{key: None if values is None else values[core].tolist() for key, values in columns.items()},
                }
            )
    return rows


def _columns(work: Work, mapped: Mapped, cost: Cost) -> dict[str, NDArray[Any] | None]:
    """What is known of all cores at once, (cores, ...) each."""
    traffic, mesh, most = mapped.traffic, mapped.mesh, work.synops.max(axis=(0, 1))
    synop, update = cost.costs.needed("synop_time")["nominal"], cost.costs.update("time")["nominal"]
    router = mapped.spots % mapped.usable // mesh.per_router if mesh else None
    return {
        "chip": mapped.chip_of,
        "spot": mapped.spots if mesh else None,
        "router": np.stack([router % mesh.columns, router // mesh.columns], axis=1)
        if mesh and router is not None
        else None,
        "synops_per_sample": work.core_synops,
        "max_synops_per_step": most.astype(np.int64),
        "spikes_per_sample": work.spikes,
        "packets_out_per_sample": np.asarray(traffic.packets.sum(axis=1)).ravel(),
        "packets_in_per_sample": np.asarray(traffic.packets.sum(axis=0)).ravel(),
        "host_packets_in_per_sample": traffic.host_in,
        "energy_nominal_j": cost.energy.cores["nominal"],
        "step_time_nominal_s": most * synop + work.neurons * update,
    }


def per_sample(load: Load) -> float:
    """Synops of a population per sample."""
    return float(load.synops.sum()) / len(load.synops)
