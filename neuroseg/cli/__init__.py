"""The command line: `neuroseg COMMAND`."""

from __future__ import annotations

import sys

import export
from export.errors import NeurosegError, UsageError
from neuroseg.cli import (
    compiling,
    converting,
    data,
    fitting,
    hardware,
    machine,
    mapping,
    papers,
    recordings,
    running,
    studies,
    supporting,
    training,
    zoo,
)
from neuroseg.cli.app import app

__all__ = [
    "app",
    "compiling",
    "converting",
    "data",
    "fitting",
    "hardware",
    "machine",
    "main",
    "mapping",
    "papers",
    "recordings",
    "running",
    "studies",
    "supporting",
    "training",
    "zoo",
]


def main() -> None:
    """Entry point: errors become one plain message and the exit codes of the contract."""
    try:
        _check_compiler()
        app()
    except NeurosegError as error:
        print(f"neuroseg: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:  # a path that cannot even be looked at: too long, or not ours to read
        print(f"neuroseg: '{error.filename or 'a file'}': {error.strerror or error}. Check the path.", file=sys.stderr)
        sys.exit(2)
    except ValueError as error:
        from hw_configs import HardwareConfigError  # here, since it is slow to import

        if not isinstance(error, HardwareConfigError):
            raise
        print(f"neuroseg: {error}", file=sys.stderr)
        sys.exit(2)


def _check_compiler() -> None:
    """An unrelated distribution named `export` exists; name it if it took our compiler's place."""
    if not getattr(export, "NEUROSEG_COMPILER", False):
        raise UsageError(
            f"the package 'export' at {export.__file__} is not neuroseg's compiler; another distribution of that name is "
            "installed. Remove it (pip uninstall export) or install neuroseg in an environment of its own."
        )
