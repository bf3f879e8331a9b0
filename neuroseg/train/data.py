"""Data sets of a config, and the order in which their items are drawn."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from export.errors import DataError, UsageError
from neuroseg.config import CamVidConfig, Config, DigitsConfig
from neuroseg.data import SPLITS, Augment, CamVid, DigitsOnPhotos, Split

DATA_FOLDER = "NEUROSEG_DATA"
Key: TypeAlias = tuple[int, int]
Item: TypeAlias = tuple[Tensor, Tensor]


class SegmentationData(Protocol):
    """A split: items (image (3, H, W) in [0, 1], mask (H', W')); masks of val and test may be larger than the images."""

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


def dataset(
    config: DigitsConfig | CamVidConfig, split: Split, *, training: bool = False, seed: int = 0
) -> SegmentationData:
    """The data set of a split.

    training  with the config's random changes (drawn by `seed`), and masks of the images' size; else the items as they are,
              and the labels of the files, which scores are against
    """
    if isinstance(config, CamVidConfig):
        augment = Augment(**config.augment.model_dump()) if training and config.augment is not None else None
        label_size = config.size if training and augment is None else None
        root = data_folder(config.root)
        return CamVid(
            root, split, protocol=config.protocol, size=config.size, label_size=label_size, augment=augment, seed=seed
        )
    samples = {"train": config.train_samples, "val": config.val_samples, "test": config.test_samples}[split]
    return DigitsOnPhotos(split, config.size, config.classes, samples, config.seed, config.digits_per_image)


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


def all_splits(config: Config) -> dict[Split, SegmentationData]:
    """All three splits, read and checked, the first for training; UsageError for a data section that cannot be had."""
    try:
        splits = {
            split: dataset(config.data, split, training=split == "train", seed=config.train.seed) for split in SPLITS
        }
        for items in splits.values():
            if isinstance(items, CamVid):
                items.load()  # a wrong label is found now, not after an epoch
    except DataError as error:
        raise UsageError(f"config section data: {error}") from None
    return splits


def training_masks(config: Config) -> Tensor:
    """All masks of the training split (N, H, W) uint8, of the images' size and without random changes."""
    data = config.data
    plain = data.model_copy(update={"augment": None}) if isinstance(data, CamVidConfig) else data
    items = dataset(plain, "train", training=True)
    return torch.stack([items[i][1].to(torch.uint8) for i in range(len(items))])


class Drawn(Dataset[Item]):
    """A data set whose items are asked for by (epoch, index): the epoch matters to those with augmentation only."""

    def __init__(self, items: SegmentationData) -> None:
        self.items = items
        self.augmented = getattr(items, "augment", None) is not None
        self._kept: dict[int, Item] = {}

    def __len__(self) -> int:
        """Number of items."""
        return len(self.items)

    def __getitem__(self, key: Key) -> Item:
        """One item. Those that never change are computed once."""
        epoch, index = key
        if self.augmented:
            augmented: Any = self.items
            item: Item = augmented[(epoch, index)]
            return item
        if index not in self._kept:
            self._kept[index] = self.items[index]
        return self._kept[index]


class EpochSampler(Sampler[Key]):
    """(epoch, index) in an order that depends on (seed, epoch) alone: a resumed training draws what it would have drawn.

    With several processes each draws its share of the same order; the last items that do not go round are left out when
    training, and not repeated when scoring. Lightning calls `set_epoch`.
    """

    def __init__(self, count: int, seed: int, *, shuffle: bool, rank: int = 0, processes: int = 1) -> None:
        self.count, self.seed, self.shuffle = count, seed, shuffle
        self.rank, self.processes = rank, processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that is drawn next."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of items that this process draws."""
        if self.shuffle:
            return self.count // self.processes
        return len(range(self.rank, self.count, self.processes))

    def __iter__(self) -> Iterator[Key]:
        """Keys of one epoch."""
        order = list(range(self.count))
        if self.shuffle:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
            order = torch.randperm(self.count, generator=generator).tolist()
        for index in order[self.rank :: self.processes][: len(self)]:
            yield self.epoch, index


def loader(config: Config, items: SegmentationData, *, shuffle: bool, rank: int, processes: int) -> DataLoader[Item]:
    """Batches of one split for one of several processes."""
    sampler = EpochSampler(len(items), config.train.seed, shuffle=shuffle, rank=rank, processes=processes)
    if not len(sampler):
        raise UsageError(f"{len(items)} images cannot be shared by {processes} processes; use fewer devices or nodes")
    workers = config.train.workers if shuffle else 0  # what is scored stays in memory
    return DataLoader(
        Drawn(items),
        config.train.batch_size,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="forkserver" if workers else None,  # torch's threads do not survive a fork
    )
