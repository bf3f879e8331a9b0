"""Rows (c): time and memory of an export, and (e): how long a command takes to start."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.speed.measure import ROOT, Plan, Row, command, in_process, in_turn, limit, versus

NEUROSEG = str(ROOT / ".venv" / "bin" / "neuroseg")
BARRED = ("mfs-efs72", (180, 240))
TIME_BAR_S, MEMORY_BAR_GB = 180.0, 6.0
MIDDLE, LARGE = (184, 240), (440, 640)  # mfs-nano and mfs-small halve an image three times: 180 does not divide by 8
EXPORTS = (("mfs-nano", MIDDLE), ("mfs-nano", LARGE), ("mfs-small", MIDDLE), ("mfs-small", LARGE), BARRED)
COMPILED = (("mfs-efs72", LARGE),)  # no whole export: the spikes that SLAYER keeps should not fit in memory


def export_rows(plan: Plan) -> Iterator[Row]:
    """`neuroseg export` with placement on a system, one test vector; wall time and peak memory of its process."""
    for name, size in (("mfs-tiny", (16, 16)),) if plan.quick else EXPORTS:
        with tempfile.TemporaryDirectory() as folder:
            run, out = f"{folder}/run", f"{folder}/out.bundle"
            in_process("run_folder", network=name, size=size, path=run)
            words = ["export", run, "--out", out, "--system", "hala_point", "--force", "--vectors", "1"]
            taken, memory = command(sys.executable, "-m", "neuroseg.cli", *words)
        yield from _both(f"export {name} {size[0]}x{size[1]}", taken, memory, (name, size) == BARRED)
    for name, size in () if plan.quick else COMPILED:
        with tempfile.TemporaryDirectory() as folder:
            made = in_process("write", network=name, size=size, path=str(Path(folder) / "network.net"))
        yield from _both(f"compile and write only, {name} {size[0]}x{size[1]}", made["time_s"], made["peak_gb"], False)


def _both(what: str, seconds: float, memory: float, barred: bool) -> Iterator[Row]:
    yield limit(f"{what}: time", seconds, "s", TIME_BAR_S if barred else None)
    yield limit(f"{what}: peak memory", memory, "GB", MEMORY_BAR_GB if barred else None, seconds)


def start_rows(plan: Plan) -> Iterator[Row]:
    """Commands, and an interpreter that only imports torch, in turn."""
    words = {
        "torch": (sys.executable, "-c", "import torch"),
        "neuroseg --help": (NEUROSEG, "--help"),
        "neuroseg describe mfs-nano": (NEUROSEG, "describe", "mfs-nano"),
    }
    if plan.quick:
        del words["neuroseg describe mfs-nano"]
    sides = {name: partial(_seconds, parts) for name, parts in words.items()}
    seconds = in_turn(sides, plan.runs, warm_up=0 if plan.quick else 1)
    for name in list(words)[1:]:
        yield versus(f"start, {name}: import torch", seconds[name], seconds["torch"])


def _seconds(words: tuple[str, ...]) -> float:
    return command(*words)[0]
