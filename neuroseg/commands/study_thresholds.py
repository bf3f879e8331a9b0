"""`neuroseg study thresholds`: how many thresholds a converted network's neurons need (Spiking-UNet, Table 4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from export.errors import UsageError
from neuroseg.commands.console import show
from neuroseg.commands.converting import (
    FINE_TUNE_LR,
    Conversion,
    Source,
    converted,
    fine_tuning,
    finetuned,
    measured,
    read_source,
    scales_of,
    with_thresholds,
)
from neuroseg.commands.study import Panel, Point, Study, draw_curves, score_of, shown_scores, subject_of
from neuroseg.commands.training import checked_split
from neuroseg.convert import network
from neuroseg.convert.statistics import Scales
from neuroseg.data import Split

NAME = "thresholds"
# Spiking-UNet, Table 4
TABLE: tuple[tuple[float, ...], ...] = (
    (2.0,),
    (1.0,),
    (0.5,),
    (1.0, 0.5),
    (2.0, 1.0),
    (2.0, 1.0, 0.5),
    (2.0, 1.0, 0.5, 0.25),
    (2.0, 1.0, 0.5, 0.25, 0.125),
)


def thresholds(
    path: Path,
    ask: Conversion,
    out: Path,
    *,
    table: Sequence[tuple[float, ...]] = TABLE,
    finetune: int = 0,
    lr: float = FINE_TUNE_LR,
    data: str | None = None,
    split: str = "test",
    restart: bool = False,
) -> dict[str, Any]:
    """Score of the ANN, and of its conversion with each list of thresholds: `thresholds.json` and `thresholds.png` of `out`.

    path      a trained ANN: RUN or ONNX, as `neuroseg convert` takes it
    ask       the conversion; its own thresholds do not count
    finetune  epochs for each list, with learning rate `lr`, as `neuroseg convert` has them. The paper's table is fine-tuned
              (100 epochs, 1e-6) and not matched
    """
    chosen = checked_split(split)
    source = read_source(path, data)
    scales = scales_of(source, ask)
    asked = {
        "steps": ask.steps,
        "normalise": ask.normalise,
        "calibrate": ask.calibrate,
        "percentile": ask.percentile,
        "matched": ask.match,
        "finetune_epochs": finetune,
        "finetune_lr": lr if finetune else None,
        "split": split,
        "ann_sha256": source.digest,
    }
    study = Study(out, NAME, {**subject_of(source.config), **asked}, restart=restart)
    ann = study.point({"thresholds": []}, lambda: shown_scores(measured(source.plain, network(source.ann), chosen)))
    for values in table:
        folder = out / "runs" / ",".join(f"{value:g}" for value in values)
        tuning = (finetune, lr, folder) if finetune else None
        study.point({"thresholds": list(values)}, partial(_at, source, scales, ask, values, chosen, tuning))
    result = study.finish(png=f"{NAME}.png")
    _draw(result, source, ann, ask, out / f"{NAME}.png")
    return result


def table_of(text: str) -> tuple[tuple[float, ...], ...]:
    """Lists of thresholds from `2;1;2,1;2,1,0.5`; UsageError for anything else."""
    try:
        found = tuple(tuple(float(value) for value in part.split(",")) for part in text.split(";"))
    except ValueError:
        raise UsageError(f"--table '{text}' is no list of thresholds, such as '1;2,1;2,1,0.5'") from None
    return found


def _at(
    source: Source,
    scales: Scales,
    ask: Conversion,
    values: tuple[float, ...],
    split: Split,
    tuning: tuple[int, float, Path] | None,
) -> Point:
    """One list of thresholds; `tuning`: epochs, learning rate and the RUN."""
    config, model = converted(source, with_thresholds(ask, values), scales)
    before = measured(config, model, split)
    found = {"count": len(values), **shown_scores(before)}
    if tuning is None:
        return found
    epochs, lr, folder = tuning
    after = finetuned(fine_tuning(config, epochs, lr), model, before, {}, folder, split)
    return {**found, **shown_scores(after or before), "as_converted": shown_scores(before)}


def _draw(result: dict[str, Any], source: Source, ann: Point, ask: Conversion, png: Path) -> None:
    """The best of each number of thresholds, and all the others as dots on their own."""
    key, words = score_of(source.config)
    points = [point for point in result["points"] if point["thresholds"]]
    counts = sorted({point["count"] for point in points})
    best = [max(point[key] for point in points if point["count"] == count) for count in counts]
    rates = [
        next(p["firing_rate"] for p in points if p["count"] == count and p[key] == value)
        for count, value in zip(counts, best, strict=True)
    ]
    lines = [("converted, best of its number", counts, best), ("ANN", counts, [ann[key]] * len(counts))]
    panels = [Panel(words, lines), Panel("spikes per neuron and step", [("converted", counts, rates)])]
    draw_curves(png, f"{source.name}: T = {ask.steps}, {ask.normalise}-wise", "number of thresholds", panels)


def show_thresholds(result: dict[str, Any]) -> None:
    """One row for the ANN, one for each list."""
    rows = []
    for point in result["points"]:
        score = point["miou"] if "miou" in point else point["psnr_db"]
        more = point.get("foreground", {}).get("f1", point.get("ssim"))
        rate = point["firing_rate"]
        rows.append(
            (
                ", ".join(f"{value:g}" for value in point["thresholds"]) or "ANN",
                f"{score:.4f}",
                "-" if more is None else f"{more:.4f}",
                "-" if rate is None else f"{rate:.3f}",
            )
        )
    denoising = "psnr_db" in result["points"][0]
    columns = ("thresholds", "PSNR in dB" if denoising else "mIoU", "SSIM" if denoising else "F1", "firing rate")
    show(f"T = {result['steps']}, {result['normalise']}-wise, {result['split']} split", columns, rows)
