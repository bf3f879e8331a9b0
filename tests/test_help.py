"""`--help` and completion of the command line: light, complete, with examples."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from docs_reading import Shown, commands_of, group

NEUROSEG = Path(sys.executable).with_name("neuroseg")
HEAVY = ("torch", "lava", "numpy", "scipy", "lightning", "matplotlib", "h5py")
# Runs the program as its user does, and says which of the modules named after `--` were loaded.
WATCHED = """
import sys
at = sys.argv.index("--")
watched, sys.argv = sys.argv[at + 1 :], ["neuroseg", *sys.argv[1:at]]
from neuroseg.cli import main
try:
    main()
except SystemExit as exit_:
    assert not exit_.code, exit_.code
print("loaded:", *sorted(set(watched) & set(sys.modules)))
"""


def complete(words: str, **more: str) -> list[str]:
    """What bash would offer for the last word."""
    asked = {"_NEUROSEG_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    result = subprocess.run(
        [NEUROSEG], env={**os.environ, **asked, **more}, capture_output=True, text=True, timeout=60, check=True
    )
    return result.stdout.split()


@pytest.mark.parametrize("name", ["", *group().commands])
def test_help_loads_nothing_heavy(name):
    arguments = [*name.split(), "--help", "--", *HEAVY]
    result = subprocess.run([sys.executable, "-c", WATCHED, *arguments], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "Usage: neuroseg" in result.stdout
    assert result.stdout.splitlines()[-1] == "loaded:"


def test_the_watch_for_heavy_modules_sees_them():
    code = WATCHED.replace("try:", "import numpy\ntry:", 1)
    result = subprocess.run(
        [sys.executable, "-c", code, "--help", "--", "numpy", "torch"], capture_output=True, text=True, timeout=60
    )
    assert result.stdout.splitlines()[-1] == "loaded: numpy"


@pytest.mark.parametrize("name", list(group().commands))
def test_every_command_has_an_example_that_it_accepts(name):
    command = group().commands[name]
    text = command.get_help(typer.Context(command, info_name=name, terminal_width=100))
    assert "Example: neuroseg" in text
    (example,) = commands_of(f"```sh\n{str(command.epilog).removeprefix('Example: ')}\n```")
    assert example.words[0] == name
    assert example.problem() is None


def leaves(commands, path=()):
    """Words -> command, for all commands below groups; a group that does something by itself is a command, too."""
    found = {}
    for name, command in commands.items():
        words = (*path, name)
        below = getattr(command, "commands", {})
        if not below or command.invoke_without_command:
            found[" ".join(words)] = command
        found |= leaves(below, words)
    return found


LEAVES = leaves(group().commands)


def test_groups_are_looked_into():
    assert {"hw", "hw show", "study noise", "data check"} <= set(LEAVES)
    assert "study" not in LEAVES


@pytest.mark.parametrize("name", list(LEAVES))
def test_every_command_can_report_in_json(name):
    flags = {flag for parameter in LEAVES[name].params for flag in parameter.opts}
    assert "--json" in flags


@pytest.mark.parametrize("name", list(LEAVES))
def test_every_option_of_a_command_says_what_it_does(name):
    for parameter in LEAVES[name].params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name}"


@pytest.mark.parametrize("name", [name for name in LEAVES if " " in name])
def test_every_command_of_a_group_has_an_example(name):
    assert f"Example: neuroseg {name} " in str(LEAVES[name].epilog) + " "


def test_completion_offers_commands_and_options():
    assert complete("neuroseg exp") == ["export"]
    assert set(group().commands) == set(complete("neuroseg "))
    assert "--samples" in complete("neuroseg parity b --sam")
    assert complete("neuroseg nothing-like-it") == []


def test_the_completion_script_is_shown():
    result = subprocess.run(
        ["bash", "-c", f"'{NEUROSEG}' --show-completion bash; true"],
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "_NEUROSEG_COMPLETE=complete_bash" in result.stdout, result.stderr
    assert "complete -o default -F _neuroseg_completion neuroseg" in result.stdout


def test_a_command_that_is_shown_wrongly_is_noticed():
    assert Shown("", ("export",), whole=True).problem() is not None  # RUN and --out are missing
    assert Shown("", ("export",), whole=False).problem() is None
