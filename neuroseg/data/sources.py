"""Where the embedded data come from, and which part of it each split may see.

Handwritten digits: scikit-learn's `load_digits` (UCI optical digits, 1,797 glyphs of 8x8). Photographs: scikit-learn's
`load_sample_images` (china.jpg and flower.jpg, 427x640). Both are installed with scikit-learn: nothing is downloaded.
The split is fixed, whatever the seed: every digit and every photo pixel belongs to one split only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits, load_sample_images

Split: TypeAlias = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

# Share of each class, in file order: neighbours in the file, often by the same hand, stay in one split.
_DIGIT_SHARE: dict[Split, tuple[float, float]] = {"train": (0.0, 0.7), "val": (0.7, 0.8), "test": (0.8, 1.0)}
# Columns (left, right) of each photo. Both photos show structure and plain background in every strip.
_PHOTO_COLUMNS: dict[str, dict[Split, tuple[int, int]]] = {
    "china.jpg": {"train": (0, 380), "val": (380, 460), "test": (460, 640)},
    "flower.jpg": {"train": (0, 340), "val": (560, 640), "test": (340, 560)},
}


@dataclass(frozen=True)
class Region:
    """Pixels [top, bottom) x [left, right) of one photograph."""

    photo: str
    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left


@dataclass(frozen=True)
class SplitSources:
    """What one split is made of: indices into `load_digits`, and photo regions. Disjoint between splits."""

    digits: tuple[int, ...]
    regions: tuple[Region, ...]


@lru_cache(maxsize=1)
def glyphs() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """All digits: ink (1797, 8, 8) in [0, 1] and labels (1797,) 0 to 9."""
    digits = load_digits()
    return (digits.images / 16).astype(np.float32), digits.target.astype(np.int64)


@lru_cache(maxsize=1)
def photos() -> dict[str, NDArray[np.uint8]]:
    """File name -> photograph (427, 640, 3) uint8, RGB."""
    images: list[NDArray[np.uint8]] = load_sample_images().images
    return dict(zip(sorted(_PHOTO_COLUMNS), images, strict=True))


@lru_cache(maxsize=len(SPLITS))
def split_sources(split: Split) -> SplitSources:
    """The digits and photo regions of a split."""
    _, labels = glyphs()
    first, last = _DIGIT_SHARE[split]
    chosen: list[int] = []
    for label in range(10):
        members = np.flatnonzero(labels == label)
        chosen += members[round(first * len(members)) : round(last * len(members))].tolist()
    regions = tuple(
        Region(name, 0, columns[split][0], photos()[name].shape[0], columns[split][1])
        for name, columns in _PHOTO_COLUMNS.items()
    )
    return SplitSources(tuple(sorted(chosen)), regions)
