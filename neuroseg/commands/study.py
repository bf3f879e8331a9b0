"""What studies share: points that are kept as soon as they are computed, and the curves they are drawn as."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from export.errors import FileFormatError, UsageError
from export.files import check_parent, replacing, sha256, write_json
from neuroseg.commands.console import say
from neuroseg.config import Config
from neuroseg.train.run_folder import WEIGHTS

SCHEMA_VERSION = 1
HASH = "weights_sha256"
DOTS = 130
# Task -> key of its main score, what it is called, its unit
SCORES = {"segmentation": ("miou", "data-set mIoU"), "denoising": ("psnr_db", "PSNR in dB")}

Point: TypeAlias = dict[str, Any]
Line: TypeAlias = tuple[str, Sequence[float], Sequence[float | None]]


@dataclass(frozen=True)
class Panel:
    """One plot: lines of (label, x, y), y None where there is no value."""

    ylabel: str
    lines: Sequence[Line]


class Study:
    """Points in `<out>/<name>.json`, written after each one: a study that was interrupted goes on where it stopped.

    subject  what all points depend on (JSON-ready): points of another subject are not mixed with these
    restart  forget the points that are there; without it a file of another subject is refused (UsageError)
    """

    def __init__(self, out: Path, name: str, subject: Mapping[str, Any], *, restart: bool = False) -> None:
        self.path = out / f"{name}.json"
        self.content: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "study": name, **subject, "points": []}
        check_parent(self.path)
        if self.path.exists() and not restart:
            self.content["points"] = self._points_before(json.loads(json.dumps(subject)))

    def _points_before(self, subject: Mapping[str, Any]) -> list[Point]:
        try:
            before = json.loads(self.path.read_text(encoding="utf-8"))
            points: list[Point] = before["points"]
        except (ValueError, KeyError, TypeError) as error:
            raise FileFormatError(
                f"'{self.path}' is no study of ours ({error!r}); delete it or use --restart."
            ) from None
        for key, value in {"schema_version": SCHEMA_VERSION, **subject}.items():
            if before.get(key) != value:
                raise UsageError(
                    f"'{self.path}' holds a study with another {key}; choose another --out, or start over with --restart."
                )
        return points

    def point(self, key: Mapping[str, Any], compute: Callable[[], Point]) -> Point:
        """The point with these keys: as it was found before, or computed and written now."""
        for known in self.content["points"]:
            if all(known.get(name) == value for name, value in key.items()):
                found: Point = known
                return found
        say(f"{self.content['study']}: {', '.join(f'{name} {value}' for name, value in key.items() if name != HASH)}")
        point = {**key, **compute()}
        self.content["points"].append(point)
        write_json(self.path, self.content)
        return point

    def finish(self, **more: Any) -> dict[str, Any]:
        """Write and return everything, with `more`."""
        self.content |= more
        write_json(self.path, self.content)
        return self.content


def score_of(config: Config) -> tuple[str, str]:
    """Key and words of the score that studies of this config's task are about."""
    return SCORES[config.data.task]


def subject_of(config: Config, run: Path | None = None) -> dict[str, Any]:
    """Config and seed, and of a RUN the hash of its weights."""
    weights = {} if run is None else {"run": str(run), HASH: sha256(run / WEIGHTS)}
    return {**weights, "config": config.model_dump(mode="json"), "seed": config.train.seed}


def shown_scores(scores: Mapping[str, Any]) -> Point:
    """Of an evaluation what a study keeps of it."""
    names = ("miou", "pixel_accuracy", "psnr_db", "ssim", "foreground", "firing_rate", "samples", "arithmetic")
    return {name: scores[name] for name in names if name in scores}


def draw_curves(path: Path, title: str, xlabel: str, panels: Sequence[Panel]) -> None:
    """Panels side by side, a marker at every point; a value that is None leaves a gap."""
    figure = Figure(figsize=(4.6 * len(panels), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for label, x, y in panel.lines:
            axis.plot(
                x, [float("nan") if value is None else value for value in y], marker="o", markersize=4, label=label
            )
        axis.set_xlabel(xlabel)
        axis.set_ylabel(panel.ylabel)
        axis.grid(alpha=0.3)
        if panel.lines:
            axis.legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """A PNG, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DOTS, format="png")
