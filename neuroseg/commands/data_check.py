"""Is a data set on disk whole, and what is in it: faults, counts, sizes, labels, and items that are in two splits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.errors import DataError
from neuroseg.commands.console import Report, say, show
from neuroseg.commands.data_sets import Found, find
from neuroseg.config import DataSection
from neuroseg.data import VOID, Split
from neuroseg.data.labelled import Origin
from neuroseg.data.opening import Ask, SegmentationData, open_split

SCHEMA_VERSION = 1
MOST_NAMED = 5  # of each kind of fault, on the terminal and in JSON; counts are of all


def check(folder: Path, name: str | None = None, on_progress: Report | None = None) -> dict[str, Any]:
    """What `neuroseg data check` reports of a folder (JSON-ready).

    {schema_version, path, ok, sets: [{name, folder, ok, splits: {split: {...}}, leaks: [...], duplicates}]}

    A split is {items, sizes, classes: {name: {pixels, share, items}}, void, faults}. `classes` are of the labels as they are
    in the files; denoising sets have none. A leak is one picture, by its decoded pixels, in two splits.
    raises UsageError for a folder in which nothing is known
    """
    found = find(folder, name)
    sets = [check_set(one, on_progress) for one in found]
    return {
        "schema_version": SCHEMA_VERSION,
        "path": str(folder),
        "ok": all(one["ok"] for one in sets),
        "sets": sets,
    }


def check_set(found: Found, on_progress: Report | None = None) -> dict[str, Any]:
    """One data set."""
    section = found.layout.read(found.folder)
    splits: dict[str, Any] = {}
    origins: dict[Split, list[Origin]] = {}
    for split in found.layout.splits:
        try:
            items = open_split(section, Ask(split))
        except DataError as error:
            splits[split] = {"items": 0, "sizes": {}, "faults": [str(error)]}
            continue
        splits[split] = _check_split(section, items, on_progress)
        origins[split] = list(_origins(items))
    leaks = _leaks(origins)
    return {
        "name": found.layout.name,
        "folder": str(found.folder),
        "ok": not leaks and not any(split["faults"] for split in splits.values()),
        "splits": splits,
        "leaks": leaks,
        "duplicates": _duplicates(origins),
    }


def show_check(result: dict[str, Any]) -> None:
    """The same as tables."""
    for one in result["sets"]:
        rows = [(n, s["items"], ", ".join(s["sizes"]), len(s["faults"])) for n, s in one["splits"].items()]
        show(f"{one['name']} in {one['folder']}", ("split", "items", "sizes", "faults"), rows)
        _show_classes(one["splits"])
        for split in one["splits"].values():
            for fault in split["faults"][:MOST_NAMED]:
                say(f"fault: {fault}")
        for leak in one["leaks"]:
            say(f"leak: {leak['items']} pictures are in {leak['splits'][0]} and in {leak['splits'][1]}, such as "
                f"{leak['examples'][0][0]} and {leak['examples'][0][1]}")  # fmt: skip
        if one["duplicates"]:
            say(f"{one['duplicates']} pictures are there more than once within their split.")
    say("no fault was found." if result["ok"] else "faults were found.")


def _check_split(section: DataSection, items: SegmentationData, on_progress: Report | None) -> dict[str, Any]:
    """Counts of one split; faults of single items do not stop it."""
    pixels, present = Counter[int](), Counter[int]()
    sizes, faults = Counter[str](), list[str]()
    for index in range(len(items)):
        if on_progress is not None:
            on_progress(index + 1, len(items))
        try:
            target = items[index][1]
        except DataError as error:
            faults.append(str(error))
            continue
        sizes[f"{target.shape[-1]}x{target.shape[-2]}"] += 1
        if section.task == "segmentation":
            counts = _counts(np.asarray(target))
            pixels.update(counts)
            present.update(counts.keys())
    result: dict[str, Any] = {"items": len(items), "sizes": dict(sizes.most_common()), "faults": faults}
    if section.task == "segmentation":
        result |= _histogram(items, pixels, present)
    return result


def _counts(mask: NDArray[np.int64]) -> dict[int, int]:
    """Label -> pixels, of those that occur."""
    counts = np.bincount(mask.ravel(), minlength=VOID + 1)
    return {int(label): int(counts[label]) for label in np.flatnonzero(counts)}


def _histogram(items: SegmentationData, pixels: Counter[int], present: Counter[int]) -> dict[str, Any]:
    total = max(sum(pixels.values()), 1)
    names = dict(enumerate(items.class_names)) | {VOID: "void"}
    rows = {
        name: {"pixels": pixels[number], "share": pixels[number] / total, "items": present[number]}
        for number, name in names.items()
    }
    return {"void": rows.pop("void"), "classes": rows}


def _origins(items: Any) -> Iterator[Origin]:
    """What the items of a data set are made of; faults in it are told elsewhere."""
    try:
        yield from items.origins()
    except DataError:
        return


def _leaks(origins: dict[Split, list[Origin]]) -> list[dict[str, Any]]:
    """Pictures that two splits share, by their pixels."""
    leaks = []
    for left, right in combinations(origins, 2):
        known = {origin.digest: origin.name for origin in origins[left]}
        shared = [[known[o.digest], o.name] for o in origins[right] if o.digest in known]
        if shared:
            leaks.append({"splits": [left, right], "items": len(shared), "examples": shared[:MOST_NAMED]})
    return leaks


def _duplicates(origins: dict[Split, list[Origin]]) -> int:
    """Pictures that are in their split more than once, each counted once less."""
    seen: dict[Split, set[str]] = defaultdict(set)
    for split, found in origins.items():
        seen[split] = {origin.digest for origin in found}
    return sum(len(found) - len(seen[split]) for split, found in origins.items())


def _show_classes(splits: dict[str, Any]) -> None:
    """Share of pixels per class and split, in per cent."""
    told = {name: split for name, split in splits.items() if "classes" in split}
    if not told:
        return
    first = next(iter(told.values()))
    columns = ("class", *(f"{name} %" for name in told), *(f"{name} items" for name in told))
    rows = []
    for name in [*first["classes"], "void"]:
        values = [split["void"] if name == "void" else split["classes"][name] for split in told.values()]
        rows.append((name, *(f"{100 * v['share']:.2f}" for v in values), *(v["items"] for v in values)))
    show("labels: share of all pixels, and items in which they occur", columns, rows)
