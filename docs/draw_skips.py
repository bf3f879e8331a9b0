"""Draws images/cheap_skips.svg: what aligning the skips of mfs-efs72 costs, by each way of waiting.

python docs/draw_skips.py [file.svg]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from neuroseg.commands.skips import skips
from neuroseg.config import load_config

FILE = Path(__file__).parent / "images" / "cheap_skips.svg"
TRAINED, WAITING, RANGE, INK = "#30475e", "#c44e52", "#e9b8ba", "#222222"
ELSEWHERE = ["model.attention=first", "model.shortcut_span=3"]


def draw(path: Path) -> None:
    """Write the figure; the same network gives the same bytes."""
    figure = Figure(figsize=(8.6, 5.4), layout="constrained")
    FigureCanvasSVG(figure)
    above, below = figure.subplots(2, 1, height_ratios=(1.15, 1))
    _mechanisms(above)
    _bars(below)
    with matplotlib.rc_context({"svg.hashsalt": "neuroseg", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def _mechanisms(axis: Axes) -> None:
    """One source, three readers with lags 2, 4 and 6, served by relays, by a delay neuron and by the host."""
    axis.set_xlim(0, 26)
    axis.set_ylim(0, 7.6)
    axis.axis("off")
    lags = (2, 4, 6)
    titles = {
        5.6: "relays: 6 neurons for each source neuron",
        3.2: "delay neuron: 1, with a register of 6 bits",
        0.8: "an input: none, the host sends 3 times",
    }
    for row, title in titles.items():
        axis.text(0.6, row + 1.25, title, fontsize=8, color=INK)
        source = "host" if row < 1 else "source"
        _box(axis, 0.6, row, 2.2, source, TRAINED)
        for k, lag in enumerate(lags):
            _box(axis, 21.4, row + 0.75 - 0.75 * k, 4.2, f"reader, lag {lag}", TRAINED, 0.55)
    for k in range(1, 7):
        _box(axis, 3.2 + 2.7 * (k - 1), 5.6, 2.2, f"relay {k}", WAITING)
        _line(axis, [(3.2 + 2.7 * (k - 1) - 0.4, 5.95), (3.2 + 2.7 * (k - 1), 5.95)])
    for k, lag in enumerate(lags):
        end = 3.2 + 2.7 * (lag - 1) + 2.2
        _line(axis, [(end, 5.95), (21.0, 5.95), (21.4, 6.62 - 0.75 * k)] if lag == 6 else _up(end, k))
    _line(axis, [(2.8, 3.55), (4.6, 3.55)])
    for bit in range(6):
        _box(axis, 4.6 + 1.1 * bit, 3.2, 1.1, str(bit + 1), WAITING)
    for k, lag in enumerate(lags):
        x = 4.6 + 1.1 * lag - 0.55
        _line(axis, [(x, 3.9), (x, 4.22 - 0.08 * k), (20.6, 4.22 - 0.08 * k), (21.4, 4.22 - 0.75 * k)])
    for k, lag in enumerate(lags):
        axis.text(10.5, 1.72 - 0.75 * k, f"the same spikes, {lag} steps later", fontsize=7, color=INK, va="center")
        _line(axis, [(2.8, 1.15), (4.0, 1.82 - 0.75 * k), (10.2, 1.82 - 0.75 * k)])
        _line(axis, [(18.2, 1.82 - 0.75 * k), (21.4, 1.82 - 0.75 * k)])


def _up(end: float, k: int) -> list[tuple[float, float]]:
    top = 6.62 - 0.75 * k
    return [(end - 1.1, 6.3), (end - 1.1, 6.62), (20.6, 6.62), (21.4, top)]


def _box(axis: Axes, x: float, y: float, width: float, text: str, colour: str, height: float = 0.7) -> None:
    axis.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor="white"))
    axis.text(x + width / 2, y + height / 2, text, fontsize=6.5, color="white", ha="center", va="center")


def _line(axis: Axes, points: list[tuple[float, float]]) -> None:
    axis.plot(*zip(*points, strict=True), color=INK, linewidth=0.7)


def _bars(axis: Axes) -> None:
    as_wired, elsewhere = skips(load_config("mfs-efs72")), skips(load_config("mfs-efs72", ELSEWHERE))
    ways = {way["name"]: way for way in as_wired["ways"]}
    moved = {way["name"]: way for way in elsewhere["ways"]}
    rows: list[tuple[str, dict[str, Any]]] = [
        ("relays", ways["relay"]),
        ("relays, skips taken elsewhere", moved["relay"]),
        ("delay neurons", ways["delay neuron"]),
        ("synaptic delays", ways["synaptic delay"]),
    ]
    places, million = range(len(rows)), 1e-6
    low = [way["neurons_low"] * million for _, way in rows]
    high = [way["neurons_high"] * million for _, way in rows]
    trained = as_wired["neurons"] * million
    axis.barh(places, high, 0.55, color=RANGE, label="if the unknown costs most")
    axis.barh(places, low, 0.55, color=WAITING, label="to align its skips")
    axis.barh(places, [trained] * len(rows), 0.55, color=TRAINED, label="as trained")
    for place, (_, way) in zip(places, rows, strict=True):
        ratio = f"{way['ratio_low']:.2f}"
        ratio += "" if way["neurons_low"] == way["neurons_high"] else f" to {way['ratio_high']:.2f}"
        axis.text(way["neurons_high"] * million + 6, place, ratio, fontsize=8, va="center")
    axis.set_yticks(places, [name for name, _ in rows], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, max(high) * 1.12)
    axis.set_xlabel(
        "million neurons of mfs-efs72 as deployed; beside the bars: over the neurons as trained", fontsize=8
    )
    axis.tick_params(axis="x", labelsize=7)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.legend(fontsize=7, loc="center right", bbox_to_anchor=(1, 0.4), frameon=False)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
