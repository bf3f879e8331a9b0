"""The sides of a comparison: the trained module in its three forms, and the compiled network on every backend.

float    the trained module as trained
folded   norms folded into real weights, nothing rounded
slayer   folded and quantised, in stock SLAYER: the reference. From here on every spike must be equal
int, lava-fast, lava, loihi2   the bundle's network
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from export.bundle import Bundle
from export.errors import FileFormatError, QuantizeError, UsageError
from export.graph import Graph
from export.parity.compare import Explain
from export.parity.compare import Spikes as AnySpikes
from export.parity.diagnose import diagnose
from export.parity.rounding import explained_by_rounding
from export.simulate import BACKENDS, BoardTiming, check_backend, simulate
from neuroseg.commands.console import progress
from neuroseg.commands.reference import BATCH, Samples, Spikes, inputs_of, load_samples, quantized_module, spikes_of
from neuroseg.models.quantized import folded_module
from neuroseg.models.record import record_spikes
from neuroseg.train import load_run

REAL = ("float", "folded")  # real weights: they fire a little differently, which is no fault
MODULES = (*REAL, "slayer")
SIDES = (*MODULES, *BACKENDS)


def check_side(side: str, what: str = "side") -> None:
    """UsageError for an unknown side, MissingBackend for one that is not installed here."""
    if side not in SIDES:
        raise UsageError(f"unknown {what} '{side}'; choose from {', '.join(SIDES)}.")
    if side not in MODULES:
        check_backend(side)


@dataclass(frozen=True, eq=False)
class Sides:
    """Runs any side on the same images.

    modules  name -> trained module in that form
    errors   projection -> relative rms rounding error of its weights
    synapses those of the chip, whose norms are folded; the host's stay as trained
    inputs   spikes of the input populations, from the module's host path, once for all backends; filled by the first run
    """

    bundle: Bundle
    samples: Samples
    modules: dict[str, nn.Module]
    errors: dict[str, float]
    synapses: tuple[str, ...] = ()
    deadline_s: float | None = None
    board_timing: BoardTiming | None = None
    inputs: Spikes = field(default_factory=dict)

    def run(self, side: str) -> Spikes:
        """Spikes of every population, with a progress bar."""
        if side in MODULES:
            with progress(side) as on_progress:
                images = self.samples.images
                spikes = spikes_of(self.modules[side], images, stock=side == "slayer", on_progress=on_progress)
            self.inputs.update(inputs_of(self.bundle.graph, spikes))
            return spikes
        if not self.inputs:
            self.run("slayer")
        timing = self.board_timing if side == "loihi2" else None
        return run_side(self.bundle, self.inputs, side, self.deadline_s, timing)

    def explain(self, left: str, right: str) -> Explain:
        """What says why the first population that differs does so."""
        if {left, right} == set(REAL):
            return self._fold_rounding
        if left not in REAL and right not in REAL:
            return diagnose
        rounding = explained_by_rounding(self.errors)
        if left in REAL:
            return rounding
        return lambda graph, name, ours, theirs: rounding(graph, name, theirs, ours)

    def _fold_rounding(self, graph: Graph, name: str, left: AnySpikes, right: AnySpikes) -> str:
        """Whether the differences are float32's: then they vanish when the same fold is computed in float64."""
        exact = deepcopy(self.modules["float"]).double()
        folded = folded_module(exact, self.synapses)
        wrong = _differing_tensor(self.modules["folded"], folded)
        if wrong is not None:
            return f"folding: '{wrong}' is not what folding gives. This is a bug of neuroseg"
        samples = np.flatnonzero((left[name] != right[name]).any(axis=(1, 2, 3, 4)))[:BATCH]
        before = int(np.count_nonzero(left[name][samples] != right[name][samples]))
        images = self.samples.images[samples.tolist()].double()
        one, other = (record_spikes(module, images)[1][name] for module in (exact, folded))
        after = int(np.count_nonzero(one != other))
        if after >= before:
            return (
                f"folding: the same images differ at {before} neuron-steps of this population in float32 and at {after} in "
                "float64, so the folded weights do not compute what the norms did. This is a bug of neuroseg"
            )
        return (
            f"rounding: folding the norms changes float32 sums in their last bits; the same images differ at {before} "
            f"neuron-steps of this population in float32 and at {after} in float64"
        )


def _differing_tensor(rounded: nn.Module, exact: nn.Module) -> str | None:
    """The first tensor of one module that is not the other's, rounded to float32."""
    wanted = exact.state_dict()
    return next((n for n, t in rounded.state_dict().items() if not torch.equal(t, wanted[n].to(t.dtype))), None)


def open_sides(
    bundle: Bundle,
    wanted: Sequence[str],
    samples: int,
    *,
    deadline_s: float | None = None,
    board_timing: BoardTiming | None = None,
) -> Sides:
    """Load the trained module of a bundle in the forms that `wanted` sides need, and the first test images.

    raises  FileFormatError when the trained weights and quantization.json do not belong together
    """
    quantization = bundle.json("quantization.json")
    try:
        config, slayer = quantized_module(bundle.path / "model", quantization)
    except QuantizeError as error:
        reason = str(error).partition(";")[0]
        raise FileFormatError(
            f"bundle '{bundle.path}': model/weights.safetensors and quantization.json do not belong together ({reason}). "
            "One of them was changed after the export: export the run again."
        ) from error
    modules, synapses = {"slayer": slayer}, tuple(quantization["synapses"])
    if set(REAL) & set(wanted):
        modules["float"] = load_run(bundle.path / "model")[1]
        modules["folded"] = folded_module(modules["float"], synapses)
    errors: dict[str, Any] = quantization.get("relative_rms_error", {})
    replaced = bool(bundle.json("report.json").get("vectors_stand_in"))  # then its test vectors are photographs, too
    images = load_samples(config, samples, replaceable=replaced)
    told = {n: float(e) for n, e in errors.items()}
    return Sides(bundle, images, modules, told, synapses, deadline_s, board_timing)


def run_side(
    bundle: Bundle,
    inputs: Spikes,
    backend: str,
    deadline_s: float | None = None,
    board_timing: BoardTiming | None = None,
) -> Spikes:
    """Spikes of one backend, with a progress bar."""
    with progress(backend) as on_progress:
        return simulate(
            bundle.graph,
            bundle.network,
            inputs,
            backend,
            deadline_s=deadline_s,
            board_timing=board_timing,
            on_progress=on_progress,
        )
