"""`neuroseg demo`: the whole way on embedded data, from training to the Lava runtime."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.bundle import Bundle, is_bundle, open_bundle
from export.files import check_writable
from neuroseg.commands.console import progress, say, show
from neuroseg.commands.exporting import export_run, summarise
from neuroseg.commands.parity import compare_scored
from neuroseg.commands.picture import draw_samples
from neuroseg.commands.reference import (
    Samples,
    Spikes,
    inputs_of,
    load_samples,
    maps_of,
    quantized_module,
    slayer_spikes,
)
from neuroseg.commands.sides import run_side
from neuroseg.commands.training import train_config
from neuroseg.config import load_config

STOCK_IMAGES = 2  # stock Lava is slow: it is the referee on these
FAST_IMAGES = 40  # Lava with these processes fused into one of ours
IMAGES = 100  # the integer executor
PICTURES = 4


def demo(
    out: Path,
    config_name: str = "demo",
    overrides: Sequence[str] = (),
    images: tuple[int, int, int] = (STOCK_IMAGES, FAST_IMAGES, IMAGES),
) -> dict[str, Any]:
    """Train, export, run on Lava, compare and draw; returns the demo JSON of the README.

    images  test images for stock Lava, for Lava with the fast models, and for the integer executor. `miou_torch` and
            `miou_lava` are both over those of the fast Lava run, so that they can be compared
    """
    start = time.perf_counter()
    config = load_config(config_name, overrides)
    run, target = out / "run", out / "bundle"
    check_writable(target, is_bundle)  # before minutes of training
    say(f"1/4 training {config.train.epochs} epoch(s) on digits pasted on photographs ...")
    trained = train_config(config, run)
    say(f"    test mIoU {trained['miou']:.4f} in floating point, {trained['train_time_s']:.0f} s")
    say("2/4 compiling for Loihi 2 ...")
    content = export_run(run, target)
    summarise(content, target)
    say("3/4 running the trained module in SLAYER and the exported network on Lava ...")
    bundle = open_bundle(target)
    _, module = quantized_module(target / "model", bundle.json("quantization.json"))
    samples = load_samples(config, max(images))
    with progress("slayer") as on_progress:
        reference = slayer_spikes(module, samples.images, on_progress)
    results, on_lava = _compare_all(bundle, samples, reference, images)
    say("4/4 drawing ...")
    png = out / "demo.png"
    maps = [maps_of(bundle.graph, side, samples) for side in (reference, on_lava)]
    draw_samples(png, samples, {"SLAYER (torch)": maps[0], "Lava": maps[1]}, min(PICTURES, len(maps[1])))
    result = {
        "miou_torch": results["lava-fast"]["miou_left"],
        "miou_lava": results["lava-fast"]["miou_right"],
        "compared": sum(r["compared"] for r in results.values()),
        "mismatches": sum(r["mismatches"] for r in results.values()),
        "neurons": content["neurons"],
        "neurons_deployed": content["neurons_deployed"],
        "seconds": round(time.perf_counter() - start, 1),
        "png": str(png),
    }
    say(f"{result['mismatches']} mismatches in {result['compared']:,} neuron-steps, {result['seconds']:.0f} s: {png}")
    return result


def _compare_all(
    bundle: Bundle, samples: Samples, reference: Spikes, images: tuple[int, int, int]
) -> tuple[dict[str, dict[str, Any]], Spikes]:
    """Parity of SLAYER against each backend, as a table too; and the spikes of the fast Lava run."""
    rows, results, on_lava = [], {}, {}
    for backend, count in zip(("lava", "lava-fast", "int"), images, strict=True):
        began = time.perf_counter()
        first = {name: values[:count] for name, values in reference.items()}
        spikes = run_side(bundle, inputs_of(bundle.graph, first), backend)
        results[backend] = compare_scored(bundle, samples, first, spikes, ("slayer", backend))
        rows.append(_row(results[backend], time.perf_counter() - began))
        if backend == "lava-fast":
            on_lava = spikes
    columns = ("backend", "images", "compared", "differ", "mIoU SLAYER", "mIoU here", "s")
    show("SLAYER against the exported network", columns, rows)
    return results, on_lava


def _row(result: dict[str, Any], seconds: float) -> tuple[object, ...]:
    counts = (result["samples"], result["compared"], result["mismatches"])
    return result["right"], *counts, result["miou_left"], result["miou_right"], round(seconds, 1)
