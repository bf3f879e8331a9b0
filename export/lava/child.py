"""The supervised child: builds a network from a job folder and runs it on Lava. Started by `export.lava.supervise`.

`python -m export.lava.child JOB`. The child's standard input is its life line: when it closes, the parent is gone, and
everything here ends. Progress and the outcome are written to `JOB/status.json`.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from export.lava.job import CHANNEL_SLOTS, OPEN_FILES, REPORTS, Job, Status, read_job, write_status

PR_SET_PDEATHSIG = 1  # prctl option, linux/prctl.h
WORD_S = 5.0  # how long a process model that failed may take to hand over its traceback
ENDING = threading.Lock()  # held by whoever writes to the job folder, and for ever by the thread that removes it


class LavaProcessDied(BaseException):
    """A process of the simulation ended while it was needed. Not an `Exception`: nothing in Lava may swallow it.

    by_itself  it was not killed: the first to end when a process model fails, which need not be the one that failed
    """

    def __init__(self, message: str, *, by_itself: bool) -> None:
        super().__init__(message)
        self.by_itself = by_itself


class Watch:
    """Turns the death of a Lava process into an exception in the main thread, at once and wherever Lava blocks."""

    def __init__(self) -> None:
        self.armed = False

    def arm(self) -> None:
        """Start watching: after the imports, some of which run and reap helper processes of their own."""
        self.armed = True
        signal.signal(signal.SIGCHLD, self._on_child)

    def _on_child(self, number: int, frame: FrameType | None) -> None:
        if not self.armed:
            return
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # a forked Lava process inherits this handler and has no children
            return
        if ended is None:
            return
        self.armed = False
        killed = ended.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
        status = ended.si_status
        cause = f"was killed by {signal.Signals(status).name}" if killed else f"ended with status {status}"
        raise LavaProcessDied(f"Lava process {ended.si_pid} {cause}", by_itself=not killed)


def main(folder: Path) -> int:
    """Run a job; the exit status is 0 when every step was simulated."""
    _hold_life_line(folder)
    _tie_forks_to_this_process()
    _allow_open_files()
    watch = Watch()
    runtime: list[Any] = []
    try:
        _simulate(folder, read_job(folder), runtime, watch)
    except (Exception, LavaProcessDied) as error:
        watch.armed = False
        patience = WORD_S if getattr(error, "by_itself", False) else 0.0
        raised = model_traceback(runtime, patience) or getattr(error, "trace", None)
        sentence = f"a process model raised {raised.strip().splitlines()[-1]}" if raised else str(error)
        _report(folder, Status(error=sentence, details=raised or traceback.format_exc()))
        return 1
    with ENDING:  # no exit half-way through the removal
        return 0


def _report(folder: Path, status: Status) -> None:
    with ENDING:
        write_status(folder, status)


def _simulate(folder: Path, job: Job, started: list[Any], watch: Watch) -> None:
    from lava.magma.core.run_conditions import RunSteps  # lava takes seconds to import: the life line comes first

    from export.lava.mended_channels import mend_channels

    mend_channels()  # first of all: what is made from here on must not hang
    from export.lava.build import build, total_steps
    from export.netx.read import read_netx

    graph = read_netx(Path(job.network), steps=job.steps)
    sources = {name: folder / file for name, file in job.sources.items()}
    sinks = {name: folder / file for name, file in job.sinks.items()}
    config, bridge = _backend(job)
    network = build(graph, sources, sinks, wide_groups=job.fast or bridge is not None, bridge=bridge)
    head = _fused(network) if job.fast and job.fused and bridge is None else network.head
    total, done = total_steps(graph, job.samples, bridge), 0
    started.append(head)
    if bridge is None:  # Intel's extension starts and ends helper processes of its own; there only progress is watched
        watch.arm()
    chunk = max(1, total // REPORTS)
    while done < total:
        steps = min(chunk if done else 1, total - done)
        # two slots per channel instead of 64: the whole memory of a run, at the same speed
        compiling = {"pypy_channel_size": CHANNEL_SLOTS} if bridge is None else {}
        head.run(condition=RunSteps(num_steps=steps), run_cfg=config, compile_config=compiling)
        done += steps
        _report(folder, Status(step=done, total=total))
    watch.armed = False
    _report(folder, Status(step=total, total=total, done=True))
    head.stop()


def _backend(job: Job) -> tuple[Any, Any]:
    """Run configuration of the job, and the bridge to the chip if it has one."""
    from lava.magma.core.run_configs import Loihi2SimCfg

    if job.board is not None:
        from export.lava.board import Timing, choose_host
        from export.lava.board_config import BoardConfig, board_bridge

        choose_host(os.environ)
        return BoardConfig(), board_bridge(Timing(**job.board))
    models = None
    if job.fast and not job.fused:
        from export.lava.models import fast_models

        models = fast_models()
    return Loihi2SimCfg(select_tag="fixed_pt", exception_proc_model_map=models), None


def _fused(network: Any) -> Any:
    """The network as one process of ours. Its loops are compiled here, once, before Lava forks."""
    from export.lava.fuse import fuse
    from export.lava.machine import cores
    from export.lava.processes.fused_network import FusedNetwork

    return FusedNetwork(program=fuse(network.neurons.values(), cores()))


def model_traceback(started: list[Any], patience_s: float = 0.0) -> str | None:
    """The traceback of the process model that failed, which Lava collects and never prints; None if none failed.

    patience_s  to wait for it: Lava's service may have ended before the process that failed has written
    """
    runtime = started[0].runtime if started else None
    infrastructure = getattr(runtime, "_messaging_infrastructure", None)
    end = time.monotonic() + patience_s
    while True:
        for actor in getattr(infrastructure, "actors", []):
            failure = actor.exception
            if failure:
                return str(failure[1])
        if time.monotonic() >= end:
            return None
        time.sleep(0.02)


def _hold_life_line(folder: Path) -> None:
    """End the whole process group, and remove the job, once the parent's end of standard input closes."""

    def wait() -> None:
        os.read(0, 1)
        ENDING.acquire()
        shutil.rmtree(folder, ignore_errors=True)
        os.killpg(0, signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def _tie_forks_to_this_process() -> None:
    """Every process that Lava forks dies with this one, however it dies (Linux; elsewhere the parent cleans up)."""
    if not sys.platform.startswith("linux"):
        return
    prctl = ctypes.CDLL(None).prctl
    os.register_at_fork(after_in_child=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL))


def _allow_open_files() -> None:
    """Every channel is an open file of this process, and 1,024, the usual soft limit, is soon too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
