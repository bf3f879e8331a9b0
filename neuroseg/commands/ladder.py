"""`neuroseg ladder`: from the trained network down to the Lava runtime, one rung at a time.

Each rung is compared with the one before it. From `slayer` on all rungs compute with the same integers and must fire the
same spikes; between `float`, `folded` and `slayer` a few spikes differ, and the ladder says why.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.bundle import open_bundle
from export.errors import UsageError
from export.files import check_parent, write_json
from export.parity.compare import compare
from neuroseg.commands.console import say, show
from neuroseg.commands.picture import draw_disagreement, draw_iou
from neuroseg.commands.reference import Samples, Spikes, agreement, maps_of
from neuroseg.commands.sides import REAL, SIDES, Sides, check_side, open_sides
from neuroseg.metrics import confusion_matrix, iou_per_class, miou, pixel_accuracy

RUNGS = ("float", "folded", "slayer", "int", "lava-fast", "lava")
LADDER, DISAGREEMENT, IOU = "ladder.json", "disagreement.png", "iou_per_class.png"

Maps = dict[str, NDArray[np.int64]]


def ladder(
    path: Path,
    rungs: Sequence[str],
    samples: int,
    *,
    out: Path | None = None,
    verify: bool = True,
    deadline_s: float | None = None,
) -> dict[str, Any]:
    """Run the first test images through every rung.

    rungs    of `SIDES`, in any order: they are climbed from the trained module to the board
    out      folder that gets ladder.json, disagreement.png and iou_per_class.png
    returns  JSON-ready: {"schema_version", "bundle", "samples", "class_names", "mismatches", "rungs": [...]}; "mismatches"
             counts those between exact rungs only. A rung: {"name", "exact", "miou", "pixel_accuracy", "iou_per_class",
             "iou_delta_per_class" (to the first rung), "against", "compared", "mismatches", "spike_agreement",
             "pixel_agreement", "first_divergence", "seconds"}; what compares is null on the first rung
    raises   UsageError for unknown rungs, too many samples and an `out` that cannot be written
    """
    chosen = _ordered(rungs)
    if out is not None:
        check_parent(out / LADDER)
    bundle = open_bundle(path, verify=verify)
    sides = open_sides(bundle, chosen, samples, deadline_s=deadline_s)
    rows, maps = _climb(sides, chosen)
    names = list(sides.samples.class_names) or [str(c) for c in range(sides.samples.classes)]
    result = {
        "schema_version": 1,
        "bundle": str(path),
        "samples": samples,
        "class_names": names,
        "mismatches": sum(row["mismatches"] for row in rows if row["exact"]),
        "rungs": rows,
    }
    if out is not None:
        _draw(out, sides.samples, rows, maps, names)
        write_json(out / LADDER, result)
    return result


def _ordered(rungs: Sequence[str]) -> list[str]:
    for rung in rungs:
        check_side(rung, "rung")
    chosen = [side for side in SIDES if side in rungs]
    if len(chosen) < 2:
        raise UsageError(f"a ladder needs two rungs or more; choose from {', '.join(SIDES)}.")
    return chosen


def _climb(sides: Sides, chosen: Sequence[str]) -> tuple[list[dict[str, Any]], Maps]:
    """One row per rung, and its class maps. Only the spikes of two rungs are held at a time."""
    rows: list[dict[str, Any]] = []
    maps: Maps = {}
    before: tuple[str, Spikes] | None = None
    for rung in chosen:
        start = time.perf_counter()
        spikes = sides.run(rung)
        seconds = round(time.perf_counter() - start, 2)
        maps[rung] = maps_of(sides.bundle.graph, spikes, sides.samples)
        row = {"name": rung, **_scores(maps[rung], sides.samples, rows)}
        rows.append({**row, **_compared(sides, before, (rung, spikes), maps), "seconds": seconds})
        before = rung, spikes
    return rows, maps


def _scores(maps: NDArray[np.int64], samples: Samples, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    confusion = confusion_matrix(maps, samples.masks, samples.classes)
    iou = [None if np.isnan(value) else float(value) for value in iou_per_class(confusion).tolist()]
    first = rows[0]["iou_per_class"] if rows else iou
    deltas = [None if a is None or b is None else b - a for a, b in zip(first, iou, strict=True)]
    return {
        "miou": miou(confusion),
        "pixel_accuracy": pixel_accuracy(confusion),
        "iou_per_class": iou,
        "iou_delta_per_class": deltas,
    }


def _compared(sides: Sides, before: tuple[str, Spikes] | None, now: tuple[str, Spikes], maps: Maps) -> dict[str, Any]:
    """The spikes of a rung against those of the rung before it."""
    if before is None:
        keys = ("against", "compared", "mismatches", "spike_agreement", "pixel_agreement", "first_divergence")
        return {"exact": False, **dict.fromkeys(keys)}
    names = before[0], now[0]
    result = compare(sides.bundle.graph, before[1], now[1], names, sides.explain(*names))
    return {
        "exact": not set(names) & set(REAL),
        "against": names[0],
        "compared": result["compared"],
        "mismatches": result["mismatches"],
        "spike_agreement": 1 - result["mismatches"] / result["compared"],
        "pixel_agreement": agreement(maps[names[0]], maps[names[1]], sides.samples),
        "first_divergence": result["first_divergence"],
    }


def _draw(out: Path, samples: Samples, rows: Sequence[dict[str, Any]], maps: Maps, names: Sequence[str]) -> None:
    pairs = [(rows[0]["name"], rows[-1]["name"])]
    broken = [(row["against"], row["name"]) for row in rows if row["exact"] and row["mismatches"]]
    draw_disagreement(out / DISAGREEMENT, samples, maps, pairs + [pair for pair in broken if pair not in pairs])
    draw_iou(out / IOU, names, {row["name"]: row["iou_per_class"] for row in rows})


def show_ladder(result: dict[str, Any], out: Path | None = None) -> None:
    """A line per rung, then where rungs part and why."""
    columns = ("rung", "mIoU", "pixels right", "equal spikes", "that differ", "equal pixels", "s")
    show(
        f"{result['bundle']}, {result['samples']} image(s), each rung against the one above",
        columns,
        [_line(row) for row in result["rungs"]],
    )
    for row in result["rungs"]:
        if row["first_divergence"] is not None:
            _tell(row)
    first, last = result["rungs"][0], result["rungs"][-1]
    deltas = [
        f"{name} {delta:+.2%}"
        for name, delta in zip(result["class_names"], last["iou_delta_per_class"], strict=True)
        if delta is not None
    ]
    say(f"IoU per class, {last['name']} minus {first['name']}: {', '.join(deltas)}")
    exact = [row for row in result["rungs"] if row["exact"]]
    if exact:
        compared = sum(row["compared"] for row in exact)
        say(f"{result['mismatches']:,} mismatches in {compared:,} neuron-steps between exact rungs (slayer and below)")
    if out is not None:
        say(f"written to {out}: {LADDER}, {DISAGREEMENT}, {IOU}")


def _line(row: dict[str, Any]) -> tuple[object, ...]:
    scores = row["name"], f"{row['miou']:.4f}", f"{row['pixel_accuracy']:.2%}"
    if row["against"] is None:
        return *scores, "", "", "", row["seconds"]
    agreed = f"{row['spike_agreement']:.4%}" if row["mismatches"] else "all"
    return *scores, agreed, f"{row['mismatches']:,}", f"{row['pixel_agreement']:.2%}", row["seconds"]


def _tell(row: dict[str, Any]) -> None:
    first = row["first_divergence"]
    expected = "" if row["exact"] else " (expected)"
    say(
        f"{row['against']} -> {row['name']}{expected}: first in {first['population']}, sample {first['sample']}, step "
        f"{first['step']}, neuron (c, y, x) = {tuple(first['index'])}: {first['left']} becomes {first['right']}.\n"
        f"    {first['cause']}"
    )
