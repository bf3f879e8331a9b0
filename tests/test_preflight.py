"""The preflight bounds what a run takes, reads the limits of the machine, and refuses with numbers and a way out."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from lava_helpers import chain_graph, mixed_graph, residual_graph, spikes_for

from export.errors import RuntimeFailure
from export.lava import preflight, supervise
from export.lava.machine import Machine, cgroup_folders, cores, measure, read_limit
from export.lava.preflight import Needs, check_room, needs_of, shortages
from export.lava.supervise import run_lava
from export.netx.write import write_netx

LOOKS = 5  # each one takes a good part of a second
SAMPLES = 300  # so that the run goes on while it is looked at
PLENTY = Machine(1 << 50, 1 << 50, 1 << 50, 1 << 20, 1 << 20, 2, "/tmp", "no limit known")
FOLDER_V1, FOLDER_V2 = "sys/fs/cgroup/memory/job/inner", "sys/fs/cgroup/job/inner"


def recorded(graph) -> list[str]:
    return [name for name, population in graph.populations.items() if population.kind != "relay"]


def taken(root: int) -> dict[str, int]:
    """What the processes of a run take now; psutil.Error if one of them ends meanwhile."""
    child = psutil.Process(root)
    processes = [child, *child.children(recursive=True)]
    return {
        "processes": len(processes),
        "tasks": sum(process.num_threads() for process in processes),
        "memory_bytes": sum(process.memory_full_info().pss for process in processes),
        "files": max(process.num_fds() for process in processes),
    }


def measured_run(graph, samples: int, fast: bool, tmp_path: Path, monkeypatch) -> dict[str, int]:
    """The most that a real run took, looked at whenever it reported steps: all its processes are there then."""
    write_netx(graph, tmp_path / "net.net")
    start, children, looks = subprocess.Popen, [], []

    def popen(command, **options):
        children.append(start(command, **options))
        return children[0]

    def look(done: int, total: int) -> None:
        if len(looks) < LOOKS and done < total:
            with contextlib.suppress(psutil.Error):
                looks.append(taken(children[0].pid))

    monkeypatch.setattr(supervise.subprocess, "Popen", popen)
    run_lava(tmp_path / "net.net", spikes_for(graph, samples), fast=fast, on_progress=look)
    return {key: max(each[key] for each in looks) for key in looks[0]}


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's account of shared pages")
@pytest.mark.parametrize(
    ("make", "fast"),
    [
        pytest.param(chain_graph, False, id="chain-stock"),
        pytest.param(mixed_graph, True, id="mixed-fast"),
        pytest.param(residual_graph, False, id="residual-stock", marks=pytest.mark.slow),
    ],
)
def test_the_needs_bound_a_real_run_and_are_not_far_above_it(make, fast, tmp_path, monkeypatch):
    graph = make()
    most = measured_run(graph, SAMPLES, fast, tmp_path, monkeypatch)
    needs = needs_of(graph, SAMPLES, recorded(graph), fast=fast)
    assert needs.processes == most["processes"]
    assert most["tasks"] <= needs.tasks <= 1.1 * most["tasks"]
    assert most["memory_bytes"] <= needs.memory_bytes <= 1.5 * most["memory_bytes"]
    assert most["files"] <= needs.files <= 2 * most["files"]


def test_temporary_files_take_what_was_predicted(tmp_path):
    graph = residual_graph()
    write_netx(graph, tmp_path / "net.net")
    names = recorded(graph)
    supervise.prepare_job(tmp_path, tmp_path / "net.net", graph, spikes_for(graph, 50), 50, names, False)
    written = sum(path.stat().st_size for path in tmp_path.glob("*.npy"))
    assert written <= needs_of(graph, 50, names, fast=False).temporary_bytes <= written + 2 * preflight.MIB


def test_needs_grow_with_samples_and_recorded_populations_only_where_they_should():
    graph = residual_graph()
    few, many = (needs_of(graph, n, recorded(graph), fast=False) for n in (1, 1000))
    assert (few.processes, few.tasks, few.shared_bytes) == (many.processes, many.tasks, many.shared_bytes)
    assert many.temporary_bytes > few.temporary_bytes and many.memory_bytes > few.memory_bytes
    assert needs_of(graph, 1, ["head"], fast=False).processes == few.processes - len(recorded(graph)) + 1


def test_on_a_board_only_spike_files_and_adapters_run_here():
    graph = residual_graph()
    here, board = (needs_of(graph, 1, ["head"], fast=False, board=on) for on in (False, True))
    assert board.processes < here.processes / 4 and board.memory_bytes < here.memory_bytes


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("memory_bytes", "of memory for"),
        ("shared_bytes", r"of shared memory.*--shm-size"),
        ("temporary_bytes", r"of temporary files.*set TMPDIR"),
        ("tasks", r"processes and threads.*no limit known"),
        ("files", r"open files in one process.*ulimit -Hn"),
    ],
)
def test_too_little_of_each_resource_is_refused_with_both_numbers(field, words, tmp_path, monkeypatch):
    graph = residual_graph()
    write_netx(graph, tmp_path / "net.net")
    needed = getattr(needs_of(graph, 2, recorded(graph), fast=False), field)
    monkeypatch.setattr(preflight, "measure", lambda: replace(PLENTY, **{field: needed - 1}))
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(RuntimeFailure, match=words) as caught:
        run_lava(tmp_path / "net.net", spikes_for(graph, 2), fast=False)
    assert "the backend int, which is one process" in str(caught.value)
    number = f"{needed:,}" if field in ("tasks", "files") else f"{needed / (1e9 if needed >= 1e9 else 1e6):.1f}"
    assert number in str(caught.value)


def test_exactly_enough_is_enough():
    graph = residual_graph()
    needs = needs_of(graph, 2, recorded(graph), fast=False)
    machine = replace(PLENTY, **{f: getattr(needs, f) for f in Needs.__dataclass_fields__ if f != "processes"})
    assert check_room(graph, 2, recorded(graph), fast=False, machine=machine) == needs
    assert shortages(needs, replace(machine, tasks=needs.tasks - 1))


def test_a_resource_that_the_system_does_not_tell_is_not_held_against_the_run():
    graph = residual_graph()
    unknown = replace(PLENTY, memory_bytes=None, shared_bytes=None, temporary_bytes=None, tasks=None)
    check_room(graph, 2, recorded(graph), fast=False, machine=unknown)


def test_fewer_samples_are_offered_with_the_number_that_fits_and_only_if_one_does():
    graph = residual_graph()
    enough_for_100 = needs_of(graph, 100, recorded(graph), fast=False).temporary_bytes
    with pytest.raises(RuntimeFailure, match=r"fewer samples \(100 would fit\)"):
        check_room(graph, 800, recorded(graph), fast=False, machine=replace(PLENTY, temporary_bytes=enough_for_100))
    with pytest.raises(RuntimeFailure) as caught:
        check_room(graph, 800, recorded(graph), fast=False, machine=replace(PLENTY, tasks=10))
    assert "fewer samples" not in str(caught.value) and "smaller network" in str(caught.value)


def test_lava_fast_is_offered_only_where_it_would_fit():
    graph = residual_graph()
    stock, fast = (needs_of(graph, 2, recorded(graph), fast=f).memory_bytes for f in (False, True))
    assert fast < stock  # one process instead of many
    with pytest.raises(RuntimeFailure, match="Use lava-fast"):
        check_room(graph, 2, recorded(graph), fast=False, machine=replace(PLENTY, memory_bytes=fast))
    with pytest.raises(RuntimeFailure) as caught:
        check_room(graph, 2, recorded(graph), fast=False, machine=replace(PLENTY, memory_bytes=fast - 1))
    assert "lava-fast" not in str(caught.value) and "Use fewer samples" not in str(caught.value)


def test_a_fused_network_is_one_process_whatever_its_size():
    graph = residual_graph()
    fused, apart = (needs_of(graph, 2, recorded(graph), fast=True, fused=on) for on in (True, False))
    stock = needs_of(graph, 2, recorded(graph), fast=False)
    assert fused.processes == 1 + preflight.SYSTEM_PROCESSES < apart.processes == stock.processes
    assert fused.shared_bytes < stock.shared_bytes / 10 and fused.tasks < stock.tasks / 10


def control_group(root: Path, version: int, files: dict[str, str]) -> Path:
    """A /proc and /sys in which this process is in the group /job/inner."""
    (root / "proc/self").mkdir(parents=True)
    line = {1: "4:memory,pids:/job/inner", 2: "0::/job/inner"}[version]
    (root / "proc/self/cgroup").write_text(f"9:name=systemd:/\n{line}\n")
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_limits_of_a_container_count_in_both_versions(tmp_path):
    one = control_group(tmp_path / "1", 1, {
        f"{FOLDER_V1}/memory.limit_in_bytes": "9223372036854771712\n",  # how version 1 says: no limit
        f"{FOLDER_V1}/memory.usage_in_bytes": "5000\n",
        "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "1000000\n",
        "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "700000\n",
        "sys/fs/cgroup/memory/job/memory.stat": "cache 5\ntotal_inactive_file 200000\n",
    })  # fmt: skip
    assert measure(one).memory_bytes == 1_000_000 - 700_000 + 200_000
    two = control_group(tmp_path / "2", 2, {
        f"{FOLDER_V2}/memory.max": "max\n",
        "sys/fs/cgroup/job/memory.max": "3000000\n",
        "sys/fs/cgroup/job/memory.current": "1000000\n",
        f"{FOLDER_V2}/pids.max": "150\n",
        f"{FOLDER_V2}/pids.current": "20\n",
    })  # fmt: skip
    machine = measure(two)
    assert machine.memory_bytes == 2_000_000
    assert machine.tasks == 130 and "pids.max is 150" in machine.tasks_source


def test_a_containers_quota_of_processor_time_counts_in_both_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    inner, outer = "sys/fs/cgroup/job/inner/cpu.max", "sys/fs/cgroup/job/cpu.max"
    for n, (first, second, wanted) in enumerate([
        ("max 100000", "max 100000", 8),
        ("350000 100000", "max 100000", 3),
        ("600000 100000", "200000 100000", 2),
        ("50000 100000", "max 100000", 1),
        ("1600000 100000", "broken", 8),
    ]):  # fmt: skip
        assert cores(control_group(tmp_path / f"{n}", 2, {inner: f"{first}\n", outer: f"{second}\n"})) == wanted
    for quota, wanted in (("-1", 8), ("250000", 2)):
        files = {"cpu.cfs_quota_us": f"{quota}\n", "cpu.cfs_period_us": "100000\n"}
        root = control_group(tmp_path / quota, 1, {f"sys/fs/cgroup/cpu/job/inner/{k}": v for k, v in files.items()})
        (root / "proc/self/cgroup").write_text("3:cpu,cpuacct:/job/inner\n")
        assert cores(root) == wanted == measure(root).cores


def test_the_kernels_limits_count_threads_that_already_run(tmp_path):
    root = control_group(tmp_path, 2, {"proc/sys/kernel/pid_max": "4194304\n", "proc/sys/kernel/threads-max": "1000\n"})
    for thread in range(3):
        (root / f"proc/77/task/{77 + thread}").mkdir(parents=True)
    machine = measure(root)
    assert machine.tasks == 997 and "threads-max is 1,000" in machine.tasks_source


def test_groups_are_looked_for_from_the_innermost_to_the_mount_and_no_further(tmp_path):
    root = control_group(tmp_path, 2, {f"{FOLDER_V2}/memory.max": "max\n"})
    mounted = root / "sys/fs/cgroup"
    assert cgroup_folders(root, "memory") == [mounted / "job/inner", mounted / "job", mounted]
    assert cgroup_folders(root / "absent", "memory") == []


@pytest.mark.parametrize(("text", "limit"), [("max", None), ("9223372036854771712", None), ("42\n", 42), ("", None)])
def test_a_limit_file_is_a_number_or_no_limit(text, limit, tmp_path):
    (tmp_path / "limit").write_text(text)
    assert read_limit(tmp_path / "limit") == limit
    assert read_limit(tmp_path / "absent") is None


def test_this_machine_is_measured():
    machine = measure()
    assert machine.memory_bytes is not None and 0 < machine.memory_bytes <= psutil.virtual_memory().total
    assert machine.files >= 256 and 1 <= machine.cores <= (os.cpu_count() or 1)
    assert machine.temporary_bytes and Path(machine.temporary).is_dir()
