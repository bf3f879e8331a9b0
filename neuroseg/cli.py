"""The command line. Commands are thin: what they do stands in `neuroseg.commands`, imported when it is needed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import export
from export.errors import NeurosegError, UsageError


class Commands(TyperGroup):
    """Ctrl-C becomes an error like any other: what runs has cleaned up on its way here."""

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

Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON on standard output.")]
NoVerify = Annotated[bool, typer.Option("--no-verify", help="Do not check the bundle's hashes.")]
Deadline = Annotated[float | None, typer.Option(help="Seconds after which a Lava run is ended.", min=1)]
Out = Annotated[Path, typer.Option(help="Folder to write.")]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder made by `neuroseg export`.")]


@app.command(epilog="Example: neuroseg train demo train.epochs=3 --out runs/first")
def train(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a shipped config.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE ...]", help="Changes to it.")] = None,
    out: Out = Path("runs/train"),
    json: Json = False,
) -> None:
    """Train a network: config.yaml, weights.safetensors and metrics.json in the RUN folder."""
    from neuroseg.commands.console import put_json, show
    from neuroseg.config import load_config
    from neuroseg.train import train as train_config

    metrics = train_config(load_config(config, overrides or ()), out)
    if json:
        put_json(metrics)
        return
    rows = [
        ("data-set mIoU (test)", f"{metrics['miou']:.4f}"),
        ("pixel accuracy (test)", f"{metrics['pixel_accuracy']:.4f}"),
        ("mean firing rate", f"{metrics['firing_rate']:.3f}"),
        ("parameters", f"{metrics['parameters']:,}"),
        ("seconds", f"{metrics['train_time_s']:.0f}"),
    ]
    show(f"trained to {out}", ("what", "value"), rows)


@app.command("export", epilog="Example: neuroseg export runs/first --target loihi2 --out runs/first.bundle")
def export_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder made by `neuroseg train`.")],
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


@app.command(epilog="Example: neuroseg simulate runs/first.bundle --backend lava --samples 2")
def simulate(
    bundle: BundlePath,
    backend: Annotated[str, typer.Option(help="int, lava or lava-fast.")] = "int",
    samples: Annotated[int | None, typer.Option(help="Test vectors to run; default all.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the spikes in this .npz file.")] = None,
    deadline: Deadline = None,
    no_verify: NoVerify = False,
    json: Json = False,
) -> None:
    """Run a bundle's test vectors and check every spike against the recorded ones."""
    from neuroseg.commands.console import put_json, say, show
    from neuroseg.commands.parity import simulate_bundle

    _warn(no_verify)
    result = simulate_bundle(bundle, backend, samples=samples, out=out, verify=not no_verify, deadline_s=deadline)
    if json:
        put_json(result)
    else:
        show(
            f"{backend}, {result['samples']} sample(s)",
            ("population", "firing rate"),
            list(result["firing_rates"].items()),
        )
        say(f"{result['mismatches']:,} mismatches in {result['compared']:,} neuron-steps against the recorded spikes")
        if result["first_divergence"]:
            say(f"first in '{result['first_divergence']['population']}': {result['first_divergence']['cause']}")
    _fail_on_mismatch(result)


@app.command(epilog="Example: neuroseg parity runs/first.bundle --left slayer --right lava --samples 2 --json")
def parity(
    bundle: BundlePath,
    left: Annotated[str, typer.Option(help="slayer, int, lava or lava-fast.")] = "slayer",
    right: Annotated[str, typer.Option(help="slayer, int, lava or lava-fast.")] = "lava",
    samples: Annotated[int, typer.Option(help="Test images to run, streamed back to back.")] = 2,
    deadline: Deadline = None,
    no_verify: NoVerify = False,
    json: Json = False,
) -> None:
    """Compare two backends spike by spike; the exit code is 1 if any spike differs."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.parity import parity as run_parity
    from neuroseg.commands.parity import show_parity

    _warn(no_verify)
    result = run_parity(bundle, left, right, samples, verify=not no_verify, deadline_s=deadline)
    if json:
        put_json(result)
    else:
        show_parity(result)
    _fail_on_mismatch(result)


@app.command(epilog="Example: neuroseg demo --out runs/demo --json")
def demo(out: Out = Path("runs/demo"), json: Json = False) -> None:
    """Train on embedded data, export, run on Lava, compare every spike, draw a picture."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.demo import demo as run_demo

    result = run_demo(out)
    if json:
        put_json(result)
    _fail_on_mismatch(result)


def main() -> None:
    """Entry point: errors become one plain message and the exit codes of the contract."""
    try:
        _check_compiler()
        app()
    except NeurosegError as error:
        print(f"neuroseg: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:  # a path that cannot even be looked at: too long, or not ours to read
        print(f"neuroseg: '{error.filename or 'a file'}': {error.strerror or error}. Check the path.", file=sys.stderr)
        sys.exit(2)


def _check_compiler() -> None:
    """An unrelated distribution named `export` exists; name it if it took our compiler's place."""
    if not getattr(export, "NEUROSEG_COMPILER", False):
        raise UsageError(
            f"the package 'export' at {export.__file__} is not neuroseg's compiler; another distribution of that name is "
            "installed. Remove it (pip uninstall export) or install neuroseg in an environment of its own."
        )


def _warn(no_verify: bool) -> None:
    if no_verify:
        print("neuroseg: the bundle's hashes are NOT checked (--no-verify).", file=sys.stderr)


def _fail_on_mismatch(result: dict[str, Any]) -> None:
    if result["mismatches"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
