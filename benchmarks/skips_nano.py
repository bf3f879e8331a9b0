"""What taking skips elsewhere costs in accuracy and saves in neurons: mfs-nano on CamVid, `python benchmarks/skips_nano.py`.

Trains mfs-nano with `model.attention=first` (or goes on from what is in runs/nano-first) by the recipe of mfs-nano,
scores it as `make camvid` scores mfs-nano, and writes both beside each other to benchmarks/results/skips_nano.json. One
seed each: a difference of a few hundredths of mIoU is within what another seed gives.
"""

from __future__ import annotations

import json
import os
import platform
from typing import Any

import camvid_nano
from camvid_nano import EVALUATIONS, KEPT_SCORES, ROOT, neuroseg

RUN = ROOT / "runs" / "nano-first" / "run"
RESULT = ROOT / "benchmarks" / "results" / "skips_nano.json"
CHANGE = "model.attention=first"


def main() -> None:
    """Train, score and cost by the command line, as a user would."""
    if not (RUN / "metrics.json").is_file():
        resume = ["--resume"] if (RUN / "checkpoints" / "last.ckpt").is_file() else []
        neuroseg("train", "mfs-nano", CHANGE, "--out", RUN, *resume)
    trained = json.loads((RUN / "metrics.json").read_text())
    scores = {name: neuroseg("eval", RUN, *flags) for name, flags in EVALUATIONS.items()}
    kept = json.loads(camvid_nano.RESULT.read_text())
    content = {
        "schema_version": 1,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "output": {"train": kept["train"], "eval": kept["eval"], "ways": _ways()},
        "first": {
            "train": {key: trained[key] for key in kept["train"]},
            "eval": {name: {key: s[key] for key in KEPT_SCORES} for name, s in scores.items()},
            "ways": _ways(CHANGE),
        },
    }
    RESULT.write_text(json.dumps(content, indent=1) + "\n")
    for name in ("output", "first"):
        row = content[name]
        print(f"attention={name}: {_line(row)}")
    print(f"wrote {RESULT.relative_to(ROOT)}")


def _ways(*overrides: str) -> dict[str, int]:
    """Deployed neurons by each way of waiting, where each is at its cheapest."""
    return {way["name"]: way["neurons_low"] for way in neuroseg("skips", "mfs-nano", *overrides)["ways"]}


def _line(row: dict[str, Any]) -> str:
    scores = ", ".join(f"{name} mIoU {row['eval'][name]['miou']:.3f}" for name in ("val", "test"))
    return f"{scores}; {row['ways']['relay']:,} neurons with relays, {row['ways']['delay neuron']:,} with delay neurons"


if __name__ == "__main__":
    main()
