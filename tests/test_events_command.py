"""Event data on the command line: what recordings hold, what a data set lacks, and how items look."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from event_recordings import random_events, write_dat, write_packed
from PIL import Image
from typer.testing import CliRunner

from export.errors import UsageError
from neuroseg.cli import app
from neuroseg.commands.data_sets import find
from neuroseg.commands.data_show import show_data
from neuroseg.commands.recordings import recordings
from neuroseg.config import load_config


def write_some(root: Path) -> Path:
    write_packed(root / "deep" / "a.bin", random_events(300, (34, 34)))
    write_dat(root / "b.dat", random_events(200, (50, 60)), "% Height 50\n% Width 60\n")
    (root / "readme.txt").write_text("no recording")
    return root


def test_recordings_below_a_folder_are_described(tmp_path) -> None:
    result = recordings(write_some(tmp_path))
    assert (result["ok"], result["files"], result["events"]) == (True, 2, 500)
    by_name = {row["file"]: row for row in result["recordings"]}
    assert by_name["b.dat"]["size"] == [50, 60] and by_name["deep/a.bin"]["events"] == 300
    assert 0.3 < by_name["b.dat"]["on_share"] < 0.7
    assert 90_000 < by_name["b.dat"]["duration_us"] < 100_000


def test_a_faulty_recording_is_named_and_the_exit_code_is_one(tmp_path) -> None:
    path = write_some(tmp_path) / "b.dat"
    path.write_bytes(path.read_bytes()[:-1])
    found = CliRunner().invoke(app, ["data", "events", str(tmp_path), "--json"])
    assert found.exit_code == 1
    result = json.loads(found.stdout)
    assert result["events"] == 300 and not result["ok"]
    assert ["cut short" in (row["fault"] or "") for row in result["recordings"]] == [True, False]


def test_recordings_are_drawn(tmp_path) -> None:
    out = tmp_path / "events.png"
    found = CliRunner().invoke(app, ["data", "events", str(write_some(tmp_path)), "--out", str(out)])
    assert found.exit_code == 0, found.output
    with Image.open(out) as picture:
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 20


def test_a_folder_without_recordings_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match="holds no recording"):
        recordings(tmp_path)


@pytest.mark.parametrize("kind", ["binary", "histogram"])
def test_items_of_events_are_drawn(kind, tmp_path) -> None:
    changes = [f"data.frames={kind}", "data.test_samples=3", "data.classes=11"]
    result = show_data("mfs-events", changes, tmp_path / "sheet.png", split="test", count=2, training=False)
    assert result["items"] == [0, 2]
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.width > 800


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("n-mnist", "Train/0/00002.bin"),
        ("ddd17", "dir5/events.dat.t"),
        ("ddd17", "labels/train/a.png"),
        ("dsec-semantic", "test/zurich_city_14_c/semantic/timestamps.txt"),
    ],
)
def test_event_sets_are_told_by_their_layout_also_if_parts_are_missing(name, inside, tmp_path) -> None:
    path = tmp_path / "set" / inside
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert [(one.layout.name, one.folder) for one in find(tmp_path / "set")] == [(name, tmp_path / "set")]
    found = CliRunner().invoke(app, ["data", "check", str(tmp_path / "set"), "--json"])
    assert found.exit_code == 1
    faults = [fault for split in json.loads(found.stdout)["sets"][0]["splits"].values() for fault in split["faults"]]
    assert faults and all(str(tmp_path) in fault or "MNIST" in fault for fault in faults)


def test_the_real_nmnist_is_whole(neuroseg_data, tmp_path) -> None:
    # A part of it: every recording is read in test_events_files.
    for part, digit in (("Train", 0), ("Train", 1), ("Test", 7)):
        shutil.copytree(
            neuroseg_data / "events" / "nmnist" / part / str(digit), tmp_path / "nmnist" / part / str(digit)
        )
    (tmp_path / "mnist").symlink_to(neuroseg_data / "mnist")
    found = CliRunner().invoke(app, ["data", "check", str(tmp_path / "nmnist"), "--json"])
    assert found.exit_code == 0, found.output
    (one,) = json.loads(found.stdout)["sets"]
    assert one["leaks"] == [] and one["duplicates"] == 0
    shares = {split: content["classes"]["digit"]["share"] for split, content in one["splits"].items()}
    assert all(0.03 < share < 0.15 for share in shares.values())


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("mfs-events", (5, 2, 32, 32), 2),
        ("mfs-nmnist", (5, 2, 36, 36), 2),
        ("mfs-ddd17", (2, 2, 200, 352), 6),
        ("mfs-dsec", (2, 2, 440, 640), 11),
        ("spiking-deeplab-ddd17", (20, 2, 64, 64), 6),
        ("spiking-fcn-ddd17", (20, 2, 64, 64), 6),
    ],
)
def test_shipped_configs_read_events(name, shape, classes) -> None:
    config = load_config(name)
    assert config.input_shape == shape
    assert config.data.classes == classes
    assert config.data.inputs.kind == ("frames" if config.data.frames == "histogram" else "spikes")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("data.speed=[90,20]", "wrong order; write the slower one first"),
        ("data.frames=voxels", "data.frames = 'voxels'"),
        ("data.bin_ms=0", "data.bin_ms = 0"),
        ("data.root=x", "unknown key 'data.root'"),
    ],
)
def test_wrong_keys_of_event_data_are_named(change, says) -> None:
    with pytest.raises(UsageError, match=says.replace("[", r"\[")):
        load_config("mfs-events", [change])
