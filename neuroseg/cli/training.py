"""Commands that train and measure networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroseg.cli.app import Json, Out, app


@app.command(epilog="Example: neuroseg train demo train.epochs=3 --out runs/first")
def train(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a shipped config.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="Changes to it.")] = None,
    out: Out = Path("runs/train"),
    json: Json = False,
) -> None:
    """Train a network: config.yaml, weights.safetensors and metrics.json in the RUN folder."""
    from neuroseg.commands.console import put_json, show
    from neuroseg.config import load_config
    from neuroseg.train import train as train_config

    metrics = train_config(load_config(config, overrides or ()), out)
    if json:
        put_json(metrics)
        return
    rows = [
        ("data-set mIoU (test)", f"{metrics['miou']:.4f}"),
        ("pixel accuracy (test)", f"{metrics['pixel_accuracy']:.4f}"),
        ("mean firing rate", f"{metrics['firing_rate']:.3f}"),
        ("parameters", f"{metrics['parameters']:,}"),
        ("seconds", f"{metrics['train_time_s']:.0f}"),
    ]
    show(f"trained to {out}", ("what", "value"), rows)
