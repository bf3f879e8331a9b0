"""`report.json`: what the compiled network is, what its test vectors cost, and from where each figure comes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from export.graph import Graph
from export.mapping.cost import cost
from export.mapping.placement import BOUNDS, NOT_MODELLED, Placement
from export.mapping.work import Spikes, complete, measure, work_of
from export.pipeline import Compiled
from export.report import energy
from export.report.about import About, versions
from export.report.doubts import estimates, warnings
from export.report.mapped import Mapped, map_cores, mapping_section
from export.report.rows import Rows, core_limits, core_rows, population_rows, repeats
from export.report.sizes import network_counts
from export.report.waiting import delay_section
from hw_configs import Chip, Coefficients, Quantity, System

SCHEMA_VERSION = 4
CORE_FACTS = (  # what cores are counted with
    *("neurons", "neuron_groups", "synaptic_words", "synaptic_word", "conv_synapse_overhead", "dense_index"),
    *("axon_in", "axon_map", "axon_mem", "axon_pieces", "axon_destinations"),
    *("pool_memory_share", "pool_neuron_share", "pool_limit"),
)


def build_report(
    compiled: Compiled,
    inputs: Spikes,
    spikes: Spikes,
    about: About | None = None,
    system: System | None = None,
) -> dict[str, Any]:
    """The content of `report.json`.

    inputs, spikes  test vectors, population -> uint8 (N, T, C, H, W), logical; all averages are over them
    about           name and score of the network; without it both are null
    system          whose chips are those that it was compiled for; without one, a square of as many chips as it needs
    raises          UsageError for a system of other chips
    """
    graph, placement = compiled.graph, compiled.placement
    recorded = _fired(graph, complete(graph, inputs, spikes))
    loads = measure(graph, placement, recorded)
    rates = {name: float(values.mean()) for name, values in recorded.items()}
    mapped = map_cores(graph, placement, recorded, system, about.name if about else "the network")
    work = work_of(graph, placement, loads, mapped.chips)
    counts = network_counts(graph, compiled.macs)
    rate = _firing_rate(graph, rates)
    trained = energy.Trained(graph.steps, counts["macs_per_step"], counts["host_macs"], rate)
    vectors = len(next(iter(inputs.values())))
    coefficients = energy.paper_coefficients()
    deployed = energy.Deployed(
        graph.steps, _host_macs(compiled), work.synops_per_sample, counts["readout_host_macs"], _frames(compiled)
    )
    outputs = sum(float(recorded[name].sum()) / vectors for name in graph.outputs)
    chip_cost = cost(work, placement.chip, None, mapped.traffic, mapped.chosen, outputs)
    chip_model = chip_cost.to_json()
    cores = core_rows(placement, loads, work, mapped, chip_cost)
    weight = estimates(chip_cost)
    delays = delay_section(graph, compiled.delays, cores)
    return {
        "schema_version": SCHEMA_VERSION,
        **_identity(compiled, about),
        **counts,
        "test_vectors": vectors,
        "vectors_from": about.vectors_from if about else None,
        "vectors_stand_in": bool(about and about.vectors_stand_in),
        "firing_rate": rate,
        "firing_rate_of": "all LIF neurons of the exported network, host included, over "
        f"{vectors} test vector{'s' * (vectors > 1)}",
        "synops_per_sample": work.synops_per_sample,
        "synops_stored_per_sample": work.synops_stored,
        "updates_per_sample": work.updates_per_sample,
        **_places(placement, mapped),
        "populations": population_rows(graph, placement, loads, rates),
        "core_loads": cores,
        "busiest_core": _busiest(cores),
        "mapping": mapping_section(mapped, placement, cores, repeats(graph)),
        "energy": {
            "papers_as_trained": energy.papers_as_trained(trained, coefficients),
            "papers_as_deployed": energy.papers_as_deployed(deployed, coefficients),
            placement.chip.name: chip_model,
            "estimates": weight,
        },
        "latency": _latency(counts["latency_steps"], graph.steps, chip_model),
        "hardware": _sources(placement.chip, coefficients, chip_cost.used),
        "delays": delays,
        "ranges": compiled.ranges,
        "warnings": [
            *_stand_ins(about),
            *mapped.summary["findings"],
            *([energy.GRADED] if any(p.thresholds for p in graph.populations.values()) else []),
            *warnings(graph, placement, weight, delays["needs_programmable_neuron"]),
            *placement.warnings,
            *compiled.quantization.warnings,
        ],
        "pass_seconds": {name: round(s, 3) for name, s in compiled.seconds.items()},
    }


def _identity(compiled: Compiled, about: About | None) -> dict[str, Any]:
    """Which network this is; the score is that of its training, not of the exported integers."""
    return {
        "name": about.name if about else None,
        "input": list(compiled.input_shape),
        "steps_per_sample": compiled.graph.steps,
        "params": compiled.params,
        "miou": about.miou if about else None,
        "miou_split": about.miou_split if about else None,
        "versions": versions(),
    }


def _stand_ins(about: About | None) -> list[str]:
    """What a reader has to know when the test vectors are not of the network's data set."""
    if about is None or not about.vectors_stand_in:
        return []
    return [
        f"The test vectors are {about.vectors_from}: firing rates, synops, packets, energy and times are of these, not of the "
        "images that the network was trained for. The mIoU is of the training. Export again where the data set is."
    ]


