"""`neuroseg data`: check finds what is wrong with a data set and says what is in it; show draws it."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from camvid_folder import write_camvid
from data_folders import (
    save,
    write_camseq,
    write_cifar10,
    write_drive,
    write_isbi,
    write_mnist,
    write_pictures,
    write_voc,
)
from PIL import Image

from export.errors import UsageError
from neuroseg.commands.data_check import check
from neuroseg.commands.data_sets import find, list_sets
from neuroseg.commands.data_show import VOID_COLOUR, event_picture, paint, show_data
from neuroseg.config.data import KINDS, data_name
from neuroseg.data import VOID


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with small sets of all kinds, each in its layout."""
    root = tmp_path_factory.mktemp("data")
    write_camvid(root / "camvid", count=3)
    write_camseq(root / "camseq01", count=32)
    write_drive(root / "drive")
    write_isbi(root / "isbi_em")
    write_voc(root / "voc")
    write_mnist(root / "mnist")
    write_cifar10(root / "cifar10")
    for number, name in enumerate(("train400", "set12", "bsd68", "cbsd68")):
        write_pictures(root / name, colour=name == "cbsd68", sizes=((80, 90), (70, 70)), seed=number)
    (root / "notes").mkdir()
    return root


def copy(folder, tmp_path, name):
    return shutil.copytree(folder / name, tmp_path / name)


def test_a_folder_with_all_kinds_is_found_to_hold_them_and_none_has_a_fault(folder):
    result = check(folder)
    names = [one["name"] for one in result["sets"]]
    assert sorted(names) == sorted(
        ["camvid", "camseq01", "drive", "isbi-em", "voc2012", "mnist-cifar10", "denoise", "denoise"]
    )
    assert [one["name"] for one in result["sets"] if not one["ok"]] == [] and result["ok"]


def test_voc_without_the_labels_of_sbd_is_checked_by_its_own_list(folder, tmp_path):
    root = copy(folder, tmp_path, "voc")
    shutil.rmtree(root / "VOCdevkit" / "VOC2012" / "SegmentationClassAug")
    (one,) = check(root)["sets"]
    assert one["ok"] and {name: split["items"] for name, split in one["splits"].items()} == {"train": 3, "test": 3}
    assert len(one["splits"]["test"]["sizes"]) == 3


def test_a_relative_folder_is_the_one_here_and_not_one_in_the_data_folder(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NEUROSEG_DATA", str(tmp_path))
    assert check(Path("bsd68"))["ok"]
    assert show_data("bsd68", (), tmp_path / "a.png", split="test", count=1, training=False)["items"] == [0]


def test_counts_sizes_and_labels_are_those_of_the_files(folder):
    (one,) = check(folder / "camvid")["sets"]
    assert {name: split["items"] for name, split in one["splits"].items()} == {"train": 3, "val": 3, "test": 3}
    for name, split in one["splits"].items():
        masks = [np.array(Image.open(path)) for path in (folder / "camvid" / f"{name}annot").iterdir()]
        counts = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=12)
        assert [row["pixels"] for row in split["classes"].values()] == counts[:11].tolist()
        assert split["void"]["pixels"] == counts[11]
        assert split["classes"]["Car"]["items"] == sum((mask == 8).any() for mask in masks)
        assert split["classes"]["Road"]["share"] == pytest.approx(counts[3] / counts.sum())
        assert split["sizes"] == {"32x24": 3}


def test_a_picture_in_two_splits_is_found_under_another_name_and_format(folder, tmp_path, cli):
    root = copy(folder, tmp_path, "camvid")
    assert check(root)["ok"]
    taken = Image.open(root / "train" / "train_1.png")
    taken.save(root / "test" / "test_0.png", compress_level=1)
    code, out, err = cli("data", "check", root, "--json")
    (leak,) = json.loads(out)["sets"][0]["leaks"]
    assert code == 1 and leak["splits"] == ["train", "test"] and leak["items"] == 1
    assert [name.rpartition("/")[2] for name in leak["examples"][0]] == ["train_1.png", "test_0.png"]
    code, out, err = cli("data", "check", root)
    assert code == 1 and "leak: 1 pictures are in train and in test" in err


def test_a_picture_twice_in_a_split_is_counted_but_no_fault(folder, tmp_path):
    root = copy(folder, tmp_path, "bsd68")
    shutil.copy(root / "test001.png", root / "test009.png")
    (one,) = check(root)["sets"]
    assert one["duplicates"] == 1 and one["ok"]


