"""Commands about the papers whose networks are here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroseg.cli.app import Json, app


@app.command("tables", epilog="Example: neuroseg tables --json")
def tables_command(
    results: Annotated[
        Path | None,
        typer.Option(help="Folder of our accuracy measurements. Default: benchmarks/results, where it is there."),
    ] = None,
    json: Json = False,
) -> None:
    """The papers' tables, ours beside theirs: parameters, operations, energies, what deviates and why.

    Rows with * are networks of others. A deviation in brackets is from a printed number that contradicts another one.
    """
    from neuroseg.commands.console import put_json
    from neuroseg.commands.tables import show_tables, tables

    content = tables(results)
    if json:
        put_json(content)
    else:
        show_tables(content)