def _fired(graph: Graph, spikes: Spikes) -> Spikes:
    """1 where a neuron fires: a graded spike is one spike, and one synop at each synapse."""
    return {n: (v > 0).astype(np.uint8) if graph.populations[n].thresholds else v for n, v in spikes.items()}


def _firing_rate(graph: Graph, rates: Mapping[str, float]) -> float:
    """Spikes per neuron and step, of all LIF neurons: those on the host too, as the energy formula needs it."""
    neurons = {p.name: p.neurons for p in graph.populations.values() if p.kind in ("lif", "input")}
    return sum(rates[name] * count for name, count in neurons.items()) / sum(neurons.values())


def _host_macs(compiled: Compiled) -> int:
    return sum(macs.per_step for macs in compiled.macs.values() if macs.on_host and macs.deployed)


def _frames(compiled: Compiled) -> int:
    """How often the host convolves for one sample: once for an image, T times for frames."""
    shape = compiled.input_shape
    return shape[0] if len(shape) == 4 else 1


def _places(placement: Placement, mapped: Mapped) -> dict[str, Any]:
    """Cores and chips, on the system that was asked for, and how far from a lower bound they are."""
    usable, summary = mapped.usable, mapped.summary
    return {
        "system": mapped.asked,
        "chip": placement.chip.name,
        "cores": placement.cores,
        "chips": mapped.chips,
        "fits": summary["fits"],
        "findings": summary["findings"],
        "cores_lower_bound": placement.least,
        "cores_lower_bound_shared": placement.shared_least,
        "core_limits": core_limits(placement),
        "usable_cores_per_chip": usable,
        "cores_to_spare": mapped.chips * usable - placement.cores,
        "bounds_used": list(BOUNDS),
        "bounds_not_modelled": list(NOT_MODELLED),
        "bounds_unchecked": list(placement.unchecked),
    }


def _busiest(cores: Rows) -> dict[str, Any]:
    """The core with the most synops in one step."""
    most = max(cores, key=lambda row: int(row["max_synops_per_step"]))
    return {key: most[key] for key in ("core", "chip", "population", "max_synops_per_step")}


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
    for key in CORE_FACTS:
        used[f"{chip.name}.core.{key}"] = getattr(chip.core, key)
    used |= costs
    return [{"key": key, "text": str(quantity), **quantity.model_dump(mode="json")} for key, quantity in used.items()]
