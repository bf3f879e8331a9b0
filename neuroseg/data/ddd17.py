"""DDD17 with the labels of Ev-SegNet: 6 classes and void on the upper 200 rows of a DAVIS346B's 346x260 pixels.

Two layouts are read. Both come with labels that a network made from the grey frames, not with labels by hand.

ESS (github.com/uzh-rpg/ess, datasets/ddd17_events_loader.py), with raw events; what MFS-Seg trained on:
    dir0, dir1, dir3 to dir7, each with
    events.dat.t            time of each event in nanoseconds, int64
    events.dat.xyp          x, y, polarity (0 or 1), int16
    index/index_50ms.npy    a row per frame: its time in nanoseconds, the number of events before it, and 50 ms before it
    segmentation_masks/*_NUMBER.png     labels of frame NUMBER, counted from 1
    Train: dir0, 3, 4, 6, 7; val: dir1; test: dir5.
Ev-SegNet (github.com/Shathe/Ev-SegNet, generate_dataset.py and utils/Loader.py), what Spiking-DeepLab and -FCN trained on:
    events/SPLIT/NAME_NUMBER.npy        (200, 346, 6), channel 0 for ON and 1 for OFF events of 50 ms, -1 to 1
    labels/SPLIT/NAME_NUMBER.png        SPLIT is train or test; `other` is left out
    There is no val; here it is every tenth of the training frames, in stretches at the end of each recording.

Sources: Binas et al., "DDD17", 2017; Alonso, Murillo, "EV-SegNet", CVPRW 2019; Sun et al., "ESS", ECCV 2022.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.errors import DataError
from neuroseg.config import Ddd17Config
from neuroseg.data.driving import LabelledEvents, LabelledMoments
from neuroseg.data.event_files import Events, Size, checked_events, make_events
from neuroseg.data.pictures import by_number, checked_folder, picture_files
from neuroseg.data.sources import Split

CLASS_NAMES = ("flat", "construction and sky", "object", "nature", "human", "vehicle")
COLOURS = ((128, 64, 128), (70, 70, 70), (220, 220, 0), (107, 142, 35), (220, 20, 60), (0, 0, 142))  # of Cityscapes
SENSOR: Size = (260, 346)
VIEW: Size = (200, 346)
_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("dir0", "dir3", "dir4", "dir6", "dir7"),
    "val": ("dir1",),
    "test": ("dir5",),
}
_VAL_SHARE = 0.1
_CHANNELS = 6
_LAYOUT = "DDD17 in the layout of ESS (dir0, dir1, ...) or of Ev-SegNet (events, labels)"


def open_layout(
    root: Path, config: Ddd17Config, split: Split, steps: int, *, training: bool, seed: int
) -> LabelledMoments:
    """A split in whichever of the two layouts the folder has. Raises DataError if it has neither."""
    checked_folder(root, _LAYOUT)
    if (root / "labels").is_dir():
        return Ddd17Frames(root, config, split, steps, training=training, seed=seed)
    if any(root.glob("dir*")):
        return Ddd17Events(root, config, split, steps, training=training, seed=seed)
    raise DataError(
        f"'{root}' has neither folders dir0, dir1, ... nor a folder labels. Give the folder that holds {_LAYOUT}."
    )


class Ddd17Events(LabelledEvents):
    """The layout of ESS, with raw events."""

    class_names = CLASS_NAMES
    colours = COLOURS
    view: ClassVar[Size] = VIEW

    def __init__(self, root: Path, config: Ddd17Config, split: Split, steps: int, *, training: bool, seed: int) -> None:
        """Check that every label has a row of the index, and that the files of events agree."""
        super().__init__(config, split, steps, training=training, seed=seed)
        self._index: dict[Path, NDArray[np.int64]] = {}
        labels: list[Path] = []
        for folder in (root / name for name in _FOLDERS[split]):
            masks = picture_files(folder / "segmentation_masks", _LAYOUT)
            self._index[folder] = _index(folder, _events_in(folder))
            for mask in masks:
                _frame_number(mask, len(self._index[folder]))
            labels += masks
        self.labels = tuple(labels)

    def events_before(self, index: int) -> tuple[Events, int]:
        """The events of the T steps, rows of the bonnet left out."""
        mask = self.labels[index]
        folder = mask.parent.parent
        rows = self._index[folder]
        end_ns, end = (int(value) for value in rows[_frame_number(mask, len(rows)), :2])
        number = _events_in(folder)
        t = np.memmap(folder / "events.dat.t", np.int64, "r", shape=(number,))
        first = self.first_event(end, lambda window_us: int(np.searchsorted(t[:end], end_ns - 1000 * window_us)))
        xyp = np.memmap(folder / "events.dat.xyp", np.int16, "r", shape=(number, 3))[first:end]
        events = make_events(t[first:end] // 1000, xyp[:, 0], xyp[:, 1], xyp[:, 2])
        if len(events):
            checked_events(events, SENSOR, str(folder / "events.dat.xyp"))
        return events[events["y"] < VIEW[0]], end_ns // 1000


class Ddd17Frames(LabelledMoments):
    """The layout of Ev-SegNet: a frame of events for each label. The T steps are the frames up to the label's.

    Labels before whose frame the recording, or its piece, holds fewer than T are left out. Numbers stay as they are stored,
    -1 to 1, and are resized by nearest neighbour as Ev-SegNet does. Kim et al. (2022) read these files, too, the two channels of
    numbers of events, at 64x64; they do not say whether they took the numbers as stored, nor how they resized them.
    """

    class_names = CLASS_NAMES
    colours = COLOURS
    view: ClassVar[Size] = VIEW

    def __init__(self, root: Path, config: Ddd17Config, split: Split, steps: int, *, training: bool, seed: int) -> None:
        """Check that every label has its frame of events."""
        super().__init__(config, split, steps, training=training, seed=seed)
        if config.frames == "binary":
            raise DataError(
                f"'{root}' is DDD17 in Ev-SegNet's layout, whose frames hold no single events. Use data.frames=histogram, or the "
                "layout of ESS."
            )
        folder = "test" if split == "test" else "train"
        self._stored = root / "events" / folder
        masks = picture_files(root / "labels" / folder, _LAYOUT)
        names = {path.stem for path in self._stored.glob("*.npy")}
        missing = [mask for mask in masks if mask.stem not in names]
        if missing:
            raise DataError(
                f"'{self._stored / missing[0].stem}.npy' is missing ({len(missing)} of {len(masks)}). Copy them again."
            )
        self.labels = tuple(
            mask for mask in _of_split(masks, split) if all(name in names for name in self._before(mask))
        )
        if not self.labels:
            raise DataError(f"no label of '{root / 'labels' / folder}' has {steps} frames before it for split {split}.")

    def frames(self, index: int) -> Tensor:
        """(T, 2, H, W), channel 0 for OFF and 1 for ON."""
        stored = np.stack([self._frame(self._stored / f"{name}.npy") for name in self._before(self.labels[index])])
        steps = torch.from_numpy(np.ascontiguousarray(stored[..., [1, 0]].transpose(0, 3, 1, 2), dtype=np.float32))
        return torch.nn.functional.interpolate(steps, self.config.size, mode="nearest-exact")

    def _before(self, mask: Path) -> list[str]:
        """Names of the T frames that end with a label's."""
        recording, _, number = mask.stem.rpartition("_")
        return [f"{recording}_{int(number) - back}" for back in range(self.steps - 1, -1, -1)]

    def _frame(self, path: Path) -> NDArray[np.float64]:
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"'{path}' cannot be read: {error}. It is damaged or cut short: copy it again.") from None
        if values.shape[:2] != VIEW or values.shape[2:] not in ((_CHANNELS,), (2,)):
            raise DataError(
                f"'{path}' has the shape {values.shape}; expected: {(*VIEW, _CHANNELS)}. Take Ev-SegNet's own files."
            )
        return np.asarray(values, dtype=np.float64)


