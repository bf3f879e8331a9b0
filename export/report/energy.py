"""Energy by the papers' arithmetic: what publications print, beside the model of the chip (`export.mapping.cost`).

Every coefficient comes from `hw_configs`; nothing here knows a joule.

    papers, as trained    E = T * (fr * E_AC * ACs + E_MAC * MACs_host)
    the same net as ANN   E = E_MAC * MACs
    papers, as deployed   E = E_AC * synops + E_MAC * (n MACs_host + MACs_readout)   (n = 1: the host convolves an image once,
                          frames T times; the papers: T times)

ACs: accumulations per step if every neuron fired; as trained, auxiliary heads are counted in. fr: mean firing rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from export.mapping.coefficients import SI
from hw_configs import Coefficients, Quantity


@dataclass(frozen=True)
class Trained:
    """As trained, auxiliary heads included, per image: T; MACs per step of all convolutions and of those on the host.

    firing_rate  spikes per neuron and step, mean of all LIF neurons of the exported network
    """

    steps: int
    macs_per_step: int
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


def papers_as_deployed(deployed: Deployed, coefficients: Coefficients) -> dict[str, Any]:
    """The same coefficients on what is really run: unrolled fan-in, OR, AND and relays."""
    mac, ac = _joule(coefficients.mac_energy), _joule(coefficients.ac_energy)
    on_chip, host, readout = ac * deployed.synops, mac * deployed.host_macs, mac * deployed.readout_macs
    frames = deployed.frames * host
    return {
        "formula": "E_AC * synops + E_MAC * MACs_host" + (" + E_MAC * MACs_readout" if deployed.readout_macs else ""),
        "coefficients": coefficients.name,
        "synops_per_sample": deployed.synops,
        "host_macs": deployed.frames * deployed.host_macs,
        "readout_macs": deployed.readout_macs,
        "energy_j": on_chip + frames + readout,
        "chip_part_j": on_chip,
        "host_part_j": frames + readout,
        "energy_host_every_step_j": on_chip + deployed.steps * host + readout,
        "note": "the host convolves an image once, frames at every step; energy_host_every_step_j: T times, as the papers do",
    }


def _joule(quantity: Quantity) -> float:
    assert quantity.value is not None  # a set of ours, held by its tests
    return quantity.value * SI[quantity.unit]
