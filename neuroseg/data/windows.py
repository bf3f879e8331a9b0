"""Parts of pictures at the pixels of their files: patches drawn at random for training, tiles that cover a picture for scores."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from export.errors import DataError
from neuroseg.data.augment import VOID, Augment
from neuroseg.data.labelled import Colour, Key, LabelledPictures, Origin, split_key
from neuroseg.data.pictures import Bytes, Size, size_text


class Windows(Dataset[tuple[Tensor, Tensor]]):
    """Windows of labelled pictures; what does not depend on the window comes from the pictures.

    size  (H, W) of image and mask of every item
    """

    def __init__(self, pictures: LabelledPictures, size: Size) -> None:
        self.pictures = pictures
        self.size = self.label_size = size

    @property
    def classes(self) -> int:
        """Number of classes, void aside."""
        return self.pictures.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Their names, in mask order."""
        return self.pictures.class_names

    @property
    def colours(self) -> tuple[Colour, ...]:
        """Red, green and blue (0 to 255) of the classes, in mask order."""
        return self.pictures.colours

    def load(self) -> None:
        """Read and check every file now."""
        self.pictures.load()

    def origins(self) -> Iterator[Origin]:
        """The pictures that the items are made of."""
        return self.pictures.origins()


class Patches(Windows):
    """Patches drawn at random, the same number from each picture; the pixel in a patch's centre is never void.

    count    patches in an epoch
    augment  further random changes, or None
    seed     0 or more

    Item (epoch, index): image float32 (C, H, W) in [0, 1], mask int64 (H, W); it depends on (seed, epoch, index) alone.
    """

    per_epoch = True  # another item in every epoch, also without augmentation

    def __init__(self, pictures: LabelledPictures, size: Size, count: int, augment: Augment | None, seed: int) -> None:
        """Check that a patch fits into the pictures."""
        super().__init__(pictures, size)
        self.count, self.augment, self.seed = count, augment, seed
        if size[0] > pictures.size[0] or size[1] > pictures.size[1]:
            raise DataError(
                f"patches of {size_text(size)} do not fit into the pictures of {pictures.source}, which have "
                f"{size_text(pictures.size)} pixels (width x height). Use smaller ones."
            )

    def __len__(self) -> int:
        """Number of patches in an epoch."""
        return self.count

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """Image float32 (C, H, W) in [0, 1] and mask int64 (H, W); `key` is an index, or (epoch, index)."""
        epoch, index = split_key(key, len(self))
        image, mask = self.pictures.picture(index % len(self.pictures))
        top, left = self._place(mask, epoch, index)
        part = np.s_[top : top + self.size[0], left : left + self.size[1]]
        patch, labels = torch.from_numpy(image[:, part[0], part[1]].copy()), torch.from_numpy(mask[part].copy())
        if self.augment is not None:
            patch, labels = self.augment(patch, labels, (self.seed, epoch, index))
        return patch.float() / 255, labels.long()

    def _place(self, mask: Bytes, epoch: int, index: int) -> tuple[int, int]:
        """Top left corner of a patch, drawn from all whose centre is not void."""
        height, width = self.size
        rows, columns = mask.shape[0] - height + 1, mask.shape[1] - width + 1
        centres = mask[height // 2 : height // 2 + rows, width // 2 : width // 2 + columns]
        known = np.flatnonzero(centres != VOID)
        if not known.size:
            raise DataError(
                f"the mask '{self.pictures.pairs[index % len(self.pictures)].mask}' is void wherever a patch of "
                f"{size_text(self.size)} can have its centre. Use smaller patches, or leave the picture out."
            )
        drawn = np.random.default_rng([self.seed, epoch, index, 1]).integers(known.size)
        top, left = divmod(int(known[drawn]), columns)
        return top, left


class Tiles(Windows):
    """Tiles of `size` that cover the pictures without overlap, in reading order, one item each.

    What a tile has beyond the picture is the picture mirrored at its border, and VOID: it is computed, but not scored. A
    picture that is no larger than `size` is one item.
    """

    def __init__(self, pictures: LabelledPictures, size: Size) -> None:
        """Find the places of the tiles."""
        super().__init__(pictures, size)
        rows, columns = range(0, pictures.size[0], size[0]), range(0, pictures.size[1], size[1])
        self.places = [(i, top, left) for i in range(len(pictures)) for top in rows for left in columns]

    def __len__(self) -> int:
        """Number of tiles."""
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image float32 (C, H, W) in [0, 1] and mask int64 (H, W)."""
        _, index = split_key(index, len(self))
        number, top, left = self.places[index]
        image, mask = self.pictures.picture(number)
        part = np.s_[top : top + self.size[0], left : left + self.size[1]]
        free = [(0, side - have) for side, have in zip(self.size, mask[part].shape, strict=True)]
        tile = np.pad(image[:, part[0], part[1]], [(0, 0), *free], mode="symmetric")
        labels = np.pad(mask[part], free, constant_values=VOID)
        return torch.from_numpy(tile).float() / 255, torch.from_numpy(labels).long()
