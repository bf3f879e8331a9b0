"""The result file, the Markdown table, and the table in the documentation."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.marks import fill
from benchmarks.speed.measure import ROOT, Row, loaded

SCHEMA_VERSION = 1
RESULTS = ROOT / "benchmarks" / "results"
JSON, TABLE = "latest.json", "latest.md"
PAGE = ROOT / "docs" / "explanation" / "speed.md"
BEGIN, END = "<!-- speed: made by `make bench` -->\n", "<!-- end of speed -->\n"
VERSIONS = ("torch", "lava-nc", "lava-dl", "numpy", "numba", "scipy")
HEADER = ("what: beside what", "ours", "theirs", "ratio", "bar", "", "setup")


def merged(before: Mapping[str, Any], groups: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """The content of the result file with the rows of some groups replaced; the others stay, with date and setup."""
    number, now = setup_of(before)
    kept = [row for row in before.get("rows", []) if row["group"] not in groups]
    new = [{"name": r["name"], "group": group, **r, "setup": number} for group, rows in groups.items() for r in rows]
    rows = sorted([*kept, *new], key=lambda row: GROUP_ORDER.index(row["group"]))
    known = {**before.get("setups", {}), number: now}
    setups = {key: known[key] for key in sorted({row["setup"] for row in rows}, key=int)}
    return {"schema_version": SCHEMA_VERSION, **now, "setups": setups, "rows": rows}


def setup_of(before: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """This machine with these versions, and its number: the one it has in a result file, else the next."""
    now = {"machine": machine(), "versions": versions()}
    known = before.get("setups", {})
    numbers = [number for number, setup in known.items() if setup == now]
    return (numbers or [str(max(map(int, known), default=0) + 1)])[0], now


GROUP_ORDER = ("training", "lava", "int", "export", "growth", "start")


def machine() -> dict[str, Any]:
    """What the figures depend on, without a name."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(memory, 1),
        "processor": _processor(),
        "gpu": gpu,
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def versions() -> dict[str, str]:
    """Of what computes."""
    lines = (ROOT / "requirements" / "bench.txt").read_text().splitlines()
    locked = dict(line.split()[0].split("==") for line in lines if "==" in line)
    return {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}, **locked}


def read(folder: Path) -> dict[str, Any]:
    """The result file of a folder; empty if there is none."""
    path = folder / JSON
    content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return content


def write(content: Mapping[str, Any], folder: Path) -> None:
    """Result file and table into a folder; into the documentation, too, if the folder is the repository's."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_text(json.dumps(content, indent=1) + "\n")
    (folder / TABLE).write_text(text(content))
    if folder == RESULTS:
        fill(PAGE, BEGIN, END, text(content))


def text(content: Mapping[str, Any]) -> str:
    """The table, and below it what the numbers of its last column stand for."""
    lines = (f"* setup {number}: {_described(setup)}\n" for number, setup in content["setups"].items())
    return f"{table(content['rows'])}\n{''.join(lines)}"


def _described(setup: Mapping[str, Any]) -> str:
    here = setup["machine"]
    parts = (
        f"{here['processor']}, {here['cores']} cores, {here['threads']} threads of torch, {here['memory_gb']} GB",
        here["gpu"] or "no GPU",
        *(f"{name} {number}" for name, number in setup["versions"].items()),
    )
    return ", ".join(parts)


def table(rows: Sequence[Row]) -> str:
    """Markdown of all rows."""
    cells = [HEADER, ("---",) * len(HEADER), *(_cells(row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _cells(row: Row) -> tuple[str, ...]:
    unit, value = row["unit"], row["value"]
    if unit == "x":
        low, high = row["ratio_range"]
        shown = (_time(row["ours_s"]), _time(row["theirs_s"]), f"{value:.3g} ({low:.3g} to {high:.3g})")
    elif unit == "exponent":
        shown = (f"time ~ size^{value:.2f}", f"memory ~ size^{row['memory_exponent']:.2f}", "")
    else:
        shown = (_time(value) if unit == "s" else f"{value:.3g} {unit}", "", "")
    sign = "at least" if unit in ("x", "images/s") else "at most"
    bar = "" if row["bar"] is None else f"{sign} {row['bar']:g}{'' if unit == 'x' else ' ' + unit}"
    marks = ({None: "", True: "met", False: "**missed**"}[row["met"]], "loaded" if loaded(row) else "")
    return (row["name"], *shown, bar, ", ".join(filter(None, marks)), row["setup"])


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
