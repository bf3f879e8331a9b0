"""A placement on a system as JSON: cores, chips, whether it fits, what binds, and what was not looked at."""

from __future__ import annotations

from typing import Any

from export.graph import Graph
from export.mapping.placement import NOT_MODELLED, RESOURCES, Cut, Placement
from hw_configs import System

WORST = 3  # populations that a message names
KEYS = {
    "neurons": "neurons_per_core",
    "words": "synmem_words_per_core",
    "axon_in": "axon_in_per_core",
    "axon_map": "axon_map_per_core",
    "axon_mem": "axon_mem_per_core",
    "groups": "neuron_groups_per_core",
    "pool": "pool_per_core",
}


def summarise(network: str, graph: Graph, placement: Placement, system: System) -> dict[str, Any]:
    """JSON-ready. Loads are those of a population's fullest core; null: its model lacks a coefficient.

    raises  HardwareConfigError when the system's config lacks its chips or their usable cores
    """
    chips, usable = int(system.needed("chips")), int(system.needed("usable_cores_per_chip"))
    findings = [*placement.findings, *_too_many(network, placement, system)]
    limits = placement.limits
    return {
        "schema_version": 1,
        "network": network,
        "system": system.name,
        "chip": placement.chip.name,
        "fits": not findings,
        "findings": findings,
        "cores": placement.cores,
        "chips": -(-placement.cores // usable),
        "lower_bound": placement.least,
        "lower_bound_shared": placement.shared_least,
        "system_cores": chips * usable,
        "system_chips": chips,
        "usable_cores_per_chip": usable,
        "neurons": sum(graph.populations[name].neurons for name in placement.cuts),
        "limits": {KEYS[name]: limits.cap(name) for name in RESOURCES},
        "populations": [_row(graph, cut) for cut in placement.cuts.values()],
        "warnings": list(placement.warnings),
        "unchecked": list(placement.unchecked),
        "not_modelled": list(NOT_MODELLED),
    }


def _row(graph: Graph, cut: Cut) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": cut.population,
        "kind": graph.populations[cut.population].kind,
        "shape": list(cut.shape),
        "neurons": int(cut.load.neurons.sum()),
        "cores": cut.cores,
        "lower_bound": cut.least,
        "tile": list(cut.tile),
        "fits": cut.fits,
        "binding": cut.binding,
        "packets_in_per_full_step": cut.packets,
    }
    for resource, key in KEYS.items():
        load = cut.load.of(resource)
        row[key] = None if load is None else load.max().item()
    return row


def _too_many(network: str, placement: Placement, system: System) -> list[str]:
    """Sentences on cores that the system does not have."""
    chips, usable = int(system.needed("chips")), int(system.needed("usable_cores_per_chip"))
    has, cuts = chips * usable, sorted(placement.cuts.values(), key=lambda cut: -cut.cores)
    if placement.cores <= has:
        return []
    most = ", ".join(f"'{cut.population}' ({cut.cores:,} cores)" for cut in cuts[:WORST])
    needed = -(-placement.cores // usable)
    on = f"{chips:,} {'chip' if chips == 1 else 'chips'}"
    found = [
        f"'{network}' takes {placement.cores:,} cores, {needed:,} chips of {usable:,}; {system.name} has {has:,} cores on "
        f"{on}. Most are taken by {most}: make these smaller, or use a system of at least {needed:,} chips "
        "(`neuroseg hw list`)."
    ]
    if len(cuts) > has:
        found.append(
            f"'{network}' has {len(cuts):,} populations, and each takes a core or more; {system.name} has {has:,} cores. "
            "Use fewer layers, or a larger system."
        )
    return found