def test_every_faulty_item_is_told_and_the_others_are_counted(folder, tmp_path, cli):
    root = copy(folder, tmp_path, "camvid")
    for name in ("val_0", "val_2"):
        save(np.full((24, 32), 77, np.uint8), root / "valannot" / f"{name}.png")
    (root / "train" / "train_1.png").unlink()
    code, out, _ = cli("data", "check", root, "--json")
    splits = json.loads(out)["sets"][0]["splits"]
    assert code == 1
    assert [("val_0" in fault, "val_2" in fault) for fault in splits["val"]["faults"]] == [(True, False), (False, True)]
    assert sum(row["items"] for row in splits["val"]["classes"].values()) > 0
    assert "train_1.png' is missing" in splits["train"]["faults"][0] and splits["train"]["items"] == 0
    assert splits["test"]["faults"] == [] and splits["test"]["items"] == 3


def test_a_set_is_checked_as_what_it_is_named(folder, tmp_path):
    root = copy(folder, tmp_path, "isbi_em")
    shutil.rmtree(root / "train")
    with pytest.raises(UsageError, match="is laid out like none of camvid, .*--name camvid"):
        check(root)
    (one,) = check(root, "isbi-em")["sets"]
    assert not one["ok"] and "is no folder" in one["splits"]["train"]["faults"][0]
    with pytest.raises(UsageError, match="no data set is called 'imagenet'; known are camvid"):
        check(root, "imagenet")
    with pytest.raises(UsageError, match="is no folder. Give the folder of a data set"):
        find(root / "nothing")


def test_the_list_has_every_kind_that_a_config_can_name(cli):
    assert [one["name"] for one in list_sets()["sets"]] == [data_name(kind) for kind in KINDS]
    code, out, err = cli("data")
    assert code == 0 and "mnist-cifar10" in err and not out
    assert cli("data", "--json", "check", "x")[0] == 2


@pytest.mark.parametrize(
    ("name", "split", "columns"),
    [("camvid", "train", 3), ("drive", "test", 3), ("bsd68", "test", 2), ("voc", "val", 3), ("isbi_em", "test", 3)],
)
def test_sheets_of_folders_have_a_row_per_item(folder, tmp_path, cli, name, split, columns):
    out = tmp_path / "sheet.png"
    code, said, _ = cli("data", "show", folder / name, "--out", out, "--split", split, "--count", "2", "--json")
    result = json.loads(said)
    assert code == 0 and result["split"] == split and len(result["items"]) == 2
    picture = np.array(Image.open(out).convert("RGB"))
    assert picture.std() > 20 and picture.shape[1] > 200 * columns


@pytest.mark.parametrize("training", [[], ["--training"]])
def test_sheets_of_configs_follow_their_keys(folder, tmp_path, cli, training):
    out = tmp_path / "sheet.png"
    config = tmp_path / "c.yaml"
    config.write_text(f"data: {{name: drive, root: {folder / 'drive'}, patch: [32, 32], size: [80, 80]}}")
    arguments = ("data", "show", config, "data.channel=green", "--out", out, "--split", "train", *training)
    assert cli(*arguments)[0] == 0 and Image.open(out).width > 500
    assert cli("data", "show", "demo", "data.train_samples=5", "--out", out, "--split", "train")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("{root}/camvid", "data.size=[16,16]"), "is a folder; data.size=.* changes a config"),
        (("{root}",), "holds several data sets: .*camvid in"),
        (("{root}/notes",), "is laid out like none of"),
        (("nothing",), "neither a file nor a shipped config"),
        (("{root}/camvid", "--split", "dev"), "--split dev: there are train, val, test"),
        (("{root}/bsd68", "--split", "train"), "train split of .*bsd68"),
    ],
)
def test_what_cannot_be_shown_is_said(folder, tmp_path, cli, monkeypatch, arguments, says):
    monkeypatch.setenv("NEUROSEG_DATA", str(tmp_path))
    code, _, err = cli("data", "show", *(a.format(root=folder) for a in arguments), "--out", tmp_path / "s.png")
    assert code == 2 and not (tmp_path / "s.png").exists()
    assert re.search(says, " ".join(err.split()))


def test_masks_are_painted_in_their_colours_and_void_is_marked():
    mask = np.array([[0, 1], [VOID, 1]])
    colours = [(0.0, 0.0, 0.0), (0.25, 0.5, 1.0)]
    assert np.array_equal(paint(mask, colours), [[colours[0], colours[1]], [VOID_COLOUR, colours[1]]])


def test_events_are_red_and_blue_on_white():
    frame = np.zeros((2, 1, 3), np.float32)
    frame[0, 0, 0] = frame[1, 0, 1] = 1
    off, on, none = event_picture(frame)[0]
    assert off[2] > 0.9 > off[0] and on[0] > 0.9 > on[2] and np.array_equal(none, [1, 1, 1])


def test_show_data_returns_the_items_that_it_drew(folder, tmp_path):
    result = show_data(str(folder / "camseq01"), (), tmp_path / "a.png", split="test", count=3, training=False)
    assert result["items"] == [0, 10, 19] and (tmp_path / "a.png").stat().st_size > 10_000
