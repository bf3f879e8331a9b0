"""`neuroseg fit --largest`: the largest network of a family that fits a system, of resolution, width and blocks.

Cores grow with each of the three, so that for every width and blocks one largest image is looked for, and none where
narrower or shallower networks have none either. That they grow is taken for granted, and not proved: a tile that
divides a map better may let a larger network fit where a smaller one does not.
"""

from __future__ import annotations

from itertools import product
from math import sqrt
from typing import Any

import hw_configs
from export.errors import UsageError
from export.passes.schedule import check_delays
from export.pipeline import check_layout
from neuroseg.commands.candidate import ASSUMED_WEIGHTS, Candidate
from neuroseg.commands.console import progress, say, show
from neuroseg.commands.variants import (
    Trials,
    arguments,
    blocks_of,
    heights,
    scaled_widths,
    widths_of,
    with_blocks,
    with_size,
    with_widths,
)
from neuroseg.config import Config, MfsConfig
from neuroseg.config.models import model_family

FACTORS = (1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0, 3 / 2, 2.0, 3.0, 4.0)  # of the family's widths
DEEPEST = 2  # residual blocks per scale that are tried, besides the family's own
GROWTH = 4  # times the family's height: images are not looked for beyond
SHOWN = 20
OBJECTIVES = {
    "macs": ("macs_per_step", "multiply-accumulates per step"),
    "pixels": ("pixels", "pixels of the image, then multiply-accumulates per step"),
    "params": ("params", "parameters, then multiply-accumulates per step"),
    "neurons": ("neurons", "neurons as trained, then multiply-accumulates per step"),
}
Row = dict[str, Any]


def find_largest(
    family: Config, system_name: str, *, delays: str = "relay", layout: str = "auto", objective: str = "macs"
) -> dict[str, Any]:
    """Search a family (JSON-ready): the largest network that fits, and all that no other one surpasses.

    family     a config; its aspect, scales, stem, expansion and block stay
    objective  a key of OBJECTIVES
    keys       largest (null: none fits), pareto: rows by descending objective; none of them has a larger image,
               larger widths and more blocks than another one at once; at_the_edge: of what the largest has the most
               that was tried
    """
    check_layout(layout)
    check_delays(delays)
    if not isinstance(family.model, MfsConfig):
        raise UsageError(
            f"--largest varies widths and blocks of MFS-Seg; model.family is {model_family(type(family.model))}. "
            "Leave --largest out, and change the config yourself"
        )
    if objective not in OBJECTIVES:
        raise UsageError(f"unknown objective '{objective}'; choose one of {', '.join(OBJECTIVES)}.")
    system = hw_configs.load_system(system_name)
    trials = Trials(system, layout)
    rows = _all_largest(trials, family, delays)
    key = OBJECTIVES[objective][0]
    ranked = sorted(rows, key=lambda row: (row[key], row["macs_per_step"]), reverse=True)
    pareto = [row for row in ranked if not any(_surpasses(other, row) for other in ranked)]
    return {
        "schema_version": 1,
        "family": family.name,
        "system": system.name,
        "chip": trials.chip.name,
        "cores_available": trials.cores,
        "delays": delays,
        "layout": layout,
        "objective": OBJECTIVES[objective][1],
        "grid": {
            "heights": [heights(family, _tallest(family))[0], _tallest(family)],
            "widths": [list(widths) for widths in width_choices(family)],
            "blocks": [list(blocks) for blocks in block_choices(family)],
        },
        "assumed": {"weights": ASSUMED_WEIGHTS},
        "tried": trials.count,
        "at_the_edge": _edges(family, ranked[0]) if ranked else [],
        "fits": bool(ranked),
        "largest": ranked[0] if ranked else None,
        "pareto": pareto,
    }


def _all_largest(trials: Trials, family: Config, delays: str) -> list[Row]:
    """For every width and blocks the largest image that fits."""
    widths = width_choices(family)
    depths = block_choices(family)
    height: dict[tuple[int, tuple[int, ...]], int] = {}
    rows = []
    with progress("networks of the family") as on_progress:
        for done, (blocks, (index, channels)) in enumerate(product(depths, enumerate(widths)), 1):
            config = with_blocks(with_widths(family, channels), blocks)
            smaller = [h for (i, b), h in height.items() if i <= index and _at_most(b, blocks)]
            bound = min(smaller, default=_tallest(family))
            start: float = family.data.size[0]
            if index and height[index - 1, blocks]:  # cores grow with the channels, and with the pixels
                start = height[index - 1, blocks] * sqrt(sum(widths[index - 1]) / sum(channels))
            size = trials.largest_size(config, delays, bound, start)
            height[index, blocks] = size[0] if size else 0
            if size:
                rows.append(_row(trials.candidate(with_size(config, size), delays), family))
            on_progress(done, len(depths) * len(widths))
    return rows


