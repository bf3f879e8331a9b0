"""What taking skips elsewhere costs in accuracy and saves in neurons: mfs-nano on CamVid, `python -m benchmarks.skips_nano`.

Trains the network of benchmarks/networks/mfs-nano.yaml with its attention taken from the encoder's end and from its first
spikes (or goes on from what is in runs/nano-output and runs/nano-first), scores both, and writes them beside each other to
benchmarks/results/skips_nano.json. One seed each: a difference of a few hundredths of mIoU is within what another seed gives.
"""

from __future__ import annotations

import json
import os
import platform
from typing import Any

from benchmarks.camvid_nano import EVALUATIONS, KEPT_SCORES
from benchmarks.commands import ROOT, neuroseg

CONFIG = ROOT / "benchmarks" / "networks" / "mfs-nano.yaml"
RUNS = ROOT / "runs"
RESULT = ROOT / "benchmarks" / "results" / "skips_nano.json"
KEPT = ("epochs", "best_epoch", "best_val_miou", "train_time_s", "miou")
WAYS = ("output", "first")


def main() -> None:
    """Train, score and cost by the command line, as a user would."""
    content: dict[str, Any] = {
        "schema_version": 1,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        **{way: _measured(way) for way in WAYS},
    }
    RESULT.write_text(json.dumps(content, indent=1) + "\n")
    for way in WAYS:
        print(f"attention={way}: {_line(content[way])}")
    print(f"wrote {RESULT.relative_to(ROOT)}")


def _measured(way: str) -> dict[str, Any]:
    """Training, scores and neurons with the attention taken from `way`."""
    run, change = RUNS / f"nano-{way}" / "run", f"model.attention={way}"
    if not (run / "metrics.json").is_file():
        resume = ["--resume"] if (run / "checkpoints" / "last.ckpt").is_file() else []
        neuroseg("train", CONFIG, change, "--out", run, *resume)
    trained = json.loads((run / "metrics.json").read_text())
    scores = {name: neuroseg("eval", run, *flags) for name, flags in EVALUATIONS.items()}
    return {
        "train": {key: trained[key] for key in KEPT},
        "eval": {name: {key: s[key] for key in KEPT_SCORES} for name, s in scores.items()},
        "ways": _ways(change),
    }


def _ways(change: str) -> dict[str, int]:
    """Deployed neurons by each way of waiting, where each is at its cheapest."""
    return {way["name"]: way["neurons_low"] for way in neuroseg("skips", CONFIG, change)["ways"]}


def _line(row: dict[str, Any]) -> str:
    scores = ", ".join(f"{name} mIoU {row['eval'][name]['miou']:.3f}" for name in ("val", "test"))
    return f"{scores}; {row['ways']['relay']:,} neurons with relays, {row['ways']['delay neuron']:,} with delay neurons"


if __name__ == "__main__":
    main()
