"""`neuroseg fit`: does a network fit a system, before anybody trains it; and what to change if not."""

from __future__ import annotations

from collections import Counter
from typing import Any

import hw_configs
from export.errors import UsageError
from export.mapping.coefficients import LEVELS, cost_set
from export.mapping.placement import RESOURCES
from export.mapping.step_time import step_time
from export.mapping.work import assume, work_of
from export.passes.schedule import check_delays
from export.pipeline import check_layout
from neuroseg.commands.candidate import ASSUMED_WEIGHTS, Candidate, lower_untrained, place_untrained
from neuroseg.commands.changes import changes
from neuroseg.commands.console import say, show
from neuroseg.config import Config

RATE = 0.1  # spikes per neuron and step where nobody says another
SHOWN = 15  # populations that the table names
# Keys of `export.mapping.summary` that are taken over as they are.
TAKEN = (
    *("system", "chip", "fits", "findings", "cores", "chips", "lower_bound", "lower_bound_shared", "populations"),
    *("warnings", "unchecked", "not_modelled"),
)


def fit(
    config: Config,
    system_name: str,
    *,
    layout: str = "auto",
    delays: str = "relay",
    rate: float = RATE,
    search: bool = True,
) -> dict[str, Any]:
    """Place a config's untrained network on a system (JSON-ready).

    system_name  a name in `hw_configs`, or the path of a YAML file
    layout       how up-sampled stages are stored; delays: how skips wait
    rate         assumed spikes per neuron and step, for the time of a step
    search       if it does not fit, find out what would: `changes`, each of them computed
    raises       UsageError, HardwareConfigError, and what `export` would raise
    """
    check_layout(layout)
    check_delays(delays)
    if not 0 <= rate <= 1:
        raise UsageError(f"--rate {rate:g} is no rate: a neuron fires 0 to 1 times per step.")
    system = hw_configs.load_system(system_name)
    found = place_untrained(lower_untrained(config, layout), delays, system)
    summary, counts = found.summary, found.counts()
    return {
        "schema_version": 1,
        "name": config.name,
        "input": list(config.input_shape),
        "steps": config.model.steps,
        "layout": layout,
        **{key: summary[key] for key in TAKEN},
        "cores_available": summary["system_cores"],
        "chips_available": summary["system_chips"],
        "params": found.untrained.params,
        **{key: value for key, value in counts.items() if key != "macs_per_step_deployed"},
        "delays": found.delays.to_json(),
        "memory": _memory(found),
        "binding": _binding(summary["populations"]),
        **_time(found, rate, counts["latency_steps"]),
        "assumed": {"weights": ASSUMED_WEIGHTS, "spikes_per_neuron_and_step": rate},
        "changes": changes(found, layout) if search and not found.fits else [],
    }


def _memory(found: Candidate) -> dict[str, Any]:
    """What all cores hold together, of what the system has: resource -> used, available; null: not known."""
    limits, cores = found.placement.limits, found.summary["system_cores"]
    memory = {}
    for resource in RESOURCES:
        loads = [cut.load.of(resource) for cut in found.placement.cuts.values()]
        if resource in ("groups", "pool"):  # one population per core: sums over cores say nothing
            continue
        cap = limits.cap(resource)
        known = [load for load in loads if load is not None]
        memory[resource] = {
            "used": int(sum(load.sum() for load in known)) if len(known) == len(loads) else None,
            "available": None if cap is None else int(cap) * cores,
        }
    return memory


