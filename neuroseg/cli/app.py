"""The application, and the options that several commands share. Commands are thin: what they do stands in
`neuroseg.commands`, imported when it is needed, so that `--help` starts at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from export.errors import NeurosegError, UsageError

# In the order of use; a command that is not listed comes last.
ORDER = (
    *("demo", "data", "zoo", "support", "describe", "skips", "fit", "train", "convert", "eval"),
    *("export", "map", "report", "verify"),
    *("simulate", "parity", "ladder", "study", "tables", "hw", "doctor-env"),
)


class Commands(TyperGroup):
    """Ctrl-C becomes an error like any other: what runs has cleaned up on its way here."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of use."""
        return sorted(super().list_commands(ctx), key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise NeurosegError("interrupted. No process is left, and no file is half-written.") from None


app = typer.Typer(
    cls=Commands,
    help="Take a full-spike segmentation network to Lava and Loihi 2, spike for spike.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def in_zoo(given: Any) -> Any:
    """Callback of every argument that takes RUN folders: `zoo:NAME` becomes the folder of that network, the rest stays."""
    from neuroseg.zoo.names import PREFIX, resolve_run

    if isinstance(given, (list, tuple)):
        return [in_zoo(one) for one in given]
    return type(given)(resolve_run(given)) if str(given).startswith(PREFIX) else given


def config_in_zoo(given: str | None) -> str | None:
    """Callback of every argument that takes a config: `zoo:NAME` becomes the config of that network, the rest stays."""
    from neuroseg.zoo.names import PREFIX, network_folder

    return str(network_folder(given) / "config.yaml") if given and given.startswith(PREFIX) else given


def outside_zoo(out: Path | None) -> Path | None:
    """Callback of every option that names what is written: the zoo's own networks are refused."""
    from neuroseg.zoo.names import check_not_zoo

    if out is not None:
        check_not_zoo(out)
    return out


def no_run_of_zoo(bundle: Path) -> Path:
    """Callback of every argument that takes a bundle: a network of the zoo has to be exported first."""
    from neuroseg.zoo.names import PREFIX

    name = str(bundle)
    if name.startswith(PREFIX):
        out = f"{name.removeprefix(PREFIX)}.bundle"
        raise UsageError(
            f"'{name}' is a trained network, not a bundle. Export it first: neuroseg export {name} --out {out}"
        )
    return bundle


Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON on standard output.")]
NoVerify = Annotated[bool, typer.Option("--no-verify", help="Do not check the bundle's hashes.")]
Deadline = Annotated[float | None, typer.Option(help="Seconds after which a Lava run is ended.", min=1)]
BoardTiming = Annotated[
    str | None,
    typer.Option(metavar="IN,OUT", help="Steps between host and chip, there and back; with loihi2 only. Default 0,0."),
]
Out = Annotated[Path, typer.Option(help="Folder to write.", callback=outside_zoo)]
RunPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder made by `neuroseg train`, or zoo:NAME.", callback=in_zoo)
]
BundlePath = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="Folder made by `neuroseg export`.", callback=no_run_of_zoo)
]


def warn_no_verify(no_verify: bool) -> None:
    """Say that hashes are not checked, if so."""
    if no_verify:
        print("neuroseg: the bundle's hashes are NOT checked (--no-verify).", file=sys.stderr)


def two_steps(board_timing: str | None) -> tuple[int, int] | None:
    """The two numbers of `--board-timing`; UsageError for anything else."""
    if board_timing is None:
        return None
    try:
        into, out = (int(part) for part in board_timing.split(","))
    except ValueError:
        raise UsageError(
            f"--board-timing '{board_timing}' is not two whole numbers of steps, such as 1,2: into the chip, out of it."
        ) from None
    return into, out


def fail_on_mismatch(result: dict[str, Any]) -> None:
    """Exit code 1 if anything differs, or a rung of a ladder could not be run."""
    if result["mismatches"] or any(rung["error"] is not None for rung in result.get("rungs", ())):
        raise typer.Exit(1)
