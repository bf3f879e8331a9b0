"""Commands that measure one thing against another: `neuroseg study ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from export.errors import UsageError
from neuroseg.cli.app import Json, Out, RunPath, app, in_zoo

study = typer.Typer(
    help="Curves of a network: score against time steps, against noise, where it spikes. PNG and JSON.",
    epilog="Example: neuroseg study timesteps runs/first --inference 1,2,3,5,8",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(study, name="study")

Split = Annotated[str, typer.Option(help="train, val or test.")]
Restart = Annotated[bool, typer.Option("--restart", help="Forget the points that are in --out.")]


def numbers(text: str, option: str) -> list[float]:
    """Numbers of a comma-separated list; UsageError for anything else."""
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(f"{option} '{text}' is no list of numbers, such as 0,0.05,0.1.") from None


def whole_numbers(text: str, option: str) -> list[int]:
    """The same for whole numbers."""
    found = numbers(text, option)
    if any(value != int(value) for value in found):
        raise UsageError(f"{option} '{text}' is no list of whole numbers, such as 1,2,3,5,8.")
    return [int(value) for value in found]


@study.command("timesteps", epilog="Example: neuroseg study timesteps runs/first --inference 1,2,3,5,8 --json")
def timesteps_command(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_CONFIG", help="A RUN folder or zoo:NAME; or a config, which is trained.", callback=in_zoo
        ),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="Changes to a config.")
    ] = None,
    inference: Annotated[str, typer.Option(help="T at which the same weights are scored, comma-separated.")] = "",
    train: Annotated[str, typer.Option(help="T at which the network is trained anew, comma-separated.")] = "",
    split: Split = "test",
    out: Out = Path("runs/study-timesteps"),
    restart: Restart = False,
    json: Json = False,
) -> None:
    """The score against the number of time steps T, at inference and in training. What was interrupted goes on."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.study_timesteps import show_timesteps, timesteps

    at, anew = whole_numbers(inference, "--inference"), whole_numbers(train, "--train")
    result = timesteps(subject, overrides or (), at, anew, out, split=split, restart=restart)
    if json:
        put_json(result)
    else:
        show_timesteps(result, out)


@study.command("noise", epilog="Example: neuroseg study noise runs/snn runs/ann --sigma 0,0.05,0.1,0.2")
def noise_command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN ...", help="RUN folders or zoo:NAME, such as an SNN and its ANN twin.", callback=in_zoo
        ),
    ],
    sigma: Annotated[
        str, typer.Option(help="Deviations in units of the pixels' range, comma-separated.")
    ] = "0.05,0.1,0.2",
    seed: Annotated[int, typer.Option(help="Of the noise.", min=0)] = 0,
    split: Split = "test",
    out: Out = Path("runs/study-noise"),
    restart: Restart = False,
    json: Json = False,
) -> None:
    """The relative drop of the mIoU under Gaussian noise on the inputs, one curve per run."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.study_noise import noise, show_noise

    result = noise(runs, numbers(sigma, "--sigma"), out, split=split, seed=seed, restart=restart)
    if json:
        put_json(result)
    else:
        show_noise(result, out)


@study.command("rates", epilog="Example: neuroseg study rates runs/first --populations encoder0.output,decoder0.output")
def rates_command(
    run: RunPath,
    samples: Annotated[int, typer.Option(help="Images that are counted.", min=1)] = 16,
    pictures: Annotated[int, typer.Option(help="Images whose spikes are drawn.", min=1)] = 3,
    populations: Annotated[str, typer.Option(help="Names for the maps, comma-separated; default: eight of them.")] = "",
    real: Annotated[bool, typer.Option("--real", help="In real numbers, also if it was trained for integers.")] = False,
    split: Split = "test",
    out: Out = Path("runs/study-rates"),
    json: Json = False,
) -> None:
    """Spike rate of every layer, maps of the spikes over the image, and the accumulations that they set off."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.study_rates import rates, show_rates_study

    names = [name.strip() for name in populations.split(",") if name.strip()]
    result = rates(run, out, split=split, samples=samples, pictures=pictures, populations=names, real=real)
    if json:
        put_json(result)
    else:
        show_rates_study(result, out)
