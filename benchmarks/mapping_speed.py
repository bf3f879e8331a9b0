"""Time and memory that the mapping of mfs-efs72 at 180x240 takes, skips aligned: `python benchmarks/mapping_speed.py`.

Runs `neuroseg fit` for relays and for delay neurons, and `neuroseg map` on a NetX file of the same network, each in a
process of its own,
and writes wall time and peak memory to benchmarks/results/mapping_speed.json. Times are of one run on the machine at hand.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "mapping_speed.json"
NETWORK, SYSTEM = "mfs-efs72", "hala_point"
WRITE = """
import sys
from export.netx.write import write_netx
from export.pipeline import compile_module
from neuroseg.config import load_config
from neuroseg.models import build_model
config = load_config(sys.argv[1])
compiled = compile_module(build_model(config.model, config.data.classes), (3, *config.data.size))
write_netx(compiled.graph, __import__("pathlib").Path(sys.argv[2]))
"""


def main() -> None:
    """Measure, print, write."""
    rows = [measured("fit", NETWORK, "--system", SYSTEM, "--delays", mode) for mode in ("relay", "neuron")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{NETWORK}.net"
        subprocess.run([sys.executable, "-c", WRITE, NETWORK, str(path)], cwd=ROOT, check=True)
        rows.append(measured("map", path, "--system", SYSTEM))
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    RESULT.write_text(json.dumps({"schema_version": 1, "machine": machine, "rows": rows}, indent=1) + "\n")
    for row in rows:
        print(f"{row['command']}: {row['time_s']} s, {row['memory_bytes'] / 1e9:.2f} GB, {row['cores']:,} cores")


def measured(command: str, network: object, *arguments: str) -> dict[str, Any]:
    """One command: wall time, peak memory of its process, cores that it found."""
    start = time.perf_counter()
    words = [sys.executable, "-m", "neuroseg.cli", command, str(network), *arguments, "--json"]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    out = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    taken = time.perf_counter() - start
    result = json.loads(out)
    assert os.waitstatus_to_exitcode(status) == (0 if result["fits"] else 1)
    return {
        "command": f"neuroseg {command} {Path(str(network)).name} {' '.join(arguments)}",
        "time_s": round(taken, 1),
        "memory_bytes": used.ru_maxrss * 1024,
        "cores": result["cores"],
        "chips": result["chips"],
        "fits": result["fits"],
    }


if __name__ == "__main__":
    main()
