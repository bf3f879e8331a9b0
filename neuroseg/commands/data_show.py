"""A sheet of pictures of what a network gets and what it should make of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from export.errors import DataError, UsageError
from neuroseg.commands.data_sets import find
from neuroseg.commands.picture import CELL_INCHES, LABEL_INCHES, TITLE_INCHES, palette, save_figure
from neuroseg.config import DataSection, load_config
from neuroseg.data import SPLITS, VOID, Split
from neuroseg.data.opening import Ask, Item, open_split

SCHEMA_VERSION = 1
MOST_ROWS = 24
VOID_COLOUR = (1.0, 0.0, 1.0)  # no data set has a class of this colour
OPACITY = 0.5  # of the mask over the image
OFF, ON = (0.1, 0.3, 1.0), (1.0, 0.2, 0.1)  # events of either polarity

Picture: TypeAlias = NDArray[np.float64]  # (H, W, 3) in [0, 1]
Panels: TypeAlias = list[tuple[str, Picture]]
Colours: TypeAlias = Sequence[tuple[float, float, float]]


def show_data(
    config_or_path: str, overrides: Sequence[str], out: Path, *, split: str, count: int, training: bool
) -> dict[str, Any]:
    """Draw `count` items, spread over a split, to the PNG `out`: a row each.

    config_or_path  a config's file or name, whose overrides apply; or the folder of a data set
    training        as the network gets them in training: patches, random changes
    Returns {schema_version, name, split, items, out}. Raises UsageError for what cannot be drawn, naming the fix.
    """
    section, steps = _section(config_or_path, overrides)
    if split not in SPLITS:
        raise UsageError(f"--split {split}: there are {', '.join(SPLITS)}.")
    chosen: Split = next(known for known in SPLITS if known == split)
    try:
        items = open_split(section, Ask(chosen, training, steps=steps))
        indices = np.unique(np.linspace(0, len(items) - 1, min(count, MOST_ROWS)).round().astype(int)).tolist()
        rows = [items[index] for index in indices]
    except DataError as error:
        raise UsageError(f"the {split} split of {config_or_path}: {error}") from None
    colours = palette(items.classes, getattr(items, "colours", None))
    panels = PANELS[kind_of(section)]
    legend = [] if section.task == "denoising" else list(zip(items.class_names, colours, strict=True))
    figure = sheet([panels(item, colours) for item in rows], [f"{split} {index}" for index in indices], legend)
    save_figure(figure, out)
    name = getattr(section, "name", "")
    return {"schema_version": SCHEMA_VERSION, "name": name, "split": split, "items": indices, "out": str(out)}


def kind_of(section: DataSection) -> str:
    """The key of PANELS that draws a data set."""
    return "denoising" if section.task == "denoising" else section.inputs.kind


def image_panels(item: Item, colours: Colours) -> Panels:
    """Image, mask in its classes' colours, and the mask over the image, at the mask's size."""
    image, mask = _picture(item[0].numpy()), item[1].numpy()
    painted = paint(mask, colours)
    return [("image", image), ("mask", painted), ("overlay", overlay(image, painted))]


def denoising_panels(item: Item, colours: Colours) -> Panels:
    """Noisy and clean."""
    return [("noisy", _picture(item[0].numpy())), ("clean", _picture(item[1].numpy()))]


def event_panels(item: Item, colours: Colours) -> Panels:
    """Events of the first, the middle and the last step, ON red and OFF blue; mask; and the mask over the last step."""
    frames, mask = item[0].numpy(), item[1].numpy()
    steps = sorted({0, len(frames) // 2, len(frames) - 1})
    pictures = [event_picture(frames[step]) for step in steps]
    titles = ["events, first step", "middle step", "last step"][-len(steps) :]
    painted = paint(mask, colours)
    return [*zip(titles, pictures, strict=True), ("mask", painted), ("overlay", overlay(pictures[-1], painted))]


def event_picture(frame: NDArray[np.float32]) -> Picture:
    """A frame (2, H, W) of OFF and ON events on white, stronger for more of them."""
    strength = frame / max(float(frame.max()), 1e-9)
    picture = np.ones((*frame.shape[1:], 3))
    for level, colour in zip(strength, (OFF, ON), strict=True):
        picture -= level[..., None] * (1 - np.array(colour))
    return np.clip(picture, 0, 1)


def paint(mask: NDArray[np.int64], colours: Colours) -> Picture:
    """(H, W) classes in their colours, void in magenta."""
    table = np.array([*colours, VOID_COLOUR])
    painted: Picture = table[np.where(mask == VOID, len(colours), mask)]
    return painted


def overlay(image: Picture, painted: Picture) -> Picture:
    """The painted mask over the image, which is brought to its size."""
    height, width = painted.shape[:2]
    scaled = Image.fromarray((255 * image).round().astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)
    return (1 - OPACITY) * np.asarray(scaled) / 255 + OPACITY * painted


PANELS: dict[str, Callable[[Item, Colours], Panels]] = {
    "image": image_panels,
    "denoising": denoising_panels,
    "frames": event_panels,
    "spikes": event_panels,
}


def sheet(
    rows: Sequence[Panels], labels: Sequence[str], legend: Sequence[tuple[str, tuple[float, float, float]]]
) -> Figure:
    """A figure with a row of panels per item, and the classes' colours below."""
    columns = [title for title, _ in rows[0]]
    tall = max(picture.shape[0] / picture.shape[1] for row in rows for _, picture in row)
    entries = [*legend, ("void", VOID_COLOUR)] if legend else []
    per_line = max(1, round(1.3 * len(columns)))
    lines = -(-len(entries) // per_line)
    height = (CELL_INCHES * tall + LABEL_INCHES) * len(rows) + TITLE_INCHES + 0.22 * lines
    figure = Figure(figsize=(CELL_INCHES * len(columns) + 0.3, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=9)
    for cells, panels, label in zip(axes, rows, labels, strict=True):
        cells[0].set_ylabel(label, fontsize=7)
        for axis, (_, picture) in zip(cells, panels, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
    patches = [Patch(facecolor=colour, edgecolor="gray", label=name) for name, colour in entries]
    if patches:
        figure.legend(handles=patches, loc="outside lower center", ncols=per_line, fontsize=7, frameon=False)
    return figure


def _picture(values: NDArray[np.float32]) -> Picture:
    """(C, H, W) with one or three channels as (H, W, 3) in [0, 1]; what noise brings beyond is cut for the eye."""
    picture = np.clip(values.astype(np.float64).transpose(1, 2, 0), 0, 1)
    return np.broadcast_to(picture, (*picture.shape[:2], 3)).copy()


def _section(config_or_path: str, overrides: Sequence[str]) -> tuple[DataSection, int]:
    """The data section, and time steps per item."""
    folder = Path(config_or_path)
    if not folder.is_dir():
        config = load_config(config_or_path, overrides)
        return config.data, config.model.steps
    if overrides:
        raise UsageError(f"'{folder}' is a folder; {overrides[0]} changes a config. Give a config, or no changes.")
    found = find(folder)
    if len(found) > 1:
        listed = ", ".join(f"{one.layout.name} in {one.folder}" for one in found)
        raise UsageError(f"'{folder}' holds several data sets: {listed}. Give the folder of one, or a config.")
    return found[0].layout.read(folder), 1
