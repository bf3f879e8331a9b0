"""`neuroseg parity` and `neuroseg simulate`: running bundles and comparing what runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from export.bundle import Bundle, check_outside, check_samples, open_bundle
from export.files import check_parent, replacing
from export.parity.compare import Explain, compare, firing_rate
from export.parity.diagnose import diagnose
from export.simulate import BoardTiming, check_backend, check_board_timing
from neuroseg.commands.console import say, show
from neuroseg.commands.reference import Samples, Spikes, agreement, maps_of, score
from neuroseg.commands.sides import SIDES, check_side, open_sides, run_side


def parity(
    path: Path,
    left: str,
    right: str,
    samples: int,
    *,
    verify: bool = True,
    deadline_s: float | None = None,
    board_timing: BoardTiming | None = None,
) -> dict[str, Any]:
    """Run the first test images through two backends and compare every spike; returns the parity JSON.

    The trained module turns the images into the spikes of the input populations; all backends get these.
    """
    check_board_timing(board_timing, (left, right))
    for side in (left, right):
        check_side(side)
    bundle = open_bundle(path, verify=verify)
    sides = open_sides(bundle, (left, right), samples, deadline_s=deadline_s, board_timing=board_timing)
    spikes = {
        side: sides.run(side) for side in sorted({left, right}, key=SIDES.index)
    }  # modules first: they give inputs
    explain = sides.explain(left, right)
    return compare_scored(bundle, sides.samples, spikes[left], spikes[right], (left, right), explain)


def compare_scored(
    bundle: Bundle,
    samples: Samples,
    left: Spikes,
    right: Spikes,
    names: tuple[str, str],
    explain: Explain = diagnose,
) -> dict[str, Any]:
    """Parity JSON with mIoU and pixel agreement, both at the masks' size; mIoU is null for a network that denoises."""
    result = compare(bundle.graph, left, right, names, explain)
    maps = maps_of(bundle.graph, left, samples), maps_of(bundle.graph, right, samples)
    miou_left, miou_right = (score(side, samples) for side in maps)
    return {
        **result,
        "miou_left": miou_left,
        "miou_right": miou_right,
        "pixel_agreement": agreement(*maps, samples),
    }


def show_parity(result: dict[str, Any]) -> None:
    """The comparison as a table, and the first divergence in words."""
    left, right = result["left"], result["right"]
    rows = [(r["name"], r["compared"], r["mismatches"], r["rate_left"], r["rate_right"]) for r in result["populations"]]
    columns = ("population", "neuron-steps", "mismatches", f"rate {left}", f"rate {right}")
    show(f"{left} against {right}, {result['samples']} sample(s)", columns, rows)
    say(f"{result['mismatches']:,} mismatches in {result['compared']:,} neuron-steps")
    scored = result["miou_left"] is not None
    told = f"mIoU {result['miou_left']:.4f} ({left}), {result['miou_right']:.4f} ({right}); " if scored else ""
    say(f"{told}pixels that agree {result['pixel_agreement']:.2%}")
    silent = [r["name"] for r in result["populations"] if not r["rate_left"]]
    if silent:
        say(f"{len(silent)} of {len(result['populations'])} populations never fired: their agreement says little.")
    first = result["first_divergence"]
    if first is not None:
        say(
            f"first divergence: {first['population']}, sample {first['sample']}, step {first['step']}, neuron "
            f"(c, y, x) = {tuple(first['index'])}: {left} {first['left']}, {right} {first['right']}.\n"
            f"likely cause: {first['cause']}"
        )


def simulate_bundle(
    path: Path,
    backend: str,
    *,
    samples: int | None = None,
    out: Path | None = None,
    verify: bool = True,
    deadline_s: float | None = None,
    board_timing: BoardTiming | None = None,
) -> dict[str, Any]:
    """Run the bundle's test vectors on a backend, check them against the recorded spikes, keep the spikes if asked.

    out      .npz that gets spikes/<population> and readout: the counts, before any linear map
    returns  JSON-ready summary with the parity of recorded against simulated spikes
    """
    check_board_timing(board_timing, (backend,))
    check_backend(backend)
    if out is not None:
        check_outside(out)
        check_parent(out)
    bundle = open_bundle(path, verify=verify)
    inputs, recorded = bundle.vectors()
    count = check_samples(samples, len(next(iter(inputs.values()))))
    given = {name: values[:count] for name, values in inputs.items()}
    spikes = run_side(bundle, given, backend, deadline_s, board_timing)
    if out is not None:
        _keep(bundle, spikes, out)
    result = compare(bundle.graph, {name: v[:count] for name, v in recorded.items()}, spikes, ("recorded", backend))
    kept = ("samples", "compared", "mismatches", "first_divergence")
    rates = {name: firing_rate(values) for name, values in spikes.items()}
    return {"schema_version": 1, "backend": backend, **{k: result[k] for k in kept}, "firing_rates": rates}


def _keep(bundle: Bundle, spikes: Spikes, out: Path) -> None:
    readout = bundle.graph.counted(spikes).astype(np.int32)
    named = {f"spikes/{name}": values for name, values in spikes.items()}
    with replacing(out) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, readout=readout, **named)
