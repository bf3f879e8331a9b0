"""Work on a CPU split over as many threads as torch uses: over torch's own, where its OpenMP is GNU's.

Torch's threads go on spinning for some milliseconds after each of its operations. Threads of another pool (ours, numba's) would
have to share the cores with them, and on two cores that cost more than the second thread gave. So a split asks the OpenMP library
that torch has loaded for its team (`GOMP_parallel`, what compilers call for a parallel region); a thread of it takes the
interpreter's lock only to start its share. Without that library, and in a forked child, where an OpenMP team does not survive,
a pool of Python's serves.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch

Work = Callable[[int, int], None]
_Region = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_HOME = os.getpid()  # the process in which torch's team may be asked for


def split(work: Work, parts: int, fewest: int = 1) -> None:
    """Call work(first, last) for ranges that make up 0 ... parts - 1; `work` must let go of the interpreter's lock.

    fewest  parts that are worth a thread
    """
    workers = max(1, min(parts // fewest, torch.get_num_threads()))
    if workers == 1:
        return work(0, parts)
    bounds = [parts * i // workers for i in range(workers + 1)]
    openmp = _openmp() if os.getpid() == _HOME else None
    if openmp is None:
        return _by_pool(work, bounds)
    return _by_team(openmp, work, bounds)


def _by_team(openmp: ctypes.CDLL, work: Work, bounds: list[int]) -> None:
    failures: list[BaseException] = []

    def region(_data: object) -> None:
        try:  # a team may be smaller than what was asked for
            for i in range(openmp.omp_get_thread_num(), len(bounds) - 1, openmp.omp_get_num_threads()):
                work(bounds[i], bounds[i + 1])
        except BaseException as error:
            failures.append(error)

    openmp.GOMP_parallel(_Region(region), None, len(bounds) - 1, 0)
    if failures:
        raise failures[0]


def _by_pool(work: Work, bounds: list[int]) -> None:
    pool = _pool(len(bounds) - 2, os.getpid())
    others = [pool.submit(work, first, last) for first, last in pairwise(bounds[1:])]
    work(bounds[0], bounds[1])
    for other in others:
        other.result()


@cache
def _openmp() -> ctypes.CDLL | None:
    """GNU's OpenMP library as torch brings it; None where torch brings another or none."""
    library = Path(torch.__file__).parent / "lib" / "libgomp.so.1"
    if not library.is_file():
        return None
    openmp = ctypes.CDLL(str(library))  # torch has loaded it: this is the same one
    openmp.GOMP_parallel.argtypes = [_Region, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    openmp.GOMP_parallel.restype = None
    return openmp


@cache
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    """The threads of a process; a forked child asks with another `process` and gets its own."""
    del process
    return ThreadPoolExecutor(workers, thread_name_prefix="neuroseg")
