"""Pictures of class maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from export.files import replacing
from neuroseg.commands.reference import Samples

CELL_INCHES = 1.9
DOTS = 130


def draw_samples(path: Path, samples: Samples, maps: Mapping[str, NDArray[np.int64]], count: int) -> None:
    """A row per image: image, truth, one column per class map, and where the last two maps differ.

    maps  title -> (N, H, W)
    """
    last = list(maps.values())[-2:]
    columns = ["image", "truth", *maps, "difference"]
    figure = Figure(figsize=(CELL_INCHES * len(columns), CELL_INCHES * count + 0.35), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(count, len(columns), squeeze=False)
    for row in range(count):
        different = int(np.count_nonzero(last[0][row] != last[-1][row]))
        panels = [samples.masks[row], *(values[row] for values in maps.values())]
        axes[row][0].imshow(samples.images[row].permute(1, 2, 0).numpy(), interpolation="nearest")
        for axis, panel in zip(axes[row][1:-1], panels, strict=True):
            axis.imshow(
                panel,
                cmap="tab20" if samples.classes > 2 else "gray",
                vmin=0,
                vmax=max(samples.classes - 1, 1),
                interpolation="nearest",
            )
        axes[row][-1].imshow(last[0][row] != last[-1][row], cmap="Reds", vmin=0, vmax=1, interpolation="nearest")
        axes[row][-1].set_xlabel(f"{different} pixels", fontsize=8)
        for axis, title in zip(axes[row], columns, strict=True):
            axis.set_xticks([])
            axis.set_yticks([])
            if row == 0:
                axis.set_title(title, fontsize=9)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DOTS, format="png")
