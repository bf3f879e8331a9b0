"""What a reader should know before trusting a figure: which of them rest on estimates, and what is left out."""

from __future__ import annotations

from typing import Any

from export.graph import Conv, Graph, Sparse
from export.mapping.coefficients import weakest
from export.mapping.cost import HOPS, MESSAGES, Cost
from export.mapping.placement import Placement

AXONS = ("axon_in", "axon_map", "axon_mem")
WEAK = ("estimate",)


def estimates(cost: Cost) -> dict[str, Any]:
    """How much of the nominal energy rests on coefficients whose evidence is "estimate", part by part."""
    parts, dynamic = [], cost.energy.dynamic["nominal"]
    for name, levels in cost.energy.parts.items():
        known = [q for term in _terms(name, cost) if (q := cost.costs.quantity(term)) is not None]
        parts.append(
            {
                "part": name,
                "coefficients": list(_terms(name, cost)),
                "energy_j": levels,
                "share_nominal": levels["nominal"] / dynamic if levels and dynamic else 0.0,
                "evidence": weakest(known) if levels and levels["high"] else None,
            }
        )
    return {
        "parts": parts,
        "dynamic_share_on_estimates": sum(part["share_nominal"] for part in parts if part["evidence"] in WEAK),
        "static_evidence": cost.costs.chip.static_power.evidence,
    }


def _terms(part: str, cost: Cost) -> tuple[str, ...]:
    """Coefficients of a part of the energy."""
    fixed = {"synops": "synop_energy", "neuron accesses": "neuron_access_energy", "fired spikes": "neuron_fire_energy"}
    if part == "neuron updates":
        return cost.costs.update_terms("energy")
    if part == "messages":
        return tuple(term for term in MESSAGES if cost.costs.has(term))[:1]
    return ((fixed | HOPS)[part],)


def warnings(graph: Graph, placement: Placement, weight: dict[str, Any], needs_microcode: bool) -> list[str]:
    """Sentences.

    weight           of `estimates`
    needs_microcode  whether the network has delay neurons
    """
    found = [_energy(weight, placement.chip.name)] if weight["dynamic_share_on_estimates"] > 0 else []
    found += _axons(graph, placement)
    found += [f"not checked: {what}" for what in placement.unchecked]
    if needs_microcode:
        found.append(
            "delay neurons need a programmable neuron: they run here in a model of ours, and on no board yet; "
            "export with relays for a stock chip."
        )
    return found


def _energy(weight: dict[str, Any], chip: str) -> str:
    heavy = sorted((p for p in weight["parts"] if p["evidence"] in WEAK), key=lambda part: -part["share_nominal"])
    named = ", ".join(f"{part['part']} {part['share_nominal']:.0%}" for part in heavy[:2] if part["share_nominal"])
    return (
        f"{weight['dynamic_share_on_estimates']:.0%} of the nominal dynamic energy on {chip} rests on coefficients that are "
        f"estimates (most: {named}). Read the range, not the nominal value."
    )


def _axons(graph: Graph, placement: Placement) -> list[str]:
    """Where the axon tables, an estimate fitted to Intel's rows, decide, and where no such row is known."""
    core = placement.chip.core
    if core.axon_pieces.evidence not in WEAK and core.axon_destinations.evidence not in WEAK:
        return []
    unseen = sum(_unseen(graph, name) for name in placement.cuts)
    bound = [cut.population for cut in placement.cuts.values() if cut.binding in AXONS]
    found = (
        f"input axons, axon map and axon memory are estimates, fitted to the rows of Intel's compiler that are public. "
        f"{unseen} of {len(placement.cuts)} populations are of a kind that no such row shows (several readers, grouped "
        "convolutions, single synapses): how far off theirs are is unknown"
    )
    worst = f"; {len(bound)} take their number of cores from them, such as '{bound[0]}'" if bound else ""
    return [found + worst + "."]


def _unseen(graph: Graph, name: str) -> bool:
    """Whether Intel's public rows show no population like this one."""
    into, out = graph.into(name), graph.out_of(name)
    single = any(isinstance(p, Sparse) for p in (*into, *out))
    return single or len(out) > 1 or len(into) > 1 or any(isinstance(p, Conv) and p.groups > 1 for p in (*into, *out))
