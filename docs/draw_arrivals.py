"""Draws images/arrival_steps.svg: when each population of the demo network fires, and how long its spikes wait.

python docs/draw_arrivals.py [file.svg]
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from neuroseg.commands.describe import describe
from neuroseg.config import load_config

FILE = Path(__file__).parent / "images" / "arrival_steps.svg"
WAITING, FIRING = "#c44e52", "#30475e"


def draw(path: Path) -> None:
    """Write the figure; the same network gives the same bytes."""
    rows = describe(load_config("demo"))["populations"]
    rows = sorted(rows, key=lambda row: (row["arrival"], row["name"]), reverse=True)
    figure = Figure(figsize=(8.0, 0.19 * len(rows) + 0.9), layout="constrained")
    FigureCanvasSVG(figure)
    axis = figure.subplots()
    places = range(len(rows))
    axis.barh(places, [row["relays"] for row in rows], 0.5, [row["arrival"] for row in rows], color=WAITING)
    axis.plot([row["arrival"] for row in rows], places, "o", color=FIRING, markersize=4, label="fires its first sample")
    axis.barh([0], [0], color=WAITING, label="its spikes wait in relays")
    for place, row in zip(places, rows, strict=True):
        if row["relay_neurons"]:
            end = row["arrival"] + row["relays"] + 0.3
            axis.text(end, place, f"{row['relay_neurons']:,} neurons", fontsize=6, va="center")
    axis.set_yticks(places, [row["name"] for row in rows], fontsize=6.5)
    axis.set_ylim(-0.8, len(rows) - 0.2)
    axis.set_xlim(0, max(row["arrival"] for row in rows) + 1)
    axis.set_xlabel("time step", fontsize=8)
    axis.tick_params(axis="x", labelsize=7)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.legend(fontsize=7, loc="upper right", frameon=False)
    with matplotlib.rc_context({"svg.hashsalt": "neuroseg", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
