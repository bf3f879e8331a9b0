"""`report.json`: what the compiled network is, what its test vectors cost, and from where each figure comes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import hw_configs
from export.graph import LINES, Graph, Population
from export.mapping.cost import cost
from export.mapping.placement import BOUNDS, NOT_MODELLED, Placement
from export.mapping.work import Load, Spikes, Work, complete, measure, work_of
from export.pipeline import Compiled
from export.report import energy
from export.report.about import About, versions
from export.report.sizes import network_counts
from hw_configs import Chip, Coefficients, Quantity

SCHEMA_VERSION = 3
COEFFICIENTS = "horowitz45nm"
Rows = list[dict[str, Any]]


def build_report(compiled: Compiled, inputs: Spikes, spikes: Spikes, about: About | None = None) -> dict[str, Any]:
    """The content of `report.json`.

    inputs, spikes  test vectors, population -> uint8 (N, T, C, H, W), logical; all averages are over them
    about           name and score of the network; without it both are null
    """
    graph, placement = compiled.graph, compiled.placement
    recorded = complete(graph, inputs, spikes)
    loads = measure(graph, placement, recorded)
    rates = {name: float(values.mean()) for name, values in recorded.items()}
    work = work_of(graph, placement, loads)
    counts = network_counts(graph, compiled.macs)
    rate = _firing_rate(graph, rates)
    trained = energy.Trained(graph.steps, counts["macs_per_step"], counts["host_macs"], rate)
    vectors = len(next(iter(inputs.values())))
    coefficients = hw_configs.load_coefficients(COEFFICIENTS)
    deployed = energy.Deployed(graph.steps, _host_macs(compiled), work.synops_per_sample)
    outputs = sum(float(recorded[name].sum()) / vectors for name in graph.outputs)
    chip_cost = cost(work, placement.chip, output_spikes=outputs)
    chip_model = chip_cost.to_json()
    return {
        "schema_version": SCHEMA_VERSION,
        **_identity(compiled, about),
        **counts,
        "test_vectors": vectors,
        "firing_rate": rate,
        "firing_rate_of": f"all LIF neurons of the exported network, host included, over {vectors} test vectors",
        "synops_per_sample": work.synops_per_sample,
        "synops_stored_per_sample": work.synops_stored,
        "updates_per_sample": work.updates_per_sample,
        **_places(placement),
        "populations": _populations(graph, placement, loads, rates),
        "core_loads": _cores(placement, loads, graph.steps),
        "busiest_core": _busiest(placement, work),
        "energy": {
            "papers_as_trained": energy.papers_as_trained(trained, coefficients),
            "papers_as_deployed": energy.papers_as_deployed(deployed, coefficients),
            placement.chip.name: chip_model,
        },
        "latency": _latency(counts["latency_steps"], graph.steps, chip_model),
        "hardware": _sources(placement.chip, coefficients, chip_cost.used),
        "delays": compiled.delays.to_json(),
        "ranges": compiled.ranges,
        "warnings": [*compiled.quantization.warnings, *placement.warnings, *placement.findings],
        "pass_seconds": {name: round(s, 3) for name, s in compiled.seconds.items()},
    }


def _identity(compiled: Compiled, about: About | None) -> dict[str, Any]:
    """Which network this is; the score is that of its training, not of the exported integers."""
    return {
        "name": about.name if about else None,
        "input": list(compiled.image_shape),
        "steps_per_sample": compiled.graph.steps,
        "params": compiled.params,
        "miou": about.miou if about else None,
        "miou_split": about.miou_split if about else None,
        "versions": versions(),
    }


def _firing_rate(graph: Graph, rates: Mapping[str, float]) -> float:
    """Spikes per neuron and step, of all LIF neurons: those on the host too, as the energy formula needs it."""
    neurons = {p.name: p.neurons for p in graph.populations.values() if p.kind in ("lif", "input")}
    return sum(rates[name] * count for name, count in neurons.items()) / sum(neurons.values())


def _host_macs(compiled: Compiled) -> int:
    return sum(macs.per_step for macs in compiled.macs.values() if macs.on_host and macs.deployed)


def _places(placement: Placement) -> dict[str, Any]:
    """Cores and chips, and how far from a lower bound they are."""
    return {
        "chip": placement.chip.name,
        "cores": placement.cores,
        "chips": placement.chips,
        "fits": placement.fits,
        "findings": list(placement.findings),
        "cores_lower_bound": placement.least,
        "cores_lower_bound_shared": placement.shared_least,
        "core_limits": {"neurons": placement.limits.neurons, "synaptic_words": placement.limits.words},
        "usable_cores_per_chip": placement.limits.usable_cores,
        "cores_to_spare": placement.chips * placement.limits.usable_cores - placement.cores,
        "bounds_used": list(BOUNDS),
        "bounds_not_modelled": list(NOT_MODELLED),
    }


def _populations(graph: Graph, placement: Placement, loads: Mapping[str, Load], rates: Mapping[str, float]) -> Rows:
    """One row per population but relays; its relays stand in its row, so that all rows add up to the network."""
    lines: dict[str, list[Population]] = {}
    for population in graph.populations.values():
        if population.kind in LINES:
            lines.setdefault(_origin(graph, population.name), []).append(population)
    rows = []
    for population in graph.populations.values():
        if population.kind not in LINES:
            relays = lines.get(population.name, [])
            row = {
                "name": population.name,
                "kind": population.kind,
                "shape": list(population.shape),
                "layout": population.layout,
                "neurons": population.neurons,
                "firing_rate": rates[population.name],
            }
            rows.append(
                row | _row(population, graph, placement, loads) | _relays(relays, graph.steps, placement, loads)
            )
    return rows


def _row(population: Population, graph: Graph, placement: Placement, loads: Mapping[str, Load]) -> dict[str, Any]:
    """What a population needs on the chip; an input, nothing."""
    cut, load = placement.cuts.get(population.name), loads.get(population.name)
    placed = cut is not None and load is not None
    return {
        "cores": cut.cores if cut else 0,
        "cores_lower_bound": cut.least if cut else 0,
        "tile": list(cut.tile) if cut else None,
        "fits": cut.fits if cut else True,
        "neurons_per_core": int(cut.neurons().max()) if cut else 0,
        "synaptic_words_per_core": int(cut.words.max()) if cut else 0,
        "synapses": int(load.synapses.sum()) if load else 0,
        "synapses_stored": load.synapses_stored if load else 0,
        "fan_in": load.fan_in if load else 0,
        "synops_per_sample": _per_sample(load) if load else 0.0,
        "synops_stored_per_sample": load.synops_stored if load else 0.0,
        "updates_per_sample": population.neurons * graph.steps if placed else 0,
    }


def _relays(relays: list[Population], steps: int, placement: Placement, loads: Mapping[str, Load]) -> dict[str, Any]:
    """The relays behind a population, together."""
    names, neurons = [relay.name for relay in relays], sum(relay.neurons for relay in relays)
    return {
        "relays": len(names),
        "relay_neurons": neurons,
        "relay_cores": sum(placement.cuts[name].cores for name in names),
        "relay_synops_per_sample": float(sum(_per_sample(loads[name]) for name in names)),
        "relay_updates_per_sample": neurons * steps,
    }


def _cores(placement: Placement, loads: Mapping[str, Load], steps: int) -> Rows:
    """One row per core, in the order of their numbers."""
    rows = []
    for name, cut in placement.cuts.items():
        load, neurons, words = loads[name], cut.neurons().ravel(), cut.words.ravel()
        synops = load.synops.sum(axis=1).mean(axis=0)
        busiest = load.synops.max(axis=(0, 1))
        for i in range(cut.cores):
            rows.append(
                {
                    "core": cut.first + i,
                    "chip": (cut.first + i) // placement.limits.usable_cores,
                    "population": name,
                    "neurons": int(neurons[i]),
                    "synaptic_words": int(words[i]),
                    "synapses": int(load.synapses[i]),
                    "firing_rate": float(load.spikes[i] / (neurons[i] * steps)),
                    "synops_per_sample": float(synops[i]),
                    "max_synops_per_step": int(busiest[i]),
                    "updates_per_sample": int(neurons[i]) * steps,
                }
            )
    return rows


def _busiest(placement: Placement, work: Work) -> dict[str, Any]:
    """The core with the most synops in one step."""
    most = work.synops.max(axis=(0, 1))
    core = int(most.argmax())
    name = next(n for n, cut in placement.cuts.items() if cut.first <= core < cut.first + cut.cores)
    return {"core": core, "population": name, "max_synops_per_step": int(most[core])}


def _latency(steps: int, per_sample: int, chip_model: Mapping[str, Any]) -> dict[str, Any]:
    """From the first step of a sample's input to the last of its output; a sample enters every T steps."""
    times = {level: steps * step for level, step in chip_model["step_time_s"].items()}
    return {"latency_steps": steps, "steps_per_sample": per_sample, "latency_time_s": times}


def _sources(chip: Chip, coefficients: Coefficients, costs: Mapping[str, Quantity]) -> Rows:
    """Every hardware number that the report uses, with its evidence."""
    used: dict[str, Quantity] = {
        f"{coefficients.name}.mac_energy": coefficients.mac_energy,
        f"{coefficients.name}.ac_energy": coefficients.ac_energy,
        f"{chip.name}.usable_cores": chip.usable_cores,
    }
    for key in ("neurons", "synaptic_words", "synaptic_word", "conv_synapse_overhead", "dense_synapse"):
        used[f"{chip.name}.core.{key}"] = getattr(chip.core, key)
    used |= costs
    return [{"key": key, "text": str(quantity), **quantity.model_dump(mode="json")} for key, quantity in used.items()]


def _origin(graph: Graph, name: str) -> str:
    while graph.populations[name].kind in LINES:
        name = graph.into(name)[0].source
    return name


def _per_sample(load: Load) -> float:
    return float(load.synops.sum()) / len(load.synops)
