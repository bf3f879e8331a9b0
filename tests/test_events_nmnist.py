"""N-MNIST as a segmentation set: the mask lies where the recorded digit is, shown on recordings of known motion."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from event_recordings import write_packed
from scipy import ndimage

from export.errors import DataError
from neuroseg.config import NMnistConfig
from neuroseg.data.event_camera import EventCamera
from neuroseg.data.event_files import make_events
from neuroseg.data.labelled import digest
from neuroseg.data.nmnist import NMnist
from neuroseg.data.saccades import (
    SACCADE_US,
    STILL_US,
    best_shift,
    fit_of_shifts,
    ink_at,
    path,
    positions,
    start_of,
)

STARTS = [(1.0, -1.0), (2.5, 0.25), (0.4, 1.7), (3.0, -2.0), (1.2, 0.9), (-0.5, 0.5)]


def drawn_digit(seed: int) -> np.ndarray:
    """A thick stroke of random bends, 28x28."""
    rng = np.random.default_rng(seed)
    canvas = np.zeros((28, 28))
    points = rng.uniform(6, 22, (4, 2))
    for share in np.linspace(0, 1, 200):
        place = share * 3
        i = min(int(place), 2)
        row, column = points[i] + (place - i) * (points[i + 1] - points[i])
        canvas[round(row), round(column)] = 1
    return np.clip(ndimage.gaussian_filter(canvas, 1.2) * 900, 0, 255).astype(np.uint8)


def recorded(digit, start, seed=0):
    """What an event camera sees of the digit in the three saccades, and noise."""
    canvas = np.zeros((34, 34))
    canvas[:28, :28] = digit / 255
    times = np.linspace(0, 3 * SACCADE_US, 250)
    levels = np.stack([np.log(ndimage.shift(canvas, np.array(start) + path(t), order=1) + 0.1) for t in times])
    camera = EventCamera(0.4, 0.4, mismatch=0.1, refractory_us=2000, noise_hz=3)
    return camera.record(times, levels, np.random.default_rng(seed))


def write_set(root: Path, train: int = 12, test: int = 3) -> tuple[Path, Path]:
    """N-MNIST and MNIST with drawn digits; item i shows digit i % 10."""
    for part, prefix, count, seed in (("Train", "train", train, 0), ("Test", "t10k", test, 100)):
        digits = np.stack([drawn_digit(seed + i) for i in range(count)])
        labels = np.arange(count) % 10
        for i in range(count):
            events = recorded(digits[i], STARTS[i % len(STARTS)], i)
            write_packed(root / "nmnist" / part / str(labels[i]) / f"{i + 1:05d}.bin", events)
        (root / "mnist").mkdir(exist_ok=True)
        head = np.array([0x803, count, 28, 28], ">u4").tobytes()
        with gzip.open(root / "mnist" / f"{prefix}-images-idx3-ubyte.gz", "wb") as file:
            file.write(head + digits.tobytes())
        head = np.array([0x801, count], ">u4").tobytes()
        (root / "mnist" / f"{prefix}-labels-idx1-ubyte").write_bytes(head + labels.astype(np.uint8).tobytes())
    return root / "nmnist", root / "mnist"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    return write_set(tmp_path_factory.mktemp("set"))


def nmnist(folders, split="train", steps=5, **settings) -> NMnist:
    return NMnist(*folders, NMnistConfig(name="n-mnist", **settings), split, steps)


@pytest.mark.parametrize("start", STARTS)
def test_the_start_of_a_known_recording_is_found_within_half_a_pixel(start) -> None:
    for seed in range(3):
        digit = drawn_digit(seed)
        found = start_of(recorded(digit, start, seed), digit)
        assert np.abs(np.subtract(found, start)).max() < 0.5


def test_the_digit_goes_round_a_triangle() -> None:
    corners = path(np.array([0, SACCADE_US, 2 * SACCADE_US, 3 * SACCADE_US]))
    assert np.abs(corners - [[0, 0], [5.3, 1.6], [0.2, 5.1], [0, 0]]).max() < 0.3
    assert np.abs(np.diff(path(np.arange(0, 3 * SACCADE_US, 1000)), axis=0)).max() < 0.15  # pixels in a millisecond
    assert path(10.0 * SACCADE_US).tolist() == path(3.0 * SACCADE_US).tolist()


def test_masks_of_known_recordings_overlap_with_the_digit(folders) -> None:
    items = nmnist(folders, size=(34, 34))
    for index in range(len(items)):
        file, saccade = items.files[index // 3], index % 3
        truth = ink_at(items.pictures[file.number], STARTS[file.number % len(STARTS)], saccade * SACCADE_US + STILL_US)
        mask = items[index][1].numpy() > 0
        assert (mask & truth).sum() / (mask | truth).sum() > 0.75


@pytest.mark.parametrize(("classes", "frames"), [(2, "binary"), (11, "histogram")])
def test_items_have_their_stated_form(folders, classes, frames) -> None:
    items = nmnist(folders, "test", 4, classes=classes, frames=frames, size=(40, 36))
    assert len(items) == 9
    for index in range(9):
        taken, mask = items[index]
        assert taken.shape == (4, 2, 40, 36) and taken.any()
        assert mask.shape == (40, 36) and mask.dtype == torch.int64
        assert set(mask.unique().tolist()) == {0, 1 if classes == 2 else 1 + items.files[index // 3].label}
        assert not taken[..., :3, :].any() and not taken[..., 37:, :].any()  # the frame around the sensor


def test_steps_end_when_the_camera_stands_still(folders) -> None:
    items = nmnist(folders, frames="binary", size=(34, 34), bin_ms=10.0)
    events = items.events(items.files[0])
    for saccade in range(3):
        end = saccade * SACCADE_US + STILL_US
        mine = events[(events["t"] >= end - 10_000) & (events["t"] < end)]
        lit = {(int(e["p"]), int(e["y"]), int(e["x"])) for e in mine}
        assert {tuple(place) for place in items[saccade][0][4].nonzero().tolist()} == lit
    assert len(nmnist(folders, saccades=1)) * 3 == len(items)


def test_splits_share_no_recording(folders) -> None:
    found = {
        split: {origin.digest for origin in nmnist(folders, split).origins()} for split in ("train", "val", "test")
    }
    assert [len(each) for each in found.values()] == [11, 1, 3]
    assert len(set.union(*found.values())) == 15


def test_what_is_wrong_is_named(folders, tmp_path) -> None:
    root, mnist = write_set(tmp_path, 3, 3)
    with pytest.raises(DataError, match="3 recordings, none for split val"):
        nmnist((root, mnist), "val")
    with pytest.raises(DataError, match=r"longer than a saccade .* data\.bin_ms=10\.5"):
        nmnist((root, mnist), steps=10)
    (root / "Train" / "1" / "00002.bin").rename(root / "Train" / "0" / "00002.bin")
    with pytest.raises(DataError, match="lies under 0, but MNIST's item 2 is a 1"):
        nmnist((root, mnist))
    (root / "Train" / "0" / "00002.bin").rename(root / "Train" / "0" / "two.bin")
    with pytest.raises(DataError, match="no number of an MNIST item, 1 to 3"):
        nmnist((root, mnist))
    write_packed(root / "Test" / "0" / "00001.bin", make_events([1], [40], [0], [0]))
    with pytest.raises(DataError, match="reach 41x1 pixels, it has 34x34"):
        nmnist((root, mnist), "test").load()
    with pytest.raises(DataError, match="is no folder"):
        nmnist((root / "none", mnist))


def test_the_real_recordings_have_their_digits_at_the_masks(neuroseg_data) -> None:
    items = [
        nmnist((neuroseg_data / "events" / "nmnist", neuroseg_data / "mnist"), split)
        for split in ("train", "val", "test")
    ]
    assert [len(each.files) for each in items] == [450, 50, 100]
    found = items[1]
    lively = (3, 5, 13, 15, 23, 25)  # tenths of saccades in which the camera moves
    fits, starts, sharp = np.zeros((len(lively), 17, 17)), [], []
    for file in found.files:
        events, picture = found.events(file), found.pictures[file.number]
        start = start_of(events, picture)
        starts.append(start)
        still = positions(events) - path(events["t"]) - start
        for fit, tenth in zip(fits, lively, strict=True):
            fit += fit_of_shifts(still[events["t"] // (SACCADE_US // 10) == tenth], picture)
        # At the time of the label, events lie on the outline of the mask.
        inked = ink_at(picture, start, STILL_US)
        outline = ndimage.binary_dilation(inked, iterations=1) & ~ndimage.binary_erosion(inked, iterations=2)
        last = events[(events["t"] >= 60_000) & (events["t"] < STILL_US)]
        sharp.append(outline[last["y"], last["x"]].mean() / outline.mean())
    assert np.std(starts, axis=0).max() < 0.3  # one camera, one motion
    assert np.abs([best_shift(fit) for fit in fits]).max() < 0.3
    assert np.mean(sharp) > 2.0


def test_digests_tell_recordings_apart() -> None:
    assert digest(np.zeros(3, np.uint8)) != digest(np.zeros(4, np.uint8))
