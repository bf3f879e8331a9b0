"""What a network's arithmetic costs, for the record of every run: operations per step, and energy as the papers count it."""

from __future__ import annotations

from typing import Any

from export.report.energy import GRADED, Trained, paper_coefficients, papers_as_trained
from neuroseg.config import Config
from neuroseg.models import build, network_size


def costs(config: Config, measured: dict[str, Any]) -> dict[str, Any]:
    """MACs per time step, those of the host apart; neurons; energy per image by the papers' arithmetic at the measured rate.

    All of it for one input of `input_shape`: (C, H, W) or (T, C, H, W) of the config. Whole images may be larger.
    Auxiliary heads are counted, as the papers do. `energy.energy_j` is null for a network without neurons, whose energy is
    `ann_energy_j`; a spiking network's `ann_energy_j` is what the same operations would cost an ANN. Of graded spikes
    `energy.note` says what is not counted.

    measured  the measures of an evaluation: its `firing_rate` counts
    """
    size = network_size(build(config), config.input_shape)
    rate = measured["firing_rate"]
    trained = Trained(config.model.steps, size.macs_per_step, size.host_macs, rate or 0.0)
    energy = papers_as_trained(trained, paper_coefficients())
    if rate is None:
        energy |= {"formula": None, "firing_rate": None, "energy_j": None}
    if len(getattr(config.model, "thresholds", ())) > 1:
        energy |= {"note": GRADED}
    return {
        "input_shape": list(config.input_shape),
        "macs_per_step": size.macs_per_step,
        "host_macs": size.host_macs,
        "neurons": size.neurons,
        "energy": energy,
    }
