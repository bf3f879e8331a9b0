"""Data sets of a config, and the order in which their items are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from export.errors import DataError, UsageError
from neuroseg.config import Config, DataSection
from neuroseg.data import SPLITS, Split
from neuroseg.data.opening import Ask, Item, SegmentationData, open_split

Key: TypeAlias = tuple[int, int]
KEPT_BYTES = 2 * 1024**3  # of one split, in each process


def dataset(config: Config, split: Split, *, training: bool = False) -> SegmentationData:
    """The data set of a config's split; see `neuroseg.data.opening`."""
    return open_split(config.data, Ask(split, training, config.train.seed, config.model.steps))


def all_splits(config: Config) -> dict[Split, SegmentationData]:
    """All three splits, read and checked, the first for training; UsageError for a data section that cannot be had."""
    try:
        splits = {split: dataset(config, split, training=split == "train") for split in SPLITS}
        for items in splits.values():
            load = getattr(items, "load", None)
            if load is not None:
                load()  # a wrong label is found now, not after an epoch
    except DataError as error:
        raise UsageError(f"config section data: {error}") from None
    return splits


def training_masks(config: Config) -> Iterator[Tensor]:
    """Masks (H, W) of the training split, one after the other, of the inputs' size and without random changes."""
    data: DataSection = config.data
    plain = data.model_copy(update={"augment": None}) if "augment" in type(data).model_fields else data
    items = open_split(plain, Ask("train", training=True, steps=config.model.steps))
    return (items[i][1] for i in range(len(items)))


def changes_by_epoch(items: SegmentationData) -> bool:
    """Whether items are other ones in each epoch: augmented, or drawn anew as a data set's `per_epoch` says (noise, patches).

    Such data sets take (epoch, index) as a key; the item depends on nothing else.
    """
    return getattr(items, "augment", None) is not None or bool(getattr(items, "per_epoch", False))


class Drawn(Dataset[Item]):
    """A data set whose items are asked for by (epoch, index): the epoch matters to those that change (`changes_by_epoch`).

    Others are computed once and kept, as far as `KEPT_BYTES` go: a large data set is read again in each epoch.
    """

    def __init__(self, items: SegmentationData) -> None:
        self.items = items
        self.changing = changes_by_epoch(items)
        self._kept: dict[int, Item] = {}
        self._room = KEPT_BYTES

    def __len__(self) -> int:
        """Number of items."""
        return len(self.items)

    def __getitem__(self, key: Key) -> Item:
        """One item."""
        epoch, index = key
        if self.changing:
            changing: Any = self.items
            item: Item = changing[(epoch, index)]
            return item
        if index in self._kept:
            return self._kept[index]
        item = self.items[index]
        size = sum(part.nbytes for part in item)
        if size <= self._room:
            self._kept[index] = item
            self._room -= size
        return item


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
    """Batches of one split for one of several processes; one image at a time where images are of their own sizes."""
    sampler = EpochSampler(len(items), config.train.seed, shuffle=shuffle, rank=rank, processes=processes)
    if not len(sampler):
        raise UsageError(f"{len(items)} images cannot be shared by {processes} processes; use fewer devices or nodes")
    workers = config.train.workers if shuffle else 0  # what is scored stays in memory
    return DataLoader(
        Drawn(items),
        1 if not shuffle and _whole_images(config, items) else config.train.batch_size,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="forkserver" if workers else None,  # torch's threads do not survive a fork
    )


def _whole_images(config: Config, items: SegmentationData) -> bool:
    """Whether a split that is scored holds images or labels as they are in the files, whose sizes may differ."""
    if config.data.task == "denoising" or getattr(items, "sizes_vary", False):
        return True
    return tuple(items[0][0].shape[-2:]) != config.data.train_size
