"""`neuroseg study noise`: how much of its score a network loses under Gaussian noise on its inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from export.errors import UsageError
from export.files import sha256
from neuroseg.commands.console import say, show
from neuroseg.commands.study import HASH, Panel, Point, Study, draw_curves, shown_scores
from neuroseg.commands.training import checked_split, evaluation_task
from neuroseg.config import Config
from neuroseg.data import Split
from neuroseg.data.noisy import Noisy
from neuroseg.train import dataset, evaluate, load_run
from neuroseg.train.run_folder import WEIGHTS

NAME = "noise"


def noise(
    runs: Sequence[Path],
    sigmas: Sequence[float],
    out: Path,
    *,
    split: str = "test",
    seed: int = 0,
    restart: bool = False,
) -> dict[str, Any]:
    """Points (run, sigma, mIoU, relative drop) in `noise.json` and `noise.png` of `out`, and a `note` on who clips the sum.

        relative drop = (clean - noisy) / clean     (Kim et al. 2022, section 5.3; null where clean is 0)

    runs    RUN folders of segmentations with real inputs, of one data set: a spiking network beside its ANN twin
    sigmas  standard deviations in units of the pixels' range [0, 1]; 0, the clean score, is always computed
    seed    of the noise, which is the same for all runs whose inputs have the same shape
    """
    chosen = checked_split(split)
    _check_sigmas(sigmas)
    loaded = {run: load_run(run)[0] for run in runs}
    _check_runs(loaded)
    first = loaded[runs[0]]
    subject = {
        "data": first.data.model_dump(mode="json"),
        "split": split,
        "seed": seed,
        "sigma_unit": "pixel range [0, 1]",
    }
    study = Study(out, NAME, subject, restart=restart)
    digests = {str(run): sha256(run / WEIGHTS) for run in runs}
    for run in runs:
        for sigma in sorted({0.0, *sigmas}):
            key = {"run": str(run), HASH: digests[str(run)], "sigma": sigma}
            study.point(key, partial(_at, run, sigma, chosen, seed))
    points = _with_drops(_of_now(study.content["points"], digests))
    result = study.finish(points=points, png=f"{NAME}.png", note=clipping(loaded))
    _draw(result, loaded, out / f"{NAME}.png")
    return result


def relative_drop(clean: float, noisy: float) -> float | None:
    """(clean - noisy) / clean; None where clean is 0, of which nothing can be lost."""
    return (clean - noisy) / clean if clean else None


def clipping(runs: Mapping[Path, Config]) -> str:
    """Which of the runs clip the noisy pixels to [0, 1]: those that make spikes of them by Poisson coding (u < pixel)."""
    coded = [
        f"'{run}'"
        for run, config in runs.items()
        if config.data.inputs.kind == "image"
        and getattr(config.model, "coding", None) == "poisson"
        and config.model.neuron == "lif"
    ]
    if not coded:
        return "no run clips the noisy pixels to [0, 1]"
    return (
        f"Poisson coding clips the noisy pixels to [0, 1] in {', '.join(coded)}; other runs, such as an ANN twin, read them "
        "unclipped: part of the difference between the curves may be that"
    )


def _check_sigmas(sigmas: Sequence[float]) -> None:
    wrong = [sigma for sigma in sigmas if not (sigma >= 0 and math.isfinite(sigma))]
    if wrong:
        raise UsageError(f"--sigma {wrong[0]:g} is no standard deviation: use 0 or more, such as 0,0.05,0.1,0.2.")


def _check_runs(loaded: dict[Path, Config]) -> None:
    """UsageError for runs whose curves would not mean the same."""
    first = next(iter(loaded.values()))
    for run, config in loaded.items():
        if config.data.task != "segmentation":
            raise UsageError(f"'{run}' is a denoiser: noise is what it is for. This study is of segmentations.")
        if config.data.inputs.kind == "spikes":
            raise UsageError(
                f"'{run}' reads spikes, 0 or 1: Gaussian noise would make them something else. Use a run that reads images or "
                "histogram frames."
            )
        if config.data.name != first.data.name:
            raise UsageError(
                f"'{run}' was trained on data.name = {config.data.name}, the first run on {first.data.name}: curves of "
                "different data sets do not compare. Study them one by one."
            )


def _at(run: Path, sigma: float, split: Split, seed: int) -> Point:
    config, model = load_run(run)
    items: Any = Noisy(dataset(config, split), sigma, seed)
    return {"name": config.name, **shown_scores(evaluate(config, evaluation_task(config, model), split, items))}


def _of_now(points: Sequence[Point], digests: dict[str, str]) -> list[Point]:
    """Without points of runs that were trained again since."""
    return [point for point in points if digests.get(point["run"], point[HASH]) == point[HASH]]


def _with_drops(points: Sequence[Point]) -> list[Point]:
    clean = {point["run"]: point["miou"] for point in points if point["sigma"] == 0}
    return [{**point, "relative_drop": relative_drop(clean[point["run"]], point["miou"])} for point in points]


def _draw(result: dict[str, Any], loaded: dict[Path, Config], path: Path) -> None:
    panels = []
    for key, words in (("miou", "data-set mIoU"), ("relative_drop", "relative drop (clean - noisy) / clean")):
        lines = []
        for run in map(str, loaded):
            points = sorted((p for p in result["points"] if p["run"] == run), key=lambda p: p["sigma"])
            lines.append((Path(run).name, [p["sigma"] for p in points], [p[key] for p in points]))
        panels.append(Panel(words, lines))
    name = next(iter(loaded.values())).data.name
    draw_curves(path, f"{name}, {result['split']} split", "sigma of the noise, in units of the pixels' range", panels)


def show_noise(result: dict[str, Any], out: Path) -> None:
    """The points as a table."""
    rows = [
        (
            point["run"],
            point["sigma"],
            point["miou"],
            "none" if point["relative_drop"] is None else point["relative_drop"],
        )
        for point in result["points"]
    ]
    show(f"noise on the inputs, {result['split']} split", ("run", "sigma", "mIoU", "relative drop"), rows)
    say(result["note"])
    say(f"{out / (NAME + '.json')}, {out / result['png']}")
