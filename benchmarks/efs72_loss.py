"""The first steps of the recipe of mfs-efs72, at its full size: `python -m benchmarks.efs72_loss --steps 60`.

Whole training is for a GPU: an epoch of 600 images takes hours on a CPU. This takes the very batches, loss and optimiser that
`neuroseg train mfs-efs72` begins with, and writes the loss of every step to benchmarks/results/efs72_loss.json, after each
step, so that it can be ended at any time. Needs CamVid (NEUROSEG_DATA) and 8 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from neuroseg.config import load_config
from neuroseg.models import build, parameter_count
from neuroseg.train import dataset, task_of
from neuroseg.train.data import loader
from neuroseg.train.optimiser import optimiser

RESULT = Path(__file__).parent / "results" / "efs72_loss.json"
NAME, CHANGES = "mfs-efs72", ("train.activation_checkpointing=true",)
ENDS = 10  # steps whose mean loss stands for the beginning and for the end


def main() -> None:
    """Train for some steps."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.efs72_loss", description=__doc__)
    parser.add_argument("--steps", type=int, default=60, help="optimiser steps, of two images each")
    steps = parser.parse_args().steps
    if steps < 2 * ENDS:
        parser.error(f"--steps {steps}: the first and the last {ENDS} are compared; give {2 * ENDS} or more")
    config = load_config(NAME, CHANGES)
    images = dataset(config, "train", training=True)
    model = build(config, config.train.seed)
    task = task_of(config, model).train()
    batches = loader(config, images, shuffle=True, rank=0, processes=1)
    chosen = optimiser(config.train, model.parameters(), len(batches))
    losses: list[float] = []
    for batch in islice(batches, steps):
        start = time.perf_counter()
        loss = task.loss(model(batch[0]), batch)
        chosen["optimizer"].zero_grad()
        loss.backward()
        chosen["optimizer"].step()
        chosen["lr_scheduler"]["scheduler"].step()
        losses.append(float(loss.detach()))
        print(f"step {len(losses)} of {steps}: loss {losses[-1]:.3f}, {time.perf_counter() - start:.0f} s", flush=True)
        _write(
            losses,
            {"images": config.train.batch_size, "parameters": parameter_count(model), "input": config.input_shape},
        )


def _write(losses: list[float], about: dict[str, Any]) -> None:
    """What is known so far."""
    enough = len(losses) >= 2 * ENDS  # else both means would be of the same steps
    content = {
        "schema_version": 1,
        "config": NAME,
        "changes": CHANGES,
        **about,
        "torch": torch.__version__,
        "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "steps": len(losses),
        "first_mean": fmean(losses[:ENDS]) if enough else None,
        "last_mean": fmean(losses[-ENDS:]) if enough else None,
        "losses": losses,
    }
    RESULT.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