def _events_in(folder: Path) -> int:
    """Number of events of a recording; DataError unless both files hold as many."""
    sizes = []
    for name, bytes_each in (("events.dat.t", 8), ("events.dat.xyp", 6)):
        path = folder / name
        if not path.is_file():
            raise DataError(f"'{path}' is missing. {_LAYOUT} is expected.")
        sizes.append(path.stat().st_size / bytes_each)
    if sizes[0] != sizes[1] or sizes[0] != int(sizes[0]):
        raise DataError(
            f"'{folder}': events.dat.t holds {sizes[0]:g} times, events.dat.xyp {sizes[1]:g} events; they must be whole and "
            "equal. One is cut short: copy them again."
        )
    return int(sizes[0])


def _index(folder: Path, events: int) -> NDArray[np.int64]:
    """Rows (time in nanoseconds, number of events before) of a recording's frames."""
    path = folder / "index" / "index_50ms.npy"
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' cannot be read: {error}. {_LAYOUT} is expected.") from None
    if rows.ndim != 2 or rows.shape[1] < 2 or not len(rows) or rows[:, 1].max() > events:
        raise DataError(
            f"'{path}' has the shape {rows.shape} and must hold rows (time, event) up to event {events}. Copy it again."
        )
    return np.asarray(rows, dtype=np.int64)


def _frame_number(mask: Path, frames: int) -> int:
    """The row of a label's frame in the index."""
    number = mask.stem.rpartition("_")[2]
    if not number.isdigit() or not 1 <= int(number) <= frames:
        raise DataError(
            f"'{mask}': the name does not end with a frame's number, 1 to {frames}. Take the labels of this recording."
        )
    return int(number) - 1


def _of_split(masks: list[Path], split: Split) -> list[Path]:
    """Of the training labels those of train or val; all of test."""
    if split == "test":
        return masks
    recordings: dict[str, list[Path]] = {}
    for mask in sorted(masks, key=by_number):
        recordings.setdefault(mask.stem.rpartition("_")[0], []).append(mask)
    chosen: list[Path] = []
    for members in recordings.values():
        border = len(members) - round(_VAL_SHARE * len(members))
        chosen += members[border:] if split == "val" else members[:border]
    return chosen
