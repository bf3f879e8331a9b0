"""The embedded data set: disjoint splits, pure items, pictures that agree with masks, errors that say the fix."""

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from export.errors import DataError
from neuroseg.data import SPLITS, DigitsOnPhotos, sources
from neuroseg.data.digits import MIN_BOX, _paint
from neuroseg.data.sources import split_sources

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def overlap(a: sources.Region, b: sources.Region) -> bool:
    return a.photo == b.photo and a.left < b.right and b.left < a.right and a.top < b.bottom and b.top < a.bottom


def same(a: tuple[torch.Tensor, ...], b: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_every_digit_belongs_to_one_split():
    chosen = [index for split in SPLITS for index in split_sources(split).digits]
    assert sorted(chosen) == list(range(1797))


def test_no_two_source_digits_are_equal():
    ink, _ = sources.glyphs()
    assert len(np.unique(ink.reshape(len(ink), -1), axis=0)) == len(ink)


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_shows_every_digit_class(split):
    _, labels = sources.glyphs()
    counts = np.bincount(labels[list(split_sources(split).digits)], minlength=10)
    assert counts.min() >= 15


def test_photo_regions_of_splits_share_no_pixel():
    owned = [(split, region) for split in SPLITS for region in split_sources(split).regions]
    assert not [(a, b) for (s, a), (r, b) in itertools.combinations(owned, 2) if s != r and overlap(a, b)]
    for _, region in owned:
        height, width, _ = sources.photos()[region.photo].shape
        assert 0 <= region.top < region.bottom <= height
        assert 0 <= region.left < region.right <= width


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("size", [(20, 32), (33, 70), (180, 240), (500, 700)])
def test_items_use_only_their_splits_digits_and_regions(split, size):
    data = DigitsOnPhotos(split, size, samples=60, seed=3, digits_per_image=2)
    for index in range(len(data)):
        recipe = data.recipe(index)
        assert {glyph.digit for glyph in recipe.glyphs} <= set(data.sources.digits)
        home = [region for region in data.sources.regions if region.photo == recipe.crop.photo]
        assert home[0].left <= recipe.crop.left < recipe.crop.right <= home[0].right
        assert home[0].top <= recipe.crop.top < recipe.crop.bottom <= home[0].bottom


def test_training_items_do_not_change_when_all_test_sources_do(monkeypatch):
    data = DigitsOnPhotos("train", (40, 56), 11, samples=40)
    before = [data[index] for index in range(len(data))]
    photos = {name: photo.copy() for name, photo in sources.photos().items()}
    ink, labels = (array.copy() for array in sources.glyphs())
    for split in ("val", "test"):
        for region in split_sources(split).regions:
            photos[region.photo][region.top : region.bottom, region.left : region.right] ^= 255
        ink[list(split_sources(split).digits)] = 0.5
    unseen = DigitsOnPhotos("test", (40, 56), 11, samples=40)
    unseen_before = [unseen[index] for index in range(len(unseen))]
    monkeypatch.setattr(sources, "photos", lambda: photos)
    monkeypatch.setattr(sources, "glyphs", lambda: (ink, labels))
    assert all(same(data[index], item) for index, item in enumerate(before))
    assert not any(same(unseen[index], item) for index, item in enumerate(unseen_before))


@pytest.mark.parametrize("split", SPLITS)
def test_an_item_is_a_function_of_seed_split_and_index(split):
    data = DigitsOnPhotos(split, (32, 48), samples=20, seed=5)
    again = DigitsOnPhotos(split, (32, 48), samples=1000, seed=5)
    backwards = {index: again[index] for index in reversed(range(20))}
    assert all(same(data[index], backwards[index]) for index in range(20))
    other_seed = DigitsOnPhotos(split, (32, 48), samples=20, seed=6)
    assert not any(torch.equal(data[index][0], other_seed[index][0]) for index in range(20))


def test_items_of_a_data_set_differ():
    data = DigitsOnPhotos("train", (32, 32), samples=50)
    assert len({image.numpy().tobytes() for image, _ in data}) == 50


@pytest.mark.parametrize("classes", [2, 11])
@pytest.mark.parametrize("size", [(16, 16), (48, 48), (31, 97), (600, 450)])
def test_images_and_masks_have_their_stated_form(size, classes):
    data = DigitsOnPhotos("val", size, classes, samples=8)
    for image, mask in data:
        assert image.shape == (3, *size)
        assert image.dtype == torch.float32
        assert 0 <= image.min() <= image.max() <= 1
        assert mask.shape == size
        assert mask.dtype == torch.int64
        assert 0 <= mask.min() <= mask.max() < len(data.class_names) == classes


def test_the_two_class_mask_is_the_eleven_class_mask_without_the_digit():
    two, eleven = (DigitsOnPhotos("test", (40, 40), classes, samples=30, digits_per_image=2) for classes in (2, 11))
    for index in range(30):
        assert torch.equal(two[index][0], eleven[index][0])
        assert torch.equal(two[index][1], (eleven[index][1] > 0).long())


@pytest.mark.parametrize("digits", [1, 2, 3, 5, 9])
def test_digits_are_labelled_in_their_boxes_which_do_not_overlap(digits):
    data = DigitsOnPhotos("train", (60, 90), 11, samples=20, digits_per_image=digits)
    _, labels = sources.glyphs()
    for index in range(20):
        mask = data[index][1].numpy().copy()
        taken = np.zeros_like(mask)
        for glyph in data.recipe(index).glyphs:
            box = np.s_[glyph.top : glyph.top + glyph.side, glyph.left : glyph.left + glyph.side]
            assert set(np.unique(mask[box])) == {0, 1 + labels[glyph.digit]}
            taken[box] += 1
        assert taken.max() == 1
        assert not mask[taken == 0].any()


def test_a_single_digit_is_a_third_to_two_thirds_of_the_image():
    data = DigitsOnPhotos("train", (96, 96), samples=300)
    rows = [np.flatnonzero(mask.numpy().any(axis=1)) for _, mask in data]
    heights = np.array([found[-1] - found[0] + 1 for found in rows]) / 96
    assert 0.3 <= heights.min() < 0.4
    assert 0.6 < heights.max() <= 0.72


def test_every_source_digit_is_visible_at_the_smallest_size():
    ink, _ = sources.glyphs()
    data = DigitsOnPhotos("train", (16, 16), samples=1)
    glyph = data.recipe(0).glyphs[0]
    for digit in range(len(ink)):
        image = np.zeros((16, 16, 3), dtype=np.float32)
        assert _paint(image, replace(glyph, digit=digit, top=0, left=0, side=MIN_BOX)).sum() >= 8


@pytest.mark.parametrize("split", SPLITS)
def test_digits_stand_out_from_what_they_cover(split):
    data = DigitsOnPhotos(split, (48, 48), samples=200)
    differences = []
    for index in range(200):
        image, mask = data[index]
        luma = np.tensordot(LUMA, image.numpy(), axes=1)
        recipe = data.recipe(index)
        glyph = recipe.glyphs[0]
        box = np.s_[glyph.top : glyph.top + glyph.side, glyph.left : glyph.left + glyph.side]
        inside, outside = luma[box][mask[box] == 1], luma[box][mask[box] == 0]
        differences.append(abs(inside.mean() - outside.mean()))
    assert np.median(differences) > 0.25
    assert np.median(differences) < 0.7  # not black on white everywhere
    assert np.mean(np.array(differences) > 0.1) > 0.95


def test_an_item_of_48_by_48_takes_under_two_milliseconds_of_processor_time():
    data = DigitsOnPhotos("train", (48, 48), samples=400)
    data[0]
    times = []
    for index in range(100):
        start = time.process_time()
        data[index]
        times.append(time.process_time() - start)
    assert np.median(times) < 2e-3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"split": "training"}, "unknown split 'training': use one of train, val, test"),
        ({"size": (15, 48)}, r"image size \(15, 48\).*at least 16"),
        ({"size": (48,)}, r"image size \(48,\).*\(height, width\)"),
        ({"size": (32.5, 48)}, "whole pixels"),
        ({"classes": 10}, "classes=10.*2.*or 11"),
        ({"samples": 0}, "samples=0.*at least 1"),
        ({"seed": -4}, "seed=-4.*use for example 4"),
        ({"digits_per_image": 0}, "at least 1 digit"),
        ({"size": (32, 48), "digits_per_image": 13}, "does not fit on 32x48.*10x10.*Use 12 or fewer"),
    ],
)
def test_wrong_arguments_are_named_with_limit_and_fix(arguments, says):
    with pytest.raises(DataError, match=says):
        DigitsOnPhotos(**({"split": "train", "size": (32, 32)} | arguments))


def test_the_stated_largest_number_of_digits_works():
    data = DigitsOnPhotos("train", (32, 48), samples=3, digits_per_image=12)
    assert all(len(data.recipe(index).glyphs) == 12 and data[index][1].any() for index in range(3))


@pytest.mark.parametrize("index", [-1, 4])
def test_an_index_out_of_range_is_an_index_error(index):
    with pytest.raises(IndexError, match="use 0 to 3"):
        DigitsOnPhotos("train", (32, 32), samples=4)[index]
