"""CamSeq01, DRIVE, ISBI EM and VOC2012: items are the files' pixels and labels, splits are disjoint, faults are named."""

import pickle
import shutil
from itertools import chain

import numpy as np
import pytest
import torch
from data_folders import CAMSEQ_COLOURS, save, write_camseq, write_drive, write_isbi, write_voc
from PIL import Image

from export.errors import DataError
from neuroseg.commands.reference import load_samples
from neuroseg.config import validate
from neuroseg.data import SPLITS, VOID
from neuroseg.data.camseq import CamSeq
from neuroseg.data.camvid import CLASS_NAMES, CamVid
from neuroseg.data.drive import Drive, Preparation
from neuroseg.data.isbi_em import IsbiEm
from neuroseg.data.opening import Ask, open_split
from neuroseg.data.voc import Voc, voc_colour

WRITERS = {"camseq01": write_camseq, "drive": write_drive, "isbi-em": write_isbi, "voc2012": write_voc}
KEYS = {
    "camseq01": {"val_images": 1, "test_images": 2, "size": [16, 16]},
    "drive": {"val_images": 2, "size": [80, 80], "patch": [16, 16], "patches": 9},
    "isbi-em": {"size": [16, 16]},
    "voc2012": {"size": [16, 16]},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Name -> folder of a small set in its layout."""
    return {name: write(tmp_path_factory.mktemp(name) / "set") for name, write in WRITERS.items()}


@pytest.fixture
def fresh(tmp_path):
    """A folder that the test may spoil."""
    return lambda name: WRITERS[name](tmp_path / name)


def section(name, folder, **keys):
    tree = {"data": {"name": name, "root": str(folder), **KEYS[name], **keys}, "model": {"scales": 1, "widths": [4]}}
    return validate(tree, "test").data


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("training", [False, True])
def test_configs_open_every_split_with_the_shapes_that_they_say(written, name, training):
    config = section(name, written[name])
    for split in SPLITS:
        items = open_split(config, Ask(split, training))
        assert items.classes == config.classes == len(items.class_names) == len(set(items.colours))
        assert len(items)
        for index in range(len(items)):
            image, mask = items[index]
            size = config.train_size if training else config.size
            assert image.shape == (config.inputs.channels, *size) and image.dtype == torch.float32
            assert 0 <= image.min() <= image.max() <= 1
            assert mask.dtype == torch.int64 and set(mask.unique().tolist()) <= {*range(items.classes), VOID}
            if training:
                assert mask.shape == image.shape[1:]


@pytest.mark.parametrize("name", WRITERS)
def test_data_sets_travel_to_worker_processes(written, name):
    items = open_split(section(name, written[name]), Ask("train", training=True, seed=3))
    sent = pickle.loads(pickle.dumps(items))
    assert all(same(sent[epoch, 1], items[epoch, 1]) for epoch in (0, 2))


@pytest.mark.parametrize("name", WRITERS)
def test_no_picture_is_in_two_splits_but_vocs_val_and_test_unless_some_are_held_out(written, name):
    for keys in ({}, {"val_images": 2}):
        config = section(name, written[name], **keys)
        found = {split: {origin.digest for origin in open_split(config, Ask(split)).origins()} for split in SPLITS}
        assert not found["train"] & found["test"] and not found["train"] & found["val"]
        assert (found["val"] == found["test"]) is (name == "voc2012" and not keys)


@pytest.mark.parametrize("name", ["camseq01", "isbi-em"])
def test_a_random_order_shares_out_all_pictures_by_its_seed(written, name):
    def files(**keys):
        config = section(name, written[name], **keys)
        return {split: [o.name for o in open_split(config, Ask(split)).origins()] for split in SPLITS}

    consecutive, random, again = files(), files(order="random", seed=1), files(order="random", seed=1)
    everything = [*chain.from_iterable(consecutive.values())]
    assert random == again != consecutive
    assert sorted(chain.from_iterable(random.values())) == sorted(everything) and len(set(everything)) == len(
        everything
    )


@pytest.mark.parametrize("name", ["camseq01", "isbi-em"])
def test_a_share_that_leaves_nothing_to_train_on_is_refused(written, name):
    with pytest.raises(DataError, match="leave 0 to train on; lower val_images or test_images"):
        open_split(section(name, written[name], val_images=1, test_images=50), Ask("train"))


def test_camseq_labels_are_the_classes_of_their_colours(written):
    data = CamSeq(written["camseq01"], "train", val=1, test=1)
    wanted = {"Wall": "Building", "LaneMkgsDriv": "Road", "SUVPickupTruck": "Car"}
    for pair, (image, mask) in zip(data.pairs, data, strict=True):
        assert torch.equal(
            (image * 255).round().byte(), torch.from_numpy(np.array(Image.open(pair.image))).permute(2, 0, 1)
        )
        colours = np.array(Image.open(pair.mask))
        for name, colour in CAMSEQ_COLOURS.items():
            number = VOID if name == "Void" else CLASS_NAMES.index(wanted.get(name, name))
            assert (mask.numpy()[(colours == colour).all(-1)] == number).all()


def test_camseq_frames_are_in_the_order_of_time(written):
    names = [pair.image.stem for split in SPLITS for pair in CamSeq(written["camseq01"], split, val=1, test=2).pairs]
    assert names == sorted(names) and len(names) == 6


def _with_text(text):
    return lambda root: (root / "label_colors.txt").write_text(text)


CAMSEQ_FAULTS = {
    "no list": (lambda r: (r / "label_colors.txt").unlink(), "label_colors.txt' is missing.*NAME_L.png"),
    "bad line": (_with_text("1 2 Sky\n"), r"label_colors.txt:1: '1 2 Sky' is not 'red green blue name'"),
    "bad level": (_with_text("1 2 300 Sky\n"), "levels 0 to 255"),
    "bad class": (_with_text("1 2 3 Moon\n"), "'Moon' is none of CamVid's 32 classes"),
    "no label": (lambda r: (r / "0016E5_07961_L.png").unlink(), "mask '.*07961_L.png' is missing"),
    "lossy label": (
        lambda r: save(np.full((12, 16, 3), 77, np.uint8), r / "0016E5_07961_L.png"),
        "07961_L.png' holds colour 77 77 77 at row 0, column 0.*without loss",
    ),
    "nothing": (shutil.rmtree, "is no folder. Give the folder that holds CamSeq01"),
}


@pytest.mark.parametrize("fault", CAMSEQ_FAULTS)
def test_faults_of_camseq_are_named(fresh, fault):
    spoil, says = CAMSEQ_FAULTS[fault]
    root = fresh("camseq01")
    spoil(root)
    with pytest.raises(DataError, match=says):
        CamSeq(root, "train", val=1, test=1).load()


@pytest.mark.parametrize("outside", ["void", "background"])
def test_drive_labels_are_the_files_and_void_outside_the_field_of_view_unless_asked_not(written, outside):
    data = Drive(written["drive"], "test", outside=outside)
    for pair, (_, mask) in zip(data.pairs, data, strict=True):
        field_file = written["drive"] / "test" / "mask" / f"{pair.image.name[:2]}_test_mask.gif"
        vessel, field = (np.array(Image.open(path).convert("L")) > 127 for path in (pair.mask, field_file))
        assert (vessel & ~field).any()
        expected = vessel.astype(np.int64) if outside == "background" else np.where(field, vessel, VOID)
        assert np.array_equal(mask.numpy(), expected)


def test_the_second_observers_nearly_black_palette_is_read_as_labels(written):
    first = Drive(written["drive"], "test", outside="background")
    second = Drive(written["drive"], "test", outside="background", observer="2nd")
    assert torch.equal(second[0][1], 1 - first[0][1])  # as the writer draws them


def test_drives_val_images_are_the_last_of_training(written):
    names = {split: [p.image.name[:2] for p in Drive(written["drive"], split, val=2).pairs] for split in SPLITS}
    assert names == {"train": ["21", "22", "23"], "val": ["24", "25"], "test": ["01", "02"]}


def test_drive_preparation_stretches_equalises_and_brightens():
    rng = np.random.default_rng(0)
    image = np.clip(rng.normal(90, 6, (64, 64, 3)) + np.linspace(0, 60, 64)[:, None, None], 0, 255).astype(np.uint8)
    plain = Preparation(clahe=False, gamma=1.0)(image)
    luma = image @ np.array([0.299, 0.587, 0.114])
    stretched = np.rint(255 * (luma - luma.min()) / np.ptp(luma)).astype(np.uint8)
    assert np.array_equal(plain, stretched) and plain.min() == 0 and plain.max() == 255
    bright = Preparation(clahe=False, gamma=1.2)(image)
    assert np.abs(bright - 255 * ((luma - luma.min()) / np.ptp(luma)) ** (1 / 1.2)).max() <= 0.5 + 1e-9
    equal = Preparation(gamma=1.0)(image)
    assert equal[:32].std() > 1.3 * plain[:32].std()  # local contrast grows
    green = Preparation(channel="green", clahe=False, gamma=1.0)(image)
    level = image[..., 1].astype(np.float64)
    assert np.array_equal(green, np.rint(255 * (level - level.min()) / np.ptp(level)))


DRIVE_FAULTS = {
    "label": (lambda r: (r / "training/1st_manual/22_manual1.gif").unlink(), "1st_manual' has no file for image 22"),
    "field": (lambda r: (r / "training/mask/22_training_mask.gif").unlink(), "mask' has no file for image 22"),
    "field of another size": (
        lambda r: save(np.zeros((5, 5), np.uint8), r / "training/mask/22_training_mask.gif"),
        "field of view '.*22_training_mask.gif' has 5x5 pixels, its image",
    ),
    "no number": (
        lambda r: (r / "training/images/22_training.tif").rename(r / "training/images/eye.tif"),
        "eye.tif' has no number in front",
    ),
    "no part": (lambda r: shutil.rmtree(r / "training/images"), "is no folder.*original layout: training and test"),
    "too many held out": (lambda r: shutil.rmtree(r / "test"), "val_images=5 of the 5 images"),
}


@pytest.mark.parametrize("fault", DRIVE_FAULTS)
def test_faults_of_drive_are_named(fresh, fault):
    spoil, says = DRIVE_FAULTS[fault]
    root = fresh("drive")
    spoil(root)
    with pytest.raises(DataError, match=says):
        Drive(root, "train", val=5 if "held" in fault else 2)


def test_isbi_sections_are_in_the_order_of_their_numbers_and_membrane_is_class_0(written):
    data = IsbiEm(written["isbi-em"], "train", val=1, test=1)
    assert [round(float(image.mean()) * 25.5) for image, _ in data] == list(range(9))
    for pair, (_, mask) in zip(data.pairs, data, strict=True):
        assert torch.equal(mask == 1, torch.from_numpy(np.array(Image.open(pair.mask)) == 255))


def test_a_level_between_membrane_and_cell_is_refused(fresh):
    root = fresh("isbi-em")
    save(np.full((32, 32), 128, np.uint8), root / "train/label/0.png")
    with pytest.raises(DataError, match="0.png' holds level 128 at row 0, column 0.*not resized"):
        IsbiEm(root, "train").load()


def test_voc_masks_are_palette_indices_of_the_files_size_and_void_stays(written):
    data = Voc(written["voc2012"], "test", size=(16, 16))
    assert data.sizes_vary
    for pair, (image, mask) in zip(data.pairs, data, strict=True):
        assert image.shape == (3, 16, 16)
        assert torch.equal(mask, torch.from_numpy(np.array(Image.open(pair.mask))).long())
        assert (mask[0] == VOID).all()


def test_voc_trains_on_sbds_list_or_on_its_own(written):
    trained = {
        name: Voc(written["voc2012"], "train", train_list=name, size=(16, 16)).pairs for name in ("train", "trainaug")
    }
    assert {pair.mask.parent.name for pair in trained["trainaug"]} == {"SegmentationClassAug"}
    assert {pair.mask.parent.name for pair in trained["train"]} == {"SegmentationClass"}
    assert not {p.image for p in trained["train"]} & {p.image for p in trained["trainaug"]}


@pytest.mark.parametrize("root", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_voc_is_found_from_each_of_its_folders(written, root):
    assert len(Voc(written["voc2012"] / root, "test", size=(16, 16))) == 3


def test_voc_lists_may_hold_pairs_of_paths(fresh):
    root = fresh("voc2012")
    lists = root / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    expected = list(Voc(root, "train", size=(16, 16)))
    names = (lists / "trainaug.txt").read_text().split()
    (lists / "trainaug.txt").unlink()
    (lists / "train_aug.txt").write_text("".join(f"/JPEGImages/{n}.jpg /SegmentationClassAug/{n}.png\n" for n in names))
    assert all(same(a, b) for a, b in zip(Voc(root, "train", size=(16, 16)), expected, strict=True))


def test_labels_at_the_inputs_size_are_as_in_the_paper(written):
    items = open_split(section("voc2012", written["voc2012"], labels="input"), Ask("test"))
    assert not items.sizes_vary and {tuple(mask.shape) for _, mask in items} == {(16, 16)}


def test_samples_for_comparisons_can_be_stacked(written):
    tree = {
        "data": {"name": "voc2012", "root": str(written["voc2012"]), **KEYS["voc2012"]},
        "model": {"scales": 1, "widths": [4]},
    }
    samples = load_samples(validate(tree, "test"), 3)
    assert samples.images.shape == (3, 3, 16, 16) and samples.masks.shape == (3, 16, 16)


def test_vocs_palette_is_its_own():
    # VOCdevkit's VOClabelcolormap
    assert [voc_colour(n) for n in (0, 1, 2, 8, 15, 20)] == [
        *((0, 0, 0), (128, 0, 0), (0, 128, 0)),
        *((64, 0, 0), (192, 128, 128), (0, 64, 128)),
    ]


VOC_FAULTS = {
    "no list": (
        lambda r: (r / "ImageSets/Segmentation/trainaug.txt").unlink(),
        "trainaug.txt' is missing.*train_list=train",
    ),
    "three words": (
        lambda r: (r / "ImageSets/Segmentation/trainaug.txt").write_text("a b c\n"),
        "trainaug.txt:1: 'a b c' is neither a name nor a pair",
    ),
    "way out": (
        lambda r: (r / "ImageSets/Segmentation/trainaug.txt").write_text("/../a.jpg /../a.png\n"),
        "neither a name nor a pair 'image label' below",
    ),
    "no label": (lambda r: shutil.rmtree(r / "SegmentationClassAug"), r"3 of 3 mask files"),
    "label 21": (
        lambda r: save(np.full((20, 30), 21, np.uint8), r / "SegmentationClassAug/2007_000006.png"),
        "000006.png' holds label 21 at row 0.*expected: 0 to 20 and 255",
    ),
    "no pictures": (lambda r: shutil.rmtree(r / "JPEGImages"), "holds no JPEGImages"),
}


@pytest.mark.parametrize("fault", VOC_FAULTS)
def test_faults_of_voc_are_named(fresh, fault):
    spoil, says = VOC_FAULTS[fault]
    root = fresh("voc2012")
    spoil(root / "VOCdevkit" / "VOC2012")
    with pytest.raises(DataError, match=says):
        Voc(root, "train", size=(16, 16)).load()


@pytest.mark.parametrize(("split", "count"), [("train", 71), ("val", 10), ("test", 20)])
def test_the_real_camseq_has_101_frames(neuroseg_data, split, count):
    assert len(CamSeq(neuroseg_data / "camseq01", split)) == count


def test_the_real_camseq_and_camvids_val_split_have_the_same_labels(neuroseg_data):
    """The copy here was made of those frames, at twice the size."""
    camseq = CamSeq(neuroseg_data / "camseq01", "train", label_size=(180, 240))
    camvid = CamVid(neuroseg_data / "camvid", "val")
    assert [p.image.name for p in camseq.pairs] == [p.image.name for p in camvid.pairs[: len(camseq)]]
    for index in (0, 30, 70):
        assert (camseq[index][1] == camvid[index][1]).float().mean() > 0.97  # other pixels were picked


@pytest.mark.parametrize(("split", "share", "outside"), [("train", 12.5, 200), ("test", 12.7, 296)])
def test_the_real_drive_has_the_known_vessels(neuroseg_data, split, share, outside):
    plain = Preparation(clahe=False)
    splits = ("train", "val") if split == "train" else ("test",)
    inside = [m for s in splits for _, m in Drive(neuroseg_data / "drive", s, preparation=plain)]
    whole = [m for s in splits for _, m in Drive(neuroseg_data / "drive", s, preparation=plain, outside="background")]
    known = torch.stack(inside) != VOID
    assert len(inside) == 20 and inside[0].shape == (584, 565)
    assert 100 * float((torch.stack(inside) == 1).sum() / known.sum()) == pytest.approx(share, abs=0.05)
    assert int((torch.stack(whole) == 1).sum() - (torch.stack(inside) == 1).sum()) == outside
    if split == "test":
        assert 100 * float(known.float().mean()) == pytest.approx(68.8, abs=0.1)


def test_the_real_em_stack_has_30_sections_and_the_known_membrane(neuroseg_data):
    masks = torch.stack([mask for split in SPLITS for _, mask in IsbiEm(neuroseg_data / "isbi_em", split)])
    assert masks.shape == (30, 512, 512)
    assert 100 * float((masks == 0).float().mean()) == pytest.approx(22.0, abs=0.05)
