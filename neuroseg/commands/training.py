"""`neuroseg train`, `eval` and `describe`: networks before they are compiled."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from export.bundle import check_outside
from export.errors import UsageError
from export.passes.quantize import FanIn, scale_groups
from export.pipeline import lower_module
from neuroseg.commands.console import say, show
from neuroseg.commands.costs import costs
from neuroseg.config import Config
from neuroseg.data import SPLITS, Split
from neuroseg.models import build
from neuroseg.train import Task, evaluate, load_run, task_of
from neuroseg.train import train as train_network

ARITHMETIC = {"integer": "the chip's integers", "real": "real numbers; export rounds them to 8 bits"}


def train_config(config: Config, out: Path, *, resume: bool = False, restart: bool = False) -> dict[str, Any]:
    """Train; the compiler says which populations share a scale when the last epochs are quantisation-aware."""
    check_outside(out)
    groups = integer_groups(config) if config.train.qat_epochs else None
    several = config.train.devices * config.train.nodes > 1
    with _quiet_standard_output() if several else nullcontext():
        return train_network(config, out, groups=groups, account=costs, resume=resume, restart=restart)


@contextmanager
def _quiet_standard_output() -> Iterator[None]:
    """Whatever is printed goes to standard error: gloo announces its connections from C++ where JSON is awaited."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def is_first_process() -> bool:
    """Whether this process is the one that talks and writes, when several train together."""
    return not getattr(rank_zero_only, "rank", 0)


def integer_groups(config: Config) -> list[dict[str, FanIn]]:
    """Populations of a config's network that share one scale."""
    model = build(config)
    return scale_groups(lower_module(model, config.input_shape).graph)


def evaluate_run(run: Path, split: str, *, real: bool = False, boundary: float | None = None) -> dict[str, Any]:
    """Scores of a RUN's weights on one split (JSON-ready): with the chip's integers if that is how it was trained.

    real      in real numbers in any case
    boundary  tolerance in pixels at which the boundaries are scored, too
    """
    chosen = checked_split(split)
    config, model = load_run(run)
    task = evaluation_task(config, model, real=real, boundary=boundary)
    scores = evaluate(config, task, chosen)
    return {"name": config.name, **scores, **costs(config, scores)}


def checked_split(split: str) -> Split:
    """The same; UsageError for a split that there is not."""
    if split not in SPLITS:
        raise UsageError(f"unknown split '{split}'; choose one of {', '.join(SPLITS)}.")
    return split


def evaluation_task(config: Config, model: Any, *, real: bool = False, boundary: float | None = None) -> Task:
    """The task that scores a trained network: in the chip's integers if its last epochs were, unless `real`."""
    groups = integer_groups(config) if config.train.qat_epochs and not real else None
    task = task_of(config, model, groups, boundary=boundary)
    if groups is not None:
        task.compute_in_integers()
    return task


def show_scores(title: str, scores: dict[str, Any]) -> None:
    """What a training or an evaluation measured, as tables."""
    segmentation = scores["task"] == "segmentation"
    ann = scores["firing_rate"] is None
    rows = [
        ("arithmetic", "real numbers (an ANN)" if ann else ARITHMETIC[scores["arithmetic"]]),
        *(_segmentation_rows(scores) if segmentation else _denoising_rows(scores)),
        ("mean firing rate", "no neurons" if ann else f"{scores['firing_rate']:.3f}"),
        ("parameters", f"{scores['parameters']:,}"),
        *_cost_rows(scores),
    ]
    if scores["padded_images"]:
        rows.append(("images padded to the network's multiple, and cropped back", f"{scores['padded_images']}"))
    if "train_time_s" in scores:
        best = f"mIoU {scores['best_val_miou']:.4f}" if segmentation else f"PSNR {scores['best_val_psnr']:.2f} dB"
        rows += [
            ("best epoch", f"{scores['best_epoch']} of {scores['epochs']} (val {best})"),
            ("seconds", f"{scores['train_time_s']:.0f}"),
        ]
    show(f"{title}, {scores['split']} split, {scores['samples']} images", ("what", "value"), rows)
    if segmentation:
        _show_classes(scores)


def _segmentation_rows(scores: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("data-set mIoU", f"{scores['miou']:.4f}"),
        ("pixel accuracy", f"{scores['pixel_accuracy']:.4f}"),
        ("mIoU per image (MFS-Seg's definition, not comparable)", f"{scores['miou_per_image']:.4f}"),
    ]
    for name, value in scores.get("foreground", {}).items():
        if name != "accuracy":  # of two classes it is the pixel accuracy
            rows.append((f"{name} of '{scores['class_names'][1]}'", _figure(value)))
    if "boundary" in scores:
        boundary = scores["boundary"]
        rows.append((f"boundary F within {boundary['tolerance_px']:g} pixels", _figure(boundary["f"])))
    return rows


def _denoising_rows(scores: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("PSNR, noisy -> denoised", f"{_figure(scores['input_psnr_db'], 2)} -> {_figure(scores['psnr_db'], 2)} dB"),
        ("SSIM, noisy -> denoised", f"{_figure(scores['input_ssim'])} -> {_figure(scores['ssim'])}"),
    ]


def _cost_rows(scores: dict[str, Any]) -> list[tuple[str, str]]:
    if "energy" not in scores:
        return []
    spiking, ann = scores["energy"]["energy_j"], scores["energy"]["ann_energy_j"]
    told = f"{1e3 * ann:.4g} mJ" if spiking is None else f"{1e3 * spiking:.4g} mJ (as an ANN {1e3 * ann:.4g} mJ)"
    shape = "x".join(map(str, scores["input_shape"]))
    return [
        (
            f"multiply-accumulates per step, input {shape}",
            f"{scores['macs_per_step']:,} (host: {scores['host_macs']:,})",
        ),
        ("energy per input by the papers' arithmetic, 45 nm", told),
    ]


def _figure(value: float | None, digits: int = 4) -> str:
    return "none" if value is None else f"{value:.{digits}f}"


def _show_classes(scores: dict[str, Any]) -> None:
    if scores["protocol"] == "paper" and scores["split"] == "test":
        say("protocol 'paper': the test split is the val split, on which the best epoch was chosen, as the paper does.")
    iou = [
        (name, "does not occur" if value is None else f"{value:.4f}")
        for name, value in zip(scores["class_names"], scores["iou_per_class"], strict=True)
    ]
    show("IoU per class", ("class", "IoU"), iou)


def show_rates(scores: dict[str, Any]) -> None:
    """Firing rate of every population, if there is one."""
    if not scores["firing_rates"]:
        return
    show("spikes per neuron and step", ("population", "firing rate"), list(scores["firing_rates"].items()))
    silent = [name for name, rate in scores["firing_rates"].items() if not rate]
    if silent:
        say(f"{len(silent)} population(s) never fired: {', '.join(silent)}")
