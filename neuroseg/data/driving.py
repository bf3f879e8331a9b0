"""Event recordings of a driving car with labelled frames: what DDD17 and DSEC-Semantic share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode  # type: ignore[import-untyped]
from torchvision.transforms.v2.functional import resize  # type: ignore[import-untyped]

from export.errors import DataError
from neuroseg.config import DrivingSection
from neuroseg.data.event_files import Events, Size
from neuroseg.data.event_frames import counts, frames, scaled, steps_by_count, steps_by_time
from neuroseg.data.labelled import Key, Origin, check_split, checked_labels, digest, split_key
from neuroseg.data.pictures import INDEXED, Bytes, header, pixels, size_text
from neuroseg.data.sources import Split

VOID_IN_FILES = 255


class LabelledMoments(Dataset[tuple[Tensor, Tensor]], ABC):
    """Labelled moments of event recordings. Data sets derive from it, and say where labels and frames are.

    config    the data section;  split  train, val or test;  steps  T;  seed  of the flips
    training  with random flips, and masks of the frames' size; else the labels as in the files

    Item: frames float32 (T, 2, H, W) of the events before the label's time; mask int64, class numbers and VOID.
    Reading an item checks its labels and events: DataError, naming the file, what was found, what was expected, the fix.
    """

    class_names: ClassVar[tuple[str, ...]]  # in mask order
    colours: ClassVar[tuple[tuple[int, int, int], ...]]  # red, green, blue (0 to 255), in mask order
    view: ClassVar[Size]  # (H, W) in pixels of what has labels: the sensor without the car's bonnet

    def __init__(self, config: DrivingSection, split: Split, steps: int, *, training: bool, seed: int) -> None:
        """Check the arguments."""
        check_split(split, seed)
        self.config, self.split, self.steps, self.seed = config, split, steps, seed
        self.training = training
        self.labels: tuple[Path, ...] = ()
        # Says that items depend on the epoch.
        self.augment = config.flip if training and config.flip else None

    @property
    def classes(self) -> int:
        """Number of classes, void aside."""
        return len(self.class_names)

    def __len__(self) -> int:
        """Number of labelled moments."""
        return len(self.labels)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """Frames float32 (T, 2, H, W) and mask int64; `key` is an index, or (epoch, index), which decides on a flip."""
        epoch, index = split_key(key, len(self))
        taken = self.frames(index)
        mask = torch.from_numpy(self.mask(index))
        if self.training:
            mask = resize(mask[None], self.config.size, InterpolationMode.NEAREST_EXACT)[0]
        rng = np.random.default_rng([self.seed, epoch, index])
        if self.augment is not None and rng.random() < self.augment:
            taken, mask = taken.flip(-1), mask.flip(-1)
        return taken, mask.long()

    def mask(self, index: int) -> Bytes:
        """Class numbers (H, W) and VOID of an item, as in its file."""
        path = self.labels[index]
        found = header(path, INDEXED)
        if found != self.view:
            raise wrong_size(path, found, self.view)
        fix = f"Take the labels of {self.classes} classes."
        return checked_labels(path, pixels(path), self.classes, VOID_IN_FILES, fix)

    @abstractmethod
    def frames(self, index: int) -> Tensor:
        """Frames float32 (T, 2, H, W) of an item."""

    def load(self) -> None:
        """Read and check every label now: a bad one shows before training."""
        for index in range(len(self)):
            self.mask(index)

    def origins(self) -> Iterator[Origin]:
        """The labelled moments: what the network reads there."""
        for index, path in enumerate(self.labels):
            yield Origin(str(path), digest(self.frames(index).numpy().view(np.uint8)))


class LabelledEvents(LabelledMoments):
    """Labelled moments whose frames are made of raw events."""

    def frames(self, index: int) -> Tensor:
        """Frames float32 (T, 2, H, W) of an item."""
        events, end_us = self.events_before(index)
        config = self.config
        if config.events_per_bin is None:
            step = steps_by_time(events["t"], end_us, self.steps, config.bin_ms * 1000)
        else:
            step = steps_by_count(len(events), self.steps, config.events_per_bin)
        numbers = counts(scaled(events, self.view, config.size), step, self.steps, config.size)
        return frames(numbers, config.frames)

    @abstractmethod
    def events_before(self, index: int) -> tuple[Events, int]:
        """At least those events of an item that its T steps hold, within the view, and the time of its label in microseconds."""

    def first_event(self, end: int, before: Callable[[int], int]) -> int:
        """The first of the events 0 to `end` that the T steps hold; `before` gives the number of events up to a time, which is
        so many microseconds before the label's.
        """
        per_bin = self.config.events_per_bin
        return before(self.window_us) if per_bin is None else max(0, end - self.steps * per_bin)

    @property
    def window_us(self) -> int:
        """Duration of the T steps in microseconds."""
        return round(self.steps * self.config.bin_ms * 1000)


def wrong_size(path: Path, found: Size, expected: Size) -> DataError:
    """The error for a label picture of another size."""
    return DataError(
        f"the mask '{path}' has {size_text(found)} pixels, {size_text(expected)} were expected (width x height). Take the "
        "labels as they were published, without resizing them."
    )
