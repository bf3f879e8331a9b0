"""Rows (d): how time and memory grow with T, batch, resolution, width and depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.speed.measure import Plan, Row, in_process, limit

BASE = {"steps": 4, "batch": 2, "height": 64, "width": 96, "channels": 16, "blocks": 2}
FACTORS = (1, 2, 4)
AXES = {
    "T": ("steps",),
    "batch": ("batch",),
    "pixels": ("height", "width"),
    "width": ("channels",),
    "depth": ("blocks",),
}
KINDS = ("training", "int", "export")


def rows(plan: Plan) -> Iterator[Row]:
    """Per work and axis: times and memories at three sizes, and the exponents p of time ~ size^p, memory ~ size^p."""
    kinds = KINDS[1:2] if plan.quick else KINDS
    axes = {"T": AXES["T"]} if plan.quick else AXES
    base = dict.fromkeys(BASE, 2) | {"height": 8, "width": 8} if plan.quick else BASE
    for kind in kinds:
        first = in_process("grown", kind=kind, **base)
        for axis, keys in axes.items():
            if kind == "export" and axis == "batch":
                continue
            points = [first, *(_point(kind, base, keys, factor) for factor in FACTORS[1:])]
            sizes = [factor ** len(keys) for factor in FACTORS]
            yield _row(f"growth of {kind} with {axis}", sizes, points)


def _point(kind: str, base: dict[str, int], keys: Sequence[str], factor: int) -> dict[str, float]:
    return in_process("grown", kind=kind, **(base | {key: base[key] * factor for key in keys}))


def _row(name: str, sizes: list[int], points: list[dict[str, float]]) -> Row:
    times, memories = ([p[key] for p in points] for key in ("time_s", "memory_gb"))
    return limit(
        name,
        exponent(sizes, times),
        "exponent",
        seconds=times[-1],
        memory_exponent=exponent(sizes, memories),
        sizes=sizes,
        times_s=[float(f"{t:.3g}") for t in times],
        memories_gb=[float(f"{m:.3g}") for m in memories],
    )


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """p of value ~ size^p: the slope of the line through the logarithms, by least squares."""
    return round(float(np.polyfit(np.log(sizes), np.log(values), 1)[0]), 2)
