"""`neuroseg data events`: look into files of event cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroseg.cli.app import Json, outside_zoo
from neuroseg.cli.data import data


@data.command("events", epilog="Example: neuroseg data events recordings/ --out events.png")
def events_command(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A recording, or a folder with some below it.")],
    out: Annotated[Path | None, typer.Option(help="PNG file to draw the first ones to.", callback=outside_zoo)] = None,
    json: Json = False,
) -> None:
    """What is in recordings (.bin, .bs2, .dat, .aedat, .aedat4): events, duration, sensor; exit code 1 for a fault."""
    from neuroseg.commands.console import progress, put_json
    from neuroseg.commands.recordings import recordings, show_recordings

    with progress("reading") as report:
        result = recordings(path, out, report)
    if json:
        put_json(result)
    else:
        show_recordings(result)
    if not result["ok"]:
        raise typer.Exit(1)
