"""`python -m benchmarks.accuracy.curves`: the papers' curves of trained networks of the plan, by `neuroseg study`.

Score against T of a directly trained and of a converted network, against noise beside the ANN, against the number of thresholds,
and where the network spikes.
JSON goes to benchmarks/results/accuracy/curves, pictures to docs/images/accuracy. `python -m benchmarks.accuracy` makes the runs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

from benchmarks.accuracy.running import LOGS, ROOT, RUNS

PICTURES = ROOT / "docs" / "images" / "accuracy"
RESULTS = LOGS / "curves"
STUDY, DRIVE = (RUNS.relative_to(ROOT) / name for name in ("mnist-cifar10", "drive"))
SPLIT = ("--split", "val")  # 500 images
# Name -> the arguments of `neuroseg study`, and the files that are kept
CURVES: dict[str, tuple[tuple[object, ...], tuple[str, ...]]] = {
    "timesteps": (("timesteps", STUDY / "spiking-deeplab", "--inference", "1,2,4,6,8,12,16", *SPLIT), ("timesteps",)),
    "timesteps-converted": (
        ("timesteps", STUDY / "converted-deeplab-layer", "--inference", "4,8,16,32,64", *SPLIT),
        ("timesteps",),
    ),
    "noise": (
        ("noise", STUDY / "spiking-deeplab", STUDY / "ann-deeplab", "--sigma", "0.05,0.1,0.2,0.3", *SPLIT),
        ("noise",),
    ),
    "thresholds": (
        ("thresholds", DRIVE / "ann", "--steps", "10", "--no-match"),
        ("thresholds",),
    ),
    "rates": (("rates", STUDY / "spiking-deeplab", "--samples", "16", *SPLIT), ("rates", "maps")),
}


def main() -> None:
    """Draw what is missing; points that a study has are kept."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name, (arguments, kept) in CURVES.items():
        out = RUNS / "curves" / name
        told = ("study", *map(str, arguments), "--out", str(out.relative_to(ROOT)))
        print(f"neuroseg {' '.join(told)}", flush=True)
        command = [sys.executable, "-m", "neuroseg.cli", *told, "--json"]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        for part in kept:
            shutil.copy(out / f"{part}.png", PICTURES / f"{name if part == kept[0] else part}.png")
        shutil.copy(out / f"{kept[0]}.json", RESULTS / f"{name}.json")


if __name__ == "__main__":
    main()
