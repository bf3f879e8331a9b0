"""Machine code on disk: made anew when any source of it changes, and done without where no folder can be written."""

import os
import subprocess
import sys
from pathlib import Path

from export.compute.machine_code import cache_folder, sources
from export.execute import lif_kernel
from export.lava import kernels

ROOT = Path(__file__).parent.parent

LOOPS = """
from flow.base import STEP
from flow.parts import inlined
from export.compute.machine_code import compiled

@compiled()
def late(x):
    return inlined(x) + STEP

@compiled("int64(int64)")
def early(x):
    return inlined(x) + STEP
"""
PARTS = """
from numba import njit

@njit(inline="always")
def inlined(x):
    return x * {factor}
"""


def ran(code, folder, **environment):
    """What a fresh Python prints, with the repository and a folder on its path."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def written(folder, factor, step):
    package = folder / "flow"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("")
    (package / "loops.py").write_text(LOOPS)
    (package / "parts.py").write_text(PARTS.format(factor=factor))
    (package / "base.py").write_text(f"STEP = {step}\n")


CALLS = """
from flow.loops import early, late
for loop in early, late:
    print(loop(10), sum(loop.stats.cache_hits.values()))
"""


def test_a_change_of_an_inlined_function_or_a_constant_elsewhere_is_seen(tmp_path):
    found = []
    for factor, step in ((2, 1), (2, 1), (3, 1), (3, 5)):
        written(tmp_path, factor, step)
        found.append(ran(CALLS, tmp_path, NUMBA_CACHE_DIR="", PYTHONDONTWRITEBYTECODE="1"))
    assert found == [["21", "0"] * 2, ["21", "1"] * 2, ["31", "0"] * 2, ["35", "0"] * 2]


def test_the_sources_of_our_loops_are_all_found():
    ours = {path.relative_to(ROOT).as_posix() for path in sources(kernels.__name__)}
    assert ours >= {
        "export/lava/kernels.py",
        "export/lava/lanes.py",
        "export/execute/lif_kernel.py",
        "export/compute/machine_code.py",
        "export/graph.py",
    }
    assert cache_folder(kernels.__name__) != cache_folder(lif_kernel.__name__)


def test_loops_run_where_no_folder_can_be_written(tmp_path):
    written(tmp_path, 2, 1)
    (tmp_path / "file").write_text("")
    assert ran(CALLS, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "file" / "below")) == ["21", "0"] * 2


def test_no_module_of_ours_uses_numbas_cache_by_itself():
    users = [
        path.name
        for top in ("export", "neuroseg")
        for path in (ROOT / top).rglob("*.py")
        if "cache=True" in path.read_text()
    ]
    assert users == ["machine_code.py"]
