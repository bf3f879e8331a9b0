"""The embedded data set: handwritten digits on crops of real photographs, with a pixel mask.

It is the offline twin of MNIST-CIFAR10-Segmentation (Spiking-DeepLab and Spiking-FCN, Kim et al. 2022). An item is
drawn in two steps: a *recipe* (which digits, which crop, where, which ink), a pure function of (seed, split, index),
and its rendering. Nothing is stored on disk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from export.errors import DataError
from neuroseg.data import sources
from neuroseg.data.mnist import digit_classes
from neuroseg.data.pictures import LUMA
from neuroseg.data.sources import SPLITS, Region, Split, SplitSources, split_sources

__all__ = ["SPLITS", "DigitsOnPhotos", "Glyph", "Recipe", "Split"]

MIN_SIDE = 16  # pixels of an image: below, a digit of a third of it cannot be read
MIN_BOX = 10  # pixels of a digit's box: the 8 of the source and a margin of 1
_BOX_SHARE = (10 / 8 / 3, 10 / 8 * 2 / 3)  # of the image's shorter side: the digit itself takes a third to two thirds
_MAX_ZOOM = 3.0  # photo pixels per image pixel
INK_AT = 0.4  # interpolated ink above which a pixel belongs to the digit
_EDGE = 0.4  # width, in interpolated ink, of the digit's soft edge
_MIN_CONTRAST = 0.3  # luma between the ink and the mean of what it covers
_INK_CANDIDATES = 16
_LUMA = LUMA.astype(np.float32)


@dataclass(frozen=True)
class Glyph:
    """One digit: its index in `load_digits`, its box (side x side pixels) and candidate inks (16, 3) in [0, 1]."""

    digit: int
    top: int
    left: int
    side: int
    inks: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Recipe:
    """All random choices of one item: the photo crop (scaled to the image size), flipped or not, and the digits."""

    crop: Region
    flip: bool
    glyphs: tuple[Glyph, ...]


class DigitsOnPhotos(Dataset[tuple[Tensor, Tensor]]):
    """Digits on photographs.

    split             train, val or test: disjoint in source digits and in photo pixels, whatever the seed
    size              (H, W) of image and mask, each at least 16
    classes           2 (background, digit) or 11 (background, 0 to 9)
    samples           number of items; item i does not depend on it
    seed              >= 0
    digits_per_image  digits that do not overlap, each a third to two thirds of the shorter side, smaller when crowded

    Item: image float32 (3, H, W) in [0, 1]; mask int64 (H, W), 0 is background.
    Raises DataError, naming the value, the limit and the fix.
    """

    def __init__(
        self,
        split: Split,
        size: tuple[int, int] = (48, 48),
        classes: int = 2,
        samples: int = 1000,
        seed: int = 0,
        digits_per_image: int = 1,
    ) -> None:
        """Check the arguments and find the grid that keeps the digits apart."""
        _check(split, size, classes, samples, seed)
        self.split: Split = split
        self.size = (int(size[0]), int(size[1]))
        self.classes = classes
        self.samples = samples
        self.seed = seed
        self.digits_per_image = digits_per_image
        self.grid = _grid(self.size, digits_per_image)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in mask order."""
        return digit_classes(self.classes)

    @property
    def sources(self) -> SplitSources:
        """The digits and photo regions that this split may use."""
        return split_sources(self.split)

    def __len__(self) -> int:
        """Number of items."""
        return self.samples

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image float32 (3, H, W) in [0, 1] and mask int64 (H, W)."""
        recipe = self.recipe(index)
        image = _background(recipe, self.size)
        mask = np.zeros(self.size, dtype=np.int64)
        _, labels = sources.glyphs()
        for glyph in recipe.glyphs:
            inked = _paint(image, glyph)
            box = mask[glyph.top : glyph.top + glyph.side, glyph.left : glyph.left + glyph.side]
            box[inked] = 1 if self.classes == 2 else 1 + labels[glyph.digit]
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), torch.from_numpy(mask)

    def recipe(self, index: int) -> Recipe:
        """All choices of item `index`: a pure function of (seed, split, index) and the arguments."""
        if not 0 <= index < self.samples:
            raise IndexError(f"item {index} of {self.samples}: use 0 to {self.samples - 1}")
        rng = np.random.default_rng([self.seed, SPLITS.index(self.split), index])
        region = self.sources.regions[rng.integers(len(self.sources.regions))]
        crop = random_crop(rng, region, self.size)
        flip = bool(rng.integers(2))
        rows, columns = self.grid
        cells = rng.permutation(rows * columns)[: self.digits_per_image]
        placed = tuple(self._place(rng, int(cell)) for cell in cells)
        return Recipe(crop, flip, placed)

    def _place(self, rng: np.random.Generator, cell: int) -> Glyph:
        """A random digit, size, position and inks, within one cell of the grid."""
        rows, columns = self.grid
        height, width = self.size[0] // rows, self.size[1] // columns
        drawn = round(rng.uniform(*_BOX_SHARE) * min(self.size))
        side = max(MIN_BOX, min(drawn, height, width))
        top = cell // columns * height + int(rng.integers(height - side + 1))
        left = cell % columns * width + int(rng.integers(width - side + 1))
        digit = int(rng.choice(self.sources.digits))
        red_green_blue = rng.random((_INK_CANDIDATES, 3)).tolist()
        return Glyph(digit, top, left, side, tuple((r, g, b) for r, g, b in red_green_blue))


def _check(split: str, size: tuple[int, int], classes: int, samples: int, seed: int) -> None:
    """Raise DataError for an argument out of its limits."""
    if split not in SPLITS:
        raise DataError(f"unknown split '{split}': use one of {', '.join(SPLITS)}.")
    if len(size) != 2 or any(side != int(side) or side < MIN_SIDE for side in size):
        raise DataError(
            f"image size {tuple(size)} does not fit: it is (height, width) in whole pixels, each at least {MIN_SIDE}. "
            f"Use for example ({MIN_SIDE}, {MIN_SIDE}) or (48, 48)."
        )
    if classes not in (2, 11):
        raise DataError(
            f"classes={classes}: digits on photographs have 2 (background, digit) or 11 (background, 0 to 9)."
        )
    if samples < 1:
        raise DataError(f"samples={samples}: a data set needs at least 1; any number can be drawn.")
    if seed < 0:
        raise DataError(f"seed={seed}: a seed is 0 or more; use for example {-seed}.")


def _grid(size: tuple[int, int], digits: int) -> tuple[int, int]:
    """(rows, columns) of the grid with the largest cells that holds one digit a cell."""
    if digits < 1:
        raise DataError(f"digits_per_image={digits}: every image shows at least 1 digit.")
    shapes = [(rows, math.ceil(digits / rows)) for rows in range(1, digits + 1)]
    rows, columns = max(shapes, key=lambda shape: min(size[0] // shape[0], size[1] // shape[1]))
    if min(size[0] // rows, size[1] // columns) < MIN_BOX:
        most = (size[0] // MIN_BOX) * (size[1] // MIN_BOX)
        raise DataError(
            f"digits_per_image={digits} does not fit on {size[0]}x{size[1]} pixels: a digit needs {MIN_BOX}x{MIN_BOX}. "
            f"Use {most} or fewer, or larger images."
        )
    return rows, columns


def random_crop(rng: np.random.Generator, region: Region, size: tuple[int, int]) -> Region:
    """A random window of the image's aspect within a region: 1 to 3 photo pixels per pixel, fewer for large images."""
    largest = min(region.height / size[0], region.width / size[1])
    zoom = rng.uniform(min(1.0, largest), min(_MAX_ZOOM, largest))
    height, width = (max(1, int(zoom * side)) for side in size)
    top = region.top + int(rng.integers(region.height - height + 1))
    left = region.left + int(rng.integers(region.width - width + 1))
    return Region(region.photo, top, left, top + height, left + width)