def width_choices(family: Config) -> list[tuple[int, ...]]:
    """Channels per scale, narrow ones first."""
    return list(dict.fromkeys(scaled_widths(family, factor) for factor in FACTORS))


def block_choices(family: Config) -> list[tuple[int, ...]]:
    """Blocks per scale: 0 to DEEPEST, not fewer where maps are smaller, and the family's own; shallow ones first."""
    own = blocks_of(family)
    found = {b for b in product(range(DEEPEST + 1), repeat=len(own)) if list(b) == sorted(b)}
    return sorted({*found, own}, key=lambda blocks: (sum(blocks), blocks))


def _tallest(family: Config) -> int:
    """Height beyond which no image is looked for."""
    return heights(family, GROWTH * family.data.size[0])[-1]


def _at_most(blocks: tuple[int, ...], others: tuple[int, ...]) -> bool:
    return all(b <= other for b, other in zip(blocks, others, strict=True))


def _row(found: Candidate, family: Config) -> Row:
    config, counts = found.untrained.config, found.counts()
    height, width = config.data.size
    return {
        "size": [height, width],
        "widths": list(widths_of(config)),
        "blocks": list(blocks_of(config)),
        "pixels": height * width,
        "params": found.untrained.params,
        "macs_per_step": counts["macs_per_step"],
        "neurons": counts["neurons"],
        "neurons_deployed": counts["neurons_deployed"],
        "depth": counts["depth"],
        "cores": found.placement.cores,
        "chips": found.summary["chips"],
        "arguments": arguments(family, config),
    }


def _edges(family: Config, row: Row) -> list[str]:
    """What the search did not try more of: a larger network may fit."""
    at = {
        "height": row["size"][0] == _tallest(family),
        "widths": tuple(row["widths"]) == width_choices(family)[-1],
        "blocks": max(row["blocks"]) == max(map(max, block_choices(family))),
    }
    return [name for name, edge in at.items() if edge]


def _surpasses(row: Row, other: Row) -> bool:
    """At least as large in everything, and larger in something."""
    mine, others = ([r["pixels"], *r["widths"], *r["blocks"]] for r in (row, other))
    return mine != others and all(a >= b for a, b in zip(mine, others, strict=True))


def show_largest(result: dict[str, Any]) -> None:
    """The same as a table."""
    if not result["fits"]:
        say(
            f"no network of the family {result['family']} fits {result['system']} ({result['cores_available']:,} cores); "
            f"{result['tried']} tried."
        )
        return
    columns = ("image", "widths", "blocks", "MACs per step", "params", "neurons deployed", "cores")
    title = (
        f"networks of the family {result['family']} that fit {result['system']} ({result['cores_available']:,} cores, delays: "
        f"{result['delays']}), the largest by {result['objective']} first"
    )
    show(title, columns, [_cells(row) for row in result["pareto"][:SHOWN]])
    if len(result["pareto"]) > SHOWN:
        say(f"{len(result['pareto']) - SHOWN} more are in the JSON.")
    grid = result["grid"]
    (low, high), first, last = grid["heights"], grid["widths"][0], grid["widths"][-1]
    say(
        f"none of them is surpassed in image, widths and blocks at once. Tried: heights {low} to {high}, widths "
        f"{_slashed(first)} to {_slashed(last)}, {len(grid['blocks'])} choices of blocks; {result['tried']} networks were placed."
    )
    if result["at_the_edge"]:
        say(
            f"the largest has the most of its {' and '.join(result['at_the_edge'])} that was tried: a larger one may fit."
        )
    say(f"assumed: {result['assumed']['weights']}")
    say(f"largest: {' '.join(result['largest']['arguments']) or 'the family as it is'}")


def _cells(row: Row) -> tuple[object, ...]:
    lists = ("x".join(map(str, row["size"])), _slashed(row["widths"]), _slashed(row["blocks"]))
    return (*lists, row["macs_per_step"], row["params"], row["neurons_deployed"], row["cores"])


def _slashed(numbers: list[int]) -> str:
    return "/".join(map(str, numbers))
