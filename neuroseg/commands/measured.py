"""What we measured for rows of the papers' tables: JSON objects with the key `paper_row`, wherever they stand in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from export.errors import DataError
from neuroseg.commands.papers import paper_row

RESULTS = Path("benchmarks/results")  # where accuracy measurements of ours lie, in a checkout
SCORES = ("miou", "miou_per_image", "f1", "jaccard", "accuracy", "psnr_db", "ssim")
ABOUT = ("seed", "steps", "note")
NESTED = "foreground"  # an object of scores of the foreground class, as `neuroseg eval` gives them
CONTAINERS = {"studies", "runs"}  # keys that say what follows, not which one it is

Measurement = dict[str, Any]


def measurements(folder: Path | None = None) -> dict[str, list[Measurement]]:
    """Row id -> our measurements of it: `file`, `path` inside it ("mnist-cifar10/spiking-deeplab"; "" is the file itself), then
    what is known of SCORES and ABOUT. Scores are shares of one, PSNR is in dB.

    folder  of JSON files, searched with its subfolders; None: `benchmarks/results`, if it is there
    Raises DataError for a folder that is not there, a file that cannot be read, a `paper_row` that no table has, and a score
    that is no number.
    """
    if folder is None and not RESULTS.is_dir():
        return {}
    folder = folder or RESULTS
    if not folder.is_dir():
        raise DataError(f"there is no folder of results '{folder}'; name another with --results, or leave it out")
    found: dict[str, list[Measurement]] = {}
    for path in sorted(folder.rglob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"result '{path}' cannot be read: {error}") from None
        for keys, entry in _entries(content):
            inside = "/".join(key for key in keys if key not in CONTAINERS)
            try:
                name = paper_row(entry["paper_row"]).id
            except DataError as error:
                raise DataError(f"result '{path}'{inside and f', {inside}'}: {error}") from None
            where = {"file": path.relative_to(folder).as_posix(), "path": inside}
            found.setdefault(name, []).append({**where, **_kept(entry, path)})
    return found


def place(measurement: Measurement) -> str:
    """Where a measurement stands: "accuracy.json: mnist-cifar10/spiking-deeplab"."""
    return ": ".join(part for part in (measurement["file"], measurement["path"]) if part)


def _entries(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Every object with a `paper_row` that is not null, and the keys that lead to it."""
    if isinstance(value, dict):
        if value.get("paper_row") is not None:
            yield keys, value
        parts = value.items()
    elif isinstance(value, list):
        parts = {str(i): part for i, part in enumerate(value)}.items()
    else:
        return
    for key, part in parts:
        yield from _entries(part, (*keys, key))


def _kept(entry: Mapping[str, Any], path: Path) -> Measurement:
    known = {**(entry.get(NESTED) or {}), **entry}
    scores = {key: known[key] for key in SCORES if known.get(key) is not None}
    for key, value in scores.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise DataError(f"result '{path}' has '{value}' as {key} of row '{entry['paper_row']}'; write a number")
    return scores | {key: known[key] for key in ABOUT if known.get(key) is not None}
