"""`python -m benchmarks.speed`: measure, print, write benchmarks/results/latest.json and latest.md."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.speed import executors, exporting, growth, training
from benchmarks.speed.measure import Plan, Row, load
from benchmarks.speed.results import GROUP_ORDER, RESULTS, merged, read, setup_of, table, write

IDLE = 1.0  # load average above which others work here

GROUPS: dict[str, Callable[[Plan], Iterator[Row]]] = {
    "training": training.rows,
    "lava": executors.lava_rows,
    "int": executors.int_rows,
    "export": exporting.export_rows,
    "growth": growth.rows,
    "start": exporting.start_rows,
}
assert tuple(GROUPS) == GROUP_ORDER


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the chosen groups; 1 if a bar is missed."""
    chosen = _parsed(arguments)
    plan = Plan(quick=chosen.quick)
    folder = chosen.out or (None if chosen.quick else RESULTS)
    at_start = load()  # later the run itself raises it
    if at_start > IDLE:
        print(f"warning: the load average is {at_start}: others work here, which blurs all figures", file=sys.stderr)
    stamp = {"setup": setup_of(read(folder) if folder else {})[0], "load_at_start": at_start}
    found: list[Row] = []
    for group in chosen.only:
        start, rows = time.perf_counter(), []
        for row in GROUPS[group](plan):
            rows.append(row | stamp)
            print(table(rows).splitlines()[-1], flush=True)
        print(f"{group}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        found += rows
        if folder is not None:  # after each group: a later failure loses nothing
            write(merged(read(folder), {group: rows}), folder)
    return int(any(row["met"] is False for row in found))


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument(
        "--only", type=_groups, default=list(GROUPS), help=f"some of {','.join(GROUPS)}; the others keep their rows"
    )
    parser.add_argument(
        "--quick", action="store_true", help="smallest sizes; figures mean nothing and are only printed"
    )
    parser.add_argument("--out", type=Path, help="folder of latest.json and latest.md; default benchmarks/results")
    return parser.parse_args(arguments)


def _groups(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in GROUPS:
            raise argparse.ArgumentTypeError(f"unknown group '{name}'; choose some of {','.join(GROUPS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
