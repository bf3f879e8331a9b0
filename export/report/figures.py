"""The report's plots, as SVG pictures inside the page: no script, no file beside it, no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

WIDTH = 10.6  # inches; the page shows it at its full width
ROW = 0.19  # inches per bar
LETTER = 0.066  # inches, of a letter of a name
LONGEST = 48  # letters of a name; the table beside the plot has it whole
MOST_LINES = 2000  # of a plot of cores, which is some 1000 px wide; of more cores, a line is the fullest of a few
MOST_BARS = 60  # the largest; the table beside the plot has all
COLOURS = {"lif": "#1f5f99", "input": "#8a8f98", "or": "#c77d0a", "and": "#8b3fa0", "interleave": "#3b8f6b"}
OWN, RELAYS, LIMIT = "#1f5f99", "#e08a3c", "#b3261e"
ABOVE: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 5, "frameon": False, "borderpad": 0}
STYLE = {
    "svg.hashsalt": "neuroseg",  # the same report, the same bytes
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e6ea",
    "axes.axisbelow": True,
}
Rows = Sequence[Mapping[str, Any]]


def draw(content: Mapping[str, Any]) -> dict[str, str]:
    """All plots of a report.

    content  of `report.json`
    returns  plot -> data URI of an SVG: neurons, rates, synops, cores, energy
    """
    populations = content["populations"]
    with matplotlib.rc_context(STYLE):
        return {
            "neurons": _stacked(populations, "neurons", "relay_neurons", "neurons"),
            "rates": _rates(populations),
            "synops": _stacked(populations, "synops_per_sample", "relay_synops_per_sample", "synops per sample"),
            "cores": _cores(content),
            "energy": _energy(energy_rows(content)),
        }


def energy_rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every energy of the report by name; nominal only where there is no range."""
    energy = content["energy"]
    trained, deployed, chip = energy["papers_as_trained"], energy["papers_as_deployed"], energy[content["chip"]]
    return [
        _point("45 nm, the same network as an ANN", trained["ann_energy_j"], trained["ann_formula"]),
        _point("45 nm, as trained", trained["energy_j"], trained["formula"]),
        _point("45 nm, as deployed", deployed["energy_j"], deployed["formula"]),
        _point(
            "45 nm, as deployed, host MACs T times",
            deployed["energy_host_every_step_j"],
            "E_AC * synops + T * E_MAC * MACs_host",
        ),
        {"name": f"{content['chip']}, dynamic", "formula": chip["formula_dynamic"], **chip["dynamic_energy_j"]},
        {
            "name": f"{content['chip']}, dynamic, stored zeros too",
            "formula": chip["formula_dynamic"].replace("synops *", "synops_stored *", 1),
            **chip["dynamic_energy_stored_zeros_j"],
        },
        {"name": f"{content['chip']}, static", "formula": chip["formula_static"], **chip["static_energy_j"]},
    ]


def _point(name: str, joule: float, formula: str) -> dict[str, Any]:
    return {"name": name, "formula": formula, "low": None, "nominal": joule, "high": None}


def _stacked(rows: Rows, own: str, relays: str, label: str) -> str:
    """Bars per population: its own part, and that of its relays."""
    shown, note = _largest([row for row in rows if row[own] + row[relays]], lambda row: row[own] + row[relays])
    figure, axes = _bars([row["name"] for row in shown])
    first = [row[own] for row in shown]
    axes.barh(range(len(shown)), first, color=OWN, label="the population")
    axes.barh(
        range(len(shown)),
        [row[relays] for row in shown],
        left=first,
        color=RELAYS,
        label="relays and delay neurons behind it",
    )
    axes.legend(**ABOVE)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel(label + note)
    return _uri(figure)


def _rates(rows: Rows) -> str:
    """Firing rate of every population, coloured by kind."""
    shown, note = _largest(rows, lambda row: row["firing_rate"])
    figure, axes = _bars([row["name"] for row in shown])
    axes.barh(range(len(shown)), [row["firing_rate"] for row in shown], color=[COLOURS[row["kind"]] for row in shown])
    kinds = {row["kind"] for row in shown}
    axes.legend(handles=[Patch(color=c, label=kind) for kind, c in COLOURS.items() if kind in kinds], **ABOVE)
    axes.set_xlabel("firing rate (spikes per neuron and step)" + note)
    return _uri(figure)


def _cores(content: Mapping[str, Any]) -> str:
    """Neurons, synaptic words and busiest step of every core, with the chip's limits; a line may stand for several cores."""
    loads, limits = content["core_loads"], content["core_limits"]
    panels = (
        ("neurons", "neurons", limits["neurons"]),
        ("synaptic_words", "synaptic words", limits["synaptic_words"]),
        ("max_synops_per_step", "synops in its\nbusiest step", None),
    )
    figure = Figure(figsize=(WIDTH, 5.4))
    figure.subplots_adjust(left=0.08, right=0.99, bottom=0.09, top=0.98, hspace=0.12)
    group = -(-len(loads) // MOST_LINES)
    numbers = [row["core"] for row in loads[::group]]
    for axes, (key, label, limit) in zip(figure.subplots(3, 1, sharex=True), panels, strict=True):
        values = [row[key] or 0 for row in loads]
        tops = [max(values[first : first + group]) for first in range(0, len(values), group)]
        axes.vlines(numbers, 0, tops, color=OWN, linewidth=1.2, rasterized=group > 1)
        if limit is not None:
            axes.axhline(limit, color=LIMIT, linewidth=1, linestyle="--")
            axes.annotate(f"limit {limit:,}", (0, limit), (2, -9), textcoords="offset points", color=LIMIT)
        axes.set_ylabel(label)
        axes.set_ylim(0, 1.05 * max(1, limit or 0, *tops))
    axes.set_xlabel("core, in the network's order")
    return _uri(figure)


def _energy(rows: Rows) -> str:
    """Ranges and points on a logarithmic axis."""
    figure, axes = _bars([row["name"] for row in rows], 0.36)
    for y, row in enumerate(rows):
        if row["low"] is not None:
            axes.plot([row["low"], row["high"]], [y, y], color=RELAYS, linewidth=8, solid_capstyle="butt")
        axes.plot(row["nominal"], y, "o" if row["low"] is None else "|", color=OWN, markersize=6, markeredgewidth=2)
    axes.set_xscale("log")
    axes.set_xlabel("joule per sample; bar: low to high, mark: nominal, dot: no range is published")
    return _uri(figure)


def _largest(rows: Rows, value: Any) -> tuple[Rows, str]:
    """At most MOST_BARS rows, in the network's order, and a note if some were left out."""
    if len(rows) <= MOST_BARS:
        return rows, ""
    kept = {id(row) for row in sorted(rows, key=value)[-MOST_BARS:]}
    return [row for row in rows if id(row) in kept], f" (the {MOST_BARS} largest of {len(rows)})"


def _bars(names: Sequence[str], row: float = ROW) -> tuple[Figure, Axes]:
    """An axis with one line per name, the first on top, and room for the longest of them."""
    short = [name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}...{name[-LONGEST // 2 :]}" for name in names]
    height = 0.8 + row * max(1, len(names))
    figure = Figure(figsize=(WIDTH, height))
    left = 0.15 + LETTER * max(map(len, short), default=0)
    figure.subplots_adjust(left=left / WIDTH, right=0.985, bottom=0.5 / height, top=1 - 0.25 / height)
    axes = figure.subplots()
    axes.set_yticks(range(len(names)), short)
    axes.set_ylim(max(1, len(names)) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    return figure, axes


def _uri(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
