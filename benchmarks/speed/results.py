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

from benchmarks.speed.measure import ROOT, Row

SCHEMA_VERSION = 1
RESULTS = ROOT / "benchmarks" / "results"
JSON, TABLE = "latest.json", "latest.md"
PAGE = ROOT / "docs" / "explanation" / "speed.md"
BEGIN, END = "<!-- speed: made by `make bench` -->\n", "<!-- end of speed -->\n"
VERSIONS = ("torch", "lava-nc", "lava-dl", "numpy", "numba", "scipy")
HEADER = ("what: beside what", "ours", "theirs", "ratio", "bar", "")


def merged(before: Mapping[str, Any], groups: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """The content of the result file with the rows of some groups replaced; the others stay, with their dates."""
    kept = [row for row in before.get("rows", []) if row["group"] not in groups]
    rows = [*kept, *({"name": row["name"], "group": group, **row} for group, rows in groups.items() for row in rows)]
    order = list(dict.fromkeys([*GROUP_ORDER, *groups]))
    rows.sort(key=lambda row: order.index(row["group"]))
    return {"schema_version": SCHEMA_VERSION, "machine": machine(), "versions": versions(), "rows": rows}


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
    (folder / TABLE).write_text(table(content["rows"]))
    if folder == RESULTS:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        assert end, f"{PAGE.name} lacks its marks"
        PAGE.write_text(f"{before}{BEGIN}\n{table(content['rows'])}\n{END}{after}", encoding="utf-8")


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
    return (row["name"], *shown, bar, {None: "", True: "met", False: "**missed**"}[row["met"]])


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
