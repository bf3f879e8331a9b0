"""Commands that compile a run and look at what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroseg.cli.app import BundlePath, Json, NoVerify, Out, RunPath, app, outside_zoo, warn_no_verify


@app.command("export", epilog="Example: neuroseg export runs/first --target loihi2 --out runs/first.bundle")
def export_command(
    run: RunPath,
    out: Out,
    target: Annotated[str, typer.Option(help="Chip to compile for.")] = "loihi2",
    layout: Annotated[str, typer.Option(help="Storage of up-sampled stages: auto, nested or interleave.")] = "auto",
    delays: Annotated[str, typer.Option(help="How skips wait: relay, neuron or auto.")] = "relay",
    system: Annotated[
        str | None, typer.Option(help="Refuse what does not fit it: a system of `neuroseg hw list`, or a YAML file.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Export even if it does not fit the system.")] = False,
    allow_graded: Annotated[
        bool, typer.Option("--allow-graded", help="Take neurons of several thresholds; they run on simulators only.")
    ] = False,
    vectors: Annotated[int, typer.Option(help="Test vectors to keep in the bundle.", min=1)] = 4,
    json: Json = False,
) -> None:
    """Compile a run: fold, prove spike-only, lower, quantise, balance delays, place on cores, write NetX and the report."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.exporting import export_run, summarise

    content = export_run(
        run,
        out,
        target=target,
        layout=layout,
        delays=delays,
        vectors=vectors,
        system=system,
        force=force,
        allow_graded=allow_graded,
    )
    if json:
        put_json(content)
    else:
        summarise(content, out)


@app.command(epilog="Example: neuroseg report runs/first.bundle --html first.html")
def report(
    bundle: BundlePath,
    html: Annotated[
        Path | None, typer.Option(help="Write the page there, the certificate's beside it.", callback=outside_zoo)
    ] = None,
    no_verify: NoVerify = False,
    json: Json = False,
) -> None:
    """Show what a bundle costs: neurons, cores, synops, energy and latency, with what is exact and what is estimated."""
    from neuroseg.commands.console import put_json, say
    from neuroseg.commands.reporting import read_report, show_report

    warn_no_verify(no_verify)
    content = read_report(bundle, verify=not no_verify, html=html)
    if json:
        put_json(content)
    else:
        show_report(content)
    if html is not None:
        say(f"written: {html}")
