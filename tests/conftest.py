"""Shared by all tests: the real data sets, and one thread for torch."""

import os
import sys
from pathlib import Path

import pytest
import torch

from neuroseg.cli import main

ROOT = Path(__file__).parent.parent

torch.set_num_threads(1)  # steady timings, and no hang when Lava forks a process that uses torch


@pytest.fixture(scope="session")
def neuroseg_data() -> Path:
    """Folder of the real data sets: NEUROSEG_DATA, else ../shared/data, else the test is skipped."""
    named = os.environ.get("NEUROSEG_DATA")
    if named:
        folder = Path(named)
        if not folder.is_dir():
            pytest.fail(f"NEUROSEG_DATA={named} is no folder: correct or unset it")
        return folder
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets are not here: set NEUROSEG_DATA to their folder")
    return folder


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run a command: (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["neuroseg", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as exit_:
            code = exit_.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
