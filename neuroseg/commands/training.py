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
from export.passes.fold_norm import fold_norm
from export.passes.lower import lower
from export.passes.quantize import FanIn, scale_groups
from export.passes.trace import trace
from neuroseg.commands.console import say, show
from neuroseg.config import Config
from neuroseg.data import SPLITS
from neuroseg.models import build
from neuroseg.train import SegmentationTask, evaluate, load_run
from neuroseg.train import train as train_network

ARITHMETIC = {"integer": "the chip's integers", "real": "real numbers; export rounds them to 8 bits"}


def train_config(config: Config, out: Path, *, resume: bool = False, restart: bool = False) -> dict[str, Any]:
    """Train; the compiler says which populations share a scale when the last epochs are quantisation-aware."""
    check_outside(out)
    groups = integer_groups(config) if config.train.qat_epochs else None
    several = config.train.devices * config.train.nodes > 1
    with _quiet_standard_output() if several else nullcontext():
        return train_network(config, out, groups=groups, resume=resume, restart=restart)


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
    return scale_groups(lower(fold_norm(trace(model, config.input_shape))))


def evaluate_run(run: Path, split: str, *, real: bool = False) -> dict[str, Any]:
    """Scores of a RUN's weights on one split (JSON-ready): with the chip's integers if that is how it was trained.

    real  in real numbers in any case
    """
    if split not in SPLITS:
        raise UsageError(f"unknown split '{split}'; choose one of {', '.join(SPLITS)}.")
    config, model = load_run(run)
    groups = integer_groups(config) if config.train.qat_epochs and not real else None
    task = SegmentationTask(model, config.train, groups=groups)
    if groups is not None:
        task.compute_in_integers()
    return {"name": config.name, **evaluate(config, task, split)}


def show_scores(title: str, scores: dict[str, Any]) -> None:
    """What a training or an evaluation measured, as tables."""
    rows = [
        ("arithmetic", ARITHMETIC[scores["arithmetic"]]),
        ("data-set mIoU", f"{scores['miou']:.4f}"),
        ("pixel accuracy", f"{scores['pixel_accuracy']:.4f}"),
        ("mIoU per image (MFS-Seg's definition, not comparable)", f"{scores['miou_per_image']:.4f}"),
        ("mean firing rate", f"{scores['firing_rate']:.3f}"),
        ("parameters", f"{scores['parameters']:,}"),
    ]
    if "train_time_s" in scores:
        rows += [
            ("best epoch", f"{scores['best_epoch']} of {scores['epochs']} (val mIoU {scores['best_val_miou']:.4f})"),
            ("seconds", f"{scores['train_time_s']:.0f}"),
        ]
    show(f"{title}, {scores['split']} split, {scores['samples']} images", ("what", "value"), rows)
    if scores["protocol"] == "paper" and scores["split"] == "test":
        say("protocol 'paper': the test split is the val split, on which the best epoch was chosen, as the paper does.")
    iou = [
        (name, "does not occur" if value is None else f"{value:.4f}")
        for name, value in zip(scores["class_names"], scores["iou_per_class"], strict=True)
    ]
    show("IoU per class", ("class", "IoU"), iou)


def show_rates(scores: dict[str, Any]) -> None:
    """Firing rate of every population."""
    show("spikes per neuron and step", ("population", "firing rate"), list(scores["firing_rates"].items()))
    silent = [name for name, rate in scores["firing_rates"].items() if not rate]
    if silent:
        say(f"{len(silent)} population(s) never fired: {', '.join(silent)}")
