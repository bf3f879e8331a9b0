"""Reading the documentation: its blocks of code, and the commands that it shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

import click
import typer
from pydantic import BaseModel

from neuroseg.cli import app

FENCE = re.compile(r"(?:<!-- (runs|printed|file: (\S+)) -->\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)
INLINE = re.compile(r"(?<!`)`((?:\.venv/bin/)?neuroseg [^`]+)`")
SHELLS = ("sh", "bash", "")
ENDS = ("|", ">", ";", "&&", "2>")


@dataclass(frozen=True)
class Block:
    """A fenced block, and what the line before it says.

    runs     `<!-- runs -->`: readers and tests run it
    file     `<!-- file: NAME -->`: readers and tests save it
    printed  `<!-- printed -->`: lines that the block before it prints, whatever the machine
    expects  what follows as `printed`
    """

    language: str
    text: str
    runs: bool = False
    file: str | None = None
    printed: bool = False
    expects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """A command as a page shows it; whole: in a block, so nothing may be missing."""

    line: str
    words: tuple[str, ...]
    whole: bool

    def problem(self) -> str | None:
        """What the application would say against its form."""
        name, *arguments = self.words
        if name.startswith("-"):
            known = {flag for parameter in group().params for flag in parameter.opts}
            return None if name in known | {"--help"} else f"no option {name}"
        command = group().commands.get(name)
        if command is None:
            return f"no command {name}"
        if arguments and arguments[0] in getattr(command, "commands", {}):
            command, (name, *arguments) = command.commands[arguments[0]], arguments
        try:
            with command.make_context(name, list(arguments)):
                return None
        except (click.exceptions.Exit, typer.Exit):
            return None  # --help
        except Exception as error:  # typer carries its own copy of click's errors
            return None if type(error).__name__ == "MissingParameter" and not self.whole else str(error)

    @property
    def config(self) -> tuple[str, ...]:
        """Config and overrides of a command that takes them; ("",) for others."""
        if self.words[0] not in ("train", "describe", "skips", "fit") or not self.whole:
            return ("",)
        words = [word for word in self.words[1:] if not word.startswith("-")]
        return tuple(words[:1] + [word for word in words[1:] if "=" in word]) or ("",)


def group() -> typer.core.TyperGroup:
    """The application."""
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    return command


def blocks_of(page: str) -> list[Block]:
    """All fenced blocks in order."""
    return [Block(m[3], m[4], m[1] == "runs", m[2], m[1] == "printed") for m in FENCE.finditer(page)]


def merged(blocks: list[Block]) -> list[Block]:
    """The blocks that run, or are files, with what they print; those of Python are one program if no other stands between."""
    found: list[Block] = []
    for block in blocks:
        last = found[-1] if found else None
        if block.printed:
            assert last is not None and last.runs, f"nothing runs before what is printed:\n{block.text}"
            found[-1] = replace(last, expects=(*last.expects, *block.text.splitlines()))
        elif block.runs and last is not None and last.runs and (block.language, last.language) == ("python", "python"):
            found[-1] = replace(last, text=f"{last.text}\n{block.text}")
        elif block.runs or block.file:
            found.append(block)
    return found


def commands_of(page: str) -> Iterator[Shown]:
    """Every `neuroseg ...` of a page, in its blocks for the shell and in its sentences."""
    for block in blocks_of(page):
        if block.language in SHELLS:
            for line in block.text.replace("\\\n", " ").splitlines():
                yield from _shown(line, whole=True)
    for line in INLINE.findall(FENCE.sub("", page)):
        yield from _shown(line, whole=False)


def _shown(line: str, *, whole: bool) -> Iterator[Shown]:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return  # a sentence, not a command
    for at, word in enumerate(words):
        if word in ("neuroseg", ".venv/bin/neuroseg") and words[at + 1 :]:
            rest = words[at + 1 :]
            end = next((i for i, w in enumerate(rest) if w in ENDS), len(rest))
            yield Shown(line, tuple(w.rstrip(";,") for w in rest[:end]), whole)


def keys_of(model: type[BaseModel]) -> set[str]:
    """Dotted keys of a config, from its JSON schema."""
    schema = model.model_json_schema()

    def walk(part: dict[str, object], prefix: str) -> Iterator[str]:
        for name, field in part["properties"].items():  # type: ignore[attr-defined]
            yield f"{prefix}{name}"
            for section in re.findall(r"'\$ref': '#/\$defs/(\w+)'", repr(field)):
                yield from walk(schema["$defs"][section], f"{prefix}{name}.")

    return set(walk(schema, ""))
