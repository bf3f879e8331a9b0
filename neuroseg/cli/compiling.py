"""Commands that compile a run and look at what came out."""

from __future__ import annotations

from typing import Annotated

import typer

from neuroseg.cli.app import Json, Out, RunPath, app


@app.command("export", epilog="Example: neuroseg export runs/first --target loihi2 --out runs/first.bundle")
def export_command(
    run: RunPath,
    out: Out,
    target: Annotated[str, typer.Option(help="Chip to compile for.")] = "loihi2",
    layout: Annotated[str, typer.Option(help="Storage of up-sampled stages: auto, nested or interleave.")] = "auto",
    vectors: Annotated[int, typer.Option(help="Test vectors to keep in the bundle.", min=1)] = 4,
    json: Json = False,
) -> None:
    """Compile a run: fold, prove spike-only, lower, quantise, balance delays, write NetX."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.exporting import export_run, summarise

    content = export_run(run, out, target=target, layout=layout, vectors=vectors)
    if json:
        put_json(content)
    else:
        summarise(content, out)
