"""What is in files of event cameras: numbers, durations, faults, and a sheet of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from export.errors import DataError, UsageError
from neuroseg.commands.console import Report, say, show
from neuroseg.commands.data_show import event_picture, sheet
from neuroseg.commands.picture import save_figure
from neuroseg.data.event_files import SUFFIXES, Recording, read_recording
from neuroseg.data.event_frames import counts

SCHEMA_VERSION = 1
MOST_ROWS = 12  # of a picture, and of files that the terminal lists
PARTS = 3  # of a recording's duration, a picture each


def recordings(path: Path, out: Path | None = None, on_progress: Report | None = None) -> dict[str, Any]:
    """What `neuroseg data events` reports of a file, or of all below a folder (JSON-ready).

    {schema_version, path, ok, files, events, out, recordings: [{file, size, events, duration_us, on_share, fault}]}; size is
    (height, width) in pixels. A file with a fault has no numbers. `out`: a sheet of pictures of the first ones is drawn to it.
    raises UsageError for a path without recordings
    """
    files = _files(path)
    rows, drawn = list[dict[str, Any]](), list[tuple[str, Recording]]()
    for number, file in enumerate(files, 1):
        name = str(file.relative_to(path)) if path.is_dir() else file.name
        try:
            recording = read_recording(file)
        except DataError as error:
            rows.append({"file": name, "fault": str(error)})
        else:
            rows.append({"file": name, **_described(recording), "fault": None})
            if len(drawn) < MOST_ROWS:
                drawn.append((name, recording))
        if on_progress is not None:
            on_progress(number, len(files))
    if out is not None and drawn:
        _draw(drawn, out)
    return {
        "schema_version": SCHEMA_VERSION,
        "path": str(path),
        "ok": not any(row["fault"] for row in rows),
        "files": len(rows),
        "events": sum(row.get("events", 0) for row in rows),
        "out": str(out) if out is not None and drawn else None,
        "recordings": rows,
    }


def show_recordings(result: dict[str, Any]) -> None:
    """The same as a table."""
    sound = [row for row in result["recordings"] if row["fault"] is None]
    rows = [
        (row["file"], f"{row['size'][1]}x{row['size'][0]}", row["events"], row["duration_us"] / 1000, row["on_share"])
        for row in sound[:MOST_ROWS]
    ]
    show(str(result["path"]), ("file", "pixels", "events", "ms", "ON"), rows)
    if len(sound) > MOST_ROWS:
        say(f"and {len(sound) - MOST_ROWS:,} more; --json lists all.")
    say(f"{result['files']:,} files, {result['events']:,} events.")
    for row in result["recordings"]:
        if row["fault"] is not None:
            say(f"fault: {row['fault']}")
    if result["out"] is not None:
        say(f"pictures: {result['out']}")


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise UsageError(
            f"'{path}' holds no recording ({', '.join(SUFFIXES)}). Give a file, or a folder with some below it."
        )
    return files


def _described(recording: Recording) -> dict[str, Any]:
    return {
        "size": list(recording.size),
        "events": len(recording.events),
        "duration_us": recording.duration_us,
        "on_share": float(recording.events["p"].mean()),
    }


def _draw(drawn: list[tuple[str, Recording]], out: Path) -> None:
    """A row per recording: its events in each third of its duration."""
    titles = ["first third", "second third", "last third"]
    rows = []
    for _, recording in drawn:
        since = recording.events["t"] - recording.events["t"][0]
        part = np.minimum(since * PARTS // max(recording.duration_us, 1), PARTS - 1)
        numbers = counts(recording.events, part, PARTS, recording.size).astype(np.float32)
        # A few hot pixels would leave the rest pale.
        bright = np.minimum(numbers, np.percentile(numbers[numbers > 0], 95))
        rows.append(list(zip(titles, map(event_picture, bright), strict=True)))
    save_figure(sheet(rows, [Path(name).name for name, _ in drawn], []), out)
