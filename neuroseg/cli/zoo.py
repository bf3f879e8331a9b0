"""`neuroseg zoo`: trained networks that come with the package."""

from __future__ import annotations

from typing import Annotated

import typer

from export.errors import UsageError
from neuroseg.cli.app import Json, Out, app

zoo = typer.Typer(
    help="Trained networks that come with the package; zoo:NAME stands for one wherever a RUN is asked for. "
    "Without a command: the list.",
    epilog="Example: neuroseg zoo show mfs-digits",
    rich_markup_mode=None,
)
app.add_typer(zoo, name="zoo")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name of `neuroseg zoo list`, with or without zoo:.")]


@zoo.callback(invoke_without_command=True)
def networks(context: typer.Context, json: Json = False) -> None:
    """Without a command: the list."""
    if context.invoked_subcommand is None:
        list_command(json)
    elif json:
        raise UsageError(f"--json stands after the command: neuroseg zoo {context.invoked_subcommand} ... --json")


@zoo.command("list", epilog="Example: neuroseg zoo list --json")
def list_command(json: Json = False) -> None:
    """The networks: data, mIoU, parameters, neurons as trained and as deployed, cores, energy."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.zoo import list_networks, show_list

    content = list_networks()
    if json:
        put_json(content)
    else:
        show_list(content)


@zoo.command("show", epilog="Example: neuroseg zoo show mfs-digits --json")
def show_command(name: Name, json: Json = False) -> None:
    """The card of a network: data and its licence, recipe, scores, what it takes on the chip, limits."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.zoo import read_network, show_network

    content = read_network(name)
    if json:
        put_json(content)
    else:
        show_network(content)


@zoo.command("get", epilog="Example: neuroseg zoo get mfs-digits --out runs/mfs-digits")
def get_command(name: Name, out: Out, json: Json = False) -> None:
    """Copy a network as a RUN folder, its card and pictures in it; a folder that holds something else is refused."""
    from neuroseg.commands.console import put_json, say
    from neuroseg.commands.zoo import get_network

    content = get_network(name, out)
    if json:
        put_json(content)
    else:
        say(f"zoo:{content['name']} was copied to {out}; read {out / 'card.md'}.")
