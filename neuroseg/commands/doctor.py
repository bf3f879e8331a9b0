"""`neuroseg doctor-env`: what is installed and what this machine has, and what to do where it is not enough."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from export.errors import MissingBackend
from export.lava.machine import Machine, measure
from export.simulate import check_backend

PROBE_S = 60.0  # importing Lava takes seconds; a minute on a very busy machine
PROBE = (
    "import json, multiprocessing; import lava.magma.core.run_configs, lava.proc.conv.process; "
    "print(json.dumps(multiprocessing.get_start_method()))"
)
SETUP = "run `make setup`, which builds the locked environment."
# Below this no network runs on Lava, or only toys: a chain of four layers takes 0.2 GB, 122 tasks and 0.7 MB of /dev/shm.
LEAST = {"memory_bytes": 10**9, "shared_bytes": 8 * 10**6, "temporary_bytes": 10**8, "tasks": 500, "files": 512}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: its name, what was found, whether that will do, and what to do if not."""

    name: str
    value: str
    ok: bool
    advice: str = ""


def doctor() -> dict[str, Any]:
    """JSON-ready: all checks, whether all are well, and what the machine has."""
    machine = measure()
    checks = [_python(), *_packages(), _cuda(), *_lava(), _extension(), *_resources(machine)]
    return {
        "schema_version": 1,
        "ok": all(check.ok for check in checks),
        "checks": [asdict(check) for check in checks],
        "machine": asdict(machine),
    }


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    return Check("Python", found, sys.version_info[:2] == (3, 10), f"Lava imports on Python 3.10 only: {SETUP}")


def _packages() -> list[Check]:
    """Distributions that training and export need, with the versions that work together."""
    wanted = {"torch": "2.9.", "torchvision": "0.24.", "numpy": "1.", "lava-nc": "0.10.0", "lava-dl": "0.6.0"}
    return [_package(name, start) for name, start in wanted.items()]


def _package(name: str, start: str) -> Check:
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(name, "not installed", False, f"version {start.rstrip('.')} is needed: {SETUP}")
    return Check(name, found, found.startswith(start), f"version {start.rstrip('.')} is needed: {SETUP}")


def _cuda() -> Check:
    """Devices; a machine without one works, and trains on its processor."""
    try:
        import torch
    except (ImportError, OSError) as error:  # a missing or broken library of torch's
        return Check("CUDA", f"torch does not import: {error}", False, SETUP)
    if not torch.cuda.is_available():
        return Check("CUDA", "no device: training runs on the processor", True)
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Check("CUDA", f"{torch.version.cuda}: {', '.join(names)}", True)


def _lava() -> list[Check]:
    """Whether Lava's runtime imports, in a process of its own: the import changes the start method of this one."""
    try:
        run = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=PROBE_S)
    except subprocess.TimeoutExpired:
        return [
            Check("Lava runtime", f"does not import within {PROBE_S:.0f} s", False, "try again on a quieter machine.")
        ]
    if run.returncode:
        last = (run.stderr.strip().splitlines() or [f"ended with status {run.returncode}"])[-1]
        return [Check("Lava runtime", f"does not import: {last}", False, SETUP)]
    method = json.loads(run.stdout.strip().splitlines()[-1])
    return [
        Check("Lava runtime", "imports", True),
        Check("start method", method, method == "fork", "Lava forks its processes: use Linux, or WSL 2 on Windows."),
    ]


def _extension() -> Check:
    """Only a board needs it: its absence breaks nothing."""
    try:
        check_backend("loihi2")
    except MissingBackend as error:
        return Check("Intel's extension for Loihi", "not installed; only a board needs it", True, str(error))
    except ImportError:
        return Check("Intel's extension for Loihi", "unknown: Lava does not import", True)
    return Check("Intel's extension for Loihi", "installed", True)


def _resources(machine: Machine) -> list[Check]:
    """What a run on Lava draws on; the preflight of a run compares its own needs with the same numbers."""
    rows = (
        ("memory", "memory_bytes", "free memory: end other programs, or raise the container's limit."),
        ("shared memory", "shared_bytes", "enlarge /dev/shm (in a container: --shm-size)."),
        ("temporary files", "temporary_bytes", f"make room in {machine.temporary}, or set TMPDIR to a larger folder."),
        ("processes and threads", "tasks", f"raise the limit ({machine.tasks_source})."),
        ("open files", "files", "raise the hard limit (ulimit -Hn)."),
    )
    checks = []
    for name, field, advice in rows:
        free = getattr(machine, field)
        checks.append(Check(name, _shown(field, free), free is None or free >= LEAST[field], advice))
    return [*checks, Check("processor cores", f"{machine.cores}", True)]


def _shown(field: str, free: int | None) -> str:
    if free is None:
        return "no limit known"
    if field.endswith("_bytes"):
        return f"{free / 1e9:,.1f} GB free" if free >= 1e9 else f"{free / 1e6:,.1f} MB free"
    return f"{free:,} allowed" if field == "files" else f"{free:,} more allowed"
