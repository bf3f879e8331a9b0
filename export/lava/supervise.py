"""Run a NetX file on Lava in a child that is watched.

Lava hangs where others raise: after an exception in a process model, after a killed process, without `stop()`. So it
runs in a child with a process group of its own, a status file, a deadline, and an end in any case.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.errors import RuntimeFailure, UsageError
from export.execute.integer import check_inputs, input_spikes
from export.graph import LINES, Array, Conv, Dense, Graph, Population, to_logical, to_physical
from export.lava.board import Timing, check_board, chip_generation, require_extension
from export.lava.job import REPORTS, Job, Status, read_status, write_job
from export.lava.preflight import check_room
from export.netx.read import read_netx

POLL_S = 0.05
STOP_S = 30.0  # for Lava's orderly end, once all results are written
GRACE_S = 8.0  # from SIGTERM to SIGKILL; Python's resource tracker uses it to release shared memory
SOCKET_ROOM = 70  # longest folder name in which multiprocessing can still make a socket (108 characters in all)
START_S = 120.0  # imports, compilation and start of all processes on a slow, busy machine
BOARD_S = 1800.0  # a board may be waited for in a queue, and compiling for it takes minutes
SLACK = 20.0  # a run may take this many times the estimate
STUCK_START_S = 900.0  # without a first step for this long, the start is stuck
STALL_S = 300.0  # without a step done for this long, or for SLACK times what a report should take, a run is stuck
OPERATION_S = {False: 1.5e-8, True: 5e-10}  # per multiply-accumulate of stock's and of our models, one core
MESSAGE_S = 2e-3  # per process and step
CALL_S = 3e-5  # per population or projection of a fused network and step
NEURON_S = 5e-8  # per neuron and step


def run_lava(
    network: Path,
    inputs: Mapping[str, Array],
    *,
    fast: bool,
    fused: bool = True,
    board: Timing | None = None,
    deadline_s: float | None = None,
    populations: Sequence[str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, NDArray[np.uint8]]:
    """Spikes of N samples, streamed back to back through Lava's processes.

    inputs       input population -> uint8 spikes (N, T, C, H, W), logical order; for an input that is driven by a
                 constant bias, that bias (N, C, H, W): its spikes are computed here and injected
    fast         our bit-identical models in place of stock's
    fused        with `fast`: all processes as one; else one process each, as in the stock graph
    board        not None: on a Loihi 2 board, under `Loihi2HwCfg` (`fast` has no meaning there)
    deadline_s   None: 120 s (1,800 s for a board) and twenty times an estimate
    populations  those to record; None: all but relays
    on_progress  called with Lava steps (done, all)
    returns      population -> uint8 (N, T, C, H, W), logical order
    raises       FileFormatError, DataError for the file and the inputs; UsageError for an unknown population, and for graded
                 spikes on fast models;
                 MissingBackend without Intel's extension, GrammarError for what the chip cannot hold;
                 RuntimeFailure when this machine is too small, a Lava process fails, is killed, or the deadline passes
    """
    if board is not None:
        require_extension()
        chip_generation(os.environ)
    graph = read_netx(network, steps=_steps_of(inputs))
    samples = check_inputs(graph, inputs)
    recorded = _recorded(graph, populations)
    if board is not None:
        check_board(graph)
    elif fast:
        check_binary(graph)
    check_room(graph, samples, recorded, fast=fast, board=board is not None, fused=fused)
    patience = START_S if board is None else BOARD_S
    limit = deadline_s if deadline_s is not None else patience + SLACK * estimate_s(graph, samples, fast, fused)
    with tempfile.TemporaryDirectory(prefix="neuroseg-lava-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        job = prepare_job(folder, network, graph, inputs, samples, recorded, fast, board, fused)
        stall = max(STALL_S if board is None else BOARD_S, SLACK * estimate_s(graph, samples, fast, fused) / REPORTS)
        supervise(folder, limit, on_progress, stall)
        return {p: _collect(folder / job.sinks[p], graph.populations[p], samples, graph.steps) for p in recorded}


def check_binary(graph: Graph) -> None:
    """UsageError for graded spikes, which our fast models would take for 1."""
    for population in graph.populations.values():
        if population.thresholds:
            raise UsageError(
                f"population '{population.name}' fires graded spikes, which the fast models do not carry. Use --backend lava, "
                "or int; one threshold (neuroseg convert --neuron if --reset hard) is binary."
            )


def estimate_s(graph: Graph, samples: int, fast: bool, fused: bool = True) -> float:
    """A rough time for a run, from measurements on one core: convolutions, neurons and messages."""
    operations = 0
    for projection in graph.projections:
        if isinstance(projection, Conv):
            _, height, width = projection.output_shape(graph.populations[projection.source].physical_shape)
            operations += projection.weight.size * height * width
        else:
            operations += projection.weight.size if isinstance(projection, Dense) else projection.matrix.nnz
    neurons = sum(population.neurons for population in graph.populations.values())
    processes = len(graph.projections) + 2 * len(graph.populations)
    messages = MESSAGE_S + processes * CALL_S if fast and fused else processes * MESSAGE_S
    per_step = operations * OPERATION_S[fast] + neurons * NEURON_S + messages
    return per_step * (max(graph.arrivals.values()) + samples * graph.steps)


def prepare_job(
    folder: Path,
    network: Path,
    graph: Graph,
    inputs: Mapping[str, Array],
    samples: int,
    recorded: Sequence[str],
    fast: bool,
    board: Timing | None = None,
    fused: bool = True,
) -> Job:
    """Write input spikes, empty output files and the job into a folder."""
    sources = {population.name: f"input{i}.npy" for i, population in enumerate(graph.inputs)}
    sinks = {name: f"spikes{i}.npy" for i, name in enumerate(recorded)}
    for name, file in sources.items():
        population = graph.populations[name]
        spikes = to_physical(input_spikes(population, inputs[name], graph.steps), population.layout)
        rows = _rows(folder / file, population, samples * graph.steps)
        rows[:] = spikes.reshape(-1, *population.physical_shape).transpose(0, 3, 2, 1)
    for name, file in sinks.items():
        _rows(folder / file, graph.populations[name], samples * graph.steps)
    timing = None if board is None else asdict(board)
    job = Job(str(Path(network).resolve()), graph.steps, samples, fast, sources, sinks, timing, fused)
    write_job(folder, job)
    return job


def supervise(
    folder: Path,
    deadline_s: float,
    on_progress: Callable[[int, int], None] | None = None,
    stall_s: float = STALL_S,
) -> None:
    """Run a prepared job to its end; RuntimeFailure otherwise. No process of it is left in either case.

    stall_s  seconds after which a run without progress is ended
    """
    with (folder / "log.txt").open("wb") as log, _child(folder, log.fileno()) as child:
        started, reported = time.monotonic(), 0
        moved = started
        while True:
            ended = child.poll() is not None  # before the status is read: the last words come before the end
            status = read_status(folder)
            if status.step > reported:
                reported, moved = status.step, time.monotonic()
                if on_progress is not None:
                    on_progress(status.step, status.total)
            if status.done:
                _await_end(child)
                return
            if ended or status.error:
                raise RuntimeFailure(_failure(folder, status, child.returncode))
            if time.monotonic() - started > deadline_s:
                where = f"at step {status.step} of {status.total}" if status.total else "while starting"
                raise RuntimeFailure(
                    f"the Lava run missed its deadline of {deadline_s:.0f} s {where}. "
                    f"Give it more time (--deadline, deadline_s), fewer samples, or the fast models (lava-fast)."
                )
            patience = stall_s if reported else max(stall_s, STUCK_START_S)
            if time.monotonic() - moved > patience:
                raise RuntimeFailure(
                    f"the Lava run has made no progress for {patience:.0f} s at step {status.step}: a process is stuck or "
                    "stopped. Nothing of it is left; start it again, with fewer samples or lava-fast if the machine is small."
                )
            time.sleep(POLL_S)


@contextlib.contextmanager
def _child(folder: Path, log: int) -> Iterator[subprocess.Popen[bytes]]:
    """The child in a group of its own; the group is ended on the way out, whatever the way."""
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
    if len(str(folder)) <= SOCKET_ROOM:
        environment["TMPDIR"] = str(folder)  # what Lava's shared memory manager leaves when killed goes with the job
    child = subprocess.Popen(
        [sys.executable, "-m", "export.lava.child", str(folder)],
        stdin=subprocess.PIPE,  # the life line: it closes when this process ends, however it ends
        stdout=log,
        stderr=log,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        _end_group(child)


def _await_end(child: subprocess.Popen[bytes]) -> None:
    """All results are written: whatever hangs in Lava's `stop()` from here on does not matter and is ended."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(STOP_S)


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """SIGTERM to all members of the group, then SIGKILL to those that are left."""
    for number, patience in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        end = time.monotonic() + patience
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
            while time.monotonic() < end:
                child.poll()  # reap it: a zombie would keep the group alive
                os.killpg(child.pid, 0)
                time.sleep(POLL_S)
    if child.stdin is not None:
        child.stdin.close()
    child.wait()


