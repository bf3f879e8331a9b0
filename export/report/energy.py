"""Energy by the papers' arithmetic: what publications print, beside the model of the chip (`export.mapping.cost`).

Every coefficient comes from `hw_configs`; nothing here knows a joule.

    papers, as trained    E = T * fr * E_AC * ACs + n * E_MAC * MACs_host            (n = T, as MFS-Seg's equation 7 has it)
    the same net as ANN   E = E_MAC * MACs
    papers, as deployed   E = E_AC * synops + E_MAC * (n MACs_host + MACs_readout)   (n = 1: the host convolves an image once,
                          frames T times)

ACs: accumulations per step if every neuron fired; as trained, auxiliary heads are counted in. fr: mean firing rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import hw_configs
from export.mapping.coefficients import SI
from hw_configs import Coefficients, Quantity

COEFFICIENTS = "horowitz45nm"  # the set with which the papers compute
GRADED = (
    "graded spikes are counted as accumulations, as the papers do, but their synapses multiply: a multi-threshold network costs "
    "more than its energy says here, and is not to be compared with a binary one by it"
)


@dataclass(frozen=True)
class Joules:
    """Energies of one operation, in joules: a multiply-accumulate and an accumulation."""

    mac: float
    ac: float


@dataclass(frozen=True)
class Trained:
    """As trained, auxiliary heads included, per image: T; MACs per step of all convolutions and of those on the host.

    firing_rate  spikes per neuron and step, mean of all LIF neurons of the exported network
    """

    steps: int
    macs_per_step: float
    host_macs: int
    firing_rate: float


@dataclass(frozen=True)
class Deployed:
    """As deployed, without auxiliary heads, per sample: T; MACs of the host's convolutions of one frame; synops; MACs of the
    host's linear read-out; frames that the host convolves.
    """

    steps: int
    host_macs: int
    synops: float
    readout_macs: int = 0
    frames: int = 1


def paper_coefficients() -> Coefficients:
    """The costs of operations with which the papers compute."""
    return hw_configs.load_coefficients(COEFFICIENTS)


def joules(coefficients: Coefficients) -> Joules:
    """Energies of a set, nominal."""
    return Joules(_joule(coefficients.mac_energy), _joule(coefficients.ac_energy))


def operations_energy(accumulations: float, macs: float, cost: Joules) -> float:
    """E_AC accumulations + E_MAC MACs, in joules."""
    return cost.ac * accumulations + cost.mac * macs


def spiking_energy(trained: Trained, cost: Joules, host_times: int) -> float:
    """T fr E_AC ACs + n E_MAC MACs_host, in joules: the papers' energy of a spiking network.

    host_times  n, how often the host's convolutions count: T in MFS-Seg's equation 7 (Su et al. 2024); 1 in its row of an image,
                whose first convolution is the same at every step
    """
    acs = trained.macs_per_step - trained.host_macs
    return operations_energy(trained.steps * trained.firing_rate * acs, host_times * trained.host_macs, cost)


def papers_as_trained(trained: Trained, coefficients: Coefficients) -> dict[str, Any]:
    """The formula of the papers, on the network as trained; the host's convolutions count at every step."""
    cost = joules(coefficients)
    return {
        "formula": "T * (fr * E_AC * ACs + E_MAC * MACs_host)",
        "coefficients": coefficients.name,
        "firing_rate": trained.firing_rate,
        "acs_per_step": trained.macs_per_step - trained.host_macs,
        "host_macs_per_step": trained.host_macs,
        "energy_j": spiking_energy(trained, cost, trained.steps),
        "ann_formula": "E_MAC * MACs",
        "ann_energy_j": operations_energy(0, trained.macs_per_step, cost),
    }


def papers_as_deployed(deployed: Deployed, coefficients: Coefficients) -> dict[str, Any]:
    """The same coefficients on what is really run: unrolled fan-in, OR, AND and relays."""
    cost = joules(coefficients)
    frames = deployed.frames * deployed.host_macs

    def energy(host_macs: int) -> float:
        return operations_energy(deployed.synops, host_macs + deployed.readout_macs, cost)

    return {
        "formula": "E_AC * synops + E_MAC * MACs_host" + (" + E_MAC * MACs_readout" if deployed.readout_macs else ""),
        "coefficients": coefficients.name,
        "synops_per_sample": deployed.synops,
        "host_macs": frames,
        "readout_macs": deployed.readout_macs,
        "energy_j": energy(frames),
        "chip_part_j": operations_energy(deployed.synops, 0, cost),
        "host_part_j": operations_energy(0, frames + deployed.readout_macs, cost),
        "energy_host_every_step_j": energy(deployed.steps * deployed.host_macs),
        "note": "the host convolves an image once, frames at every step; energy_host_every_step_j: T times, as papers print it",
    }


def _joule(quantity: Quantity) -> float:
    assert quantity.value is not None  # a set of ours, held by its tests
    return quantity.value * SI[quantity.unit]
