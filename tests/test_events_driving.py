"""DDD17 and DSEC-Semantic in their original layouts: the events before a label, in their steps, beside that label."""

import shutil
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
import torch
from event_recordings import random_events, write_mask

from export.errors import DataError
from neuroseg.config import Ddd17Config, DsecConfig
from neuroseg.data.augment import VOID
from neuroseg.data.ddd17 import open_layout
from neuroseg.data.driving import LabelledMoments
from neuroseg.data.dsec import TEST, TRAIN, Dsec
from neuroseg.data.event_frames import counts, frames

DIRS = ("dir0", "dir1", "dir3", "dir4", "dir5", "dir6", "dir7")
FRAME_MS = 50


def label(shape, classes, seed):
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, classes, (shape[0] // 20, -(-shape[1] // 20))).astype(np.uint8)
    mask = np.kron(blocks, np.ones((20, 20), np.uint8))[: shape[0], : shape[1]]
    mask[0] = 255
    return mask


def write_ess(root: Path, labels: int = 3) -> Path:
    """DDD17 in the layout of ESS: events of 300 ms, a frame every 50 ms, labels for the last frames."""
    for number, name in enumerate(DIRS):
        folder = root / name
        (folder / "index").mkdir(parents=True)
        events = random_events(3000, (260, 346), number, until=300_000)
        (events["t"].astype(np.int64) * 1000).tofile(folder / "events.dat.t")
        np.stack([events["x"], events["y"], events["p"]], 1).astype(np.int16).tofile(folder / "events.dat.xyp")
        times = np.arange(1, 7) * FRAME_MS * 1000
        before = np.searchsorted(events["t"], times)
        rows = np.stack([times * 1000, before, np.searchsorted(events["t"], times - 50_000)], 1)
        np.save(folder / "index" / "index_50ms.npy", rows)
        for frame in range(6 - labels, 6):
            mask = label((200, 346), 6, number * 10 + frame)
            write_mask(folder / "segmentation_masks" / f"segmentation_{frame + 1}.png", mask)
    return root


def write_evsegnet(root: Path) -> Path:
    """DDD17 in the layout of Ev-SegNet: 20 training frames in a row, 4 test frames with a gap."""
    for split, numbers in (("train", range(20)), ("test", (3, 4, 9, 10)), ("other", (1,))):
        for number in numbers:
            name = f"rec1487339175_export_{number}"
            write_mask(root / "labels" / split / f"{name}.png", label((200, 346), 6, number))
            (root / "events" / split).mkdir(parents=True, exist_ok=True)
            values = np.full((200, 346, 6), -1.0)
            values[number, :, 0], values[number + 20, :, 1] = number / 100, 0.5
            np.save(root / "events" / split / f"{name}.npy", values)
    return root


def write_dsec(root: Path, labels: int = 6) -> Path:
    """DSEC-Semantic in the layout of ESS, compressed by Blosc; a label every 50 ms, the first before any event."""
    offset = 40_000_000
    ys, xs = np.mgrid[0:480, 0:640].astype(np.float32)
    for number, (part, name) in enumerate([*(("train", n) for n in TRAIN), *(("test", n) for n in TEST)]):
        folder = root / part / name
        (folder / "events" / "left").mkdir(parents=True)
        events = random_events(5000, (480, 640), number, until=50_000 * labels)
        with h5py.File(folder / "events" / "left" / "events.h5", "w") as file:
            for key, kind in (("x", np.uint16), ("y", np.uint16), ("p", np.uint8), ("t", np.uint32)):
                file.create_dataset(f"events/{key}", data=events[key].astype(kind), **hdf5plugin.Blosc(cname="zstd"))
            file["t_offset"] = np.int64(offset)
            file["ms_to_idx"] = np.searchsorted(events["t"], np.arange(0, 50 * labels) * 1000).astype(np.uint64)
        with h5py.File(folder / "events" / "left" / "rectify_map.h5", "w") as file:  # 3 to the right, 3 up
            file.create_dataset("rectify_map", data=np.stack([xs + 3.4, ys - 2.6], -1), **hdf5plugin.Blosc())
        times = offset + 50_000 * np.arange(labels)
        (folder / "semantic").mkdir()
        (folder / "semantic" / "timestamps.txt").write_text("".join(f"{t}\n" for t in times))
        for i in range(labels):
            write_mask(folder / "semantic/left/11classes/data" / f"{i:06d}.png", label((440, 640), 11, 10 * number + i))
    return root


@pytest.fixture(scope="module")
def ess(tmp_path_factory) -> Path:
    return write_ess(tmp_path_factory.mktemp("ess"))


@pytest.fixture(scope="module")
def evsegnet(tmp_path_factory) -> Path:
    return write_evsegnet(tmp_path_factory.mktemp("evsegnet"))


@pytest.fixture(scope="module")
def dsec(tmp_path_factory) -> Path:
    return write_dsec(tmp_path_factory.mktemp("dsec"))


def ddd17(root, split="train", steps=2, training=False, seed=0, **settings) -> LabelledMoments:
    config = Ddd17Config(name="ddd17", **{"size": (200, 346), **settings})
    return open_layout(root, config, split, steps, training=training, seed=seed)


def dsec_semantic(root, split="train", steps=2, training=False, **settings) -> Dsec:
    config = DsecConfig(name="dsec-semantic", **settings)
    return Dsec(root, config, split, steps, training=training, seed=0)


def test_ess_layout_has_its_splits(ess) -> None:
    folders = {
        split: {path.parent.parent.name for path in ddd17(ess, split).labels} for split in ("train", "val", "test")
    }
    assert folders == {"train": {"dir0", "dir3", "dir4", "dir6", "dir7"}, "val": {"dir1"}, "test": {"dir5"}}
    assert [len(ddd17(ess, split)) for split in ("train", "val", "test")] == [15, 3, 3]


def test_ess_frames_hold_the_events_before_the_label(ess) -> None:
    items = ddd17(ess, "val", frames="binary")
    events = random_events(3000, (260, 346), DIRS.index("dir1"), until=300_000)
    for index, frame in enumerate((3, 4, 5)):
        end = (frame + 1) * 50_000
        kept = events[events["y"] < 200]
        expected = np.stack(
            [
                counts(kept, np.where((kept["t"] >= start) & (kept["t"] < start + 50_000), 0, -1), 1, (200, 346))[0]
                for start in (end - 100_000, end - 50_000)
            ]
        )
        taken, mask = items[index]
        assert torch.equal(taken, frames(expected, "binary")) and taken.any()
        assert torch.equal(mask, torch.from_numpy(label((200, 346), 6, 10 + frame)).long())
        assert (mask == VOID).sum() == 346


def test_a_step_may_hold_a_number_of_events(ess) -> None:
    items = ddd17(ess, "test", frames="histogram", events_per_bin=100, size=(260, 352))
    events, _ = items.events_before(2)
    assert len(events) < 200  # the bonnet's rows are left out
    taken = items[2][0]
    assert taken.shape == (2, 2, 260, 352)
    assert taken[taken > 0].mean() == pytest.approx(1, abs=1e-6)


def test_training_masks_are_of_the_frames_size_and_flips_move_both(ess) -> None:
    plain, flipped = (ddd17(ess, training=True, size=(100, 176), flip=flip) for flip in (0.0, 1.0))
    assert plain.augment is None and flipped.augment == 1.0
    (frames_a, mask_a), (frames_b, mask_b) = plain[0], flipped[(3, 0)]
    assert mask_a.shape == (100, 176)
    assert torch.equal(frames_a.flip(-1), frames_b) and torch.equal(mask_a.flip(-1), mask_b)
    half = ddd17(ess, training=True, size=(100, 176), flip=0.5)
    ways = {torch.equal(half[(epoch, 0)][1], mask_a) for epoch in range(12)}
    assert ways == {True, False}
    assert ddd17(ess)[0][1].shape == (200, 346)


def test_evsegnet_layout_gives_the_frames_up_to_the_label(evsegnet) -> None:
    items = ddd17(evsegnet, "test", steps=2)
    assert [path.stem.rpartition("_")[2] for path in items.labels] == ["4", "10"]  # 3 and 9 have no frame before them
    taken, mask = items[0]
    assert taken.shape == (2, 2, 200, 346) and mask.shape == (200, 346)
    assert taken[0, 1, 3, 0] == pytest.approx(0.03) and taken[1, 1, 4, 0] == pytest.approx(0.04)  # ON
    assert taken[0, 0, 23, 0] == pytest.approx(0.5) and taken[0, 0, 3, 0] == -1  # OFF
    assert [len(ddd17(evsegnet, split, steps=1)) for split in ("train", "val", "test")] == [18, 2, 4]
    assert not set(ddd17(evsegnet, "train").labels) & set(ddd17(evsegnet, "val").labels)


def test_evsegnet_frames_cannot_be_binary(evsegnet) -> None:
    with pytest.raises(DataError, match=r"no single events\. Use data\.frames=histogram"):
        ddd17(evsegnet, frames="binary")


def test_dsec_has_its_splits(dsec) -> None:
    def sequences(split, protocol):
        return {moment.sequence.name for moment in dsec_semantic(dsec, split, protocol=protocol).moments}

    assert sequences("train", "paper") == set(TRAIN)
    assert sequences("val", "paper") == sequences("test", "paper") == sequences("test", "held-out") == set(TEST)
    assert sequences("val", "held-out") == {"zurich_city_08_a"}
    assert sequences("train", "held-out") == set(TRAIN) - {"zurich_city_08_a"}


def test_dsec_leaves_out_labels_before_which_there_are_too_few_events(dsec) -> None:
    times = [m.time_us - 40_000_000 for m in dsec_semantic(dsec, "val", steps=2, label_stride=1).moments]
    assert times == [150_000, 200_000, 250_000]  # 100 ms lies before the first event by a little
    assert len(dsec_semantic(dsec, "val", steps=2, label_stride=2)) == 1
    with pytest.raises(DataError, match="no label"):
        dsec_semantic(dsec, "val", steps=20)


def test_dsec_frames_hold_the_rectified_events_before_the_label(dsec) -> None:
    items = dsec_semantic(dsec, "val", frames="binary", label_stride=1)
    events = random_events(5000, (480, 640), TRAIN.index("zurich_city_08_a"), until=300_000)
    events["x"], events["y"] = events["x"] + 3, events["y"] - 3
    kept = events[(events["x"] < 640) & (events["y"] >= 0) & (events["y"] < 440)]
    steps = np.where((kept["t"] >= 50_000) & (kept["t"] < 150_000), (kept["t"] - 50_000) // 50_000, -1)
    taken, mask = items[0]
    assert torch.equal(taken, frames(counts(kept, steps, 2, (440, 640)), "binary")) and taken.any()
    assert mask.shape == (440, 640) and mask.max() == VOID
    events, _ = dsec_semantic(dsec, "val", events_per_bin=50, label_stride=1).events_before(0)
    assert 80 < len(events) <= 100


def test_dsec_is_found_as_it_was_published_too(dsec, tmp_path) -> None:
    root = tmp_path / "dsec"
    shutil.copytree(dsec, root)
    for folder in [*(root / "train").iterdir(), *(root / "test").iterdir()]:
        (folder / "semantic" / "left" / "11classes" / "data").rename(folder / "11classes")
        (folder / "semantic" / "timestamps.txt").rename(folder / f"{folder.name}_semantic_timestamps.txt")
    assert torch.equal(dsec_semantic(root, "test")[0][0], dsec_semantic(dsec, "test")[0][0])


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda f: (f / "events.dat.xyp").write_bytes(bytes(7)), "must be whole and equal"),
        (lambda f: (f / "events.dat.t").unlink(), r"events\.dat\.t' is missing"),
        (lambda f: (f / "index/index_50ms.npy").write_bytes(b"x"), "index_50ms.npy' cannot be read"),
        (lambda f: np.save(f / "index/index_50ms.npy", np.array([[1, 9999, 0]])), "up to event 3000"),
        (
            lambda f: write_mask(f / "segmentation_masks/segmentation_77.png", label((200, 346), 6, 0)),
            "frame's number, 1 to 6",
        ),
        (lambda f: shutil.rmtree(f), "is no folder"),
    ],
)
def test_what_is_wrong_in_ess_layout_is_named(ess, tmp_path, break_it, says) -> None:
    shutil.copytree(ess, tmp_path / "ddd17")
    break_it(tmp_path / "ddd17" / "dir1")
    with pytest.raises(DataError, match=says):
        ddd17(tmp_path / "ddd17", "val")


