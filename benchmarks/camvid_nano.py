"""mfs-nano on CamVid, from config to report: `make camvid`.

Trains by the plan of `benchmarks.accuracy`, or takes what is trained, exports, verifies, climbs the ladder, and writes the
figures to benchmarks/results/camvid_nano.json, from which `scripts/readme_numbers.py` writes the paragraph of the README.
Needs CamVid in SegNet's layout: NEUROSEG_DATA names the folder that holds `camvid`.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from typing import Any

from benchmarks.commands import ROOT, neuroseg

STUDY = "camvid-segnet/nano"  # of the plan
RUN = ROOT / "runs" / "accuracy" / STUDY
RUNS = ROOT / "runs" / "camvid-nano"
RESULT = ROOT / "benchmarks" / "results" / "camvid_nano.json"
EXACT_IMAGES = 20  # of the ladder down to lava-fast; stock Lava gets STOCK_IMAGES
STOCK_IMAGES = 2
PICTURE = ROOT / "docs" / "images" / "camvid_nano.png"
EVALUATIONS = {"val": ("--split", "val"), "test": (), "test_real": ("--real",)}
KEPT_SCORES = ("arithmetic", "samples", "miou", "pixel_accuracy", "miou_per_image")


def main() -> None:
    """Run every step by the command line, as a user would, and keep what it measured."""
    run, bundle = RUN, RUNS / "bundle"
    trained = train()
    scores = {name: neuroseg("eval", run, *flags) for name, flags in EVALUATIONS.items()}
    exported, export_s = timed("export", run, "--out", bundle, "--vectors", STOCK_IMAGES)
    verified, verify_s = timed("verify", bundle, "--backend", "int", "--backend", "lava-fast")
    rungs = "float,folded,slayer,int,lava-fast"
    ladder, ladder_s = timed("ladder", bundle, "--samples", EXACT_IMAGES, "--rungs", rungs, "--out", RUNS / "ladder")
    stock, stock_s = timed("parity", bundle, "--left", "slayer", "--right", "lava", "--samples", STOCK_IMAGES)
    assert verified["holds"]
    content = {
        "schema_version": 1,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "train": {key: trained[key] for key in ("epochs", "best_epoch", "best_val_miou", "train_time_s", "miou")},
        "eval": {name: {key: s[key] for key in KEPT_SCORES} for name, s in scores.items()},
        "export": {key: exported[key] for key in ("neurons", "neurons_deployed", "cores", "chips")}
        | {"params": trained["parameters"], "time_s": round(export_s, 1)},
        "energy": exported["energy"],
        "latency": exported["latency"],
        "verify": {"compared": sum(r["compared"] for r in verified["replays"]), "time_s": round(verify_s, 1)},
        "ladder": {
            "samples": ladder["samples"],
            "time_s": round(ladder_s, 1),
            "rungs": [
                {key: rung[key] for key in ("name", "miou", "compared", "mismatches")} for rung in ladder["rungs"]
            ],
        },
        "stock_lava": {key: stock[key] for key in ("samples", "compared", "mismatches")}
        | {"time_s": round(stock_s, 1)},
    }
    shutil.copyfile(RUNS / "ladder" / "disagreement.png", PICTURE)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(content, indent=1) + "\n")
    print(f"wrote {RESULT.relative_to(ROOT)}")


def train() -> dict[str, Any]:
    """The finished run's measures; an interrupted one is resumed."""
    if not (RUN / "metrics.json").is_file():
        command = [sys.executable, "-m", "benchmarks.accuracy", "--only", STUDY]
        subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=True)
    found: dict[str, Any] = json.loads((RUN / "metrics.json").read_text())
    return found


def timed(*arguments: object) -> tuple[dict[str, Any], float]:
    """JSON of a command, and its seconds."""
    start = time.perf_counter()
    return neuroseg(*arguments), time.perf_counter() - start


if __name__ == "__main__":
    main()
