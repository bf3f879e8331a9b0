"""Recordings: every format gives the events that were written, and what is wrong with a file is said with the fix."""

from pathlib import Path

import numpy as np
import pytest
from event_recordings import random_events, write_aedat2, write_aedat3, write_dat, write_packed

from export.errors import DataError
from neuroseg.data.event_files import make_events, read_recording

WRITERS = {
    "a.bin": ((34, 34), write_packed),
    "a.bs2": ((128, 128), write_packed),
    "a.dat": ((100, 120), lambda path, events: write_dat(path, events, "% Height 100\n% Width 120\n")),
    "a.aedat": ((180, 240), lambda path, events: write_aedat2(path, events, (180, 240))),
    "b.aedat": ((260, 346), lambda path, events: write_aedat2(path, events, (260, 346), "Davis346B")),
    "c.aedat": ((128, 128), write_aedat3),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_gives_the_events_that_were_written(name: str, tmp_path: Path) -> None:
    size, write = WRITERS[name]
    events = random_events(500, size)
    found = read_recording(write(tmp_path / name, events))
    assert found.size == size
    assert np.array_equal(found.events, events)
    assert found.duration_us == events["t"][-1] - events["t"][0]


def test_a_dat_file_without_a_size_is_as_large_as_its_events(tmp_path: Path) -> None:
    path = write_dat(tmp_path / "a.dat", make_events([1, 2], [0, 7], [4, 2], [0, 1]))
    assert read_recording(path).size == (5, 8)
    assert read_recording(path, (60, 70)).size == (60, 70)


def test_times_of_more_than_23_bits_are_put_together_from_overflow_records(tmp_path: Path) -> None:
    # A record with y = 240 says that 2^13 us have passed.
    events = make_events([10, 0, 20], [1, 0, 2], [1, 240, 2], [1, 0, 0])
    path = write_packed(tmp_path / "a.bin", events)
    assert read_recording(path).events["t"].tolist() == [10, 20 + 2**13]


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_is_cut_short_is_refused(name: str, tmp_path: Path) -> None:
    size, write = WRITERS[name]
    path = write(tmp_path / name, random_events(50, size))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match="cut short.*: copy it again"):
        read_recording(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.bin", b"", "holds no event"),
        ("a.raw", b"x", "no known event format; readable are .aedat, .aedat4, .bin, .bs2, .dat"),
        ("a.dat", b"\x00\x08" + bytes(16), "does not start as a Prophesee"),
        ("a.dat", b"% Version 2\n\x02\x08" + bytes(16), "events of type 2 in 8 bytes; readable are"),
        ("a.aedat", b"#!AER-DAT3.0\r\n" + bytes(16), r"starts with '#!AER-DAT3\.0'; expected #!AER-DAT2\.0 or 3\.1"),
        ("a.aedat", b"#!AER-DAT3.1\r\n#Source 1: DVS128\r\n", "has no line #!END-HEADER: its header is cut short"),
        (
            "a.aedat",
            b"#!AER-DAT2.0\r\n# AEChip: x.DVS128\r\n" + bytes(16),
            "the chip 'DVS128'; addresses are known of DAVIS240 and DAVIS346. Convert it to AEDAT 4",
        ),
        ("a.aedat4", b"#!AER-DAT4.0\r\n" + bytes(64), "cannot be read as AEDAT 4"),
    ],
)
def test_a_foreign_file_is_refused_by_what_it_is(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_recording(tmp_path / name)


@pytest.mark.parametrize("edge", [0, 2, 3, 4])  # none said, falling, rising, pulse
def test_external_triggers_of_a_davis_are_no_events_of_pixels(edge: int, tmp_path: Path) -> None:
    events = random_events(50, (180, 240))
    path = write_aedat2(tmp_path / "a.aedat", events, (180, 240))
    trigger = (1 << 10 | edge).to_bytes(4, "big") + int(events["t"][-1]).to_bytes(4, "big")
    path.write_bytes(path.read_bytes() + trigger)
    assert np.array_equal(read_recording(path).events, events)


def test_aedat3_counts_overflows_and_knows_sensors_by_their_source(tmp_path: Path) -> None:
    path = write_aedat3(tmp_path / "a.aedat", make_events([5, 9], [3, 4], [1, 7], [0, 1]), "unheard-of")
    assert read_recording(path).size == (8, 5)
    content = path.read_bytes()
    at = content.index(b"END-HEADER\r\n") + 12
    path.write_bytes(content[: at + 12] + (1).to_bytes(4, "little") + content[at + 16 :])
    assert read_recording(path).events["t"].tolist() == [5 + 2**31, 9 + 2**31]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.bin' is missing"):
        read_recording(tmp_path / "none.bin")


def test_times_that_go_back_are_refused_with_their_place(tmp_path: Path) -> None:
    path = write_dat(tmp_path / "a.dat", make_events([5, 9, 7, 8], [0] * 4, [0] * 4, [0] * 4))
    with pytest.raises(DataError, match="event 2 at 7 us comes after one at 9 us"):
        read_recording(path)


def test_events_outside_of_the_sensor_are_refused(tmp_path: Path) -> None:
    path = write_packed(tmp_path / "a.bin", make_events([1], [34], [3], [0]))
    with pytest.raises(DataError, match="reach 35x4 pixels, it has 34x34"):
        read_recording(path)
    assert read_recording(path, (40, 40)).size == (40, 40)


# Counts of the data sets' own description, and of tonic's.
@pytest.mark.parametrize(
    ("pattern", "files", "events", "size"),
    [
        ("nmnist/*/*/*.bin", 600, 2_425_623, (34, 34)),
        ("dvs128_clips/*.bs2", 4, 334_955, (128, 128)),
        ("ncars/**/*.dat", 7, 18_678, None),
        ("aedat4/sample.aedat4", 1, 111_954, (240, 320)),
        ("aedat2/IMU_translBoxes.aedat", 1, 162_771, (180, 240)),
    ],
)
def test_real_recordings_hold_the_published_numbers_of_events(neuroseg_data, pattern, files, events, size) -> None:
    found = [read_recording(path) for path in sorted((neuroseg_data / "events").glob(pattern))]
    assert len(found) == files
    assert sum(len(recording.events) for recording in found) == events
    assert size is None or {recording.size for recording in found} == {size}


def test_a_real_aedat4_file_that_is_cut_short_is_refused(neuroseg_data: Path, tmp_path: Path) -> None:
    whole = (neuroseg_data / "events" / "aedat4" / "sample.aedat4").read_bytes()
    (tmp_path / "a.aedat4").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(DataError, match="AEDAT 4"):
        read_recording(tmp_path / "a.aedat4")
