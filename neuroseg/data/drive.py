"""DRIVE: retinal images with their vessels, 20 for training and 20 for testing.

Layout: training/{images,1st_manual,mask} (21 to 40) and test/{images,1st_manual,2nd_manual,mask} (01 to 20); a file's number
comes first in its name. `mask` is the field of view.
Source: Staal et al., "Ridge-based vessel segmentation in color images of the retina", 2004. Channel, CLAHE and gamma as in
Spiking-UNet (Li et al. 2023), whose code has them from github.com/orobix/retina-unet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from skimage.exposure import equalize_adapthist

from export.errors import DataError
from neuroseg.data.augment import VOID, Augment
from neuroseg.data.labelled import LabelledPictures
from neuroseg.data.pictures import LUMA, Bytes, Pair, Size, header, picture_files, pixels, size_text
from neuroseg.data.sources import Split

Channel: TypeAlias = Literal["grey", "green"]
CLASS_NAMES = ("background", "vessel")
_LAYOUT = "the original layout: training and test, each with images, 1st_manual and mask"
_CLIP = 2 / 256  # OpenCV's clip limit 2, in scikit-image's unit: a share of a tile's pixels, for 256 grey levels


@dataclass(frozen=True)
class Preparation:
    """What is done to an image before the network sees it.

    channel  grey: luma; green: the channel in which vessels stand out most
    clahe    contrast-limited adaptive histogram equalisation (Zuiderveld 1994), tiles of an eighth of the sides
    gamma    levels in [0, 1] are raised to 1 / gamma

    Each image's levels are stretched to [0, 1] first. Spiking-UNet's code subtracts the mean of all images and divides by
    their deviation before that, which stretching undoes.
    """

    channel: Channel = "grey"
    clahe: bool = True
    gamma: float = 1.2

    def __call__(self, image: Bytes) -> Bytes:
        """(H, W) levels 0 to 255 of an image (H, W, 3)."""
        weights = LUMA if self.channel == "grey" else np.array([0.0, 1.0, 0.0])
        level = image.astype(np.float64) @ weights
        level = (level - level.min()) / max(np.ptp(level), 1e-9)
        if self.clahe:
            level = equalize_adapthist(level, clip_limit=_CLIP)
        levels: Bytes = np.rint(255 * level ** (1 / self.gamma)).astype(np.uint8)
        return levels


class Drive(LabelledPictures):
    """DRIVE; items and further arguments as in `LabelledPictures`, images with one channel.

    root         the folder
    split        train: the first of the training images; val: the last `val` of them; test: the test images
    val          training images that are held out
    preparation  see `Preparation`
    outside      what pixels out of the field of view are: void, or background (where the labels say so: a few hundred vessel
                 pixels lie outside, too)
    observer     1st, or 2nd: the test images' other labels
    """

    source = "DRIVE"
    class_names = CLASS_NAMES
    colours = ((0, 0, 0), (255, 255, 255))

    def __init__(
        self,
        root: str | Path,
        split: Split,
        *,
        val: int = 4,
        preparation: Preparation | None = None,
        outside: Literal["void", "background"] = "void",
        observer: Literal["1st", "2nd"] = "1st",
        size: Size | None = None,
        label_size: Size | None = None,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        """Check the folders and every file but for its pixels."""
        test = split == "test"
        folder = Path(root) / ("test" if test else "training")
        manual = f"{observer}_manual" if test else "1st_manual"
        images, masks, fields = (_numbered(folder / part) for part in ("images", manual, "mask"))
        for part, files in ((manual, masks), ("mask", fields)):
            _check_complete(folder, images, files, part)
        numbers = sorted(images)
        if not test and not 1 <= val < len(numbers):
            raise DataError(
                f"val_images={val} of the {len(numbers)} images in '{folder}' leaves none for train or none for val."
            )
        numbers = numbers if test else numbers[-val:] if split == "val" else numbers[:-val]
        self.preparation = preparation or Preparation()
        self.outside = outside
        pairs = tuple(Pair(images[n], masks[n], f"'{folder}'") for n in numbers)
        self._field_of = {pair: fields[n] for pair, n in zip(pairs, numbers, strict=True)}
        super().__init__(split, pairs, size=size, label_size=label_size, augment=augment, seed=seed)
        self._check_fields()

    def _check_fields(self) -> None:
        for pair, field in self._field_of.items():
            found, expected = header(field, self.mask_modes), header(pair.image, self.image_modes)
            if found != expected:
                raise DataError(
                    f"the field of view '{field}' has {size_text(found)} pixels, its image '{pair.image}' "
                    f"{size_text(expected)} (width x height). Take both from the same copy of DRIVE."
                )

    def _image(self, pair: Pair) -> Bytes:
        return self.preparation(pixels(pair.image))

    def _labels(self, pair: Pair) -> Bytes:
        """The files hold black and white, some of them nearly so (palettes of 4,2,4 and 252,254,252)."""
        labels: Bytes = (pixels(pair.mask, "L") > 127).astype(np.uint8)
        if self.outside == "void":
            labels[pixels(self._field_of[pair], "L") <= 127] = VOID
        return labels


def _numbered(folder: Path) -> dict[int, Path]:
    """Number in front of the name -> file."""
    found: dict[int, Path] = {}
    for path in picture_files(folder, f"that part of DRIVE in {_LAYOUT}"):
        number = re.match(r"\d+", path.name)
        if number is None:
            raise DataError(
                f"'{path}' has no number in front of its name, such as 21_training.tif. Rename or remove it."
            )
        found[int(number[0])] = path
    return found


def _check_complete(folder: Path, images: dict[int, Path], others: dict[int, Path], part: str) -> None:
    missing = sorted(set(images) - set(others))
    if missing:
        raise DataError(
            f"'{folder / part}' has no file for image {missing[0]:02d} ({len(missing)} of {len(images)} are missing). DRIVE "
            f"is expected in {_LAYOUT}."
        )
