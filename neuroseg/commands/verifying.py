"""`neuroseg verify`: what holds of a bundle, as a table. Nothing that trains is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.simulate import BoardTiming
from export.verify import Verdict, verify
from neuroseg.commands.console import progress, say, show

WORDS = {True: "holds", False: "DOES NOT HOLD", None: "not checked"}


def verify_bundle(
    path: Path,
    backends: Sequence[str],
    samples: int | None,
    *,
    hashes: bool = True,
    deadline_s: float | None = None,
    board_timing: BoardTiming | None = None,
) -> Verdict:
    """`export.verify.verify` with progress bars."""
    return verify(
        path,
        backends=backends,
        samples=samples,
        hashes=hashes,
        deadline_s=deadline_s,
        board_timing=board_timing,
        progress=progress,
    )


def show_verdict(verdict: Verdict) -> None:
    """Every check with its detail, and one sentence on the whole."""
    rows = [(check.name, WORDS[check.holds], check.detail) for check in verdict.checks]
    show(f"bundle {verdict.bundle}", ("check", "", "detail"), rows)
    failed = [check.name for check in verdict.checks if check.holds is False]
    if failed:
        say(f"{len(failed)} of {len(verdict.checks)} checks fail: {', '.join(failed)}.")
        return
    replayed = f"{sum(replay.compared for replay in verdict.replays):,} neuron-steps were replayed without a difference"
    if not verdict.unchecked:
        say(f"the bundle holds; {replayed}.")
        return
    say(f"what was checked holds; {replayed}.")
    say(f"NOT checked: {'; '.join(verdict.unchecked)}.")
