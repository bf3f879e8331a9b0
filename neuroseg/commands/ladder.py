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

from export.bundle import check_outside, open_bundle
from export.errors import NeurosegError, UsageError
from export.files import check_parent, write_json
from export.parity.compare import compare
from export.simulate import BoardTiming, check_board_timing
from neuroseg.commands.console import say, show
from neuroseg.commands.picture import draw_disagreement, draw_iou
from neuroseg.commands.reference import Samples, Spikes, agreement, maps_of
from neuroseg.commands.sides import REAL, SIDES, Sides, check_side, open_sides
from neuroseg.metrics import confusion_matrix, iou_per_class, miou, pixel_accuracy

RUNGS = ("float", "folded", "slayer", "int", "lava-fast", "lava")
LADDER, DISAGREEMENT, IOU = "ladder.json", "disagreement.png", "iou_per_class.png"

SCORES = ("miou", "pixel_accuracy", "iou_per_class", "iou_delta_per_class")
COMPARED = ("against", "compared", "mismatches", "spike_agreement", "pixel_agreement", "first_divergence")

Maps = dict[str, NDArray[np.int64]]


def ladder(
    path: Path,
    rungs: Sequence[str],
    samples: int,
    *,
    out: Path | None = None,
    verify: bool = True,
    deadline_s: float | None = None,
    board_timing: BoardTiming | None = None,
) -> dict[str, Any]:
    """Run the first test images through every rung.

    rungs    of `SIDES`, in any order: they are climbed from the trained module to the board
    out      folder that gets ladder.json, disagreement.png and iou_per_class.png
    returns  JSON-ready: {"schema_version", "bundle", "samples", "class_names", "mismatches", "rungs": [...]}; "mismatches"
             counts those between exact rungs only. A rung: {"name", "exact", "miou", "pixel_accuracy", "iou_per_class",
             "iou_delta_per_class" (to the first rung), "against", "compared", "mismatches", "spike_agreement",
             "pixel_agreement", "first_divergence", "seconds", "error"}; what compares is null on the first rung. A rung
             that fails has its sentence in "error" (null on the others) and null measures; the next one is compared with
             the last that ran, and deltas are to the first that ran. Scores are null where photographs stand in for the data
    raises   UsageError for unknown rungs, too many samples and an `out` that cannot be written
    """
    check_board_timing(board_timing, rungs)
    chosen = _ordered(rungs)
    if out is not None:
        _check_folder(out)
    bundle = open_bundle(path, verify=verify)
    sides = open_sides(bundle, chosen, samples, deadline_s=deadline_s, board_timing=board_timing)
    if sides.samples.denoising:
        raise UsageError(
            f"'{path}' denoises images, and the rungs of a ladder are scored by class: compare its sides with `neuroseg parity`."
        )
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
        _draw(out, sides.samples, [row for row in rows if row["error"] is None], maps, names)
        write_json(out / LADDER, result)
    return result


def _check_folder(out: Path) -> None:
    """UsageError unless `out` is, or can become, a folder for our files."""
    check_outside(out)
    file = next((path for path in (out, *out.parents) if path.is_file()), None)
    if file is not None:
        raise UsageError(f"cannot write '{out}': '{file}' is a file, not a folder. Choose another --out.")
    check_parent(out / LADDER)


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
        try:
            spikes = sides.run(rung)
        except NeurosegError as error:
            say(f"rung '{rung}' failed: {error}")
            rows.append(_failed(rung, time.perf_counter() - start, str(error)))
            continue
        seconds = round(time.perf_counter() - start, 2)
        maps[rung] = maps_of(sides.bundle.graph, spikes, sides.samples)
        row = {"name": rung, **_scores(maps[rung], sides.samples, rows)}
        rows.append({**row, **_compared(sides, before, (rung, spikes), maps), "seconds": seconds, "error": None})
        before = rung, spikes
    return rows, maps


def _failed(rung: str, seconds: float, error: str) -> dict[str, Any]:
    """The row of a rung that gave no spikes."""
    row = {"name": rung, **dict.fromkeys(SCORES), "exact": False, **dict.fromkeys(COMPARED)}
    return {**row, "seconds": round(seconds, 2), "error": error}


def _scores(maps: NDArray[np.int64], samples: Samples, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if not samples.scored:
        unknown = [None] * samples.classes
        return {"miou": None, "pixel_accuracy": None, "iou_per_class": unknown, "iou_delta_per_class": unknown}
    confusion = confusion_matrix(maps, samples.masks, samples.classes)
    iou = [None if np.isnan(value) else float(value) for value in iou_per_class(confusion).tolist()]
    first = next((row["iou_per_class"] for row in rows if row["error"] is None), iou)
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
        return {"exact": False, **dict.fromkeys(COMPARED)}
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
    """The pictures of the rungs that ran; none where fewer than two did."""
    if len(rows) < 2:
        return
    pairs = [(rows[0]["name"], rows[-1]["name"])]
    broken = [(row["against"], row["name"]) for row in rows if row["exact"] and row["mismatches"]]
    draw_disagreement(out / DISAGREEMENT, samples, maps, pairs + [pair for pair in broken if pair not in pairs])
    if samples.scored:
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
    _show_deltas(result)
    exact = [row for row in result["rungs"] if row["exact"]]
    if exact:
        compared = sum(row["compared"] for row in exact)
        say(f"{result['mismatches']:,} mismatches in {compared:,} neuron-steps between exact rungs (slayer and below)")
    if out is not None:
        say(f"written to {out}: {', '.join((LADDER, *_drawn(result)))}")


def _drawn(result: dict[str, Any]) -> tuple[str, ...]:
    """The pictures that `_draw` makes."""
    ran = [row for row in result["rungs"] if row["error"] is None]
    if len(ran) < 2:
        return ()
    return (DISAGREEMENT,) if ran[0]["miou"] is None else (DISAGREEMENT, IOU)


def _show_deltas(result: dict[str, Any]) -> None:
    """IoU per class of the last rung that ran, minus that of the first; and the rungs that did not."""
    ran = [row for row in result["rungs"] if row["error"] is None]
    failed = [row["name"] for row in result["rungs"] if row["error"] is not None]
    if len(ran) > 1 and ran[0]["miou"] is not None:
        deltas = [
            f"{name} {delta:+.2%}"
            for name, delta in zip(result["class_names"], ran[-1]["iou_delta_per_class"], strict=True)
            if delta is not None
        ]
        say(f"IoU per class, {ran[-1]['name']} minus {ran[0]['name']}: {', '.join(deltas)}")
    if failed:
        say(f"{len(failed)} of {len(result['rungs'])} rungs failed: {', '.join(failed)}. Why stands above.")


def _line(row: dict[str, Any]) -> tuple[object, ...]:
    if row["error"] is not None:
        return row["name"], "failed", "", "", "", "", row["seconds"]
    scored = row["miou"] is not None
    scores = row["name"], *((f"{row['miou']:.4f}", f"{row['pixel_accuracy']:.2%}") if scored else ("none", "none"))
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
