"""Timing in turn, peak memory, and rows of the result file."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[2]
LEAST_RUNS = 5
LOADED = 1.5  # load average at the start, above which a row is marked
AT_LEAST = ("x", "images/s")  # units in which more is better; in the others (s, GB) a bar is an upper limit

Row = dict[str, Any]
Timed = Callable[[], float | None]


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    quick  smallest sizes and few runs, to see that everything runs; its figures mean nothing
    runs   of every side
    """

    quick: bool = False

    @property
    def runs(self) -> int:
        """Timed runs of every side."""
        return 2 if self.quick else LEAST_RUNS


def in_turn(sides: Mapping[str, Timed], runs: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of every side, run by run: A B C A B C ...

    sides    name -> what to time; it may return seconds of its own, such as the steady part of a run without its start
    warm_up  rounds that are not counted: compilers, caches and pools of memory
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    gc.collect()
    gc.freeze()  # what lives already is not looked through again, neither below nor within a run
    try:
        for number in range(-warm_up, runs):
            for name, run in sides.items():
                gc.collect()
                start = time.perf_counter()
                own = run()
                taken = time.perf_counter() - start
                if number >= 0:
                    seconds[name].append(taken if own is None else own)
    finally:
        gc.unfreeze()
    return seconds


def versus(
    name: str, ours: Sequence[float], theirs: Sequence[float], bar: float | None = None, per: float = 1.0, **more: Any
) -> Row:
    """A row that compares: `ratio` is how many times ours is faster.

    ours, theirs  seconds of runs in turn
    bar           the least ratio that is asked for; None: none is
    per           what a run's seconds are divided by for `ours_s` and `theirs_s`: samples or steps in it
    """
    ratio = median(theirs) / median(ours)
    rounds = [b / a for a, b in zip(ours, theirs, strict=True)]
    return _row(
        name,
        ours_s=median(ours) / per,
        theirs_s=median(theirs) / per,
        ratio=ratio,
        value=ratio,
        unit="x",
        bar=bar,
        runs=len(ours),
        ratio_range=[_short(min(rounds)), _short(max(rounds))],
        **more,
    )


def limit(
    name: str, value: float, unit: str, bar: float | None = None, seconds: float | None = None, **more: Any
) -> Row:
    """A row with one side: a time, a memory or a rate, beside its limit if it has one."""
    own = value if unit == "s" else seconds
    return _row(name, ours_s=own, theirs_s=None, ratio=None, value=value, unit=unit, bar=bar, **more)


def _row(name: str, *, device: str = "cpu", **columns: Any) -> Row:
    row = {"name": name, **{k: _short(v) if isinstance(v, float) else v for k, v in columns.items()}}
    row["met"] = met(row)
    row["device"] = device
    row["date"] = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    row["load"] = load()
    return row


def load() -> float:
    """Load average of one minute: what measures now counts, too."""
    return _short(os.getloadavg()[0])


def loaded(row: Row) -> bool:
    """Whether others worked on the machine when the run began; judged by the row's end where its start is not known."""
    return bool(row.get("load_at_start", row["load"]) > LOADED)


def met(row: Row) -> bool | None:
    """Whether a row keeps its bar; None without one."""
    if row["bar"] is None:
        return None
    return bool(row["value"] >= row["bar"] if row["unit"] in AT_LEAST else row["value"] <= row["bar"])


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def in_process(task: str, **arguments: Any) -> dict[str, Any]:
    """What a task of `benchmarks.speed.child` answers, in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.speed.child", task, json.dumps(arguments)]
    result = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer


def command(*words: str) -> tuple[float, float]:
    """Wall time in s and peak memory in GB (1e9 bytes) of a command; RuntimeError with its last words if it fails.

    A small process starts it: Linux hands a process's peak memory on to what it starts, and this one may be large.
    """
    with tempfile.TemporaryFile() as said:
        starter = [sys.executable, "-c", _START, *words]
        done = subprocess.run(starter, cwd=ROOT, stdout=subprocess.PIPE, stderr=said, text=True, check=True)
        taken, memory, code = done.stdout.split()
        if int(code):
            said.seek(0)
            raise RuntimeError(f"{' '.join(words)} failed with {code}:\n{said.read()[-2000:].decode()}")
    return float(taken), int(memory) * 1024 / 1e9


_START = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
print(time.perf_counter() - start, used.ru_maxrss, os.waitstatus_to_exitcode(status))
"""


def reset_peak() -> float:
    """Forget this process's peak memory, and return what it holds now, in GB (Linux)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else what was freed before still counts, and is filled again unseen
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> float:
    """Peak memory of this process since `reset_peak`, in GB."""
    return _status("VmHWM")


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) * 1024 / 1e9
