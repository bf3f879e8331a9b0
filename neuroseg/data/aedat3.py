"""AEDAT 3.1 recordings, such as IBM's DVS Gesture: packets of events behind lines of '#'.

tonic's reader of it takes every packet for one of contrast events; here a packet's own header decides.
Source: inivation, "AEDAT file formats", version 3.1.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.errors import DataError

_END = b"#!END-HEADER"
_PACKET = np.dtype(
    [("type", "<i2"), ("source", "<i2"), ("size", "<i4"), ("offset", "<i4"), ("overflow", "<i4")]
    + [(name, "<i4") for name in ("capacity", "number", "valid")]
)
_POLARITY = np.dtype([("data", "<u4"), ("t", "<i4")])
_SENSORS = {b"DVS128": (128, 128), b"DAVIS240": (180, 240), b"DAVIS346": (260, 346)}


def read_aedat3(path: Path) -> tuple[NDArray[np.void], tuple[int, int] | None]:
    """Valid contrast events (N,) with the fields t (microseconds), x, y, p, and (H, W) of the sensor if the header names one.

    raises  DataError for a file that ends within a packet
    """
    content = path.read_bytes()
    end = content.find(_END)
    start = content.find(b"\n", end) + 1
    if end < 0 or start == 0:
        raise DataError(f"'{path}' has no line {_END.decode()}: its header is cut short. Copy it again.")
    pieces = []
    while start < len(content):
        header, body = _packet(path, content, start)
        if header["type"] == 1 and header["size"] == _POLARITY.itemsize:
            pieces.append(_events(body, int(header["overflow"])))
        start += _PACKET.itemsize + len(body)
    named = re.search(rb"#Source \d+: (\w+)", content[:end])
    known = [size for name, size in _SENSORS.items() if named is not None and named.group(1).upper().startswith(name)]
    return np.concatenate([*pieces, np.empty(0, _FIELDS)]), known[0] if known else None


def _packet(path: Path, content: bytes, start: int) -> tuple[np.void, bytes]:
    """Header and body of the packet that starts there."""
    if len(content) - start >= _PACKET.itemsize:
        header: np.void = np.frombuffer(content, _PACKET, 1, start)[0]
        length = int(header["capacity"]) * int(header["size"])
        body = content[start + _PACKET.itemsize :][: max(length, 0)]
        if length >= 0 and len(body) == length:
            return header, body
    raise DataError(
        f"'{path}' ends within the packet at byte {start} of {len(content)}. It is cut short or damaged: copy it again."
    )


def _events(body: bytes, overflow: int) -> NDArray[np.void]:
    """Bit 0 of an event: it is valid; 1: polarity; 2-16: y; 17-31: x. Each overflow counts 2^31 microseconds."""
    records = np.frombuffer(body, _POLARITY)
    data = records["data"]
    events = np.empty(len(records), _FIELDS)
    events["t"] = records["t"].astype(np.int64) + (overflow << 31)
    events["x"], events["y"], events["p"] = data >> 17, data >> 2 & 0x7FFF, data >> 1 & 1
    valid: NDArray[np.void] = events[(data & 1) == 1]
    return valid


_FIELDS = np.dtype([("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", np.bool_)])
