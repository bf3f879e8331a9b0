"""Running one entry of the plan by the command line, and its row of the result."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch

from benchmarks.accuracy.plan import Run
from export.files import sha256
from neuroseg.commands.training import evaluation_task
from neuroseg.config import Config, load_config
from neuroseg.metrics import SegmentationScores
from neuroseg.train import dataset, evaluate, load_run
from neuroseg.train.run_folder import WEIGHTS

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "runs" / "accuracy"
LOGS = ROOT / "benchmarks" / "results" / "accuracy"
KEPT = (
    *("miou", "miou_per_image", "pixel_accuracy", "foreground", "psnr_db", "ssim"),
    *("arithmetic", "firing_rate", "samples", "split", "parameters"),
)
HISTORY = ("epochs", "best_epoch", "train_time_s")  # of a conversion: of its fine-tuning


def run_entry(study: str, name: str, run: Run, extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """Do it unless it was done, from the last checkpoint if there is one; the row of the result file.

    extra  further changes of a training's config, for a smoke run
    """
    folder, log = RUNS / study / name, LOGS / f"{study}.{name}.log"
    if run.train is not None:
        _train(run.train, (*run.set, *extra), folder, log)
    elif run.convert is not None:
        _convert(RUNS / study / run.convert, run.flags, folder, log)
    else:
        assert run.eval is not None
        source = RUNS / study / run.eval
        return {**_row(run, *_evaluated(source, run.set)), **_weights(source)}
    metrics = json.loads((folder / "metrics.json").read_text())
    fine = metrics.get("conversion", {}).get("finetuning")
    row = {**_row(run, load_run(folder)[0], metrics), **_weights(folder)}
    if fine is None:
        return row
    return (
        {**row, "finetuning": fine}
        if fine["kept"]
        else {**row, "finetuning": fine, "train_time_s": fine["train_time_s"]}
    )


def config_of(config: str, changes: tuple[str, ...]) -> dict[str, Any]:
    """A training's config as it is now, changes and defaults in it (JSON-ready)."""
    found: dict[str, Any] = load_config(config, changes).model_dump(mode="json")
    return found


def without_new_keys(now: Any, then: Mapping[str, Any]) -> dict[str, Any]:
    """What `now` has of the keys that it had then: a key that came to the schema later changes nothing."""
    return {
        key: without_new_keys(now.get(key), value) if isinstance(value, dict) else now.get(key)
        for key, value in then.items()
    }


def prior(config: Config) -> float:
    """mIoU, over all classes, of calling every pixel of the test split the class that is most frequent there."""
    items = dataset(config, "test")
    scores = SegmentationScores(items.classes)
    for i in range(len(items)):
        mask = torch.as_tensor(items[i][1])[None]
        scores.update(torch.zeros_like(mask), mask)
    pixels = scores.confusion.sum(dim=1)
    return float(pixels.max() / pixels.sum()) / items.classes


def _train(config: str, changes: tuple[str, ...], folder: Path, log: Path) -> None:
    made = {"config": config_of(config, changes)}
    if _is_there(folder, made):
        return
    resume = ["--resume"] if (folder / "checkpoints" / "last.ckpt").is_file() else []
    _neuroseg(log, bool(resume), "train", config, *changes, "--out", folder, *resume)
    _remember(folder, made)


def _convert(source: Path, flags: tuple[str | int | float, ...], folder: Path, log: Path) -> None:
    made = {"flags": list(flags), "weights_sha256": sha256(source / WEIGHTS)}
    if _is_there(folder, made):
        return
    if folder.is_dir():
        rmtree(folder)  # a conversion that was interrupted while it was fine-tuned
    _neuroseg(log, False, "convert", source, *flags, "--out", folder)
    _remember(folder, made)


def _is_there(folder: Path, made: dict[str, Any]) -> bool:
    """Whether a run is finished; one that was made of something else than the plan says now ends the program."""
    note = folder.with_suffix(".json")
    if not note.is_file():
        return False
    before = json.loads(note.read_text())
    if without_new_keys(made, before) != before:
        sys.exit(
            f"'{folder}' was made by other settings than the plan has now: delete it and {note.name}, or move them away"
        )
    return True


def _remember(folder: Path, made: dict[str, Any]) -> None:
    folder.with_suffix(".json").write_text(json.dumps(made, indent=1) + "\n")


def _evaluated(folder: Path, changes: tuple[str, ...]) -> tuple[Config, dict[str, Any]]:
    config, model = load_run(folder)
    config = load_config(folder / "config.yaml", changes)
    return config, evaluate(config, evaluation_task(config, model), "test")


def _weights(folder: Path) -> dict[str, Any]:
    return {"weights_sha256": sha256(folder / WEIGHTS)}


def _row(run: Run, config: Config, metrics: dict[str, Any]) -> dict[str, Any]:
    kind = next(kind for kind in ("train", "convert", "eval") if getattr(run, kind) is not None)
    return {
        "kind": kind,
        "of": getattr(run, kind),
        "set": list(run.set),
        "flags": list(run.flags),
        **({} if run.train is None else {"config": config_of(run.train, run.set)}),
        **({} if run.paper_row is None else {"paper_row": run.paper_row}),
        "seed": config.train.seed,
        "steps": config.model.steps,
        **{key: metrics[key] for key in (*KEPT, *HISTORY) if key in metrics},
    }


def _neuroseg(log: Path, again: bool, *arguments: object) -> None:
    """A command, its standard error in a log; `again`: the log goes on."""
    command = [sys.executable, "-m", "neuroseg.cli", *map(str, arguments), "--json"]
    log.parent.mkdir(parents=True, exist_ok=True)
    told = " ".join(command[3:]).replace(f"{ROOT}/", "")
    print(f"{time.strftime('%H:%M:%S')} neuroseg {told}", flush=True)
    with log.open("a" if again else "w", encoding="utf-8") as file:
        file.write(f"$ neuroseg {told}\n")
        file.flush()
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=file, check=False)
    if done.returncode:
        sys.exit(f"that failed with exit code {done.returncode}: see {log}")
