"""Where cores stand and what a sample costs there: `neuroseg map --locate`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.bundle import open_bundle
from export.errors import UsageError
from export.graph import Graph
from export.mapping.cost import cost
from export.mapping.hops import Hops, measure_hops
from export.mapping.locate import METHODS, locate
from export.mapping.placement import Placement
from export.mapping.traffic import assumed_activity, count_packets, measured_activity
from export.mapping.work import assume, complete, measure, work_of
from hw_configs import System
from neuroseg.commands.console import say, show
from neuroseg.commands.fit import RATE


def locate_and_cost(
    path: Path, graph: Graph, placement: Placement, system: System, rate: float | None = None, costs: str | None = None
) -> dict[str, Any]:
    """Hops by every method, and time and energy of a sample with the best one (JSON-ready).

    path   a bundle's test vectors tell its firing rates; for any other file they are assumed
    rate   assumed for all populations instead, spikes per neuron and step
    costs  set of the chip's coefficients; None: its only one
    raises UsageError for a rate outside 0..1
    """
    if rate is not None and not 0 <= rate <= 1:
        raise UsageError(f"--rate {rate:g} is no firing rate: spikes per neuron and step lie between 0 and 1.")
    if rate is None and path.is_dir():
        spikes = complete(graph, *open_bundle(path, verify=False).vectors())
        activity: Mapping[str, Any] = measured_activity(spikes)
        loads, source = measure(graph, placement, spikes), "the bundle's test vectors"
    else:
        rate = RATE if rate is None else rate
        activity, loads = assumed_activity(graph, rate), assume(graph, placement, rate)
        source = f"assumed: {rate:g} spikes per neuron and step everywhere"
    traffic = count_packets(graph, placement, activity)
    places = {method: locate(traffic, system, method) for method in METHODS}
    hops = {method: measure_hops(traffic, place, system) for method, place in places.items()}
    work = work_of(graph, placement, loads, hops["best"].chips)
    priced = cost(work, placement.chip, costs, traffic, hops["best"])
    return {
        "activity": source,
        "packets_per_sample": traffic.total,
        "packets_from_host_per_sample": float(traffic.host_in.sum()),
        "hops_lower_bound": hops["best"].lower_bound,
        "methods": {method: _row(found, hops["sequential"]) for method, found in hops.items()},
        "notes": list(places["best"].notes),
        "core_spots": places["best"].spot.tolist(),
        "cost": priced.to_json(),
    }


def _row(found: Hops, sequential: Hops) -> dict[str, float]:
    return {
        "hops": found.hops,
        "hops_east_west": found.hops_east_west,
        "hops_north_south": found.hops_north_south,
        "crossings_between_chips": found.inter_chip,
        "busiest_link_packets": found.busiest_link,
        "chips": found.chips,
        "of_sequential": found.hops / sequential.hops if sequential.hops else 1.0,
        "of_lower_bound": found.times_lower_bound,
    }


def show_location(result: dict[str, Any]) -> None:
    """The same as tables."""
    rows = [
        (
            method,
            *(f"{row[key]:,.0f}" for key in ("hops", "crossings_between_chips", "busiest_link_packets")),
            f"{row['of_sequential']:.2f}",
            f"{row['of_lower_bound']:.2f}",
        )
        for method, row in result["methods"].items()
    ]
    columns = ("cores placed by", "hops", "crossings", "busiest link", "of sequential", "of lower bound")
    show("packets per sample, weighted with their hops", columns, rows)
    priced = result["cost"]
    levels = ("low", "nominal", "high")
    table = [
        ("step time (us)", *(f"{priced['step_time_s'][level] * 1e6:.3g}" for level in levels)),
        ("dynamic energy (mJ)", *(f"{priced['dynamic_energy_j'][level] * 1e3:.3g}" for level in levels)),
        ("static energy (mJ)", *(f"{priced['static_energy_j'][level] * 1e3:.3g}" for level in levels)),
    ]
    show(f"a sample, by {priced['cost_set']} ({priced['evidence']})", ("what", *levels), table)
    say(f"firing rates: {result['activity']}; not counted: {'; '.join(priced['not_counted'])}.")
    for note in result["notes"]:
        say(note)
