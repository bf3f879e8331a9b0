"""N-MNIST as a segmentation set: real recordings of an event camera, with masks from the MNIST pictures before it.

Layout: Train/<digit>/<number>.bin and Test/<digit>/<number>.bin, where the number is MNIST's item counted from 1; MNIST's
four idx files, gzipped or not. The masks are ours: N-MNIST has labels of whole recordings only (see `saccades`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy
from torch.utils.data import Dataset

from export.errors import DataError
from neuroseg.config import NMnistConfig
from neuroseg.data.event_files import Events, read_recording
from neuroseg.data.event_frames import counts, frames, steps_by_time
from neuroseg.data.labelled import Origin, check_split, digest
from neuroseg.data.mnist import digit_classes, read_mnist
from neuroseg.data.pictures import checked_folder
from neuroseg.data.saccades import SACCADE_US, SENSOR, STILL_US, Start, ink_at, start_of
from neuroseg.data.sources import Split

_FOLDERS: dict[Split, str] = {"train": "Train", "val": "Train", "test": "Test"}
_VAL_EVERY = 10  # every tenth training recording, in the order of their numbers, is val
_LAYOUT = "N-MNIST: Train and Test, each with the folders 0 to 9 of .bin files"


@dataclass(frozen=True)
class DigitFile:
    """A recording; `number` of its picture in MNIST from 0."""

    path: Path
    label: int
    number: int


class NMnist(Dataset[tuple[Tensor, Tensor]]):
    """N-MNIST recordings.

    root, mnist_root  folders of the recordings and of MNIST
    config  the data section;  split  train, val (every tenth recording of Train) or test;  steps  T

    Item: frames float32 (T, 2, H, W), the sensor's 34x34 pixels in the middle; mask int64 (H, W) at the end of the last step,
    when the camera stands still after a saccade, 0 background. With three saccades item i is saccade i % 3 of recording i // 3.
    The constructor checks the files' names against MNIST's labels, reading an item its events: DataError, naming the file,
    what was found, what was expected and the fix.
    """

    def __init__(self, root: Path, mnist_root: Path, config: NMnistConfig, split: Split, steps: int) -> None:
        """Find the recordings of the split and their pictures."""
        check_split(split, 0)
        if steps * config.bin_ms * 1000 > SACCADE_US:
            raise DataError(
                f"{steps} steps of {config.bin_ms:g} ms are longer than a saccade of N-MNIST, {SACCADE_US / 1000:g} ms. "
                f"Use data.bin_ms={SACCADE_US / 1000 / steps:g} or less."
            )
        self.config, self.split, self.steps = config, split, steps
        self.classes: int = config.classes
        self.pictures, labels = read_mnist(mnist_root, test=split == "test")
        self._recent: tuple[DigitFile, Events, Start] | None = None
        self.files = _of_split(_files(Path(root) / _FOLDERS[split], labels), split)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in mask order."""
        return digit_classes(self.classes)

    def __len__(self) -> int:
        """Number of items."""
        return len(self.files) * self.config.saccades

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Frames float32 (T, 2, H, W) and mask int64 (H, W)."""
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}: use 0 to {len(self) - 1}")
        file, saccade = self.files[index // self.config.saccades], index % self.config.saccades
        events, start = self._located(file)
        end_us = saccade * SACCADE_US + STILL_US
        step = steps_by_time(events["t"], end_us, self.steps, self.config.bin_ms * 1000)
        numbers = _padded(counts(events, step, self.steps, SENSOR), self.config.size)
        inked = _padded(ink_at(self.pictures[file.number], start, end_us).astype(np.int64), self.config.size)
        return frames(numbers, self.config.frames), from_numpy(inked * (1 if self.classes == 2 else 1 + file.label))

    def events(self, file: DigitFile) -> Events:
        """The stream of a recording, t in microseconds from its start."""
        return read_recording(file.path, SENSOR).events

    def _located(self, file: DigitFile) -> tuple[Events, Start]:
        """The stream and where its digit began; the last one is kept, since its saccades are items in a row."""
        if self._recent is None or self._recent[0] != file:
            events = self.events(file)
            self._recent = file, events, start_of(events, self.pictures[file.number])
        return self._recent[1:]

    def load(self) -> None:
        """Read and check every recording now."""
        for file in self.files:
            self.events(file)

    def origins(self) -> Iterator[Origin]:
        """The recordings."""
        for file in self.files:
            yield Origin(str(file.path), digest(np.frombuffer(file.path.read_bytes(), np.uint8)))


def _files(folder: Path, labels: NDArray[np.uint8]) -> list[DigitFile]:
    """All recordings of a folder in the order of their numbers."""
    checked_folder(folder, _LAYOUT)
    files = [_digit_file(path, labels) for path in folder.glob("[0-9]/*.bin")]
    if not files:
        raise DataError(f"'{folder}' holds no recording. Give the folder that holds {_LAYOUT}.")
    return sorted(files, key=lambda file: file.number)


def _digit_file(path: Path, labels: NDArray[np.uint8]) -> DigitFile:
    number = int(path.stem) - 1 if path.stem.isdigit() else -1
    if not 0 <= number < len(labels):
        raise DataError(
            f"'{path}': the name is no number of an MNIST item, 1 to {len(labels)}. Use the names of N-MNIST."
        )
    if labels[number] != int(path.parent.name):
        raise DataError(
            f"'{path}' lies under {path.parent.name}, but MNIST's item {number + 1} is a {labels[number]}. Use the names of "
            "N-MNIST, and the same MNIST files for both."
        )
    return DigitFile(path, int(labels[number]), number)


def _of_split(files: list[DigitFile], split: Split) -> list[DigitFile]:
    if split == "test":
        return files
    chosen = [file for i, file in enumerate(files) if (i % _VAL_EVERY == _VAL_EVERY - 1) == (split == "val")]
    if not chosen:
        raise DataError(
            f"N-MNIST's Train holds {len(files)} recordings, none for split {split}; {_VAL_EVERY} are the least."
        )
    return chosen


def _padded(values: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.int64]:
    """(..., 34, 34) in the middle of (..., H, W)."""
    before = [(new - old) // 2 for new, old in zip(size, SENSOR, strict=True)]
    after = [new - old - first for new, old, first in zip(size, SENSOR, before, strict=True)]
    return np.pad(values, [(0, 0)] * (values.ndim - 2) + list(zip(before, after, strict=True)))
