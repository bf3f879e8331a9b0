"""Running neuroseg by its command line, as a user would."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def neuroseg(*arguments: object) -> dict[str, Any]:
    """JSON of one command; the program ends where it fails."""
    command = [sys.executable, "-m", "neuroseg.cli", *map(str, arguments), "--json"]
    print("neuroseg", *command[3:], flush=True)
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"that failed with exit code {done.returncode}; nothing was written")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
