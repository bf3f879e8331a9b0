"""Denoising: noise of the asked strength, drawn anew in training, fixed where it is scored."""

import pickle

import numpy as np
import pytest
import torch
from data_folders import save, write_pictures
from PIL import Image

from export.errors import DataError, UsageError
from neuroseg.config import validate
from neuroseg.data.denoise import NoisyPatches, NoisyPictures
from neuroseg.data.opening import Ask, open_split


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("grey"))


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("colour"), colour=True)


def patches(folder, **arguments) -> NoisyPatches:
    return NoisyPatches([folder], **({"size": (16, 16), "count": 12, "sigma": (25, 25)} | arguments))


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_whole_pictures_are_the_files_and_their_noise_has_the_strength(grey):
    data = NoisyPictures([grey], 25.0)
    assert len(data) == 3 and data.sizes_vary and data.classes == 1 and data.class_names == ("grey",)
    for path, (noisy, clean) in zip(data.pictures.files, data, strict=True):
        assert torch.equal((clean[0] * 255).round().byte(), torch.from_numpy(np.array(Image.open(path))))
        residual = 255 * (noisy - clean).double()
        assert abs(float(residual.mean())) < 2.5 and float(residual.std()) == pytest.approx(25, rel=0.08)
        assert noisy.dtype == clean.dtype == torch.float32 and noisy.min() < 0 and noisy.max() > 1  # not clipped


def test_the_noise_of_a_score_depends_on_seed_and_file_name_alone(grey, tmp_path):
    noise = {p.name: i[0] - i[1] for p, i in zip(sorted(grey.iterdir()), NoisyPictures([grey], 25.0), strict=True)}
    for name in ("test001.png", "test002.png"):
        save(np.array(Image.open(grey / name)), tmp_path / name)
    fewer = NoisyPictures([tmp_path], 25.0)
    assert all(torch.equal(fewer[k][0] - fewer[k][1], noise[f"test00{k + 1}.png"]) for k in (1, 0))
    other = NoisyPictures([grey], 25.0, seed=1)[0]
    assert not torch.equal(other[0] - other[1], noise["test001.png"])
    stronger = NoisyPictures([grey], 50.0)[0]
    assert torch.allclose(stronger[0] - stronger[1], 2 * noise["test001.png"], atol=1e-6)
    assert not torch.equal(noise["test001.png"].flatten()[:900], noise["test002.png"].flatten()[:900])


def test_training_patches_are_windows_of_the_pictures_with_fresh_noise_in_every_epoch(grey):
    data = patches(grey, turns=False)
    pictures = [torch.from_numpy(np.array(Image.open(path))) for path in data.pictures.files]
    for index in range(len(data)):
        noisy, clean = data[3, index]
        levels = (clean[0] * 255).round().byte()
        windows = pictures[index % 3].unfold(0, 16, 1).unfold(1, 16, 1)
        assert (windows == levels).all(-1).all(-1).sum() == 1
        assert float((255 * (noisy - clean)).double().std()) == pytest.approx(25, rel=0.25)
        assert same(data[3, index], patches(grey, turns=False)[3, index])
        assert not same(data[3, index], data[4, index])
    assert same(data[0], data[0, 0]) and not same(data[0], patches(grey, turns=False, seed=1)[0])


def test_turned_patches_are_all_eight_of_the_square(tmp_path):
    corner = np.zeros((16, 16), np.uint8)
    corner[0, 1] = 255
    save(corner, tmp_path / "a.png")
    data = patches(tmp_path, count=200, sigma=(0, 0))
    seen = {tuple(np.argwhere(clean[0].numpy() == 1)[0]) for _, clean in (data[0, i] for i in range(200))}
    assert seen == {(0, 1), (1, 0), (0, 14), (14, 0), (15, 1), (1, 15), (15, 14), (14, 15)}


def test_blind_training_draws_the_strength(grey):
    strengths = [
        float((255 * (n - c)).double().std())
        for n, c in (patches(grey, sigma=(0, 55), count=99)[0, i] for i in range(99))
    ]
    assert min(strengths) < 8 and max(strengths) > 47 and 20 < np.mean(strengths) < 35


def test_tiles_are_parts_of_the_whole_noisy_pictures(grey):
    whole, tiles = NoisyPictures([grey], 25.0), NoisyPictures([grey], 25.0, tiles=(16, 16))
    assert not tiles.sizes_vary and len(tiles) == 2 * 3 + 3 * 2 + 2 * 2
    assert same(tiles[0], tuple(values[:, :16, :16] for values in whole[0]))
    assert same(tiles[5], tuple(values[:, 16:32, 32:48] for values in whole[0]))
    assert same(tiles[6], tuple(values[:, :16, :16] for values in whole[1]))


