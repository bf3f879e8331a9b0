"""Pictures with a label for each pixel, read from files: what all such data sets share."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode  # type: ignore[import-untyped]
from torchvision.transforms.v2.functional import resize  # type: ignore[import-untyped]

from export.errors import DataError
from neuroseg.data.augment import VOID, Augment
from neuroseg.data.pictures import COLOUR, INDEXED, Bytes, Modes, Pair, Size, checked_size, own_size, pixels
from neuroseg.data.sources import SPLITS, Split

Key: TypeAlias = int | tuple[int, int]
Colour: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Origin:
    """One source of a split's items: a file, a digit, a photograph. Two of one digest are the same, whatever their names.

    name    for messages
    digest  of its content: the decoded pixels
    """

    name: str
    digest: str


def digest(values: Bytes) -> str:
    """Of an array's shape and bytes."""
    text = hashlib.sha256(repr(values.shape).encode())
    text.update(np.ascontiguousarray(values).data)
    return text.hexdigest()


def split_key(key: Key, count: int) -> tuple[int, int]:
    """(epoch, index) of a key; a plain index means epoch 0. IndexError for one that does not exist."""
    epoch, index = key if isinstance(key, tuple) else (0, key)
    if not 0 <= index < count:
        raise IndexError(f"item {index} of {count}: use 0 to {count - 1}")
    if epoch < 0:
        raise IndexError(f"epoch {epoch} of item {index}: epochs count from 0")
    return epoch, index


def check_split(split: str, seed: int) -> None:
    """DataError for a split that does not exist, or a seed below 0."""
    if split not in SPLITS:
        raise DataError(f"unknown split '{split}': use one of {', '.join(SPLITS)}.")
    if seed < 0:
        raise DataError(f"seed={seed}: a seed is 0 or more; use for example {-seed}.")


class LabelledPictures(Dataset[tuple[Tensor, Tensor]], ABC):
    """Pictures and masks of a list of file pairs. Data sets derive from it, and say how a pair is decoded.

    split       train, val or test
    pairs       the files
    size        (H, W) of the images, bilinear with antialiasing; None: as in the files
    label_size  (H, W) of the masks, nearest neighbour. None: with `augment` that of the images; else as in the files,
                since scores are against the original labels
    augment     random changes for training, or None
    seed        0 or more: of the augmentation, nothing else is random

    Item: image float32 (C, H, W) in [0, 1]; mask int64 (H, W), class numbers and VOID. Items are read once and then kept in
    memory as bytes; every worker process keeps its own, unless `load` was called before they were forked.
    The constructor checks files and sizes, reading an item checks its labels: DataError, naming the file, what was found,
    what was expected and the fix.
    """

    source: ClassVar[str]  # the data set's name, for messages
    class_names: ClassVar[tuple[str, ...]]  # in mask order
    colours: ClassVar[tuple[Colour, ...]]  # red, green, blue (0 to 255), in mask order
    image_modes: ClassVar[Modes] = COLOUR
    mask_modes: ClassVar[Modes] = INDEXED
    mixed: ClassVar[bool] = False  # whether pictures are of several sizes; masks as in the files then are, too

    def __init__(
        self,
        split: Split,
        pairs: tuple[Pair, ...],
        *,
        size: Size | None = None,
        label_size: Size | None = None,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        """Check the arguments and every file but for its pixels."""
        check_split(split, seed)
        if augment is not None and label_size is not None:
            raise DataError(
                "label_size does not go with augment, which moves image and mask together; leave out one of the two."
            )
        size, label_size = checked_size("size", size), checked_size("label_size", label_size)
        self.split: Split = split
        self.pairs = pairs
        self.augment = augment
        self.seed = seed
        if label_size is None and augment is not None:
            label_size = size
        all_equal = size is None or (label_size is None and not self.mixed)
        own = own_size(pairs, self.image_modes, self.mask_modes, self.source, all_equal)
        self.size = size or own
        self.label_size = label_size or (None if self.mixed else own)
        self._kept: dict[int, tuple[Bytes, Bytes]] = {}

    @property
    def classes(self) -> int:
        """Number of classes, void aside."""
        return len(self.class_names)

    @property
    def sizes_vary(self) -> bool:
        """Whether masks are of several sizes, so that items cannot be stacked."""
        return self.label_size is None

    def __len__(self) -> int:
        """Number of items."""
        return len(self.pairs)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """Image float32 (C, H, W) in [0, 1] and mask int64 (H, W); `key` is an index, or (epoch, index).

        Augmentation depends on (seed, epoch, index) alone, so neither on the order of items nor on worker processes, and
        training resumes with the same pictures. A plain index means epoch 0.
        """
        epoch, index = split_key(key, len(self))
        image, mask = map(torch.from_numpy, self.picture(index))
        if self.augment is not None:
            image, mask = self.augment(image, mask, (self.seed, epoch, index))
        return image.float() / 255, mask.long()

    def load(self) -> None:
        """Read and check every file now: a bad label shows before training, and workers forked later share the memory."""
        for index in range(len(self)):
            self.picture(index)

    def picture(self, index: int) -> tuple[Bytes, Bytes]:
        """Image uint8 (C, H, W) and mask uint8 (H, W) of an item, without random changes; not to be written to."""
        if index not in self._kept:
            pair = self.pairs[index]
            image = torch.from_numpy(channels_first(self._image(pair)))
            mask = torch.from_numpy(self._labels(pair))
            image = resize(image, self.size, InterpolationMode.BILINEAR, antialias=True)
            if self.label_size is not None:
                # nearest-exact takes the pixel under the centre, as the bilinear image does
                mask = resize(mask[None], self.label_size, InterpolationMode.NEAREST_EXACT)[0]
            self._kept[index] = (image.numpy(), mask.numpy())
        return self._kept[index]

    def origins(self) -> Iterator[Origin]:
        """The pictures that the items are made of."""
        for pair in self.pairs:
            yield Origin(str(pair.image), digest(pixels(pair.image)))

    def _image(self, pair: Pair) -> Bytes:
        """(H, W, 3) or (H, W) of an image as in its file."""
        return pixels(pair.image)

    @abstractmethod
    def _labels(self, pair: Pair) -> Bytes:
        """(H, W) class numbers and VOID of a mask as in its file."""


def channels_first(image: Bytes) -> Bytes:
    """(H, W) or (H, W, C) as (C, H, W), a copy."""
    return image[None].copy() if image.ndim == 2 else image.transpose(2, 0, 1).copy()


def checked_labels(path: Path, labels: Bytes, classes: int, void: int, fix: str) -> Bytes:
    """Labels (H, W) with `void` as VOID; DataError for one that is neither a class nor void, naming its pixel."""
    wrong = np.argwhere((labels >= classes) & (labels != void))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise DataError(
            f"the mask '{path}' holds label {labels[row, column]} at row {row}, column {column} ({len(wrong)} such pixels); "
            f"expected: 0 to {classes - 1} and {void} for void. {fix}"
        )
    return np.where(labels == void, np.uint8(VOID), labels)
