"""Commands that describe, train and measure networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroseg.cli.app import Json, Out, RunPath, app, config_in_zoo

ConfigName = Annotated[
    str,
    typer.Argument(metavar="CONFIG", help="A YAML file, a shipped config's name, or zoo:NAME.", callback=config_in_zoo),
]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="Changes to it.")]


@app.command(epilog="Example: neuroseg describe mfs-efs72 data.size=[360,480] --json")
def describe(
    config: ConfigName,
    overrides: Overrides = None,
    layout: Annotated[str, typer.Option(help="Storage of up-sampled stages: auto, nested or interleave.")] = "auto",
    delays: Annotated[str, typer.Option(help="How skips wait: relay, neuron or auto.")] = "relay",
    json: Json = False,
) -> None:
    """Parameters, operations and neurons of a network, relays included, without training it."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.describe import describe as describe_config
    from neuroseg.commands.describe import show_description
    from neuroseg.config import load_config

    result = describe_config(load_config(config, overrides or ()), layout, delays)
    if json:
        put_json(result)
    else:
        show_description(result)


@app.command(epilog="Example: neuroseg skips mfs-efs72 --search")
def skips(
    config: ConfigName,
    overrides: Overrides = None,
    search: Annotated[
        bool, typer.Option("--search", help="Also cost networks that take their skips elsewhere.")
    ] = False,
    layout: Annotated[str, typer.Option(help="Storage of up-sampled stages: auto, nested or interleave.")] = "auto",
    json: Json = False,
) -> None:
    """What aligning the skips costs: relays, delay neurons, synaptic delays, for every skip."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.skips import show_skips
    from neuroseg.commands.skips import skips as cost_skips
    from neuroseg.config import load_config

    result = cost_skips(load_config(config, overrides or ()), layout, search=search)
    if json:
        put_json(result)
    else:
        show_skips(result)


@app.command(epilog="Example: neuroseg train mfs-nano train.epochs=3 train=paper-camvid --out runs/first")
def train(
    config: ConfigName,
    overrides: Overrides = None,
    out: Out = Path("runs/train"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Forget an interrupted training in --out.")] = False,
    json: Json = False,
) -> None:
    """Train a network: config.yaml, weights.safetensors and metrics.json in the RUN folder."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.training import is_first_process, show_scores, train_config
    from neuroseg.config import load_config

    metrics = train_config(load_config(config, overrides or ()), out, resume=resume, restart=restart)
    if not is_first_process():
        return
    if json:
        put_json(metrics)
    else:
        show_scores(f"trained to {out}", metrics)


@app.command("eval", epilog="Example: neuroseg eval runs/first --split val --boundary 2 --json")
def evaluate(
    run: RunPath,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    real: Annotated[bool, typer.Option("--real", help="In real numbers, also if it was trained for integers.")] = False,
    boundary: Annotated[
        float | None, typer.Option(help="Also score boundaries (F) within this many pixels, such as 2.", min=0)
    ] = None,
    json: Json = False,
) -> None:
    """Scores of trained weights: mIoU or PSNR, IoU per class, firing rate of every population, operations, energy."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.training import evaluate_run, show_rates, show_scores

    scores = evaluate_run(run, split, real=real, boundary=boundary)
    if json:
        put_json(scores)
    else:
        show_scores(f"{run}", scores)
        show_rates(scores)
