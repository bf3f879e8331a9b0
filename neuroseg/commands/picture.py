"""Pictures of class maps and of how classes fare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from export.files import replacing
from neuroseg.commands.reference import Samples
from neuroseg.metrics import VOID

CELL_INCHES = 1.9
TITLE_INCHES = 0.35  # above the first row
LABEL_INCHES = 0.2  # under each row
DOTS = 130
MOST_ROWS = 6
BAR_INCHES = 0.16
BLACK, WHITE, RED = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.8, 0.0, 0.0)

Map = NDArray[np.int64]
IouPerClass: TypeAlias = Sequence[float | None]


def draw_samples(path: Path, samples: Samples, maps: Mapping[str, Map], count: int) -> None:
    """A row per image: image, truth, one column per class map, and where the last two maps differ.

    maps  title -> (N, H, W), at the masks' size
    """
    last = list(maps.values())[-2:]
    figure, axes = _grid(["image", "truth", *maps, "difference"], count, samples)
    for row in range(count):
        _classes(axes[row], samples, row, maps)
        _difference(axes[row][-1], samples, row, last[0], last[-1])
    save_figure(figure, path)


def draw_disagreement(path: Path, samples: Samples, maps: Mapping[str, Map], pairs: Sequence[tuple[str, str]]) -> None:
    """A row per image, at most six, spread over all: image, truth, maps of `pairs[0]`, and where the maps of each pair differ.

    maps   rung -> (N, H, W), at the masks' size
    pairs  the first is (first rung, last rung)
    """
    chosen = spread(len(samples.images), MOST_ROWS)
    shown = {name: maps[name] for name in pairs[0]}
    titles = [f"{left} differs\nfrom {right}" for left, right in pairs]
    figure, axes = _grid(["image", "truth", *shown, *titles], len(chosen), samples, titles=2)
    for row, index in enumerate(chosen):
        _classes(axes[row], samples, index, shown)
        for axis, (left, right) in zip(axes[row][2 + len(shown) :], pairs, strict=True):
            _difference(axis, samples, index, maps[left], maps[right])
    save_figure(figure, path)


def spread(count: int, most: int) -> list[int]:
    """At most so many of `count` indices, first and last among them: images that follow each other are often alike."""
    return [round(i) for i in np.linspace(0, count - 1, min(count, most)).tolist()]


def draw_iou(path: Path, names: Sequence[str], ious: Mapping[str, IouPerClass]) -> None:
    """Bars per class: how much the IoU of each rung differs from the first, in percentage points.

    ious  rung -> IoU per class, None for a class that neither occurs nor is predicted
    """
    first, rest = next(iter(ious)), dict(list(ious.items())[1:])
    groups = _merged(rest)
    thick, places, widest = 0.8 / max(len(groups), 1), np.arange(len(names)), 0.01
    figure = Figure(figsize=(7.0, 1.0 + (BAR_INCHES * len(groups) + 0.2) * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for index, (label, values) in enumerate(groups):
        deltas = [np.nan if a is None or b is None else 100 * (b - a) for a, b in zip(ious[first], values, strict=True)]
        widest = max(widest, *(abs(delta) for delta in deltas if not np.isnan(delta)), 0.0)
        bars = axis.barh(places + (index - (len(groups) - 1) / 2) * thick, np.nan_to_num(deltas), thick, label=label)
        labels = ["" if np.isnan(delta) else f"{delta:+.2f}" for delta in deltas]
        axis.bar_label(bars, labels, padding=3, fontsize=6)
    told = ["absent" if iou is None else f"IoU {iou:.3f}" for iou in ious[first]]
    axis.set_yticks(places, [f"{name}\n{what}" for name, what in zip(names, told, strict=True)], fontsize=7)
    axis.invert_yaxis()
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_xlim(-1.3 * widest, 1.3 * widest)
    axis.set_xlabel(f"IoU minus that of {first}, percentage points", fontsize=8)
    axis.tick_params(axis="x", labelsize=7)
    figure.legend(fontsize=7, loc="outside upper center", ncols=2, frameon=False)
    save_figure(figure, path)


def _merged(ious: Mapping[str, IouPerClass]) -> list[tuple[str, IouPerClass]]:
    """Neighbouring rungs of equal IoUs share their bars: (label, IoU per class)."""
    groups: list[tuple[str, IouPerClass]] = []
    for rung, values in ious.items():
        if groups and list(groups[-1][1]) == list(values):
            groups[-1] = f"{groups[-1][0]}, {rung}", values
        else:
            groups.append((rung, values))
    return groups


def _grid(columns: Sequence[str], rows: int, samples: Samples, titles: int = 1) -> tuple[Figure, Any]:
    """A figure of image cells with column titles, in the shape of the masks; and a legend of the classes where it helps."""
    tall = samples.size[0] / samples.size[1]
    legend = samples.classes > 2 and len(samples.class_names) == samples.classes
    names_per_row = max(1, round(1.3 * len(columns)))
    lines = -(-samples.classes // names_per_row) if legend else 0
    height = (CELL_INCHES * tall + LABEL_INCHES) * rows + TITLE_INCHES * titles + 0.22 * lines
    figure = Figure(figsize=(CELL_INCHES * len(columns), height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=9)
    if legend:
        colours = palette(samples.classes, samples.colours)
        patches = [
            Patch(facecolor=c, edgecolor="gray", label=n) for c, n in zip(colours, samples.class_names, strict=True)
        ]
        figure.legend(handles=patches, loc="outside lower center", ncols=names_per_row, fontsize=7, frameon=False)
    return figure, axes


def _classes(axes: Any, samples: Samples, row: int, maps: Mapping[str, Map]) -> None:
    """Image, truth and class maps of one sample, in the first cells of a row."""
    axes[0].imshow(samples.picture(row), interpolation="nearest")
    panels = [samples.masks[row], *(values[row] for values in maps.values())]
    for axis, panel in zip(axes[1:], panels, strict=False):
        axis.imshow(_painted(panel, samples), interpolation="nearest")


def _difference(axis: Any, samples: Samples, row: int, left: Map, right: Map) -> None:
    """Red where two maps differ, black where the truth is void; the number of pixels under it."""
    known = samples.compared[row]
    different = (left[row] != right[row]) & known
    cell = np.full((*different.shape, 3), WHITE)
    cell[different], cell[~known] = RED, BLACK
    axis.imshow(cell, interpolation="nearest")
    axis.set_xlabel(f"{np.count_nonzero(different):,} of {np.count_nonzero(known):,} pixels", fontsize=7)


def _painted(classes: NDArray[np.int64], samples: Samples) -> NDArray[np.float64]:
    """(H, W) class map -> (H, W, 3) colours; void is black."""
    colours = np.array([*palette(samples.classes, samples.colours), BLACK])
    painted: NDArray[np.float64] = colours[np.where(classes == VOID, samples.classes, classes)]
    return painted


def palette(classes: int, colours: Sequence[tuple[int, int, int]] | None) -> list[tuple[float, float, float]]:
    """One colour per class: the data set's own; else black and white for two classes, and a table for more."""
    if colours is not None:
        return [(r / 255, g / 255, b / 255) for r, g, b in colours]
    if classes <= 2:
        return [BLACK, WHITE][:classes]
    table = matplotlib.colormaps["tab20"]
    return [table(index % table.N)[:3] for index in range(classes)]


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DOTS, format="png")
