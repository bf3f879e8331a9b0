"""Commands that ask which cores a network takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from export.errors import UsageError
from neuroseg.cli.app import Json, NoVerify, app, no_run_of_zoo, warn_no_verify


@app.command("map", epilog="Example: neuroseg map runs/first.bundle --system oheo_gulch")
def map_command(
    network: Annotated[
        Path, typer.Argument(help="A NetX file, ours or another's, or a bundle.", callback=no_run_of_zoo)
    ],
    system: Annotated[str, typer.Option(help="A system that `neuroseg hw list` names, or the path of a YAML file.")],
    locate: Annotated[bool, typer.Option("--locate", help="Also place cores on the mesh; hops, time, energy.")] = False,
    rate: Annotated[
        float | None, typer.Option(help="With --locate: assumed firing rate, spikes per neuron and step.")
    ] = None,
    costs: Annotated[str | None, typer.Option(help="With --locate: set of the chip's coefficients.")] = None,
    no_verify: NoVerify = False,
    json: Json = False,
) -> None:
    """Cut a network into cores under every known limit; the exit code is 1 if it does not fit the system.

    Sigma-delta and other networks that neuroseg cannot run are placed, too, and told so.
    """
    from neuroseg.commands.console import put_json
    from neuroseg.commands.mapping import map_network, show_mapping

    warn_no_verify(no_verify)
    if not locate and (rate is not None or costs is not None):
        raise UsageError("--rate and --costs say what --locate counts with: add --locate.")
    result = map_network(network, system, verify=not no_verify, located=locate, rate=rate, costs=costs)
    if json:
        put_json(result)
    else:
        show_mapping(result)
    if not result["fits"]:
        raise typer.Exit(1)
