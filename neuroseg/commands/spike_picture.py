"""Pictures of spikes: bars per layer, and maps over the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage.feature import canny
from torch import Tensor

from neuroseg.commands.study import save

BAR_INCHES, CELL_INCHES, COLUMNS = 0.2, 1.9, 9
LIF, SOURCE, REST = "tab:blue", "tab:orange", "lightgray"
EDGE = (0.2, 0.9, 1.0)  # cyan: it stands out from the colours of the maps


def draw_rates(path: Path, result: Mapping[str, Any], title: str) -> None:
    """A bar per population, first to last: spikes per neuron and step; the upper axis counts all T steps together."""
    rows = result["populations"]
    steps = rows[0]["rate_per_neuron"] / rows[0]["rate_per_step"] if rows[0]["rate_per_step"] else None
    axis = _bars(figure := _tall(len(rows)), [row["name"] for row in rows])
    bars = axis.barh(range(len(rows)), [row["rate_per_step"] for row in rows])
    for bar, row in zip(bars, rows, strict=True):
        bar.set_color(SOURCE if row["source"] else LIF)
    axis.bar_label(bars, [f"{row['rate_per_step']:.3f}" for row in rows], padding=2, fontsize=6)
    axis.set_xlabel("spikes per neuron and step", fontsize=8)
    axis.margins(x=0.12)
    if steps:
        upper = axis.secondary_xaxis("top", functions=(lambda x: x * steps, lambda x: x / steps))
        upper.set_xlabel("spikes per neuron over all steps", fontsize=8)
        upper.tick_params(labelsize=7)
    figure.suptitle(f"{title}: {result['samples']} images of the {result['list']} split", fontsize=9)
    save(figure, path)


def draw_synops(path: Path, result: Mapping[str, Any], title: str) -> None:
    """A bar per convolution: accumulations per image that spikes set off, before those if every neuron fired each step."""
    rows = result["synapses"]
    axis = _bars(figure := _tall(len(rows)), [row["name"] for row in rows])
    axis.barh(range(len(rows)), [row["dense_per_sample"] for row in rows], color=REST, label="if all neurons fired")
    axis.barh(range(len(rows)), [row["synops_per_sample"] for row in rows], color=LIF, label="synops")
    axis.set_xlabel("accumulations per image", fontsize=8)
    axis.legend(fontsize=7)
    figure.suptitle(f"{title}: {result['synops_per_sample']:,.0f} synops per image", fontsize=9)
    save(figure, path)


def draw_maps(path: Path, images: Sequence[NDArray[np.float32]], maps: Mapping[str, Sequence[Tensor]]) -> None:
    """Rows of cells per image: the image, then each population's spikes per neuron and step, with the image's edges on them.

    images  (H, W) or (H, W, 3) in [0, 1]
    maps    population -> one (H', W') per image
    """
    cells = 1 + len(maps)
    columns = min(cells, COLUMNS)
    lines = -(-cells // columns)
    tall = images[0].shape[0] / images[0].shape[1]
    size = (CELL_INCHES * columns, (CELL_INCHES * tall + 0.35) * lines * len(images) + 0.2)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines * len(images), columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for number, image in enumerate(images):
        own = list(axes[number * lines : (number + 1) * lines].flat)
        own[0].imshow(image, cmap="gray", vmin=0, vmax=1)
        own[0].set_title("image", fontsize=7)
        for axis, (name, values) in zip(own[1:], maps.items(), strict=False):
            _map(axis, values[number].numpy(), image, name)
    save(figure, path)


def _map(axis: Any, spikes: NDArray[np.float32], image: NDArray[np.float32], name: str) -> None:
    """One map, as large as the image, under the image's edges."""
    height, width = image.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axis.imshow(spikes, cmap="inferno", vmin=0, extent=extent, interpolation="nearest")
    edges = canny(image.mean(axis=-1) if image.ndim == 3 else image, sigma=1.0)
    over = np.zeros((height, width, 4))
    over[edges] = (*EDGE, 0.5)
    axis.imshow(over, extent=extent, interpolation="nearest")
    axis.set_title(f"{name}\n0 to {spikes.max():.2f}", fontsize=6)


def _tall(bars: int) -> Figure:
    figure = Figure(figsize=(7.0, 1.2 + BAR_INCHES * max(bars, 3)), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _bars(figure: Figure, names: Sequence[str]) -> Any:
    axis = figure.subplots()
    axis.set_yticks(range(len(names)), names, fontsize=6)
    axis.invert_yaxis()
    axis.margins(y=0.01)
    axis.tick_params(axis="x", labelsize=7)
    return axis
