"""Commands that make spiking networks of ANNs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroseg.cli.app import Json, Out, app, in_zoo
from neuroseg.cli.studies import study

Source = Annotated[
    Path,
    typer.Argument(metavar="RUN_OR_ONNX", help="Folder of a trained ANN, zoo:NAME, or an .onnx file.", callback=in_zoo),
]


@app.command(epilog="Example: neuroseg convert runs/unet --neuron if --reset hard --steps 50 --out runs/unet-if")
def convert(
    source: Source,
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="Changes to data and training of its config.")
    ] = None,
    out: Out = Path("runs/converted"),
    neuron: Annotated[str, typer.Option(help="if: one threshold, binary; mt: several, graded.")] = "if",
    normalise: Annotated[str, typer.Option(help="layer, channel or connection.")] = "connection",
    reset: Annotated[str, typer.Option(help="soft: subtract the threshold; hard: to zero, as the chip does.")] = "soft",
    steps: Annotated[int, typer.Option(help="T, time steps per image.", min=1)] = 20,
    calibrate: Annotated[int, typer.Option(help="Training images on which activations are measured.", min=1)] = 32,
    percentile: Annotated[float, typer.Option(help="Of the activations that a rate of 1 stands for.")] = 99.9,
    match: Annotated[bool, typer.Option("--match/--no-match", help="Take back what rates lose on average.")] = True,
    finetune: Annotated[int, typer.Option(help="Epochs on accumulated spiking flow.", min=0)] = 0,
    lr: Annotated[float, typer.Option(help="Learning rate of these epochs.")] = 1e-6,
    data: Annotated[
        str | None, typer.Option(help="Config (file or name) whose data section tells the images; needed for ONNX.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a spiking network of a trained ANN: ReLUs become integrate-and-fire neurons; scores of both."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.converting import Conversion, show_conversion
    from neuroseg.commands.converting import convert as convert_source

    ask = Conversion(neuron, normalise, reset, steps, calibrate, percentile, match=match)
    result = convert_source(source, out, ask, data=data, changes=changes or (), finetune=finetune, lr=lr)
    if json:
        put_json(result)
    else:
        show_conversion(result, ask)


@study.command("thresholds", epilog="Example: neuroseg study thresholds runs/unet --steps 20 --json")
def thresholds_command(
    source: Source,
    steps: Annotated[int, typer.Option(help="T, time steps per image.", min=1)] = 20,
    table: Annotated[
        str, typer.Option(help="Thresholds to try: lists apart by ; such as '1;2,1'. Default: the paper's.")
    ] = "",
    normalise: Annotated[str, typer.Option(help="layer, channel or connection.")] = "connection",
    calibrate: Annotated[int, typer.Option(help="Training images on which activations are measured.", min=1)] = 32,
    match: Annotated[bool, typer.Option("--match/--no-match", help="Take back what rates lose on average.")] = True,
    finetune: Annotated[int, typer.Option(help="Epochs for each list; the paper's table has 100.", min=0)] = 0,
    lr: Annotated[float, typer.Option(help="Learning rate of these epochs.")] = 1e-6,
    data: Annotated[
        str | None, typer.Option(help="Config whose data section tells the images; needed for ONNX.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    out: Out = Path("runs/study-thresholds"),
    restart: Annotated[bool, typer.Option("--restart", help="Forget the points that are in --out.")] = False,
    json: Json = False,
) -> None:
    """The score of a converted ANN against the thresholds of its neurons. What was interrupted goes on."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.converting import Conversion
    from neuroseg.commands.study_thresholds import TABLE, show_thresholds, table_of, thresholds

    ask = Conversion("if", normalise, "soft", steps, calibrate, match=match)
    chosen = table_of(table) if table else TABLE
    result = thresholds(
        source, ask, out, table=chosen, finetune=finetune, lr=lr, data=data, split=split, restart=restart
    )
    if json:
        put_json(result)
    else:
        show_thresholds(result)
