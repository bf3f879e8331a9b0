"""Small event files in the exact formats, for tests."""

from pathlib import Path

import numpy as np
from PIL import Image

from neuroseg.data.event_files import make_events


def random_events(count: int, size: tuple[int, int], seed: int = 0, until: int = 100_000):
    """Events in the order of time on a sensor of (H, W) pixels."""
    rng = np.random.default_rng(seed)
    return make_events(
        np.sort(rng.integers(0, until, count)),
        rng.integers(0, size[1], count),
        rng.integers(0, size[0], count),
        rng.integers(0, 2, count),
    )


def write_packed(path: Path, events) -> Path:
    """N-MNIST's .bin: x, y, polarity and the time's 23 bits, big-endian."""
    packed = np.zeros((len(events), 5), np.uint8)
    packed[:, 0], packed[:, 1] = events["x"], events["y"]
    packed[:, 2] = events["p"].astype(np.uint8) << 7 | (events["t"] >> 16).astype(np.uint8)
    packed[:, 3], packed[:, 4] = events["t"] >> 8 & 255, events["t"] & 255
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packed.tobytes())
    return path


def write_dat(path: Path, events, header: str = "% Data file\n% Version 2\n") -> Path:
    """Prophesee's .dat, version 2."""
    records = np.zeros(len(events), [("t", "<u4"), ("a", "<u4")])
    records["t"] = events["t"]
    records["a"] = (
        events["x"].astype(np.uint32) | events["y"].astype(np.uint32) << 14 | events["p"].astype(np.uint32) << 28
    )
    path.write_bytes(header.encode() + bytes([0, 8]) + records.tobytes())
    return path


def write_aedat2(path: Path, events, size: tuple[int, int], chip: str = "DAVIS240C") -> Path:
    """AEDAT 2.0 of a DAVIS as jAER writes it, with a frame's record between any two events."""
    records = np.zeros(2 * len(events), [("a", ">u4"), ("t", ">u4")])
    x, y = size[1] - 1 - events["x"].astype(np.uint32), size[0] - 1 - events["y"].astype(np.uint32)
    records["a"][::2] = y << 22 | x << 12 | events["p"].astype(np.uint32) << 11
    records["a"][1::2] = 1 << 31 | 12345
    records["t"] = np.repeat(events["t"], 2)
    head = f"#!AER-DAT2.0\r\n# This is a raw AE data file\r\n# AEChip: eu.seebetter.ini.chips.davis.{chip}\r\n"
    path.write_bytes(head.encode() + records.tobytes())
    return path


def write_aedat3(path: Path, events, source: str = "DVS128") -> Path:
    """AEDAT 3.1: packets of at most 100 contrast events, with an invalid one in each, and packets of another type between."""
    content = [f"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: {source}\r\n#!END-HEADER\r\n".encode()]
    for first in range(0, len(events), 100):
        part = events[first : first + 100]
        records = np.zeros(len(part) + 1, [("d", "<u4"), ("t", "<i4")])
        records["d"][:-1] = 1 | part["p"].astype(np.uint32) << 1 | part["y"].astype(np.uint32) << 2
        records["d"][:-1] |= part["x"].astype(np.uint32) << 17
        records["t"][:-1] = part["t"]
        number = len(records)
        content.append(
            np.array([1, 1], "<i2").tobytes() + np.array([8, 4, 0, number, number, number - 1], "<i4").tobytes()
        )
        content.append(records.tobytes())
        content.append(np.array([3, 1], "<i2").tobytes() + np.array([36, 4, 0, 2, 2, 2], "<i4").tobytes() + bytes(72))
    path.write_bytes(b"".join(content))
    return path


def write_mask(path: Path, mask) -> Path:
    """A label picture, 8-bit grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(mask, np.uint8)).save(path)
    return path
