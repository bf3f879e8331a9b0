"""The result file, its table, and whether the bars are kept."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracy.plan import PRIOR, Bar, Run, Study
from benchmarks.accuracy.running import ROOT, RUNS, prior
from benchmarks.marks import fill
from neuroseg.train import load_run

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "explanation" / "accuracy.md"
BEGIN, END = "<!-- accuracy: made by `python -m benchmarks.accuracy` -->\n", "<!-- end of accuracy -->\n"
JSON, TABLE = "accuracy.json", "accuracy.md"
AS_CONVERTED = "as converted: no epoch was above it"
LONGEST_S = 30 * 60  # what a training may take on two cores
UNITS = {"miou": "mIoU", "f1": "F1", "psnr_db": "PSNR (dB)"}


def read(folder: Path = RESULTS) -> dict[str, Any]:
    """What was measured; nothing yet: no studies."""
    path = folder / JSON
    content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"schema_version": 1, "studies": {}}
    return content


def write(
    plan: Mapping[str, Study], study: str, name: str, row: Mapping[str, Any], folder: Path = RESULTS
) -> dict[str, Any]:
    """Put a row in its place, judge the study's bars anew, write file and table."""
    content = read(folder)
    here = {"cores": os.cpu_count(), "machine": platform.machine(), "torch": torch.__version__}
    told = [f"reduced: {plan[study].reduced}"] if plan[study].reduced else []
    told += [] if _tuned(row) else [AS_CONVERTED]
    note = {"note": "; ".join(told)} if told else {}
    dated = {**row, **note, "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"), **here}
    known = content["studies"].setdefault(study, {"score": plan[study].score, "runs": {}, "bars": []})
    if any(f"{name}.{PRIOR}" in (bar.more, bar.less) for bar in plan[study].bars):
        dated[PRIOR] = prior(load_run(RUNS / study / name)[0])
    known["runs"][name] = dated
    known["bars"] = judgements(plan[study], known["runs"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_text(json.dumps(content, indent=1) + "\n")
    (folder / TABLE).write_text(report(plan, content) + "\n")
    if folder == RESULTS:
        fill(PAGE, BEGIN, END, report(plan, content))
    return content


def score(row: Mapping[str, Any], name: str) -> float:
    """A run's score; F1 is that of the foreground class."""
    return float(row["foreground"]["f1"] if name == "f1" else row[name])


def judgements(study: Study, runs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The study's bars, and that of its longest training."""
    times = [row["train_time_s"] for row in runs.values() if "train_time_s" in row]
    longest = max(times) / 60 if times else None
    time = {"name": "longest training, in minutes", "value": longest, "bar": LONGEST_S / 60}
    met = None if longest is None else longest < LONGEST_S / 60
    return [*(judged(bar, study, runs) for bar in study.bars), {**time, "most": True, "met": met}]


def judged(bar: Bar, study: Study, runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A bar with its figure; null while a run is missing."""
    values = []
    for end in (bar.more, bar.less):
        if end is None:
            values.append(0.0)
            continue
        name, _, other = end.partition(".")
        values.append(score(runs[name], other or study.score) if name in runs else None)
    more, less = values
    value = None if more is None or less is None else more - less
    met = None if value is None or bar.by is None else bool(value > bar.by if bar.by == 0 else value >= bar.by)
    return {"name": bar.name, "value": value, "bar": bar.by, "met": met}


def report(plan: Mapping[str, Study], content: Mapping[str, Any]) -> str:
    """Markdown: runs and bars of every study."""
    return "\n\n".join(_study(name, study, content["studies"].get(name)) for name, study in plan.items())


def _study(name: str, study: Study, known: Mapping[str, Any] | None) -> str:
    runs = known["runs"] if known else {}
    reduced = f" Reduced: {study.reduced}." if study.reduced else ""
    lines = [f"**{name}.** {study.about}{reduced}", ""]
    lines += [f"| run | {UNITS[study.score]} | paper's | T | seed | training | firing rate |", "| --- " * 7 + "|"]
    lines += [_run(name, run, study.score, runs.get(name)) for name, run in study.runs.items()]
    lines += ["", "| bar | figure | asked for | |", "| --- | --- | --- | --- |"]
    lines += [_bar(judgement) for judgement in judgements(study, runs)]
    return "\n".join(lines)


def _run(name: str, run: Run, key: str, row: Mapping[str, Any] | None) -> str:
    printed = None if run.row is None else getattr(run.row.printed, key)
    told = "" if printed is None else f"{printed:g}"
    if row is None:
        return f"| {name} | not yet measured | {told} | | | | |"
    minutes = f"{row['train_time_s'] / 60:.0f} min" if "train_time_s" in row else ""
    rate = "" if row.get("firing_rate") is None else f"{row['firing_rate']:.3f}"
    start = "" if _tuned(row) else f" ({AS_CONVERTED})"
    return f"| {name}{start} | {score(row, key):.4g} | {told} | {row['steps']} | {row['seed']} | {minutes} | {rate} |"


def _tuned(row: Mapping[str, Any]) -> bool:
    """False for a conversion that was kept, as no epoch of its fine-tuning was better on val."""
    return bool(row.get("finetuning", {}).get("kept", True))


def _bar(bar: Mapping[str, Any]) -> str:
    figure = "" if bar["value"] is None else f"{bar['value']:.1f}" if "most" in bar else f"{bar['value']:+.4f}"
    asked = "" if bar["bar"] is None else ("above 0" if bar["bar"] == 0 else f"at least {bar['bar']:g}")
    asked = f"less than {bar['bar']:g}" if "most" in bar else asked
    return f"| {bar['name']} | {figure} | {asked} | {({None: '', True: 'met', False: '**missed**'})[bar['met']]} |"
