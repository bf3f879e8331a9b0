"""The command that says which model runs where."""

from __future__ import annotations

from typing import Annotated

import typer

from neuroseg.cli.app import Json, app


@app.command("support", epilog="Example: neuroseg support --system oheo_gulch --json")
def support_command(
    system: Annotated[
        str | None, typer.Option(help="On loihi2, also fit the small network there: a system of `neuroseg hw list`.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    json: Json = False,
) -> None:
    """Which model runs on which target: as it is, with a switch, or not and why. Each is compiled, at a reduced size.

    Switches `model.*` name another network, to be trained anew with them; a trained ANN becomes a spiking network by
    `neuroseg convert`, too.
    """
    from neuroseg.commands.console import put_json
    from neuroseg.commands.support import markdown as as_markdown
    from neuroseg.commands.support import show_support, support

    result = support(system)
    if json:
        put_json(result)
    elif markdown:
        print(as_markdown(result), end="")
    else:
        show_support(result)
