"""`neuroseg hw`: what is known about the hardware."""

from __future__ import annotations

from typing import Annotated

import typer

from export.errors import UsageError
from neuroseg.cli.app import Json, app

hw = typer.Typer(
    help="Facts about chips, systems and costs: value, unit, range, evidence and source. Without a command: the list.",
    epilog="Example: neuroseg hw show kapoho_point",
    rich_markup_mode=None,
)
app.add_typer(hw, name="hw")


@hw.callback(invoke_without_command=True)
def hardware(context: typer.Context, json: Json = False) -> None:
    """Without a command: the list."""
    if context.invoked_subcommand is None:
        list_command(json)
    elif json:
        raise UsageError(f"--json stands after the command: neuroseg hw {context.invoked_subcommand} ... --json")


@hw.command("list", epilog="Example: neuroseg hw list --json")
def list_command(json: Json = False) -> None:
    """Names of the chips, systems, sets of costs and of coefficients that are installed."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.hardware import list_hardware, show_list

    content = list_hardware()
    if json:
        put_json(content)
    else:
        show_list(content)


@hw.command("show", epilog="Example: neuroseg hw show loihi2 --json")
def show_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A name of `neuroseg hw list`, or a path of a YAML file.")
    ],
    json: Json = False,
) -> None:
    """Every fact of a chip, a system or a set of costs or coefficients; a wrong file is refused, key by key."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.hardware import read_hardware, show_hardware

    content = read_hardware(name)
    if json:
        put_json(content)
    else:
        show_hardware(content)
