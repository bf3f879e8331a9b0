"""One way to run a compiled network, whatever runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from export.errors import UsageError
from export.execute.integer import run_integer
from export.graph import Graph

Backend = Literal["int", "lava", "lava-fast", "loihi2"]
BACKENDS: tuple[str, ...] = get_args(Backend)


def check_backend(backend: str) -> None:
    """Raise UsageError for an unknown backend and MissingBackend for one that is not installed; starts nothing."""
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend '{backend}'; choose one of {', '.join(BACKENDS)}.")
    if backend == "loihi2":
        from export.lava.board import require_extension

        require_extension()


def simulate(
    graph: Graph,
    network: Path,
    inputs: Mapping[str, NDArray[np.generic]],
    backend: str,
    *,
    populations: Sequence[str] | None = None,
    deadline_s: float | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, NDArray[np.uint8]]:
    """Run N samples.

    graph, network  the network, and the NetX file that it was read from: `int` runs the first, Lava the second
    inputs          input population -> spikes (N, T, C, H, W), logical
    backend         "int" (exact integers, torch), "lava" (stock processes and models), "lava-fast" (a faster Conv model),
                    "loihi2" (the same processes on a board, with Intel's extension)
    returns         population -> uint8 (N, T, C, H, W), logical; relays are left out
    raises          UsageError, DataError, RuntimeFailure, MissingBackend
    """
    check_backend(backend)
    if backend == "int":
        return run_integer(graph, inputs, populations=populations, on_progress=on_progress)
    from export.lava.board import Timing  # starting Lava's supervisor is only worth it here
    from export.lava.supervise import run_lava

    return run_lava(
        network,
        inputs,
        fast=backend == "lava-fast",
        board=Timing() if backend == "loihi2" else None,
        deadline_s=deadline_s,
        populations=populations,
        on_progress=on_progress,
    )
