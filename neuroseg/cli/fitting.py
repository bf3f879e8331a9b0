"""The command that asks whether a network fits, before anybody trains it."""

from __future__ import annotations

from typing import Annotated

import typer

from export.errors import UsageError
from neuroseg.cli.app import Json, app, config_in_zoo

FAMILY = "mfs-nano"


@app.command("fit", epilog="Example: neuroseg fit mfs-nano data.size=[96,128] --system oheo_gulch")
def fit_command(
    config: Annotated[
        str | None,
        typer.Argument(
            metavar="CONFIG", help="A YAML file, a shipped config's name, or zoo:NAME.", callback=config_in_zoo
        ),
    ] = None,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="Changes to it.")] = None,
    *,
    system: Annotated[str, typer.Option(help="A system that `neuroseg hw list` names, or the path of a YAML file.")],
    delays: Annotated[str, typer.Option(help="How skips wait: relay, neuron or auto.")] = "relay",
    layout: Annotated[str, typer.Option(help="Storage of up-sampled stages: auto, nested or interleave.")] = "auto",
    rate: Annotated[
        float | None, typer.Option(help="Assumed spikes per neuron and step, for times.", show_default="0.1")
    ] = None,
    largest: Annotated[
        bool, typer.Option("--largest", help=f"Find the largest network of the config's family; default {FAMILY}.")
    ] = False,
    objective: Annotated[
        str | None,
        typer.Option(help="What --largest ranks by: macs, pixels, params or neurons.", show_default="macs"),
    ] = None,
    json: Json = False,
) -> None:
    """Cores, chips, memory and latency of an untrained network on a system; what to change if it does not fit.

    Exit code 1 if it does not fit. Weights are assumed to be as wide as exported ones can be.
    """
    from neuroseg.commands.console import put_json
    from neuroseg.commands.fit import RATE, fit, show_fit
    from neuroseg.commands.largest import find_largest, show_largest
    from neuroseg.config import load_config

    if config is None and not largest:
        raise UsageError("name a config: `neuroseg fit CONFIG --system ...`, or ask for --largest of a family.")
    if rate is not None and largest:
        raise UsageError(
            "--rate is for the time of one network; --largest compares many and tells no time. Leave it out."
        )
    if objective is not None and not largest:
        raise UsageError("--objective says what --largest ranks by: add --largest.")
    loaded = load_config(config or FAMILY, overrides or ())
    if largest:
        result = find_largest(loaded, system, delays=delays, layout=layout, objective=objective or "macs")
    else:
        result = fit(loaded, system, delays=delays, layout=layout, rate=RATE if rate is None else rate)
    if json:
        put_json(result)
    elif largest:
        show_largest(result)
    else:
        show_fit(result)
    if not result["fits"]:
        raise typer.Exit(1)