def _failure(folder: Path, status: Status, returncode: int | None) -> str:
    """One plain sentence, then the traceback or the last words of the child."""
    if status.error:
        return f"the Lava run failed: {status.error}.\n{status.details.strip()}"
    last_words = (folder / "log.txt").read_text(errors="replace")[-2000:].strip()
    if returncode is not None and returncode < 0:
        how = f"was killed by {signal.Signals(-returncode).name}"
    else:
        how = f"ended with status {returncode}"
    return (
        f"the Lava run failed: its process {how} at step {status.step}. Memory may have run out.\n{last_words}".strip()
    )


def _steps_of(inputs: Mapping[str, Array]) -> int | None:
    """T of the first input of spikes: for NetX files that do not say."""
    return next((values.shape[1] for values in inputs.values() if values.ndim == 5), None)


def _recorded(graph: Graph, populations: Sequence[str] | None) -> list[str]:
    if populations is None:
        return [name for name, population in graph.populations.items() if population.kind not in LINES]
    for name in populations:
        if name not in graph.populations:
            raise UsageError(f"the network has no population '{name}'; it has {', '.join(graph.populations)}.")
    return list(dict.fromkeys(populations))


def _rows(path: Path, population: Population, steps: int) -> NDArray[np.uint8]:
    """A new file of zeros, (steps, W, H, C), mapped into memory: it takes no room before it is written."""
    channels, height, width = population.physical_shape
    rows: NDArray[np.uint8] = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.uint8, shape=(steps, width, height, channels)
    )
    return rows


def _collect(path: Path, population: Population, samples: int, steps: int) -> NDArray[np.uint8]:
    """Recorded rows as (N, T, C, H, W), logical order, in memory of their own."""
    rows = np.load(path, mmap_mode="r").transpose(0, 3, 2, 1)
    physical = rows.reshape(samples, steps, *population.physical_shape)
    return np.ascontiguousarray(to_logical(physical, population.layout)).astype(np.uint8, copy=False)
