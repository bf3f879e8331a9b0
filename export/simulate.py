"""One way to run a compiled network, whatever runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from export.errors import UsageError
from export.execute.integer import run_integer
from export.graph import Graph

Backend = Literal["int", "lava", "lava-fast", "loihi2"]
BACKENDS: tuple[str, ...] = get_args(Backend)
BoardTiming: TypeAlias = tuple[int, int]  # steps between host and chip, in and out (`export.lava.board.Timing`)


def check_backend(backend: str) -> None:
    """Raise UsageError for an unknown backend and MissingBackend for one that is not installed; starts nothing."""
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend '{backend}'; choose one of {', '.join(BACKENDS)}.")
    if backend == "loihi2":
        from export.lava.board import require_extension

        require_extension()


def check_board_timing(timing: BoardTiming | None, backends: Iterable[str]) -> None:
    """Raise UsageError for a board's timing where no board runs, and for one that no board has."""
    if timing is None:
        return
    if "loihi2" not in backends:
        raise UsageError("--board-timing is for backend loihi2 only: the others need none. Leave it out.")
    if min(timing) < 0:
        raise UsageError(f"--board-timing {timing[0]},{timing[1]}: steps cannot be negative.")


def simulate(
    graph: Graph,
    network: Path,
    inputs: Mapping[str, NDArray[np.generic]],
    backend: str,
    *,
    populations: Sequence[str] | None = None,
    deadline_s: float | None = None,
    board_timing: BoardTiming | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, NDArray[np.uint8]]:
    """Run N samples.

    graph, network  the network, and the NetX file that it was read from: `int` runs the first, Lava the second
    inputs          input population -> spikes (N, T, C, H, W), logical
    backend         "int" (exact integers, torch), "lava" (stock processes and models), "lava-fast" (the same processes fused
                    into one of ours), "loihi2" (the same processes on a board, with Intel's extension)
    board_timing    of backend "loihi2"; None: (0, 0)
    returns         population -> uint8 (N, T, C, H, W), logical; relays are left out
    raises          UsageError, DataError, RuntimeFailure, MissingBackend
    """
    check_board_timing(board_timing, (backend,))
    check_backend(backend)
    if backend == "int":
        return run_integer(graph, inputs, populations=populations, on_progress=on_progress)
    from export.lava.board import Timing  # starting Lava's supervisor is only worth it here
    from export.lava.supervise import run_lava

    return run_lava(
        network,
        inputs,
        fast=backend == "lava-fast",
        board=Timing(*(board_timing or (0, 0))) if backend == "loihi2" else None,
        deadline_s=deadline_s,
        populations=populations,
        on_progress=on_progress,
    )
