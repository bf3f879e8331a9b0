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


def write_mask(path: Path, mask) -> Path:
    """A label picture, 8-bit grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(mask, np.uint8)).save(path)
    return path
