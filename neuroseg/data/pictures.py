"""Reading pictures and label pictures: every fault names the file, what was found, what was expected and the fix."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.errors import DataError, MissingData

Size: TypeAlias = tuple[int, int]
Bytes: TypeAlias = NDArray[np.uint8]
Modes: TypeAlias = tuple[str, ...]

LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue: ITU-R BT.601
COLOUR: Modes = ("RGB",)
GREY: Modes = ("L",)
INDEXED: Modes = ("L", "P")  # a label a pixel; of a picture with a palette the indices
_MODES = {
    COLOUR: "8-bit RGB",
    GREY: "8-bit grey",
    COLOUR + GREY: "8-bit RGB or grey",
    INDEXED: "a mask is 8-bit with one channel, a label a pixel",
}
# Whatever Pillow raises for a damaged or foreign file.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")


@dataclass(frozen=True)
class Pair:
    """An image and its mask; `listed` says where from: a list and its line, or a folder."""

    image: Path
    mask: Path
    listed: str


def size_text(size: Size) -> str:
    """(H, W) as people write it: width x height."""
    return f"{size[1]}x{size[0]}"


def checked_size(name: str, size: Size | None) -> Size | None:
    """(H, W) in whole numbers; DataError naming the argument."""
    if size is None:
        return None
    if len(size) != 2 or any(side != int(side) or side < 1 for side in size):
        raise DataError(
            f"{name} {tuple(size)} does not fit: it is (height, width) in whole pixels, each at least 1. "
            "Use for example (180, 240)."
        )
    return int(size[0]), int(size[1])


def checked_folder(root: Path, expected: str) -> Path:
    """The folder, if it is one; else MissingData, whose sentence `expected` ends."""
    if not root.is_dir():
        raise MissingData(f"'{root}' is no folder. Give the folder that holds {expected}.")
    return root


def picture_files(folder: Path, expected: str) -> list[Path]:
    """The pictures of a folder, numbers in their names in the order of numbers; DataError if there is none."""
    files = [path for path in checked_folder(folder, expected).iterdir() if path.suffix.lower() in ENDINGS]
    if not files:
        raise DataError(f"'{folder}' holds no picture ({', '.join(ENDINGS)}). Give the folder that holds {expected}.")
    return sorted(files, key=by_number)


def by_number(path: Path) -> list[tuple[int, int | str]]:
    """A sorting key under which 2.png comes before 10.png."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]


def listed_lines(listing: Path, source: str, layout: str, content: str) -> list[tuple[str, str]]:
    """(file:line, text) of every line of a list that is not blank; DataError if it is missing, unreadable or empty."""
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"the list '{listing}' is missing. {source} is expected in {layout}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the list '{listing}' cannot be read: {error}. Copy it again from {source}.") from None
    found = [(f"{listing}:{number}", line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise DataError(f"the list '{listing}' is empty; {content} was expected. Copy it again.")
    return found


def check_existence(pairs: Sequence[Pair]) -> None:
    """DataError naming the first image or mask that is missing, and how many are."""
    for kind in ("image", "mask"):
        missing = [pair for pair in pairs if not getattr(pair, kind).is_file()]
        if missing:
            first = missing[0]
            raise DataError(
                f"the {kind} '{getattr(first, kind)}' is missing, which {first.listed} names ({len(missing)} of "
                f"{len(pairs)} {kind} files of this list are missing). Copy the files there, or delete their lines."
            )


def own_size(pairs: Iterable[Pair], image_modes: Modes, mask_modes: Modes, source: str, all_equal: bool) -> Size:
    """(H, W) of the first pair, from the files' headers; DataError unless image and mask agree, and all if asked."""
    first: tuple[Pair, Size] | None = None
    for pair in pairs:
        size, mask_size = header(pair.image, image_modes), header(pair.mask, mask_modes)
        if mask_size != size:
            raise DataError(
                f"the mask '{pair.mask}' has {size_text(mask_size)} pixels, its image '{pair.image}' {size_text(size)} "
                f"(width x height, {pair.listed}); they must be equal. Take both from the same copy of {source}."
            )
        first = first or (pair, size)
        if all_equal and size != first[1]:
            raise DataError(
                f"'{pair.image}' has {size_text(size)} pixels, '{first[0].image}' {size_text(first[1])} (width x height), "
                "and items of one batch must be of one size. Give size and label_size, or copies of one size."
            )
    assert first is not None, "a list is never empty"
    return first[1]


def header(path: Path, modes: Modes) -> Size:
    """(H, W) of a picture, without decoding it; DataError if it is none, or not of these Pillow modes."""
    try:
        with Image.open(path) as picture:
            mode, width, height = picture.mode, picture.width, picture.height
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None
    if mode not in modes:
        raise DataError(f"'{path}' is of Pillow mode {mode}; expected: {_MODES[modes]}. Convert the file.")
    return height, width


def pixels(path: Path, mode: str | None = None) -> Bytes:
    """(H, W, 3) or (H, W) of a picture; of one with a palette the indices, unless `mode` (L or RGB) asks for what they mean."""
    try:
        with Image.open(path) as picture:
            return np.array(picture if mode is None else picture.convert(mode), dtype=np.uint8)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: BaseException) -> DataError:
    return DataError(f"'{path}' cannot be read as a picture: {error}. It is damaged or cut short: copy it again.")
