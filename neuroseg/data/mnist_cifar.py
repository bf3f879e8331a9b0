"""MNIST-CIFAR10-Segmentation: a handwritten digit added to a photograph; the mask is the digit's ink.

Made as by Kim, Chough, Panda, "Beyond classification: directly training spiking neural networks for semantic segmentation",
2022, who follow robromijnders.github.io/segm: of a digit every second row and column is taken (14x14), its ink is what is
above 0.3 of the full level, and 200 times its level is added to the 32x32 photograph, which saturates at 255. At a larger size
the photograph is scaled bilinearly, and the digit, whole (28x28) from 64 pixels on, keeps its share of the picture.

Files: MNIST's idx files, plain or .gz, and CIFAR-10's binary batches. Split: digits and photographs of train and val come from
the training files, those of test from the test files, and no digit or photograph is in two splits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from export.errors import DataError
from neuroseg.data.labelled import Colour, Origin, check_split, digest, split_key
from neuroseg.data.mnist import DIGIT, digit_classes, read_mnist
from neuroseg.data.pictures import Bytes, Size, checked_size
from neuroseg.data.sources import SPLITS, Split

PHOTO = 32  # side in the files
_INK_AT, _INK = 0.3, 200.0  # share of the full level, and grey levels that full ink adds
_VAL_SHARE = 1 / 6  # of the training files, at their end
_CIFAR = "the binary version of CIFAR-10: data_batch_1.bin to data_batch_5.bin and test_batch.bin"
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_TEN: tuple[Colour, ...] = (  # Tableau's, as in matplotlib
    *((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189)),
    *((140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207)),
)
_RECORD = 1 + 3 * PHOTO * PHOTO


@dataclass(frozen=True)
class Draw:
    """What an item is made of: rows of the split's digits and photographs, and the digit's top left corner in pixels."""

    digit: int
    photo: int
    top: int
    left: int


class MnistCifar(Dataset[tuple[Tensor, Tensor]]):
    """MNIST-CIFAR10-Segmentation.

    mnist, cifar10  folders of the files
    split    train, val or test
    size     (H, W) of image and mask, 32 pixels or more
    classes  2 (background, digit) or 11 (background, 0 to 9)
    samples  number of items; item i does not depend on it
    seed     0 or more, of everything that is drawn

    Item: image float32 (3, H, W) in [0, 1]; mask int64 (H, W). Digits and photographs are each dealt from a shuffled pack,
    which is shuffled anew when it is used up: none comes a second time before all came once.
    Raises DataError naming the file, what was found, what was expected and the fix.
    """

    def __init__(
        self,
        mnist: str | Path,
        cifar10: str | Path,
        split: Split,
        *,
        size: Size = (32, 32),
        classes: int = 2,
        samples: int = 48_000,
        seed: int = 0,
    ) -> None:
        """Check the arguments, and read this split's digits and photographs."""
        check_split(split, seed)
        checked_size("size", size)
        if min(size) < PHOTO:
            raise DataError(f"size {tuple(size)} is smaller than the photographs; use ({PHOTO}, {PHOTO}) or more.")
        if classes not in (2, 11):
            raise DataError(f"classes={classes}: there are 2 (background, digit) or 11 (background, 0 to 9).")
        if samples < 1:
            raise DataError(f"samples={samples}: a data set needs at least 1; any number can be drawn.")
        self.split: Split = split
        self.size, self.classes, self.samples, self.seed = size, classes, samples, seed
        test = split == "test"
        digits, labels = read_mnist(Path(mnist), test)
        photos = read_cifar10(Path(cifar10), test)
        self.digits, self.labels = _part(digits, split), _part(labels, split)
        self.photos = _part(photos, split)
        self.side = round(DIGIT / (2 * PHOTO) * min(size))
        self._packs: dict[tuple[int, int], NDArray[np.int64]] = {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in mask order."""
        return digit_classes(self.classes)

    @property
    def colours(self) -> tuple[Colour, ...]:
        """Red, green and blue (0 to 255) of the classes, in mask order."""
        return (_BLACK, _WHITE) if self.classes == 2 else (_BLACK, *_TEN)

    def __len__(self) -> int:
        """Number of items."""
        return self.samples

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image float32 (3, H, W) in [0, 1] and mask int64 (H, W)."""
        draw = self.draw(index)
        image = _resized(self.photos[draw.photo], self.size).astype(np.float32)
        level = self._digit(draw.digit)
        ink = level > _INK_AT
        box = np.s_[draw.top : draw.top + self.side, draw.left : draw.left + self.side]
        image[box] += _INK * (level * ink)[..., None]
        mask = np.zeros(self.size, np.int64)
        mask[box] = ink * (1 if self.classes == 2 else 1 + int(self.labels[draw.digit]))
        return torch.from_numpy(np.minimum(image, 255).transpose(2, 0, 1) / 255), torch.from_numpy(mask)

    def draw(self, index: int) -> Draw:
        """What item `index` is made of: a function of (seed, split, index) and the size."""
        _, index = split_key(index, len(self))
        rng = np.random.default_rng([self.seed, SPLITS.index(self.split), index])
        top, left = (int(rng.integers(side - self.side + 1)) for side in self.size)
        return Draw(self._dealt(index, len(self.digits), 0), self._dealt(index, len(self.photos), 1), top, left)

    def origins(self) -> Iterator[Origin]:
        """The digits and photographs that items are made of."""
        for name, values in (("digit", self.digits), ("photograph", self.photos)):
            for number, value in enumerate(values):
                yield Origin(f"{name} {number} of {self.split}", digest(value))

    def _dealt(self, index: int, count: int, pack: int) -> int:
        """Card `index` of a pack that is shuffled anew whenever it is used up."""
        turn, place = divmod(index, count)
        if (pack, turn) not in self._packs:
            shuffler = np.random.default_rng([self.seed, SPLITS.index(self.split), pack, turn, count])
            self._packs[pack, turn] = shuffler.permutation(count)
        return int(self._packs[pack, turn][place])

    def _digit(self, number: int) -> NDArray[np.float32]:
        """(side, side) level in [0, 1]: every second pixel at 14, as in the files at 28, else scaled bilinearly."""
        digit = self.digits[number]
        digit = digit[::2, ::2] if 2 * self.side == DIGIT else _resized(digit, (self.side, self.side))
        return digit.astype(np.float32) / 255


def read_cifar10(folder: Path, test: bool) -> Bytes:
    """Photographs uint8 (N, 32, 32, 3) of the training batches that are there, or of the test batch."""
    batches = folder / "cifar-10-batches-bin"
    batches = batches if batches.is_dir() else folder
    files = sorted(batches.glob("test_batch.bin" if test else "data_batch_[1-5].bin"))
    if not files:
        raise DataError(f"'{batches}' holds no {'test_batch' if test else 'data_batch_1'}.bin. It takes {_CIFAR}.")
    return np.concatenate([_read_batch(path, path.stat().st_mtime_ns) for path in files])


@lru_cache(maxsize=8)
def _read_batch(path: Path, _changed: int) -> Bytes:
    """(N, 32, 32, 3) of records of a label and 1,024 red, green and blue levels each."""
    content = np.fromfile(path, np.uint8)
    if not content.size or content.size % _RECORD:
        raise DataError(
            f"'{path}' holds {content.size:,} bytes, no whole number of records of {_RECORD:,}. It is cut short, or not {_CIFAR}."
        )
    records = content.reshape(-1, _RECORD)
    if records[:, 0].max() > 9:
        raise DataError(f"'{path}' holds label {records[:, 0].max()}; expected: 0 to 9. Use {_CIFAR}.")
    return np.ascontiguousarray(records[:, 1:].reshape(-1, 3, PHOTO, PHOTO).transpose(0, 2, 3, 1))


def _part(values: Bytes, split: Split) -> Bytes:
    """What of a file belongs to a split."""
    if split == "test":
        return values
    cut = len(values) - round(_VAL_SHARE * len(values))
    return values[cut:] if split == "val" else values[:cut]


def _resized(picture: Bytes, size: Size) -> Bytes:
    """Bilinear; unchanged if it has the size."""
    if picture.shape[:2] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BILINEAR))
