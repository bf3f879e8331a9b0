"""What this machine has left: memory, shared memory, temporary files, processes, open files. Containers' limits count."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from export.lava.job import OPEN_FILES

SHARED = Path("/dev/shm")
UNLIMITED = 1 << 60  # cgroup v1 writes a number near 2^63 for "no limit"


@dataclass(frozen=True)
class Machine:
    """What is free; None where this system does not say.

    memory_bytes     free memory, within the limit of the container or job (cgroup) if there is one
    shared_bytes     free in /dev/shm
    temporary_bytes  free in the folder for temporary files, `temporary`
    tasks            processes and threads that may still be started, and `tasks_source`, what limits them
    files            files that one process may have open (the child raises the soft limit towards the hard one)
    cores            whole processor cores that this process may use, within the quota of the container or job
    """

    memory_bytes: int | None
    shared_bytes: int | None
    temporary_bytes: int | None
    tasks: int | None
    files: int
    cores: int
    temporary: str
    tasks_source: str


def measure(root: Path = Path("/")) -> Machine:
    """This machine, now. root: where proc and sys are mounted."""
    temporary = tempfile.gettempdir()
    tasks, source = _tasks(root)
    return Machine(
        memory_bytes=min([psutil.virtual_memory().available, *_cgroup_memory(root)]),
        shared_bytes=shutil.disk_usage(SHARED).free if SHARED.is_dir() else None,
        temporary_bytes=shutil.disk_usage(temporary).free,
        tasks=tasks,
        files=_open_files(),
        cores=cores(root),
        temporary=temporary,
        tasks_source=source,
    )


def cores(root: Path = Path("/")) -> int:
    """Whole processor cores that this process may use: its affinity, and the time that its control groups grant. At least 1."""
    ours = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([ours, *_cgroup_cores(root)]))


def _cgroup_cores(root: Path) -> Iterator[int]:
    """Processor time per time, rounded down, of every group that holds this process and has a quota."""
    for folder in cgroup_folders(root, "cpu"):
        quota, period = read_limit(folder / "cpu.cfs_quota_us"), read_limit(folder / "cpu.cfs_period_us")
        try:
            fields = (folder / "cpu.max").read_text().split()  # "max 100000": no limit
            quota, period = (int(field) if field.isdigit() else None for field in fields)
        except (OSError, ValueError):  # version 1, or no such file in the topmost group
            pass
        if quota and period:
            yield quota // period


def _cgroup_memory(root: Path) -> Iterator[int]:
    """Free memory in every group that holds this process and has a limit; its file cache counts as free."""
    for folder in cgroup_folders(root, "memory"):
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, used = read_limit(folder / limit_name), read_limit(folder / used_name)
            if limit is not None and used is not None:
                yield max(0, limit - used + _cache(folder / "memory.stat"))


def _tasks(root: Path) -> tuple[int | None, str]:
    """Processes and threads that may still start, and the limit that says so."""
    limits = list(_task_limits(root))
    return min(limits, default=(None, "no limit known"), key=lambda item: item[0])


def _task_limits(root: Path) -> Iterator[tuple[int, str]]:
    for folder in cgroup_folders(root, "pids"):
        limit, used = read_limit(folder / "pids.max"), read_limit(folder / "pids.current")
        if limit is not None and used is not None:
            yield max(0, limit - used), f"{folder / 'pids.max'} is {limit:,}"
    everywhere, ours = _running(root)
    for name in ("pid_max", "threads-max"):
        kernel = read_limit(root / "proc/sys/kernel" / name)
        if kernel is not None:
            yield max(0, kernel - everywhere), f"the kernel's {name} is {kernel:,}"
    allowed = _finite(resource.getrlimit(resource.RLIMIT_NPROC)[0])
    if allowed is not None and os.geteuid() != 0:  # root is exempt
        yield max(0, allowed - ours), f"ulimit -u is {allowed:,}"


def _running(root: Path) -> tuple[int, int]:
    """Threads now running: on the whole machine, and of this user."""
    everywhere = ours = 0
    for entry in (root / "proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            threads = len(os.listdir(entry / "task"))  # noqa: PTH208 -- names are enough, and there are many
            everywhere += threads
            ours += threads if entry.stat().st_uid == os.getuid() else 0
        except OSError:  # it ended meanwhile
            continue
    return everywhere, ours


def cgroup_folders(root: Path, controller: str) -> list[Path]:
    """Folders of this process' control groups and of all groups above them, version 1 and 2, as far as mounted."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return []
    found: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mounted = root / "sys/fs/cgroup" / (controller if controllers else "")
        group = mounted / path.lstrip("/")
        found += [folder for folder in (group, *group.parents) if folder == mounted or mounted in folder.parents]
    return list(dict.fromkeys(folder for folder in found if folder.is_dir()))


def read_limit(path: Path) -> int | None:
    """A number of a control file; None if there is none, or if it says that there is no limit."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and int(text) < UNLIMITED else None


def _cache(path: Path) -> int:
    """Bytes of files in memory that the kernel gives back on demand."""
    try:
        fields = dict(line.split() for line in path.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(fields.get("total_inactive_file", fields.get("inactive_file", 0)))


def _open_files() -> int:
    soft, hard = (_finite(limit) for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    reachable = OPEN_FILES if hard is None else min(OPEN_FILES, hard)
    return UNLIMITED if soft is None else max(soft, reachable)


def _finite(limit: int) -> int | None:
    return None if limit == resource.RLIM_INFINITY else limit
