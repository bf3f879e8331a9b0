"""The traffic between populations, and between chips, as drawings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import log10
from typing import Any

MOST_GROUPS = 60  # populations of the matrix: those with the most packets
MOST_CHIPS = 12  # of the table of chips
CELL, LETTER, LONGEST = 14, 6.1, 44  # px of a cell, px of a letter, letters of a name
LEVELS = 10
DECADES = 4  # that the colours span, below the largest
HOST = "the host"
Row = Mapping[str, Any]
Flows = Counter[tuple[str, str]]


@dataclass(frozen=True)
class Cell:
    """Packets from one group to another; row, column: where."""

    x: float
    y: float
    level: int
    text: str


@dataclass(frozen=True)
class Matrix:
    """A drawing in px. senders, receivers: (position, number, short name); note: what was left out."""

    width: float
    height: float
    left: float
    names: list[tuple[float, int, str]]
    columns: list[tuple[float, int]]
    cells: list[Cell]
    most: float
    note: str


def flows(content: Row) -> Flows:
    """Packets per sample between populations; relays and delay neurons count as what they repeat."""
    mapping = content["mapping"]
    origin = {row["name"]: row["repeats"] or row["name"] for row in mapping["populations"]}
    found: Flows = Counter()
    for row in mapping["traffic_between_populations"]:
        found[origin[row["from"]], origin[row["to"]]] += row["packets_per_sample"]
    for row in mapping["traffic_from_host"]:
        found[HOST, origin[row["to"]]] += row["packets_per_sample"]
    return found


def traffic_matrix(content: Row) -> Matrix | None:
    """Senders downwards, receivers to the right; None where nothing travels."""
    found = +flows(content)
    if not found:
        return None
    busy: Counter[str] = Counter()
    for (source, target), packets in found.items():
        busy[source] += packets
        busy[target] += packets
    kept = {name for name, _ in busy.most_common(MOST_GROUPS)}
    order = [HOST, *dict.fromkeys(row["repeats"] or row["name"] for row in content["mapping"]["populations"])]
    names = [name for name in order if name in kept]
    at = {name: i for i, name in enumerate(names)}
    left = 34 + LETTER * max(len(short(name)) for name in names)
    most = max(found.values())
    cells = [
        Cell(
            left + at[target] * CELL,
            CELL + at[source] * CELL,
            _level(packets, most),
            f"{source} \u2192 {target}\n{packets:,.0f} packets per sample",
        )
        for (source, target), packets in found.items()
        if source in at and target in at
    ]
    side = CELL * len(names)
    return Matrix(
        left + side + 2,
        CELL + side + 2,
        left,
        [(CELL * (i + 2) - 3.5, i, short(name)) for i, name in enumerate(names)],
        [(left + CELL * (i + 0.5), i) for i in range(len(names))],
        cells,
        most,
        f"The {len(names)} populations with the most packets, of {len(busy)}." if len(busy) > len(names) else "",
    )


def largest_flows(content: Row, count: int = 15) -> list[tuple[str, str, float]]:
    """(from, to, packets per sample), the largest first."""
    return [(source, target, packets) for (source, target), packets in flows(content).most_common(count)]


def chip_table(content: Row) -> list[dict[str, Any]] | None:
    """Packets per sample from each chip (a row) to each other; None for one chip, or for many."""
    chips = [row["chip"] for row in content["mapping"]["chips"]]
    if not 1 < len(chips) <= MOST_CHIPS:
        return None
    between = {(r["from"], r["to"]): r["packets_per_sample"] for r in content["mapping"]["traffic_between_chips"]}
    most = max(between.values(), default=0.0)
    return [
        {
            "chip": a,
            "cells": [
                {"packets": packets, "level": min(LEVELS - 1, int(LEVELS * packets / most)) if most else 0}
                for packets in (between.get((a, b), 0.0) for b in chips)
            ],
        }
        for a in chips
    ]


def _level(packets: float, most: float) -> int:
    """0 to LEVELS - 1, on a logarithmic scale of DECADES."""
    if packets <= 0 or most <= 0:
        return 0
    return max(0, min(LEVELS - 1, int(LEVELS * (1 + log10(packets / most) / DECADES))))


def short(name: str) -> str:
    """A name of at most LONGEST letters, cut in its middle."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2 - 1]}...{name[-LONGEST // 2 + 2 :]}"
