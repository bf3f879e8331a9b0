"""`python -m benchmarks.zoo [NAME ...] [--keep] [--plan FILE] [--runs FOLDER] [--to FOLDER]`: pack networks of the plan.

A network that is there is replaced. What is measured on the way (bundle, ladder, pictures) is kept in RUNS/zoo-work.
NEUROSEG_DATA names the folder of the data sets. Without names: all of the plan whose runs are there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.commands import ROOT
from benchmarks.zoo.packing import missing_runs, pack
from benchmarks.zoo.plan import PLAN, read_plan
from neuroseg.zoo import NETWORKS


def main() -> None:
    """Pack what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks of the plan")
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="folder that the plan's paths start in")
    parser.add_argument("--keep", action="store_true", help="take what was measured before of the same weights")
    parser.add_argument("--to", type=Path, default=NETWORKS, help="folder of the zoo")
    arguments = parser.parse_args()
    plan = read_plan(arguments.plan)
    unknown = [name for name in arguments.names if name not in plan]
    if unknown:
        parser.error(f"'{unknown[0]}' is not in {arguments.plan}; it has {', '.join(plan)}")
    for name, entry in plan.items():
        missing = missing_runs(entry, arguments.runs)
        if name in arguments.names or (not arguments.names and not missing):
            pack(name, entry, arguments.runs, arguments.to, keep=arguments.keep)
        elif not arguments.names:
            print(f"{name}: left out, '{missing[0]}' is no finished RUN")


if __name__ == "__main__":
    main()
