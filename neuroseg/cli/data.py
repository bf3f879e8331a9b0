"""`neuroseg data`: look at data sets before training on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from export.errors import UsageError
from neuroseg.cli.app import Json, app, outside_zoo

data = typer.Typer(
    help="Look at data sets before training on them. Without a command: the list of those that can be read.",
    epilog="Example: neuroseg data check data/camvid --json",
    rich_markup_mode=None,
)
app.add_typer(data, name="data")


@data.callback(invoke_without_command=True)
def data_sets(context: typer.Context, json: Json = False) -> None:
    """Without a command: the list."""
    if context.invoked_subcommand is not None:
        if json:
            raise UsageError(f"--json stands after the command: neuroseg data {context.invoked_subcommand} ... --json")
        return
    from neuroseg.commands.console import put_json
    from neuroseg.commands.data_sets import list_sets, show_sets

    content = list_sets()
    if json:
        put_json(content)
    else:
        show_sets(content)


@data.command("check", epilog="Example: neuroseg data check data/camvid --json")
def check_command(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of a data set, or one that holds several.")],
    name: Annotated[
        str | None, typer.Option(help="Which data set it is (a value of data.name), if its layout does not tell.")
    ] = None,
    json: Json = False,
) -> None:
    """What is missing, counts, sizes, labels per class and split, and pictures in two splits; exit code 1 for a fault."""
    from neuroseg.commands.console import progress, put_json
    from neuroseg.commands.data_check import check, show_check

    with progress("reading") as report:
        result = check(path, name, report)
    if json:
        put_json(result)
    else:
        show_check(result)
    if not result["ok"]:
        raise typer.Exit(1)


@data.command("show", epilog="Example: neuroseg data show demo --out sheet.png --split train --count 4")
def show_command(
    source: Annotated[
        str, typer.Argument(metavar="CONFIG_OR_PATH", help="A config's file or name, or the folder of a data set.")
    ],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="Changes to it.")] = None,
    out: Annotated[Path, typer.Option(help="PNG file to write.", callback=outside_zoo)] = Path("sheet.png"),
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    count: Annotated[int, typer.Option(help="Items, spread over the split; at most 24.", min=1, max=24)] = 6,
    training: Annotated[
        bool, typer.Option("--training", help="As the network gets them in training: patches, random changes.")
    ] = False,
    json: Json = False,
) -> None:
    """A sheet of pictures: image, mask and both; noisy and clean; or events and mask."""
    from neuroseg.commands.console import put_json, say
    from neuroseg.commands.data_show import show_data

    result = show_data(source, overrides or (), out, split=split, count=count, training=training)
    if json:
        put_json(result)
    else:
        say(f"{len(result['items'])} items of {result['name']}, {split}: {out}")
