"""Data sets that are told by their layout on disk, and the config section that reads each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.errors import DataError, UsageError
from neuroseg.commands.console import say, show
from neuroseg.config import DataSection
from neuroseg.config.data import KINDS, data_name
from neuroseg.data import SPLITS, Split, dsec
from neuroseg.data.ask import data_folder
from neuroseg.data.pictures import ENDINGS


@dataclass(frozen=True)
class Layout:
    """How a data set lies on a disk.

    name       the value of `data.name` that reads it
    holds      whether a folder looks like it, also if parts are missing
    section    keys of the data section that reads a folder as it is: nothing cut out, nothing changed
    parts      folders in it that are data sets of their own, and no others beside it; (): it is all one
    splits     those it has
    """

    name: str
    holds: Callable[[Path], bool]
    section: Callable[[Path], dict[str, Any]]
    parts: tuple[str, ...] = ()
    splits: tuple[Split, ...] = SPLITS

    def read(self, folder: Path) -> DataSection:
        """The section for a folder; a relative one is not looked up in $NEUROSEG_DATA, as keys of a config are."""
        return data_section(self.name, self.section(folder.resolve()))


@dataclass(frozen=True)
class Found:
    """A data set in a folder."""

    layout: Layout
    folder: Path


def data_section(name: str, keys: dict[str, Any]) -> DataSection:
    """The data section of this name with these keys."""
    (kind,) = (kind for kind in KINDS if data_name(kind) == name)
    return kind.model_validate({"name": name, **keys})


def _has(*names: str) -> Callable[[Path], bool]:
    """Whether any of these is in a folder."""
    return lambda folder: any((folder / name).exists() for name in names)


def _has_all(*names: str) -> Callable[[Path], bool]:
    return lambda folder: all((folder / name).is_dir() for name in names)


def _root(**keys: Any) -> Callable[[Path], dict[str, Any]]:
    return lambda folder: {"root": str(folder), **keys}


def _is_camseq(folder: Path) -> bool:
    return (folder / "label_colors.txt").is_file() or next(folder.glob("*_L.png"), None) is not None


def _is_flat(folder: Path) -> bool:
    """Pictures, and no folder."""
    entries = list(folder.iterdir())
    return not any(entry.is_dir() for entry in entries) and any(e.suffix.lower() in ENDINGS for e in entries)


def _mnist_cifar(folder: Path) -> dict[str, Any]:
    samples = {"train_samples": 6000, "val_samples": 1000, "test_samples": 1000}
    return {"mnist": str(folder / "mnist"), "cifar10": str(folder / "cifar10"), **samples}


def _nmnist(folder: Path) -> dict[str, Any]:
    """The recordings, and MNIST beside them or one folder up."""
    root = folder if (folder / "Train").is_dir() else folder / "nmnist"
    beside = [base / "mnist" for base in (root.parent, root.parent.parent)]
    return {"root": str(root), "mnist_root": str(next((path for path in beside if path.is_dir()), beside[0]))}


def _voc(folder: Path) -> dict[str, Any]:
    augmented = next(folder.rglob("SegmentationClassAug"), None) is not None
    return {"root": str(folder), "train_list": "trainaug" if augmented else "train"}


def _bsd(folder: Path) -> dict[str, Any]:
    return {f"{split}_root": str(folder / part) for split, part in zip(SPLITS, _BSD, strict=True)}


DSEC_PARTS = (*(("train", name) for name in dsec.TRAIN), *(("test", name) for name in dsec.TEST))
_BSD = ("train400", "set12", "bsd68")
# In the order in which they are tried.
LAYOUTS: list[Layout] = [
    Layout("camvid", _has("trainannot", "valannot", "testannot"), _root(label_size=None)),
    Layout("camseq01", _is_camseq, _root()),
    Layout("drive", _has("training/images", "training/1st_manual", "test/1st_manual"), _root(patch=None)),
    Layout("isbi-em", _has("train/image", "train/label"), _root()),
    Layout(
        "voc2012",
        _has("JPEGImages", "VOC2012/JPEGImages", "VOCdevkit/VOC2012/JPEGImages"),
        _voc,
        splits=("train", "test"),  # val is test, unless some training images are held out
    ),
    Layout("mnist-cifar10", _has_all("mnist", "cifar10"), _mnist_cifar, ("mnist", "cifar10")),
    Layout("n-mnist", _has("Train/0", "nmnist/Train/0"), _nmnist),
    Layout("ddd17", _has("dir0/events.dat.t", "dir1/events.dat.t", "dir5/events.dat.t", "labels/train"), _root()),
    Layout("dsec-semantic", _has(*(f"{part}/{name}" for part, name in DSEC_PARTS)), _root()),
    Layout("denoise", _has_all(*_BSD), _bsd, _BSD),
    Layout("denoise", _is_flat, lambda folder: {"test_root": str(folder)}, splits=("test",)),
]


def find(folder: Path, name: str | None = None) -> list[Found]:
    """The data sets of a folder; of a folder that holds several, all of them, one level down.

    name  the data set it is, also if its layout does not tell
    raises UsageError for a folder that is none, or in which nothing is known
    """
    if not folder.is_dir():
        raise UsageError(f"'{folder}' is no folder. Give the folder of a data set, or one that holds several.")
    if name is not None:
        return [Found(_named(folder, name), folder)]
    here = _layouts_of(folder)
    parts = {part for layout in here for part in layout.parts}
    found = [Found(layout, folder) for layout in here]
    if parts or not here:
        below = sorted(entry for entry in folder.iterdir() if entry.is_dir() and entry.name not in parts)
        found += [Found(layout, entry) for entry in below for layout in _layouts_of(entry)]
    if not found:
        raise UsageError(
            f"'{folder}' is laid out like none of {', '.join(names())}. Check the path, or say what it is: --name camvid"
        )
    return found


def list_sets() -> dict[str, Any]:
    """Every data set that a config can name, and whether its folders are here (JSON-ready)."""
    return {"schema_version": 1, "sets": [_described(kind) for kind in KINDS]}


def _described(kind: type[DataSection]) -> dict[str, Any]:
    fields = {name: info.default for name, info in kind.model_fields.items()}
    roots = {name: fields[name] for name in fields if name.endswith("root") or name in ("mnist", "cifar10")}
    folders = [root for value in roots.values() for root in ([value] if isinstance(value, str) else value)]
    return {
        "name": data_name(kind),
        "what": (kind.__doc__ or "").strip().splitlines()[0],
        "task": kind.task,
        "size": list(fields["size"]),
        "folders": folders,
        "here": all(_is_here(folder) for folder in folders),
    }


def _is_here(folder: str) -> bool:
    try:
        return data_folder(folder).is_dir()
    except DataError:
        return False


def show_sets(content: dict[str, Any]) -> None:
    """The same as a table."""
    columns = ("data.name", "task", "size", "folders", "here")
    rows = [
        (s["name"], s["task"], "{}x{}".format(*s["size"]), ", ".join(s["folders"]), "yes" if s["here"] else "no")
        for s in content["sets"]
    ]
    show("data sets; size: the default data.size, height x width", columns, rows)
    say("Relative folders are looked up in $NEUROSEG_DATA, then in the current folder.")


def names() -> list[str]:
    """Names of all data sets that lie on disks."""
    return list(dict.fromkeys(layout.name for layout in LAYOUTS))


def _layouts_of(folder: Path) -> list[Layout]:
    """What a folder is: one layout, or several that share it in parts."""
    held = [layout for layout in LAYOUTS if layout.holds(folder)]
    return [layout for layout in held if layout.parts] or held[:1]


def _named(folder: Path, name: str) -> Layout:
    known = [layout for layout in LAYOUTS if layout.name == name]
    if not known:
        raise UsageError(f"no data set is called '{name}'; known are {', '.join(names())}")
    return next((layout for layout in known if layout.holds(folder)), known[-1])