def _background(recipe: Recipe, size: tuple[int, int]) -> NDArray[np.float32]:
    """The photo crop, cut out first and scaled after: no pixel outside the crop enters. (H, W, 3) in [0, 1]."""
    crop = recipe.crop
    cut = sources.photos()[crop.photo][crop.top : crop.bottom, crop.left : crop.right]
    scaled = Image.fromarray(cut).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    image = np.asarray(scaled, dtype=np.float32) / 255
    return np.ascontiguousarray(image[:, ::-1] if recipe.flip else image)


def _paint(image: NDArray[np.float32], glyph: Glyph) -> NDArray[np.bool_]:
    """Paint a digit into (H, W, 3), in place; return which pixels (side, side) of its box are inked."""
    level = ink_level(glyph.digit, glyph.side)
    inked: NDArray[np.bool_] = level > INK_AT
    box = image[glyph.top : glyph.top + glyph.side, glyph.left : glyph.left + glyph.side]
    opacity = ink_opacity(level)[..., None]
    ink = _ink(glyph, box[inked].mean(axis=0))
    box *= 1 - opacity
    box += opacity * ink  # in this form float32 cannot round above 1
    return inked


def ink_level(digit: int, side: int) -> NDArray[np.float32]:
    """A digit, index in `load_digits`, with a margin of one of its 10 parts, smoothly enlarged: (side, side), about [0, 1]."""
    source, _ = sources.glyphs()
    smooth = Image.fromarray(np.pad(source[digit], 1)).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float32)


def ink_opacity(level: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """How much of what is behind the ink it covers, 0 to 1: one half where the digit ends, at INK_AT."""
    return np.clip((level - INK_AT) / _EDGE + 0.5, 0, 1)


def _ink(glyph: Glyph, covered: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first candidate ink (3,) that stands out from the mean colour (3,) it covers, else black or white."""
    inks: NDArray[np.float32] = np.array(glyph.inks, dtype=np.float32)
    covered_luma = float(covered @ _LUMA)
    clear = np.flatnonzero(np.abs(inks @ _LUMA - covered_luma) >= _MIN_CONTRAST)
    if clear.size:
        ink: NDArray[np.float32] = inks[clear[0]]
        return ink
    return np.full(3, 0.0 if covered_luma > 0.5 else 1.0, dtype=np.float32)
