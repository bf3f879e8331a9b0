"""The folder through which parent and child talk: a job, spike files and a status."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

JOB, STATUS = "job.json", "status.json"
CHANNEL_SLOTS = 2  # tensors that a channel between two processes buffers; Lava's default is 64
SMALL = 1 << 15  # neurons of a fused network for which a second thread costs more than it saves
OPEN_FILES = 1 << 16  # that the child allows itself, if the system does
REPORTS = 50  # progress reports per run: each one is a pause of the simulation


@dataclass(frozen=True)
class Job:
    """What the child runs.

    network   path of the NetX file
    steps     T, for files that do not say
    samples   N; samples enter back to back, one every T steps
    fast      our bit-identical models in place of stock's
    fused     with `fast`: the whole network as one process; else one process for each stock process
    sources   input population -> .npy in the job folder, uint8 (N*T, W, H, C)
    sinks     recorded population -> .npy in the job folder, uint8 (N*T, W, H, C)
    board     fields of `Timing` for a Loihi 2 board; None: Lava's simulator
    """

    network: str
    steps: int
    samples: int
    fast: bool
    sources: dict[str, str]
    sinks: dict[str, str]
    board: dict[str, int] | None = None
    fused: bool = True


@dataclass(frozen=True)
class Status:
    """How far the child is: Lava steps done of all; done; or an error in one sentence and its traceback."""

    step: int = 0
    total: int = 0
    done: bool = False
    error: str = ""
    details: str = ""


def write_job(folder: Path, job: Job) -> None:
    """Store a job in its folder."""
    (folder / JOB).write_text(json.dumps(asdict(job)))


def read_job(folder: Path) -> Job:
    """The job of a folder."""
    return Job(**json.loads((folder / JOB).read_text()))


def write_status(folder: Path, status: Status) -> None:
    """Replace the status in one move, so that the parent never reads half of one."""
    temporary = folder / f"{STATUS}.partial"
    temporary.write_text(json.dumps(asdict(status)))
    temporary.replace(folder / STATUS)


def read_status(folder: Path) -> Status:
    """The latest status; an empty one before the first report."""
    path = folder / STATUS
    return Status(**json.loads(path.read_text())) if path.exists() else Status()
