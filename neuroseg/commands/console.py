"""Talking to the user: tables and progress on a terminal, one line of JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

messages = Console(stderr=True)  # tables and progress never mix with JSON on standard output

Report = Callable[[int, int], None]


def say(text: str) -> None:
    """One line for the user."""
    messages.print(text, highlight=False)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A small table; numbers are right-aligned."""
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        number = bool(rows) and isinstance(rows[0][i], (int, float))
        table.add_column(column, justify="right" if number else "left", overflow="fold")  # names stay whole
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    messages.print(table)


def put_json(value: Any) -> None:
    """One line of JSON on standard output."""
    print(json.dumps(value), flush=True)


@contextmanager
def progress(what: str) -> Iterator[Report]:
    """A progress bar on a terminal (nothing elsewhere); call the yielded function with (done, all)."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=messages, transient=True, disable=not messages.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
