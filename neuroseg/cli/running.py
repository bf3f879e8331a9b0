"""Commands that run a compiled network and compare what runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuroseg.cli.app import (
    BoardTiming,
    BundlePath,
    Deadline,
    Json,
    NoVerify,
    Out,
    app,
    fail_on_mismatch,
    outside_zoo,
    two_steps,
    warn_no_verify,
)

SIDE_HELP = "float, folded, slayer, int, lava, lava-fast or loihi2."


@app.command(epilog="Example: neuroseg simulate runs/first.bundle --backend lava --samples 2")
def simulate(
    bundle: BundlePath,
    backend: Annotated[str, typer.Option(help="int, lava, lava-fast or loihi2.")] = "int",
    samples: Annotated[int | None, typer.Option(help="Test vectors to run; default all.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the spikes in this .npz file.", callback=outside_zoo)] = None,
    deadline: Deadline = None,
    board_timing: BoardTiming = None,
    no_verify: NoVerify = False,
    json: Json = False,
) -> None:
    """Run a bundle's test vectors and check every spike against the recorded ones."""
    from neuroseg.commands.console import put_json, say, show
    from neuroseg.commands.parity import simulate_bundle

    warn_no_verify(no_verify)
    result = simulate_bundle(
        bundle,
        backend,
        samples=samples,
        out=out,
        verify=not no_verify,
        deadline_s=deadline,
        board_timing=two_steps(board_timing),
    )
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
    fail_on_mismatch(result)


@app.command(epilog="Example: neuroseg parity runs/first.bundle --left slayer --right lava --samples 2 --json")
def parity(
    bundle: BundlePath,
    left: Annotated[str, typer.Option(help=SIDE_HELP)] = "slayer",
    right: Annotated[str, typer.Option(help=SIDE_HELP)] = "lava",
    samples: Annotated[int, typer.Option(help="Test images to run, streamed back to back.")] = 2,
    deadline: Deadline = None,
    board_timing: BoardTiming = None,
    no_verify: NoVerify = False,
    json: Json = False,
) -> None:
    """Compare two backends spike by spike; the exit code is 1 if any spike differs."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.parity import parity as run_parity
    from neuroseg.commands.parity import show_parity

    warn_no_verify(no_verify)
    timing = two_steps(board_timing)
    result = run_parity(bundle, left, right, samples, verify=not no_verify, deadline_s=deadline, board_timing=timing)
    if json:
        put_json(result)
    else:
        show_parity(result)
    fail_on_mismatch(result)


@app.command(
    epilog="Example: neuroseg ladder runs/first.bundle --rungs float,folded,slayer,int --out runs/first.ladder"
)
def ladder(
    bundle: BundlePath,
    samples: Annotated[int, typer.Option(help="Test images to run.")] = 2,
    rungs: Annotated[
        str, typer.Option(help="Comma-separated: float, folded, slayer, int, lava-fast, lava, loihi2.")
    ] = "float,folded,slayer,int,lava-fast,lava",
    out: Annotated[
        Path | None, typer.Option(help="Folder for ladder.json and the pictures.", callback=outside_zoo)
    ] = None,
    deadline: Deadline = None,
    board_timing: BoardTiming = None,
    no_verify: NoVerify = False,
    json: Json = False,
) -> None:
    """Compare each step from the trained network to Lava: mIoU, spikes, the first divergence and its cause.

    The exit code is 1 if a spike differs from slayer on; float and folded differ a little, and the ladder says why. A
    rung that fails is told, the others are run all the same, and the exit code is 1.
    """
    from neuroseg.commands.console import put_json
    from neuroseg.commands.ladder import ladder as run_ladder
    from neuroseg.commands.ladder import show_ladder

    warn_no_verify(no_verify)
    chosen = [rung.strip() for rung in rungs.split(",") if rung.strip()]
    result = run_ladder(
        bundle,
        chosen,
        samples,
        out=out,
        verify=not no_verify,
        deadline_s=deadline,
        board_timing=two_steps(board_timing),
    )
    if json:
        put_json(result)
    else:
        show_ladder(result, out)
    fail_on_mismatch(result)


@app.command(epilog="Example: neuroseg verify runs/first.bundle --backend int --backend lava-fast")
def verify(
    bundle: BundlePath,
    backend: Annotated[
        list[str] | None, typer.Option(help="int, lava, lava-fast or loihi2; may be given again. Default int and lava.")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Test vectors to replay; default all.")] = None,
    deadline: Deadline = None,
    board_timing: BoardTiming = None,
    no_verify: NoVerify = False,
    json: Json = False,
) -> None:
    """Check a bundle from its files alone: hashes, numbers, delays, and every recorded spike; exit code 1 if one fails."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.verifying import show_verdict, verify_bundle

    warn_no_verify(no_verify)
    verdict = verify_bundle(
        bundle,
        backend or ("int", "lava"),
        samples,
        hashes=not no_verify,
        deadline_s=deadline,
        board_timing=two_steps(board_timing),
    )
    if json:
        put_json(verdict.to_json())
    else:
        show_verdict(verdict)
    if not verdict.holds:
        raise typer.Exit(1)


@app.command(epilog="Example: neuroseg demo --out runs/demo --json")
def demo(out: Out = Path("runs/demo"), json: Json = False) -> None:
    """Train on embedded data, export, run on Lava, compare every spike, draw a picture."""
    from neuroseg.commands.console import put_json
    from neuroseg.commands.demo import demo as run_demo

    result = run_demo(out)
    if json:
        put_json(result)
    fail_on_mismatch(result)
