"""The result file, its table, and whether the bars are kept."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean, stdev
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
UNITS = {
    "miou": "mIoU",
    "f1": "F1",
    "psnr_db": "PSNR (dB)",
    "miou_per_image": "mIoU per image",
    "pixel_accuracy": "accuracy",
}


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
    """The study's bars, and that of its longest training, if it has one."""
    bars = [judged(bar, study, runs) for bar in study.bars]
    if study.longest_min is None:
        return bars
    times = [row["train_time_s"] for row in runs.values() if "train_time_s" in row]
    longest = max(times) / 60 if times else None
    time = {"name": "longest training, in minutes", "value": longest, "bar": study.longest_min}
    met = None if longest is None else longest < study.longest_min
    return [*bars, {**time, "most": True, "met": met}]


def judged(bar: Bar, study: Study, runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A bar with its figure; null while a run is missing."""
    more, less = (_end(end, study, runs) for end in (bar.more, bar.less))
    if more is None or (bar.less is not None and less is None):
        value = None
    elif bar.less is None or less is None:
        value = more
    else:
        value = more / less if bar.ratio else more - less
    met = None if value is None or bar.by is None else bool(value > bar.by if bar.by == 0 else value >= bar.by)
    return {"name": bar.name, "value": value, "bar": bar.by, "met": met, **({"ratio": True} if bar.ratio else {})}


def _end(end: str | None, study: Study, runs: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Score of what an end of a bar names, `run`, `run.score` or a group of seeds (their mean); None while it is missing."""
    name, _, other = (end or "").partition(".")
    members = study.seeds.get(name, (name,))
    if any(member not in runs for member in members):
        return None
    return fmean(score(runs[member], other or study.score) for member in members)


def report(plan: Mapping[str, Study], content: Mapping[str, Any]) -> str:
    """Markdown: runs and bars of every study."""
    return "\n\n".join(_study(name, study, content["studies"].get(name)) for name, study in plan.items())


def _study(name: str, study: Study, known: Mapping[str, Any] | None) -> str:
    runs = known["runs"] if known else {}
    reduced = f" Reduced: {study.reduced}." if study.reduced else ""
    lines = [f"**{name}.** {study.about}{reduced}", ""]
    scores = (study.score, *study.also)
    lines += [
        f"| run | {' | '.join(UNITS[key] for key in scores)} | paper's | T | seed | training | firing rate |",
        "| --- " * (6 + len(scores)) + "|",
    ]
    lines += [_run(name, run, scores, runs.get(name)) for name, run in study.runs.items()]
    lines += [_spread(name, group, study.score, runs) for name, group in study.seeds.items()]
    lines += ["", "| bar | figure | asked for | |", "| --- | --- | --- | --- |"]
    lines += [_bar(judgement) for judgement in judgements(study, runs)]
    return "\n".join(lines)


def _run(name: str, run: Run, scores: Sequence[str], row: Mapping[str, Any] | None) -> str:
    printed = None if run.row is None else getattr(run.row.printed, scores[0])
    told = "" if printed is None else f"{printed:g}"
    if row is None:
        return f"| {name} | not yet measured |{' |' * (len(scores) - 1)} {told} | | | | |"
    minutes = f"{row['train_time_s'] / 60:.0f} min" if "train_time_s" in row else ""
    rate = "" if row.get("firing_rate") is None else f"{row['firing_rate']:.3f}"
    start = "" if _tuned(row) else f" ({AS_CONVERTED})"
    figures = " | ".join(f"{score(row, key):.4g}" for key in scores)
    return f"| {name}{start} | {figures} | {told} | {row['steps']} | {row['seed']} | {minutes} | {rate} |"


def _spread(name: str, group: Sequence[str], key: str, runs: Mapping[str, Mapping[str, Any]]) -> str:
    """A sentence behind the table: mean and spread over seeds."""
    found = [score(runs[member], key) for member in group if member in runs]
    if len(found) < len(group) or len(found) < 2:
        return f"\n{name} ({', '.join(group)}): {len(found)} of {len(group)} measured."
    mean, deviation = fmean(found), stdev(found)
    return (
        f"\n{name} ({', '.join(group)}): mean {UNITS[key]} {mean:.4f}, standard deviation {deviation:.4f}, "
        f"from {min(found):.4f} to {max(found):.4f}."
    )


def _tuned(row: Mapping[str, Any]) -> bool:
    """False for a conversion that was kept, as no epoch of its fine-tuning was better on val."""
    return bool(row.get("finetuning", {}).get("kept", True))


def _bar(bar: Mapping[str, Any]) -> str:
    figure = "" if bar["value"] is None else f"{bar['value']:{_form(bar)}}"
    asked = "" if bar["bar"] is None else ("above 0" if bar["bar"] == 0 else f"at least {bar['bar']:g}")
    asked = f"less than {bar['bar']:g}" if "most" in bar else asked
    return f"| {bar['name']} | {figure} | {asked} | {({None: '', True: 'met', False: '**missed**'})[bar['met']]} |"


def _form(bar: Mapping[str, Any]) -> str:
    if "most" in bar:
        return ".1f"
    return ".3f" if "ratio" in bar else "+.4f"
