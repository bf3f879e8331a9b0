"""Patches are windows of the pictures, drawn fairly and repeatably; tiles cover every pixel once."""

import numpy as np
import pytest
import torch
from data_folders import write_drive, write_isbi
from hypothesis import given, settings
from hypothesis import strategies as st

from export.errors import DataError, UsageError
from neuroseg.config import validate
from neuroseg.data import VOID, Augment
from neuroseg.data.drive import Drive
from neuroseg.data.isbi_em import IsbiEm
from neuroseg.data.opening import Ask, open_split
from neuroseg.data.windows import Patches, Tiles
from neuroseg.train import data as training

SIDE = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_drive(tmp_path_factory.mktemp("windows") / "drive")


@pytest.fixture(scope="module")
def retinas(folder):
    return Drive(folder, "train", val=1)


def patches(pictures, **arguments) -> Patches:
    return Patches(pictures, **({"size": (SIDE, SIDE), "count": 20, "augment": None, "seed": 0} | arguments))


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_patch_is_a_window_of_its_picture_and_mask(retinas):
    data = patches(retinas)
    for index in range(len(data)):
        image, mask = data[1, index]
        whole, labels = retinas.picture(index % len(retinas))
        windows = torch.from_numpy(whole[0].copy()).unfold(0, SIDE, 1).unfold(1, SIDE, 1)
        hits = ((image[0] * 255).round().byte() == windows).all(-1).all(-1)
        ((top, left),) = hits.nonzero().tolist()
        assert np.array_equal(mask.numpy(), labels[top : top + SIDE, left : left + SIDE])
        assert mask[SIDE // 2, SIDE // 2] != VOID


def test_every_place_whose_centre_counts_is_drawn(tmp_path):
    pictures = IsbiEm(write_isbi(tmp_path, size=(18, 19)), "train")
    data = patches(pictures, count=900)
    seen = {tuple(data._place(pictures.picture(0)[1], 0, index)) for index in range(len(data))}
    assert seen == {(top, left) for top in range(3) for left in range(4)}


def test_patches_are_other_ones_in_every_epoch_and_depend_on_seed_epoch_and_index_alone(retinas):
    data, again = patches(retinas), patches(retinas)
    assert all(same(data[2, index], again[2, index]) for index in reversed(range(len(data))))
    assert sum(same(data[0, index], data[1, index]) for index in range(len(data))) < 3
    assert not same(data[0], patches(retinas, seed=1)[0]) and same(data[5], data[0, 5])
    assert training.changes_by_epoch(data)  # the training draws them anew


def test_augmented_patches_turn_with_their_masks(retinas):
    flipped, plain = patches(retinas, augment=Augment(flip=1.0)), patches(retinas)
    assert all(same(flipped[index], [part.flip(-1) for part in plain[index]]) for index in range(5))


def test_a_patch_larger_than_the_pictures_is_refused(retinas):
    with pytest.raises(DataError, match=r"patches of 96x16 do not fit into the pictures of DRIVE, which have 66x70"):
        patches(retinas, size=(16, 96))


def test_a_picture_that_is_all_void_gives_no_patch(retinas):
    data = patches(retinas)
    with pytest.raises(DataError, match="is void wherever a patch of 16x16 can have its centre"):
        data._place(np.full((70, 66), VOID, np.uint8), 0, 0)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(5, 90), width=st.integers(5, 90))
def test_tiles_cover_every_pixel_once_and_what_is_beyond_is_void(retinas, height, width):
    data = Tiles(retinas, (height, width))
    rows, columns = -(-70 // height), -(-66 // width)
    assert len(data) == len(retinas) * rows * columns
    tiles = [data[index] for index in range(rows * columns)]
    image = torch.cat([torch.cat([t[0] for t in tiles[r * columns : (r + 1) * columns]], 2) for r in range(rows)], 1)
    mask = torch.cat([torch.cat([t[1] for t in tiles[r * columns : (r + 1) * columns]], 1) for r in range(rows)], 0)
    whole, labels = retinas.picture(0)
    assert torch.equal((image[:, :70, :66] * 255).round().byte(), torch.from_numpy(whole))
    assert torch.equal(mask[:70, :66], torch.from_numpy(labels).long())
    assert (mask[70:] == VOID).all() and (mask[:, 66:] == VOID).all()


def test_a_padded_picture_is_mirrored_at_its_border(retinas):
    image, _ = Tiles(retinas, (80, 80))[0]
    assert torch.equal(image[:, 70:], image[:, 60:70].flip(1)) and torch.equal(
        image[:, :, 66:], image[:, :, 52:66].flip(2)
    )


@pytest.mark.parametrize("key", [-1, 20, (0, 20), (-1, 0)])
def test_keys_out_of_range_are_index_errors(retinas, key):
    with pytest.raises(IndexError):
        patches(retinas)[key]


def config(folder, **keys):
    model = {"family": "unet", "widths": [4, 8], "steps": 1}
    return validate({"data": {"name": "drive", "root": str(folder), "val_images": 1, **keys}, "model": model}, "test")


def test_sections_with_a_patch_train_on_patches_and_score_whole_pictures(folder):
    section = config(folder, patch=[16, 16], patches=6, size=[80, 80]).data
    assert len(open_split(section, Ask("train", training=True))) == 6
    assert len(open_split(section, Ask("train"))) == 4 and len(open_split(section, Ask("test"))) == 2
    small = config(folder, patch=[16, 16], size=[32, 32]).data
    assert len(open_split(small, Ask("test"))) == 2 * 3 * 3
    resized = config(folder, patch=None, size=[32, 32]).data
    image, mask = open_split(resized, Ask("test"))[0]
    assert image.shape == (1, 32, 32) and mask.shape == (70, 66)


def test_a_patch_that_the_network_cannot_take_is_refused(folder):
    with pytest.raises(UsageError, match="data.patch: 17 is not a multiple of 2.*use 16 or 18"):
        config(folder, patch=[17, 16])
