"""Synthetic events: pure recordings of disjoint sources, whose masks follow the digit through the stream."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from export.errors import DataError
from neuroseg.config import SyntheticEventsConfig
from neuroseg.data import SPLITS, sources
from neuroseg.data.sources import split_sources
from neuroseg.data.synthetic_events import SyntheticEvents


def data(split="train", steps=5, **settings) -> SyntheticEvents:
    return SyntheticEvents(SyntheticEventsConfig(name="synthetic-events", **settings), split, steps)


@pytest.mark.parametrize("kind", ["binary", "histogram"])
@pytest.mark.parametrize(("size", "classes"), [((32, 32), 2), ((40, 24), 11)])
def test_items_have_their_stated_form(kind, size, classes) -> None:
    items = data("val", 3, frames=kind, size=size, classes=classes)
    for index in range(4):
        frames, mask = items[index]
        assert frames.shape == (3, 2, *size) and frames.dtype == torch.float32
        assert mask.shape == size and mask.dtype == torch.int64
        assert set(mask.unique().tolist()) <= set(range(classes)) and mask.any()
        assert frames.any()
        if kind == "binary":
            assert set(frames.unique().tolist()) == {0.0, 1.0}
    assert len(items.class_names) == items.classes == classes


def test_a_recording_is_a_function_of_seed_split_and_index() -> None:
    some, more = data(seed=3, train_samples=5), data(seed=3, train_samples=50)
    for index in (4, 0):
        assert np.array_equal(some.events(index), more.events(index))
        assert all(torch.equal(a, b) for a, b in zip(some[index], more[index], strict=True))
    for other in (data(seed=4), data("test", seed=3)):
        assert not np.array_equal(some.events(0), other.events(0))


def test_splits_share_neither_digits_nor_pixels() -> None:
    found = {split: {origin.digest for origin in data(split).origins()} for split in SPLITS}
    assert not found["train"] & found["val"] and not found["train"] & found["test"] and not found["val"] & found["test"]
    for split in SPLITS:
        items = data(split, size=(64, 48))
        home = split_sources(split)
        for scene in (items.scene(index) for index in range(40)):
            assert scene.digit in home.digits
            (region,) = (one for one in home.regions if one.photo == scene.crop.photo)
            assert region.left <= scene.crop.left < scene.crop.right <= region.right
            assert region.top <= scene.crop.top < scene.crop.bottom <= region.bottom


def test_training_recordings_do_not_change_when_all_test_sources_do(monkeypatch) -> None:
    items, unseen = data(), data("test")
    before, unseen_before = items.events(0), unseen.events(0)
    photos = {name: photo.copy() for name, photo in sources.photos().items()}
    for region in split_sources("test").regions:
        photos[region.photo][:, region.left : region.right] ^= 255
    monkeypatch.setattr(sources, "photos", lambda: photos)
    assert np.array_equal(items.events(0), before)
    assert not np.array_equal(unseen.events(0), unseen_before)


def test_the_digit_stays_in_the_frame_and_moves_as_fast_as_asked() -> None:
    items = data(size=(64, 64), speed=(40.0, 60.0))
    for index in range(60):
        scene = items.scene(index)
        for row, column in scene.path:
            assert 0 <= row <= 64 - scene.side - 1 and 0 <= column <= 64 - scene.side - 1
        way = np.linalg.norm(np.subtract(scene.path[2], scene.path[0]))
        assert 4.0 - 1e-9 <= way <= 6.0 + 1e-9  # pixels in 100 ms


def test_the_mask_moves_along_the_path() -> None:
    items = data(size=(48, 48))
    for index in range(10):
        scene = items.scene(index)
        first, last = (items.mask(index, share * items.duration_us) for share in (0, 1))
        moved = np.subtract(ndimage.center_of_mass(last), ndimage.center_of_mass(first))
        assert np.abs(moved - np.subtract(scene.path[2], scene.path[0])).max() < 0.6
        assert last.sum() == pytest.approx(first.sum(), rel=0.25)


def test_events_of_a_still_photograph_lie_where_the_digit_passed() -> None:
    items = data(pan=0.0, noise_hz=0.0)
    for index in range(10):
        passed = np.zeros((32, 32), bool)
        for share in np.linspace(0, 1, 20):
            passed |= items.mask(index, share * items.duration_us) > 0
        reached = ndimage.binary_dilation(passed, iterations=2)
        events = items.events(index)
        assert len(events) > 20
        assert reached[events["y"], events["x"]].all()


def test_a_digit_that_brightens_what_it_covers_makes_on_events_at_its_front() -> None:
    items = data(pan=0.0, noise_hz=0.0, mismatch=0.0)
    agree = []
    for index in range(30):
        before, after = items.picture(index, 0), items.picture(index, items.duration_us)
        events = items.events(index)
        change = np.zeros((32, 32))
        np.add.at(change, (events["y"], events["x"]), np.where(events["p"], 1, -1))
        clear = np.abs(np.log((after + 1 / 32) / (before + 1 / 32))) > 0.4
        agree.append((np.sign(change) == np.sign(after - before))[clear].mean())
    assert min(agree) > 0.95  # the sum of a pixel's events is its change of log intensity, up to a threshold


def test_time_steps_hold_the_events_of_their_milliseconds() -> None:
    items = data(frames="binary", bin_ms=10.0)
    events, (frames, _) = items.events(0), items[0]
    for i in range(5):
        mine = events[(events["t"] >= 10_000 * i) & (events["t"] < 10_000 * (i + 1))]
        lit = {(int(e["p"]), int(e["y"]), int(e["x"])) for e in mine}
        assert {tuple(place) for place in frames[i].nonzero().tolist()} == lit


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(DataError, match="unknown split 'all'"):
        data("all")
    with pytest.raises(IndexError, match="item 1000 of 1000"):
        data()[1000]
    with pytest.raises(IndexError, match="use 0 to 100000"):
        data().mask(0, 200_000)
