"""What may go wrong around a Lava run ends in a clear error, in time, and leaves no process and no folder behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from interruptible import heed_interrupts
from lava_helpers import residual_graph, spikes_for

from export.errors import RuntimeFailure
from export.lava.child import model_traceback
from export.lava.supervise import POLL_S, prepare_job, run_lava, supervise
from export.netx.write import write_netx

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")

LONG = 1500  # samples: seconds of simulation, so that a fault comes in the middle of the run


def processes_of(folder: Path) -> dict[int, int]:
    """Process -> parent, of all processes whose command line names a folder below this one."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"{folder}/" in (entry / "cmdline").read_text():
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    return found


def leaves_of(folder: Path) -> list[int]:
    """Processes that Lava forked from the child, oldest first."""
    found = processes_of(folder)
    return sorted(pid for pid, parent in found.items() if parent in found)


def gone_within(folder: Path, seconds: float) -> bool:
    """True when all processes of a folder, and the folder's content, are gone in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not processes_of(folder) and not any(folder.iterdir()):
            return True
        time.sleep(POLL_S)
    return False


@pytest.fixture
def network(tmp_path) -> Path:
    write_netx(residual_graph(), tmp_path / "net.net")
    return tmp_path / "net.net"


@pytest.fixture
def jobs(monkeypatch) -> Iterator[Path]:
    """The folder in which runs keep their temporary folders; its name is short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="jobs-") as name:
        monkeypatch.setattr("tempfile.tempdir", name)
        yield Path(name)


def test_a_normal_run_leaves_nothing_behind_and_reports_its_progress(network, jobs):
    reports = []
    run_lava(network, spikes_for(residual_graph(), 1), fast=True, on_progress=lambda *at: reports.append(at))
    assert reports[-1][0] == reports[-1][1] > 0
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert gone_within(jobs, 0.5)


@pytest.mark.parametrize(
    "victim", [pytest.param(0, id="oldest", marks=pytest.mark.slow), pytest.param(-1, id="youngest")]
)
def test_a_killed_lava_process_is_an_error_within_ten_seconds(victim, network, jobs):
    killed = []

    def kill(done: int, total: int) -> None:
        if not killed:
            killed.append(time.monotonic())
            os.kill(leaves_of(jobs)[victim], signal.SIGKILL)

    with pytest.raises(RuntimeFailure, match="was killed by SIGKILL"):
        run_lava(network, spikes_for(residual_graph(), LONG), fast=True, on_progress=kill)
    assert time.monotonic() - killed[0] < 10
    assert gone_within(jobs, 0.5)


def test_a_killed_child_is_an_error_within_ten_seconds(network, jobs):
    killed = []

    def kill(done: int, total: int) -> None:
        if not killed:
            killed.append(time.monotonic())
            found = processes_of(jobs)
            os.kill(next(pid for pid, parent in found.items() if parent == os.getpid()), signal.SIGKILL)

    with pytest.raises(RuntimeFailure, match="was killed by SIGKILL at step"):
        run_lava(network, spikes_for(residual_graph(), LONG), fast=True, on_progress=kill)
    assert time.monotonic() - killed[0] < 10
    assert gone_within(jobs, 0.5)


def test_a_process_that_stops_without_dying_is_an_error_too(network, jobs, monkeypatch):
    stopped = []
    monkeypatch.setattr("export.lava.supervise.STALL_S", 4.0)
    monkeypatch.setattr("export.lava.supervise.SLACK", 1.0)

    def stop(done: int, total: int) -> None:
        if not stopped:
            stopped.append(time.monotonic())
            os.kill(leaves_of(jobs)[-1], signal.SIGSTOP)

    with pytest.raises(RuntimeFailure, match="no progress for .* s at step .* stuck or stopped"):
        run_lava(network, spikes_for(residual_graph(), LONG), fast=True, deadline_s=600, on_progress=stop)
    assert time.monotonic() - stopped[0] < 25
    assert gone_within(jobs, 0.5)


@pytest.mark.parametrize(
    "deadline", [pytest.param(0.2, id="starting"), pytest.param(12.0, id="running", marks=pytest.mark.slow)]
)
def test_a_missed_deadline_is_an_error_that_says_how_to_raise_it(deadline, network, jobs):
    started = time.monotonic()
    with pytest.raises(RuntimeFailure, match="--deadline"):
        run_lava(network, spikes_for(residual_graph(), 5 * LONG), fast=True, deadline_s=deadline)
    assert time.monotonic() - started < deadline + 10
    assert gone_within(jobs, 0.5)


def test_an_exception_inside_a_process_model_is_relayed_with_its_traceback(network, jobs):
    graph = residual_graph()
    prepare_job(jobs, network, graph, spikes_for(graph, 1), 1, ["head"], fast=True)
    (jobs / "input0.npy").unlink()
    with pytest.raises(RuntimeFailure, match=r"a process model raised FileNotFoundError.*input0\.npy") as caught:
        supervise(jobs, deadline_s=60)
    assert "in run_spk" in str(caught.value)
    assert not processes_of(jobs)


class _Infrastructure:
    """Stands for Lava's: `actors[1]` hands over its failure at the third look, after another process has ended."""

    def __init__(self) -> None:
        self.looks = 0
        self.actors = [self._Quiet(), self._Late(self)]

    class _Quiet:
        exception = None

    class _Late:
        def __init__(self, whole: _Infrastructure) -> None:
            self.whole = whole

        @property
        def exception(self) -> tuple[Exception, str] | None:
            self.whole.looks += 1
            return (ValueError("late"), "the traceback") if self.whole.looks > 2 else None


@pytest.mark.parametrize(("patience_s", "found"), [(0.0, None), (60.0, "the traceback")])
def test_a_traceback_that_comes_after_lavas_service_ended_is_waited_for(patience_s, found):
    head = SimpleNamespace(runtime=SimpleNamespace(_messaging_infrastructure=_Infrastructure()))
    assert model_traceback([head], patience_s) == found


def test_an_exception_before_lava_starts_is_relayed(network, jobs):
    graph = residual_graph()
    prepare_job(jobs, network, graph, spikes_for(graph, 1), 1, ["head"], fast=True)
    network.write_bytes(b"no longer a network")
    with pytest.raises(RuntimeFailure, match="not a complete HDF5 file"):
        supervise(jobs, deadline_s=60)
    assert not processes_of(jobs)


RUN = """
import sys
from pathlib import Path
from lava_helpers import residual_graph, spikes_for
from export.lava.supervise import run_lava
run_lava(Path(sys.argv[1]), spikes_for(residual_graph(), 1500), fast=True,
         on_progress=lambda done, total: print("running", flush=True))
"""


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_nothing_is_left_when_the_parent_is_interrupted_or_dies(number, network, jobs):
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent)])
    environment = {**os.environ, "TMPDIR": str(jobs), "PYTHONPATH": path}
    log = network.with_name("log.txt")
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-c", RUN, str(network)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            preexec_fn=heed_interrupts,
        ) as parent,
    ):
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"running\n", log.read_text()
        assert len(processes_of(jobs)) > 2
        parent.send_signal(number)
        assert parent.wait(10) != 0
    assert gone_within(jobs, 10)