def _binding(rows: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Resource -> populations that it cuts, and the cores that they take; those of one core are bound by 'none'."""
    populations = Counter(row["binding"] for row in rows)
    cores: Counter[str] = Counter()
    for row in rows:
        cores[row["binding"]] += row["cores"]
    return {name: {"populations": populations[name], "cores": count} for name, count in cores.most_common()}


def _time(found: Candidate, rate: float, latency: int) -> dict[str, Any]:
    """Time of a step and of the network's latency, seconds at three levels; null where the chip has no one set of costs."""
    graph, placement = found.graph, found.placement
    if len(placement.chip.costs) != 1:
        reason = f"{placement.chip.name} has {len(placement.chip.costs)} sets of costs, none of them preferred"
        return {"step_time_s": None, "latency_time_s": None, "step_bound_by": None, "time_not_counted": [reason]}
    time = step_time(work_of(graph, placement, assume(graph, placement, rate)), cost_set(placement.chip))
    return {
        "step_time_s": time.mean,
        "latency_time_s": {level: latency * time.mean[level] for level in LEVELS},
        "step_bound_by": time.bound_by["nominal"],
        "time_not_counted": list(time.not_counted),
    }


def show_fit(result: dict[str, Any]) -> None:
    """The same as tables."""
    rows = [
        (
            "cores",
            f"{result['cores']:,} of {result['cores_available']:,}; at least {result['lower_bound']:,} with one population each",
        ),
        ("chips", f"{result['chips']:,} of {result['chips_available']:,} ({result['chip']})"),
        ("neurons as trained", f"{result['neurons']:,} (+ {result['host_neurons']:,} on the host)"),
        ("neurons as deployed", f"{result['neurons_deployed']:,}{_waiting(result)}"),
        *((f"{name.replace('_', ' ')} in all", _used(entry)) for name, entry in result["memory"].items()),
        ("latency", f"{result['latency_steps']} steps{_seconds(result['latency_time_s'])}"),
        ("step", f"{_seconds(result['step_time_s'])[2:] or 'unknown'}"),
        ("cores by what binds", ", ".join(f"{name} {entry['cores']:,}" for name, entry in result["binding"].items())),
    ]
    shape = "x".join(map(str, result["input"]))
    show(f"{result['name']} on {result['system']}: input {shape}, T = {result['steps']}", ("what", "value"), rows)
    largest = sorted(result["populations"], key=lambda row: (row["fits"], -row["cores"]))[:SHOWN]
    title = f"populations that take the most cores ({len(largest)} of {len(result['populations'])})"
    show(title, ("population", "cores", "tile x,y,c", "neurons", "words", "binds"), [_cells(row) for row in largest])
    say(
        f"assumed: {result['assumed']['weights']}; {result['assumed']['spikes_per_neuron_and_step']:g} spikes per neuron and "
        "step. Times are low / nominal / high estimates."
    )
    for text in (*result["warnings"], *result["findings"]):
        say(text)
    if result["changes"]:
        _show_changes(result["changes"])
    verdict = "fits" if result["fits"] else "DOES NOT FIT"
    say(f"{verdict}: {result['cores']:,} of {result['cores_available']:,} cores of {result['system']}.")


def _show_changes(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            change["what"],
            "yes" if change["fits"] else "no",
            change["cores"],
            change["chips"],
            " ".join(change["arguments"]),
        )
        for change in found
    ]
    show("what to change (each of them computed)", ("change", "fits", "cores", "chips", "arguments"), rows)


def _waiting(result: dict[str, Any]) -> str:
    kinds = result["neurons_by_kind"]
    parts = [
        f"{kinds[kind]:,} {name}" for kind, name in (("relay", "relays"), ("delay", "delay neurons")) if kinds[kind]
    ]
    return f", of these {' and '.join(parts)}" if parts else ""


def _used(entry: dict[str, Any]) -> str:
    used, has = entry["used"], entry["available"]
    if used is None or not has:
        return "unknown" if used is None else f"{used:,}"
    return f"{used:,} of {has:,} ({used / has:.1%})"


def _seconds(levels: dict[str, float] | None) -> str:
    if levels is None:
        return ""
    return ", " + " / ".join(f"{1e6 * levels[level]:,.1f}" for level in LEVELS) + " us"


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    words = row["synmem_words_per_core"]
    tile, binds = ",".join(map(str, row["tile"])), row["binding"] if row["fits"] else "DOES NOT FIT"
    return row["name"], row["cores"], tile, row["neurons_per_core"], "?" if words is None else words, binds
