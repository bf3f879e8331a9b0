"""`python -m benchmarks.accuracy [--only STUDY[/RUN],...] [--list]`: what is missing is trained, what is there is kept.

Results are written after each run, so that an interruption loses nothing; trainings go on from their last checkpoint.
Weights and checkpoints lie in runs/accuracy. NEUROSEG_DATA names the folder of the data sets.
"""

from __future__ import annotations

import argparse

from benchmarks.accuracy.plan import Study, read_plan
from benchmarks.accuracy.results import read, report, write
from benchmarks.accuracy.running import run_entry


def main() -> None:
    """Run the plan, or a part of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--only", default="", help="studies, or study/run, separated by commas")
    parser.add_argument("--list", action="store_true", help="what there is, and what is measured")
    arguments = parser.parse_args()
    plan, content = read_plan(), read()
    if not arguments.list:
        for study, name in chosen(plan, arguments.only, parser):
            row = run_entry(study, name, plan[study].runs[name])
            content = write(plan, study, name, row)
    print(report(plan, content))


def chosen(plan: dict[str, Study], only: str, parser: argparse.ArgumentParser) -> list[tuple[str, str]]:
    """(study, run) of what is asked for and of what these need, in the plan's order."""
    wanted = [part for part in only.split(",") if part]
    for part in wanted:
        study, _, name = part.partition("/")
        if study not in plan or (name and name not in plan[study].runs):
            parser.error(f"--only {part}: no such study or run; --list tells them")
    keys = [(study, name) for study in plan for name in plan[study].runs]
    asked = {key for key in keys if not wanted or key[0] in wanted or "/".join(key) in wanted}
    while more := {(s, str(plan[s].runs[n].source)) for s, n in asked if plan[s].runs[n].source} - asked:
        asked |= more
    return [key for key in keys if key in asked]


if __name__ == "__main__":
    main()
