"""`neuroseg doctor-env` tells what works here, what does not, and what to do about it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
from rich.console import Console

from export.lava.machine import measure
from neuroseg.cli import main
from neuroseg.commands import console
from neuroseg.commands import doctor as module
from neuroseg.commands.doctor import doctor

ROOT = Path(__file__).parent.parent


def by_name(result: dict) -> dict[str, dict]:
    return {check["name"]: check for check in result["checks"]}


@pytest.fixture
def runtime(monkeypatch) -> None:
    """Lava's import, which takes seconds, is taken for granted."""
    monkeypatch.setattr(module, "_lava", list)


def test_the_command_line_prints_one_line_of_json_and_exits_with_0_here():
    ended = subprocess.run(
        [sys.executable, "-m", "neuroseg.cli", "doctor-env", "--json"], capture_output=True, text=True, cwd=ROOT
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    result = json.loads(ended.stdout)
    checks = by_name(result)
    assert result["schema_version"] == 1 and result["ok"]
    assert checks["torch"]["value"] == metadata.version("torch")
    assert checks["lava-nc"]["value"] == "0.10.0" and checks["start method"]["value"] == "fork"
    assert result["machine"]["memory_bytes"] > 0
    assert checks["Intel's extension for Loihi"]["ok"], "a missing extension breaks nothing"
    assert "Intel Neuromorphic Research Community" in checks["Intel's extension for Loihi"]["advice"]


def test_a_lava_that_does_not_import_is_found_and_named(tmp_path, monkeypatch):
    (tmp_path / "lava.py").write_text("raise ImportError('a broken wheel')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (check,) = module._lava()
    assert not check.ok and "a broken wheel" in check.value and "make setup" in check.advice


def test_a_lava_that_never_ends_its_import_is_given_up(tmp_path, monkeypatch):
    (tmp_path / "lava.py").write_text("import time; time.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(module, "PROBE_S", 1.0)
    (check,) = module._lava()
    assert not check.ok and "within 1 s" in check.value


def test_another_python_is_not_well(runtime, monkeypatch):
    monkeypatch.setattr(module.sys, "version_info", (3, 12, 1))
    result = doctor()
    assert not result["ok"]
    assert by_name(result)["Python"] == {
        "name": "Python",
        "value": "3.12.1",
        "ok": False,
        "advice": "Lava imports on Python 3.10 only: run `make setup`, which builds the locked environment.",
    }


@pytest.mark.parametrize(
    ("versions", "name"),
    [({"torch": "2.3.1"}, "torch"), ({"numpy": "2.1.0"}, "numpy"), ({"lava-nc": None}, "lava-nc")],
    ids=["old-torch", "numpy-2", "no-lava"],
)
def test_a_wrong_or_missing_package_is_not_well(versions, name, runtime, monkeypatch):
    real = metadata.version

    def version(asked: str) -> str:
        if asked in versions and versions[asked] is None:
            raise metadata.PackageNotFoundError(asked)
        return versions.get(asked) or real(asked)

    monkeypatch.setattr(module.metadata, "version", version)
    result = doctor()
    assert not result["ok"] and [c["name"] for c in result["checks"] if not c["ok"]] == [name]


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("memory_bytes", "memory"),
        ("shared_bytes", "shared memory"),
        ("temporary_bytes", "temporary files"),
        ("tasks", "processes and threads"),
        ("files", "open files"),
    ],
)
def test_a_machine_that_is_too_small_for_any_network_is_not_well(field, name, runtime, monkeypatch):
    small = replace(measure(), **{field: module.LEAST[field] - 1})
    monkeypatch.setattr(module, "measure", lambda: small)
    result = doctor()
    assert [c["name"] for c in result["checks"] if not c["ok"]] == [name]


def test_a_limit_that_the_system_does_not_tell_is_well(runtime, monkeypatch):
    unknown = replace(measure(), tasks=None, shared_bytes=None)
    monkeypatch.setattr(module, "measure", lambda: unknown)
    result = doctor()
    assert result["ok"] and by_name(result)["shared memory"]["value"] == "no limit known"


def test_the_table_says_what_to_do_and_the_exit_code_is_1(tmp_path, monkeypatch, capsys):
    (tmp_path / "lava.py").write_text("raise ImportError('a broken wheel')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["neuroseg", "doctor-env"])
    monkeypatch.setattr(console, "messages", Console(file=sys.stderr, width=120))  # the streams of this test
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert "NOT OK" in said and "make setup" in said
