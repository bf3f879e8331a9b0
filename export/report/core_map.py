"""The map of cores as a drawing: where each square stands, how dark it is, and what its hover text says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, sqrt
from typing import Any

MOST_CORES = 1200  # drawn one by one; of more, a square per chip
MOST_CHIPS = 16  # of a system that are drawn though some are empty
WIDTH = 1108  # px, of the page's column
LARGEST, SMALLEST = 28, 4  # px, side of a core
LEVELS = 10  # steps of a colour scale
Row = Mapping[str, Any]
Text = Callable[[float, str], str]


@dataclass(frozen=True)
class Square:
    """A core, a chip, or an empty place. levels: of each colouring, 0 to LEVELS - 1; none: empty."""

    x: float
    y: float
    levels: tuple[int, ...] = ()
    group: int = -1
    text: str = ""


@dataclass(frozen=True)
class Colouring:
    """What a colour stands for, from 0 to `most`."""

    key: str
    label: str
    most: str


@dataclass(frozen=True)
class CoreMap:
    """A drawing in px. frames: (x, y, width, height, label) of chips; side: of a square; note: what was left out."""

    width: float
    height: float
    side: float
    squares: list[Square]
    frames: list[tuple[float, float, float, float, str]]
    colourings: list[Colouring]
    note: str
    by_chip: bool = False
    routers: list[tuple[float, float, float]] = field(default_factory=list)


def core_map(content: Row, with_unit: Text) -> CoreMap | None:
    """The map of a report; None where cores have no places.

    content    of `report.json`
    with_unit  writes a number with its unit
    """
    system, cores = content["mapping"]["system"], content["core_loads"]
    if system["mesh_columns"] is None or not cores:
        return None
    if len(cores) > MOST_CORES:
        return _by_chip(content, with_unit)
    return _by_core(content, with_unit)


def _scales(rows: Sequence[Row], use: tuple[str, str, float], with_unit: Text) -> list[tuple[Colouring, str, float]]:
    """(colouring, key of the row, value of the darkest) of each colouring; `use` is (key, text, most)."""
    synops = max(row["synops_per_sample"] for row in rows)
    energy = max(row["energy_nominal_j"] for row in rows)
    return [
        (Colouring("use", "use", use[1]), use[0], use[2]),
        (Colouring("synops", "synops", f"{synops:,.0f} synops per sample"), "synops_per_sample", synops),
        (Colouring("energy", "energy", f"{with_unit(energy, 'J')} per sample"), "energy_nominal_j", energy),
    ]


def _levels(row: Row, scales: list[tuple[Colouring, str, float]]) -> tuple[int, ...]:
    return tuple(min(LEVELS - 1, int(LEVELS * (row[key] or 0) / most)) if most else 0 for _, key, most in scales)


def _use(content: Row) -> tuple[str, str, float]:
    """How full a core is: of the shared pool where that is known, else of neurons."""
    if all(row["pool"] is not None for row in content["core_loads"]):
        return "pool", "100 % of the pool that memories and neurons share", 1.0
    limit = content["core_limits"]["neurons"]
    return "neurons", f"{limit:,} neurons, all that a core holds", limit


def _shown(content: Row) -> tuple[list[int], int, str]:
    """Chips to draw, how many stand side by side, and a note on those that are not drawn."""
    system, used = content["mapping"]["system"], content["mapping"]["chips"]
    columns, rows, chips = system["chip_columns"], system["chip_rows"] or 1, system["chips"]
    if chips > MOST_CHIPS:
        columns = max(row["column"] for row in used) + 1
        rows = max(row["row"] for row in used) + 1
    grid = [r * system["chip_columns"] + c for r in range(rows) for c in range(columns)]
    drawn = [chip for chip in grid if chip < chips]
    note = f"{len(drawn):,} of {chips:,} chips are drawn: the others are empty." if len(drawn) < chips else ""
    return drawn, columns, note


def _by_core(content: Row, with_unit: Text) -> CoreMap:
    """A square per core, four to a router."""
    system = content["mapping"]["system"]
    drawn, columns, note = _shown(content)
    first, scales = drawn[0], _scales(content["core_loads"], _use(content), with_unit)
    across = ceil(sqrt(system["cores_per_router"]))
    side = _side(columns, system["mesh_columns"], across)
    router, gap, pad, head = across * (side + 1) + 3, 14, 6, 18
    width, height = system["mesh_columns"] * router + 2 * pad, system["mesh_rows"] * router + 2 * pad
    squares, frames, routers = [], [], []
    at = {row["spot"]: row for row in content["core_loads"]}
    names = {name: i for i, name in enumerate(dict.fromkeys(row["population"] for row in content["core_loads"]))}
    for chip in drawn:
        column, row = (chip - first) % system["chip_columns"], (chip - first) // system["chip_columns"]
        x0, y0 = column * (width + gap), head + row * (height + gap + head)
        held = sum(spot // system["usable_cores_per_chip"] == chip for spot in at)
        frames.append((x0, y0, width, height, f"chip {chip}: {held} of {system['usable_cores_per_chip']} cores"))
        for place in range(system["usable_cores_per_chip"]):
            r, slot = divmod(place, system["cores_per_router"])
            rx = x0 + pad + r % system["mesh_columns"] * router
            ry = y0 + pad + r // system["mesh_columns"] * router
            if not slot:
                routers.append((rx, ry, router - 2.0))
            x, y = rx + 1 + slot % across * (side + 1), ry + 1 + slot // across * (side + 1)
            core = at.get(chip * system["usable_cores_per_chip"] + place)
            if core is None:
                squares.append(Square(x, y))
            else:
                text = _core_text(core, content["core_limits"], with_unit)
                squares.append(Square(x, y, _levels(core, scales), names[core["population"]], text))
    return CoreMap(
        max(x + w for x, _, w, _, _ in frames),
        max(y + h for _, y, _, h, _ in frames),
        side,
        squares,
        frames,
        [scale[0] for scale in scales],
        note,
        routers=routers,
    )


def _side(chip_columns: int, mesh_columns: int, across: int) -> int:
    """Largest side of a core at which all chips of a row fit the page."""
    for side in range(LARGEST, SMALLEST, -1):
        if chip_columns * (mesh_columns * (across * (side + 1) + 3) + 26) <= WIDTH:
            return side
    return SMALLEST


def _core_text(row: Row, limits: Row, with_unit: Text) -> str:
    """What the hover says of a core."""
    pool = "unknown" if row["pool"] is None else f"{row['pool']:.0%}"
    words = "unknown" if row["synaptic_words"] is None else f"{row['synaptic_words']:,} words"
    return (
        f"{row['population']}\n"
        f"core {row['core']} on chip {row['chip']}, router ({row['router'][0]}, {row['router'][1]})\n"
        f"{row['neurons']:,} of {limits['neurons']:,.0f} neurons, {words}, pool {pool}\n"
        f"{row['synops_per_sample']:,.0f} synops and {row['updates_per_sample']:,} updates per sample\n"
        f"{with_unit(row['energy_nominal_j'], 'J')} per sample, slowest step {with_unit(row['step_time_nominal_s'], 's')}\n"
        f"packets per sample: {row['packets_in_per_sample']:,.0f} in, {row['packets_out_per_sample']:,.0f} out"
    )


def _by_chip(content: Row, with_unit: Text) -> CoreMap:
    """A square per chip, for networks of many cores."""
    used, usable = content["mapping"]["chips"], content["mapping"]["system"]["usable_cores_per_chip"]
    use = ("cores", f"{usable:,} cores, all of a chip", float(usable))
    scales = _scales(used, use, with_unit)
    columns = max(row["column"] for row in used) + 1
    side = max(8, min(60, WIDTH // columns - 4))
    squares = [
        Square(
            row["column"] * (side + 4.0) + 2,
            row["row"] * (side + 4.0) + 2,
            _levels(row, scales),
            row["chip"],
            f"chip {row['chip']}: {row['cores']:,} of {usable:,} cores\n{row['neurons']:,} neurons\n"
            f"{row['synops_per_sample']:,.0f} synops per sample\n{with_unit(row['energy_nominal_j'], 'J')} per sample",
        )
        for row in used
    ]
    height = (max(row["row"] for row in used) + 1) * (side + 4.0)
    note = (
        f"{len(content['core_loads']):,} cores are too many to draw: each square is a chip. report.json has all cores."
    )
    return CoreMap(columns * (side + 4.0), height, side, squares, [], [scale[0] for scale in scales], note, True)
