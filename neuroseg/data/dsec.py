"""DSEC-Semantic: a driving car's event camera with 640x480 pixels, labels of 11 classes for its upper 440 rows.

Layout of ESS (github.com/uzh-rpg/ess, README.md), each sequence a folder of train or test:
    events/left/events.h5           events/x, y, p, t (microseconds from t_offset), ms_to_idx; compressed by Blosc
    events/left/rectify_map.h5      rectify_map (480, 640, 2): x and y of each pixel without the lens's distortion
    semantic/left/11classes/data/000000.png ...     labels 0 to 10, 255 for void
    semantic/timestamps.txt         time of each label in microseconds, a line each
As published, labels lie in semantic/left/11classes or in 11classes, their times in NAME_semantic_timestamps.txt; these are
found, too. Train: zurich_city_00_a, 01_a, 02_a, 04_a to 08_a; test: zurich_city_13_a, 14_c, 15_a.

Sources: Gehrig et al., "DSEC", RA-L 2021; Sun et al., "ESS: learning event-based semantic segmentation from still images",
ECCV 2022. As ESS, events are rectified before they are binned, and every second label is used (`label_stride`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from export.errors import DataError
from neuroseg.config import DsecConfig
from neuroseg.data.driving import LabelledEvents
from neuroseg.data.event_files import Events, Size, make_events
from neuroseg.data.pictures import checked_folder, picture_files
from neuroseg.data.sources import Split

CLASS_NAMES = (
    *("background", "building", "fence", "person", "pole", "road", "sidewalk", "vegetation", "car", "wall"),
    "traffic sign",
)
COLOURS = (  # of Cityscapes
    *((0, 0, 0), (70, 70, 70), (190, 153, 153), (220, 20, 60), (153, 153, 153), (128, 64, 128), (244, 35, 232)),
    *((107, 142, 35), (0, 0, 142), (102, 102, 156), (220, 220, 0)),
)
SENSOR: Size = (480, 640)
VIEW: Size = (440, 640)
TRAIN = tuple(f"zurich_city_{number:02d}_a" for number in (0, 1, 2, 4, 5, 6, 7, 8))
TEST = ("zurich_city_13_a", "zurich_city_14_c", "zurich_city_15_a")
HELD_OUT = "zurich_city_08_a"
_LABELS = ("semantic/left/11classes/data", "semantic/11classes/data", "semantic/left/11classes", "11classes")
_TIMES = ("semantic/timestamps.txt", "semantic/left/timestamps.txt", "{}_semantic_timestamps.txt")
_LAYOUT = (
    "DSEC-Semantic in the layout of ESS: train and test, each with folders zurich_city_..., their events and labels"
)


@dataclass(frozen=True)
class Moment:
    """A label and its time in microseconds."""

    sequence: Path
    label: Path
    time_us: int


class Dsec(LabelledEvents):
    """DSEC-Semantic. Labels before which the recording holds less than the T steps are left out."""

    config: DsecConfig
    class_names = CLASS_NAMES
    colours = COLOURS
    view: ClassVar[Size] = VIEW

    def __init__(self, root: Path, config: DsecConfig, split: Split, steps: int, *, training: bool, seed: int) -> None:
        """Check that every sequence has its files, and every label its time."""
        super().__init__(config, split, steps, training=training, seed=seed)
        checked_folder(root, _LAYOUT)
        found = [moment for sequence in _sequences(root, config, split) for moment in self._of_sequence(sequence)]
        if not found:
            raise DataError(
                f"no label of '{root}', split {split}, has {steps} steps of events before it. Use fewer or shorter ones."
            )
        self.moments = tuple(found)
        self.labels = tuple(moment.label for moment in found)

    def events_before(self, index: int) -> tuple[Events, int]:
        """The events of the T steps, rectified; those that leave the upper 440 rows are left out."""
        moment = self.moments[index]
        with _opened(moment.sequence / "events" / "left" / "events.h5") as file:
            offset = int(file["t_offset"][()])
            end_us = moment.time_us - offset
            end = _event_at(file, end_us)
            first = self.first_event(end, lambda window_us: _event_at(file, end_us - window_us))
            t, x, y, p = (np.asarray(file["events"][name][first:end]) for name in "txyp")
        if len(t) and (int(x.max()) >= SENSOR[1] or int(y.max()) >= SENSOR[0]):
            raise DataError(
                f"'{moment.sequence}/events/left/events.h5' holds events outside of 640x480 pixels. Copy it again."
            )
        straight = np.floor(_rectify_map(moment.sequence)[y, x] + 0.5).astype(np.int64)  # the nearest pixel
        column, row = straight[:, 0], straight[:, 1]
        seen = (row >= 0) & (row < VIEW[0]) & (column >= 0) & (column < VIEW[1])
        return make_events(t[seen].astype(np.int64) + offset, column[seen], row[seen], p[seen]), moment.time_us

    def _of_sequence(self, sequence: Path) -> list[Moment]:
        """The labels that are asked for and have enough events before them."""
        asked = _moments(sequence)[:: self.config.label_stride]
        with _opened(sequence / "events" / "left" / "events.h5") as file:
            return [moment for moment in asked if self._has_events(file, moment)]

    def _has_events(self, file: Any, moment: Moment) -> bool:
        end_us = moment.time_us - int(file["t_offset"][()])
        if self.config.events_per_bin is not None:
            return _event_at(file, end_us) >= self.steps * self.config.events_per_bin
        stamps = file["events"]["t"]
        return bool(end_us - self.window_us >= int(stamps[0]) and end_us <= int(stamps[-1]))


def _sequences(root: Path, config: DsecConfig, split: Split) -> list[Path]:
    if split == "test" or (split == "val" and config.protocol == "paper"):
        return [root / "test" / name for name in TEST]
    held_out = () if config.protocol == "paper" else (HELD_OUT,)
    return [
        root / "train" / name
        for name in (held_out if split == "val" else TRAIN)
        if split == "val" or name not in held_out
    ]


def _moments(sequence: Path) -> list[Moment]:
    """The labels of a sequence with their times, in order."""
    checked_folder(sequence, _LAYOUT)
    folder = next((sequence / name for name in _LABELS if any((sequence / name).glob("*.png"))), sequence / _LABELS[0])
    labels = picture_files(folder, _LAYOUT)
    times = next(
        (sequence / name.format(sequence.name) for name in _TIMES if (sequence / name.format(sequence.name)).is_file()),
        None,
    )
    if times is None:
        raise DataError(f"'{sequence / _TIMES[0]}' is missing, the times of the labels. {_LAYOUT} is expected.")
    try:
        stamps = np.loadtxt(times, dtype=np.int64, ndmin=1)
    except (OSError, ValueError) as error:
        raise DataError(
            f"'{times}' cannot be read: {error}. It must hold a time in microseconds a line: copy it again."
        ) from None
    if len(stamps) != len(labels):
        raise DataError(
            f"'{times}' holds {len(stamps)} times, '{folder}' {len(labels)} labels; they must be as many. Copy both again."
        )
    return [Moment(sequence, label, int(stamp)) for label, stamp in zip(labels, stamps, strict=True)]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An HDF5 file; whatever is wrong in it is a DataError."""
    import h5py
    import hdf5plugin  # noqa: F401  (registers Blosc)

    try:
        with h5py.File(path) as file:
            yield file
    except (OSError, KeyError) as error:
        raise DataError(
            f"'{path}' cannot be read: {error}. It is missing, damaged or cut short: copy it from DSEC."
        ) from None


def _event_at(file: Any, time_us: int) -> int:
    """Number of events before a time, in microseconds from t_offset: ms_to_idx leads to the millisecond, the rest is searched."""
    index: NDArray[np.int64] = np.asarray(file["ms_to_idx"], dtype=np.int64)
    stamps = file["events"]["t"]
    if time_us < 0:
        return 0
    millisecond = time_us // 1000
    low = int(index[millisecond]) if millisecond < len(index) else len(stamps)
    high = int(index[millisecond + 1]) if millisecond + 1 < len(index) else len(stamps)
    return low + int(np.searchsorted(stamps[low:high], time_us))


@lru_cache(maxsize=len(TRAIN) + len(TEST))
def _rectify_map(sequence: Path) -> NDArray[np.float32]:
    path = sequence / "events" / "left" / "rectify_map.h5"
    with _opened(path) as file:
        values: NDArray[np.float32] = np.asarray(file["rectify_map"], dtype=np.float32)
    if values.shape != (*SENSOR, 2):
        raise DataError(f"'{path}' has the shape {values.shape}; expected: {(*SENSOR, 2)}. Copy it from DSEC.")
    return values
