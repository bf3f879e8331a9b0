"""From the data section of a config to one of its splits: the only place that knows all data sets."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from torch import Tensor

from export.errors import DataError
from neuroseg.config import CamVidConfig, DataSection, DigitsConfig
from neuroseg.data.augment import Augment
from neuroseg.data.camvid import CamVid
from neuroseg.data.digits import DigitsOnPhotos
from neuroseg.data.sources import Split

DATA_FOLDER = "NEUROSEG_DATA"
Item: TypeAlias = tuple[Tensor, Tensor]


class SegmentationData(Protocol):
    """A split: items (input, mask (H', W') int64). The input has the shape that the config's `inputs` say, for one item:
    (C, H, W) in [0, 1], or (T, C, H, W). Masks of val and test may be larger than the input.
    """

    @property
    def classes(self) -> int:
        """Number of classes, void aside."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Their names, in mask order."""

    def __len__(self) -> int:
        """Number of items."""

    def __getitem__(self, index: int, /) -> Item:
        """One item."""


@dataclass(frozen=True)
class Ask:
    """Which part of a data set is asked for.

    training  with the config's random changes, and masks of the input's size; else items as they are, and the labels of the
              files, which scores are against
    seed      of the random changes
    steps     T: frames per item, for data sets that have a time axis
    """

    split: Split
    training: bool = False
    seed: int = 0
    steps: int = 1


Opener = Callable[[Any, Ask], SegmentationData]


def open_split(config: DataSection, ask: Ask) -> SegmentationData:
    """The items of a split. Raises DataError for data that cannot be had, naming the file and the fix."""
    return OPENERS[type(config)](config, ask)


def data_folder(root: str) -> Path:
    """Where a data set lies: an absolute path as it is, a relative one in $NEUROSEG_DATA, else in the current folder."""
    path = Path(root).expanduser()
    base = os.environ.get(DATA_FOLDER)
    if path.is_absolute() or (base is None and path.is_dir()):
        return path
    if base is None:
        raise DataError(
            f"data folder '{root}' is not in the current folder, and {DATA_FOLDER} is not set. Set {DATA_FOLDER} to the "
            f"folder that holds it, or say where it is: data.root=/path/to/{path.name}"
        )
    return Path(base) / path


def _camvid(config: CamVidConfig, ask: Ask) -> CamVid:
    augment = Augment(**config.augment.model_dump()) if ask.training and config.augment is not None else None
    label_size = config.size if ask.training and augment is None else None
    return CamVid(
        data_folder(config.root),
        ask.split,
        protocol=config.protocol,
        size=config.size,
        label_size=label_size,
        augment=augment,
        seed=ask.seed,
    )


def _digits(config: DigitsConfig, ask: Ask) -> DigitsOnPhotos:
    samples = {"train": config.train_samples, "val": config.val_samples, "test": config.test_samples}[ask.split]
    return DigitsOnPhotos(ask.split, config.size, config.classes, samples, config.seed, config.digits_per_image)


OPENERS: dict[type[DataSection], Opener] = {DigitsConfig: _digits, CamVidConfig: _camvid}
