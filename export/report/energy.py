"""Energy by two kinds of formula, never mixed: the papers' arithmetic, and a model of the chip with its ranges.

Every coefficient comes from `hw_configs`; nothing here knows a joule.

    papers, as trained    E = T * (fr * E_AC * ACs + E_MAC * MACs_host)
    the same net as ANN   E = E_MAC * MACs
    papers, as deployed   E = E_AC * synops + E_MAC * MACs_host   (the host convolves an image once; the papers: T times)
    chip, dynamic         E = synops * synop_energy + updates * neuron_update_energy
                          (once more with stored zeros: whether a core passes over them is not published)
    chip, static          E = static_power * chips * T * step
    step                  max(min_step_time, slowest core's synops * synop_time + updates * neuron_update_time)

ACs: accumulations per step if every neuron fired; as trained, auxiliary heads are counted in. fr: mean firing rate. The
slowest core is taken in its busiest step, as all cores wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.errors import UsageError
from hw_configs import Chip, Coefficients, Quantity

LEVELS = ("low", "nominal", "high")
COST_SET = "loihi2_range"
COUNTED = ("synop_energy", "synop_time", "neuron_update_energy", "neuron_update_time")
SI = {"pJ": 1e-12, "ns": 1e-9, "mW": 1e-3}  # J, s, W
NOT_COUNTED = (
    "messages between cores and their hops",
    "traffic between chips",
    "the time that stored zeros may take",
    "the x86 cores, the host and input and output",
)


@dataclass(frozen=True)
class Trained:
    """As trained, auxiliary heads included, per image: T; MACs per step of all convolutions and of those on the host.

    firing_rate  spikes per neuron and step, mean of all LIF neurons of the exported network
    """

    steps: int
    macs_per_step: int
    host_macs: int
    firing_rate: float


@dataclass(frozen=True, eq=False)
class Work:
    """As deployed, without auxiliary heads, per sample: MACs of the host's convolutions, synops (also with stored zeros)
    and neuron updates in all; chips; per core (cores,) the most synops of one step, and updates per step.
    """

    steps: int
    host_macs: int
    synops: float
    synops_stored: float
    updates: float
    chips: int
    core_synops: NDArray[np.float64]
    core_updates: NDArray[np.float64]


def papers_as_trained(trained: Trained, coefficients: Coefficients) -> dict[str, Any]:
    """The formula of the papers, on the network as trained."""
    acs = trained.macs_per_step - trained.host_macs
    mac, ac = _joule(coefficients.mac_energy), _joule(coefficients.ac_energy)
    energy = trained.steps * (trained.firing_rate * ac * acs + mac * trained.host_macs)
    return {
        "formula": "T * (fr * E_AC * ACs + E_MAC * MACs_host)",
        "coefficients": coefficients.name,
        "firing_rate": trained.firing_rate,
        "acs_per_step": acs,
        "host_macs_per_step": trained.host_macs,
        "energy_j": energy,
        "ann_formula": "E_MAC * MACs",
        "ann_energy_j": mac * trained.macs_per_step,
    }


def papers_as_deployed(work: Work, coefficients: Coefficients) -> dict[str, Any]:
    """The same coefficients on what is really run: unrolled fan-in, OR, AND and relays."""
    mac, ac = _joule(coefficients.mac_energy), _joule(coefficients.ac_energy)
    on_chip, host = ac * work.synops, mac * work.host_macs
    return {
        "formula": "E_AC * synops + E_MAC * MACs_host",
        "coefficients": coefficients.name,
        "synops_per_sample": work.synops,
        "host_macs": work.host_macs,
        "energy_j": on_chip + host,
        "chip_part_j": on_chip,
        "host_part_j": host,
        "energy_host_every_step_j": on_chip + work.steps * host,
        "note": "the host convolves an image once; energy_host_every_step_j counts it T times, as the papers do",
    }


def on_chip(work: Work, chip: Chip) -> dict[str, Any]:
    """The chip model at its low, nominal and high ends; dynamic and static energy apart.

    raises  UsageError when the chip's config lacks a coefficient
    """
    costs = chip.costs.get(COST_SET, {})
    lacking = [name for name in COUNTED if name not in costs]
    if lacking:
        raise UsageError(f"hardware config '{chip.name}' has no costs.{COST_SET}.{lacking[0]}; add it, or use loihi2.")
    synop_energy, synop_time, update_energy, update_time = (
        levels(chip.name, name, costs[name])  # type: ignore[index]  # names of CostName
        for name in COUNTED
    )
    floor = levels(chip.name, "min_step_time", chip.min_step_time)
    power = levels(chip.name, "static_power", chip.static_power)
    dynamic, stored, static, step = {}, {}, {}, {}
    for level in LEVELS:
        slowest = work.core_synops * synop_time[level] + work.core_updates * update_time[level]
        step[level] = max(floor[level], float(slowest.max(initial=0)))
        dynamic[level] = work.synops * synop_energy[level] + work.updates * update_energy[level]
        stored[level] = work.synops_stored * synop_energy[level] + work.updates * update_energy[level]
        static[level] = power[level] * work.chips * work.steps * step[level]
    return {
        "cost_set": COST_SET,
        "evidence": "estimate",
        "formula_dynamic": "synops * synop_energy + updates * neuron_update_energy",
        "formula_static": "static_power * chips * T * step_time",
        "formula_step": "max(min_step_time, slowest core's synops * synop_time + updates * neuron_update_time)",
        "dynamic_energy_j": dynamic,
        "dynamic_energy_stored_zeros_j": stored,
        "static_energy_j": static,
        "static_power_w": {level: power[level] * work.chips for level in LEVELS},
        "step_time_s": step,
        "time_per_sample_s": {level: work.steps * step[level] for level in LEVELS},
        "not_counted": list(NOT_COUNTED),
    }


def levels(chip: str, name: str, quantity: Quantity) -> dict[str, float]:
    """Low, nominal and high of a quantity in SI units; without a range all three are the value."""
    if quantity.value is None:
        raise UsageError(
            f"hardware config '{chip}' has no value for {name} ({quantity.source}); add one, or use loihi2."
        )
    low, high = quantity.range or (quantity.value, quantity.value)
    factor = SI[quantity.unit]
    return {"low": low * factor, "nominal": quantity.value * factor, "high": high * factor}


def _joule(quantity: Quantity) -> float:
    assert quantity.value is not None  # a set of ours, held by its tests
    return quantity.value * SI[quantity.unit]
