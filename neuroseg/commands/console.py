"""Talking to the user: tables and progress on a terminal, one line of JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

# Brackets in names and messages are no markup.
messages = Console(stderr=True, markup=False)  # tables and progress never mix with JSON on standard output

Report = Callable[[int, int], None]
SHORT_NAME = 20  # characters: a name in the first column that a narrow terminal does not fold
LOG_PERCENT, LOG_SECONDS = 10, 10.0  # a log file gets a line at most every 10 % and every 10 s


def say(text: str) -> None:
    """One line for the user; a terminal wraps it, a file keeps it whole."""
    messages.print(text, highlight=False, soft_wrap=True)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A small table; numbers are right-aligned."""
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        number = bool(rows) and isinstance(rows[0][i], (int, float))
        name = i == 0 and all(len(_cell(row[0])) <= SHORT_NAME for row in rows)  # on one line, to be copied
        table.add_column(column, justify="right" if number else "left", overflow="fold", no_wrap=name)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    messages.print(table)


def put_json(value: Any) -> None:
    """One line of JSON on standard output."""
    print(json.dumps(value), flush=True)


@contextmanager
def progress(what: str) -> Iterator[Report]:
    """A progress bar on a terminal, plain lines elsewhere; call the yielded function with (done, all)."""
    if not messages.is_terminal:
        yield _logged(what)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=messages, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _logged(what: str) -> Report:
    """One line now, and one whenever enough was done and enough time has passed, so that a log file shows life."""
    told, at = 0, time.monotonic()
    print(f"{what} ...", file=sys.stderr, flush=True)

    def report(done: int, total: int) -> None:
        nonlocal told, at
        percent, now = 100 * done // total if total else 0, time.monotonic()
        if percent >= told + LOG_PERCENT and now - at >= LOG_SECONDS:
            told, at = percent, now
            print(f"{what}: {percent} %", file=sys.stderr, flush=True)

    return report


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
