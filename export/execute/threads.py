"""Work on a CPU split over threads of our own, as many as torch uses.

Numba's own threads are not taken: one of its layers ends the process when two Python threads call it, another when a
forked child does. Ours are started anew in a forked child.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch


@cache
def _pool(workers: int, process: int) -> ThreadPoolExecutor:
    """The threads of a process; a forked child asks with another `process` and gets its own."""
    del process
    return ThreadPoolExecutor(workers, thread_name_prefix="integer-executor")


def split(work: Callable[[int, int], None], parts: int, fewest: int = 1) -> None:
    """Call work(first, last) for ranges that make up 0 ... parts - 1; `work` must let go of the interpreter's lock.

    fewest  parts that are worth a thread
    """
    workers = max(1, min(parts // fewest, torch.get_num_threads()))
    if workers == 1:
        return work(0, parts)
    bounds = [parts * i // workers for i in range(workers + 1)]
    pool = _pool(workers - 1, os.getpid())
    others = [pool.submit(work, bounds[i], bounds[i + 1]) for i in range(1, workers)]
    work(bounds[0], bounds[1])
    for other in others:
        other.result()
    return None