@pytest.mark.parametrize(
    ("mask", "says"),
    [(np.full((200, 346), 6), "holds label 6 at row 0, column 0"), (np.zeros((260, 346)), "346x200 were expected")],
)
def test_wrong_labels_are_found_before_training(ess, tmp_path, mask, says) -> None:
    shutil.copytree(ess, tmp_path / "ddd17")
    write_mask(tmp_path / "ddd17/dir1/segmentation_masks/segmentation_6.png", mask)
    with pytest.raises(DataError, match=says):
        ddd17(tmp_path / "ddd17", "val").load()


def test_what_is_wrong_in_dsec_is_named(dsec, tmp_path) -> None:
    root = tmp_path / "dsec"
    shutil.copytree(dsec, root)
    folder = root / "train" / "zurich_city_08_a"
    (folder / "semantic" / "timestamps.txt").write_text("1\n2\n")
    with pytest.raises(DataError, match="holds 2 times, .* 6 labels"):
        dsec_semantic(root, "val")
    (folder / "semantic" / "timestamps.txt").unlink()
    with pytest.raises(DataError, match=r"timestamps\.txt' is missing"):
        dsec_semantic(root, "val")
    (root / "test" / TEST[0] / "events" / "left" / "events.h5").write_bytes(b"cut")
    with pytest.raises(DataError, match=r"events\.h5' cannot be read"):
        dsec_semantic(root, "test")


def test_a_folder_of_neither_layout_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="neither folders dir0"):
        ddd17(tmp_path)