def test_the_epoch_may_be_chosen_on_some_of_the_pictures(grey):
    whole, some = NoisyPictures([grey], 25.0), NoisyPictures([grey], 25.0, most=2)
    assert len(some) == 2 and same(some[0], whole[0]) and same(some[1], whole[1])
    one = NoisyPictures([grey], 25.0, most=1)
    assert len(one) == 1 and not one.sizes_vary
    with pytest.raises(DataError, match="val_pictures = 4, but there are 3 pictures.*write 3 or less"):
        NoisyPictures([grey], 25.0, most=4)
    section = config(train_root=str(grey), val_root=str(grey), test_root=str(grey), size=[16, 16], val_pictures=2)
    assert len(open_split(section, Ask("val"))) == 2 and len(open_split(section, Ask("test"))) == 3


def test_colour_pictures_keep_their_channels_or_become_luma(colour):
    data = NoisyPictures([colour], 0.0, colour=True)
    assert data.classes == 3 and data.class_names == ("red", "green", "blue")
    expected = np.array(Image.open(data.pictures.files[0]))
    assert torch.equal((data[0][1] * 255).round().byte().permute(1, 2, 0), torch.from_numpy(expected))
    luma = NoisyPictures([colour], 0.0)[0][1]
    assert np.abs(255 * luma[0].numpy() - expected @ [0.299, 0.587, 0.114]).max() < 1.01


def test_grey_pictures_have_no_colours_to_give(grey):
    with pytest.raises(DataError, match="test001.png' is grey, and colour pictures are asked for"):
        NoisyPictures([grey], 25.0, colour=True)


def test_a_patch_larger_than_a_picture_is_refused_by_name(grey):
    with pytest.raises(DataError, match=r"test001.png' has 50x40 pixels, less than the 48x48"):
        patches(grey, size=(48, 48))


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no picture"):
        NoisyPictures([tmp_path], 25.0)


def config(**keys):
    return validate({"data": {"name": "denoise", **keys}, "model": {"scales": 1, "widths": [4]}}, "test").data


def test_the_config_opens_patches_for_training_and_whole_pictures_for_scores(grey, colour):
    section = config(
        train_root=[str(grey), str(colour)], val_root=str(grey), test_root=str(colour), size=[16, 16], patches=7
    )
    assert section.task == "denoising" and section.classes == section.inputs.channels == 1
    train, val = open_split(section, Ask("train", training=True)), open_split(section, Ask("val"))
    assert len(train) == 7 and train.per_epoch and len(train.pictures) == 6
    assert train[0][0].shape == train[0][1].shape == (1, 16, 16)
    assert [tuple(clean.shape) for _, clean in val] == [(1, 40, 50), (1, 50, 40), (1, 36, 36)]
    assert not same(train[0, 0], train[1, 0])
    again = open_split(section, Ask("train", training=True, seed=5))
    assert not same(train[0, 0], again[0, 0])
    assert same(
        val[1], open_split(section, Ask("val", seed=5))[1]
    )  # what is scored does not depend on the training's seed
    assert all(same(pickle.loads(pickle.dumps(items))[1], items[1]) for items in (train, val))
    assert config(colour=True).inputs.channels == config(colour=True).classes == 3


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"train_sigma": [50, 10]}, "train_sigma .* wrong order"),
        ({"train_root": []}, "train_root is empty"),
        ({"size": [16, 32]}, "turns = true needs square patches"),
        ({"sigma": 300}, "data.sigma"),
    ],
)
def test_wrong_keys_are_named(keys, says):
    with pytest.raises(UsageError, match=says):
        config(**keys)


@pytest.mark.parametrize(
    ("folder", "sizes"),
    [
        ("bsd68", {(321, 481): 53, (481, 321): 15}),
        ("cbsd68", {(321, 481): 53, (481, 321): 15}),
        ("set12", {(256, 256): 7, (512, 512): 5}),
        ("train400", {(180, 180): 400}),
    ],
)
def test_the_real_folders_have_the_known_pictures(neuroseg_data, folder, sizes):
    data = NoisyPictures([neuroseg_data / folder], 25.0, colour=folder == "cbsd68")
    assert {size: data.pictures.sizes.count(size) for size in set(data.pictures.sizes)} == sizes
    noisy, clean = data[0]
    assert float(10 * torch.log10(1 / ((noisy - clean) ** 2).mean())) == pytest.approx(
        20.17, abs=0.05
    )  # 20 log10(255 / 25)
