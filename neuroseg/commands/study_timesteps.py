"""`neuroseg study timesteps`: the score against T, with the same weights at inference, and trained anew at each T."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from export.errors import UsageError
from neuroseg.commands.console import say, show
from neuroseg.commands.study import Panel, Point, Study, draw_curves, score_of, shown_scores, subject_of
from neuroseg.commands.training import checked_split, evaluate_run, evaluation_task, train_config
from neuroseg.config import Config, load_config, validate
from neuroseg.data import Split
from neuroseg.models import build
from neuroseg.train import evaluate, load_run
from neuroseg.train.run_folder import METRICS

NAME = "timesteps"


def timesteps(
    subject: str,
    changes: Sequence[str],
    inference: Sequence[int],
    training: Sequence[int],
    out: Path,
    *,
    split: str = "test",
    restart: bool = False,
) -> dict[str, Any]:
    """Points (kind, trained_steps, steps, score, firing rate) in `timesteps.json` and `timesteps.png` of `out`.

    subject    a RUN folder; or a config (a file or a shipped name), which is trained at its own T for the points of inference
    changes    key=value, of a config only
    inference  T at which the subject's weights are scored
    training   T at which the config is trained anew, into `out/trained/T<n>`, and scored. What is finished there is used
               again, what was interrupted goes on
    """
    chosen = checked_split(split)
    _check_steps((*inference, *training))
    run = Path(subject) if Path(subject).is_dir() else None
    if run is not None and changes:
        raise UsageError(f"'{subject}' is a RUN: its config is settled. Leave out {changes[0]}, or name a config.")
    config = load_config(subject, changes) if run is None else load_run(run)[0]
    study = Study(out, NAME, {**subject_of(config, run), "split": split}, restart=restart)
    for steps in training:
        key = {"kind": "training", "trained_steps": steps, "steps": steps}
        study.point(key, partial(_anew, config, steps, out, chosen, restart))
    if inference:
        own = config.model.steps
        weights = run or _trained(config, own, out, restart and own not in training)  # once is enough
        for steps in inference:
            key = {"kind": "inference", "trained_steps": own, "steps": steps}
            study.point(key, partial(_at, weights, steps, chosen))
    points = sorted(study.content["points"], key=lambda point: (point["kind"], point["steps"]))
    result = study.finish(points=points, png=f"{NAME}.png")
    _draw(result, config, out / f"{NAME}.png")
    return result


def with_steps(config: Config, steps: int) -> Config:
    """The same config at another T; UsageError where its network has only one."""
    tree = config.model_dump(mode="json")
    tree["model"]["steps"] = steps
    return validate(tree, f"T = {steps}")


def _check_steps(steps: Sequence[int]) -> None:
    if not steps:
        raise UsageError(
            "nothing to do: name numbers of time steps with --inference, --train or both, such as 1,2,3,5,8."
        )
    if min(steps) < 1:
        raise UsageError(f"T = {min(steps)} is below 1: time steps are 1 or more.")


def _trained(config: Config, steps: int, out: Path, restart: bool) -> Path:
    """RUN folder of the config at T = `steps`, trained unless it is there."""
    wanted, folder = with_steps(config, steps), out / "trained" / f"T{steps}"
    if (folder / METRICS).is_file() and not restart and load_run(folder)[0] == wanted:
        return folder
    say(f"training at T = {steps} into {folder}")
    unfinished = (folder / "checkpoints" / "last.ckpt").is_file() and not restart and not (folder / METRICS).is_file()
    train_config(wanted, folder, resume=unfinished, restart=not unfinished)
    return folder


def _anew(config: Config, steps: int, out: Path, split: Split, restart: bool) -> Point:
    """Scores of the config trained at a T."""
    return shown_scores(evaluate_run(_trained(config, steps, out, restart), split))


def _at(run: Path, steps: int, split: Split) -> Point:
    """Scores of a RUN's weights at another T."""
    config, trained = load_run(run)
    wanted = with_steps(config, steps)
    model = build(wanted).eval()
    weights, stretched = refit(trained.state_dict(), model.state_dict(), config.model.steps, steps)
    model.load_state_dict(weights)
    scores = evaluate(wanted, evaluation_task(wanted, model), split)
    return {**shown_scores(scores), "per_step_tensors": stretched}


def refit(
    weights: dict[str, Tensor], wanted: dict[str, Tensor], trained: int, steps: int
) -> tuple[dict[str, Tensor], int]:
    """Weights for a network of T = `steps`, and how many tensors were fitted to it.

    A tensor with one row per time step (BNTT) gives its first rows; beyond the trained T its last row goes on.
    """
    found, stretched = {}, 0
    for name, target in wanted.items():
        values = weights[name]
        if values.shape != target.shape:
            if (len(values), len(target)) != (trained, steps) or values.shape[1:] != target.shape[1:]:
                raise UsageError(
                    f"tensor '{name}' has shape {tuple(values.shape)}, at T = {steps} it needs {tuple(target.shape)}: these "
                    "weights cannot be used at another T. Train at each T instead (--train)."
                )
            values = values[[min(t, trained - 1) for t in range(steps)]]
            stretched += 1
        found[name] = values
    return found, stretched


def _draw(result: dict[str, Any], config: Config, path: Path) -> None:
    key, words = score_of(config)
    made = "converted for" if config.model.family == "converted" else "trained at"
    labels = {"inference": f"same weights ({made} T = {config.model.steps})", "training": "trained at each T"}
    panels = []
    for name, ylabel in ((key, words), ("firing_rate", "spikes per neuron and step")):
        lines = []
        for kind, label in labels.items():
            points = [point for point in result["points"] if point["kind"] == kind]
            if points:
                lines.append((label, [p["steps"] for p in points], [p[name] for p in points]))
        panels.append(Panel(ylabel, lines))
    draw_curves(path, f"{config.name}, {result['split']} split", "time steps T", panels)


def show_timesteps(result: dict[str, Any], out: Path) -> None:
    """The points as a table."""
    key = "miou" if any("miou" in point for point in result["points"]) else "psnr_db"
    rows = [
        (point["kind"], point["trained_steps"], point["steps"], point[key], point["firing_rate"] or "none")
        for point in result["points"]
    ]
    show(f"score against T, {result['split']} split", ("kind", "trained T", "T", key, "firing rate"), rows)
    if any(point.get("per_step_tensors") for point in result["points"]):
        say("norms with a set per time step: fewer steps use the first sets, more steps go on with the last one.")
    say(f"{out / (NAME + '.json')}, {out / result['png']}")
