"""Event recordings from files: one array of events, whatever camera and format they came from.

suffix    format                                             read by
.bin      N-MNIST, N-Caltech101: 5 bytes an event            tonic
.bs2      the same with DVS128's 128x128 pixels              tonic
.dat      Prophesee and ATIS, version 2 (N-CARS)             here
.aedat    AEDAT 2.0 of a DAVIS (jAER)                        tonic; addresses here
.aedat    AEDAT 3.1 (cAER; IBM's DVS Gesture)                `aedat3`
.aedat4   AEDAT 4 (DV)                                       tonic, aedat

Sources: Orchard et al. 2015 (.bin); inivation's "AEDAT file formats" and jAER's DavisBaseCamera (.aedat); Prophesee's
"DAT file format". Readers that stop early say so: a cut file is an error, not a shorter recording.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from export.errors import DataError
from neuroseg.data.aedat3 import read_aedat3

Size: TypeAlias = tuple[int, int]
Events: TypeAlias = NDArray[np.void]

EVENT = np.dtype([("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", np.bool_)])
_EVENT_OF_TONIC = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.bool_)])
_PACKED = 5  # bytes of an event in .bin and .bs2
_RECORD = 8  # bytes of an event in .dat and .aedat
_DAVIS: dict[str, Size] = {"DAVIS240": (180, 240), "DAVIS346": (260, 346)}
_DAT_EVENTS = (0, 12)  # types whose records hold contrast detections


@dataclass(frozen=True, eq=False)
class Recording:
    """What an event camera saw.

    events  (N,) of EVENT, ordered in time: t in microseconds, x from the left, y from the top, p true for ON
    size    (H, W) of the sensor in pixels
    """

    events: Events
    size: Size

    @property
    def duration_us(self) -> int:
        """From the first event to the last."""
        t = self.events["t"]
        return int(t[-1] - t[0])


def make_events(t: object, x: object, y: object, p: object) -> Events:
    """(N,) of EVENT from four arrays."""
    stamps = np.asarray(t)
    events = np.empty(len(stamps), EVENT)
    events["t"], events["x"], events["y"], events["p"] = stamps, np.asarray(x), np.asarray(y), np.asarray(p)
    return events


def read_recording(path: str | Path, size: Size | None = None) -> Recording:
    """The events of a file; `size` (H, W) of the sensor if the file does not know it.

    Without both it is 34x34 for .bin (N-MNIST), 128x128 for .bs2, and for .dat just large enough for its events.
    raises  DataError, naming file, what was found, what was expected and the fix
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"'{path}' is of no known event format; readable are {', '.join(sorted(_READERS))}.")
    if not path.is_file():
        raise DataError(f"the recording '{path}' is missing. Check the path, or copy it again.")
    events, own = reader(path)
    if size is not None and own is not None and size != own and path.suffix.lower() in (".aedat", ".aedat4"):
        raise DataError(
            f"'{path}' says that its sensor has {_text(own)} pixels, not {_text(size)}; leave out the size."
        )
    return Recording(events, checked_events(events, size or own, str(path)))


def checked_events(events: Events, size: Size | None, source: str) -> Size:
    """The size of the sensor, if the events are in order and on it; else DataError."""
    if not len(events):
        raise DataError(f"'{source}' holds no event. It is empty or cut short: copy it again.")
    back = np.flatnonzero(np.diff(events["t"]) < 0)
    if len(back):
        first = int(back[0])
        raise DataError(
            f"'{source}': event {first + 1} at {events['t'][first + 1]} us comes after one at {events['t'][first]} us "
            f"({len(back)} such steps back); times must not go back. The file is damaged, or its clock was reset: split it there."
        )
    reached = int(events["y"].max()) + 1, int(events["x"].max()) + 1
    size = size or reached
    if reached[0] > size[0] or reached[1] > size[1] or min(events["x"].min(), events["y"].min()) < 0:
        raise DataError(
            f"'{source}' holds events outside of its sensor: they reach {_text(reached)} pixels, it has {_text(size)}. "
            "Give the size of the sensor that recorded it."
        )
    return size


def _packed(path: Path, size: Size) -> tuple[Events, Size]:
    from tonic.io import read_mnist_file  # type: ignore[import-untyped]

    length = path.stat().st_size
    if length % _PACKED:
        raise _cut(path, f"{length} bytes", f"whole events of {_PACKED} bytes")
    events = read_mnist_file(str(path), _EVENT_OF_TONIC)
    return make_events(events["t"], events["x"], events["y"], events["p"]), size


def _nmnist(path: Path) -> tuple[Events, Size]:
    return _packed(path, (34, 34))


def _dvs128(path: Path) -> tuple[Events, Size]:
    return _packed(path, (128, 128))


def _dat(path: Path) -> tuple[Events, Size | None]:
    """Lines that start with %, two bytes (type, size of an event), then (time, address) little-endian."""
    data = path.read_bytes()
    header, start = {}, 0
    while data[start : start + 1] == b"%":
        line, newline, _ = data[start:].partition(b"\n")
        start += len(line) + len(newline)
        words = line.decode("latin-1").lstrip("% ").split()
        header[words[0].lower() if words else ""] = words[1:]
    if start == 0 or len(data) < start + 2:
        raise DataError(
            f"'{path}' does not start as a Prophesee .dat file does, with lines of '%'. It is another format."
        )
    kind, length = data[start], data[start + 1]
    if kind not in _DAT_EVENTS or length != _RECORD:
        raise DataError(
            f"'{path}' holds events of type {kind} in {length} bytes; readable are contrast events, types "
            f"{' and '.join(map(str, _DAT_EVENTS))} in {_RECORD} bytes."
        )
    body = data[start + 2 :]
    if len(body) % _RECORD:
        raise _cut(path, f"{len(body)} bytes of events", f"whole events of {_RECORD} bytes")
    records = np.frombuffer(body, np.dtype([("t", "<u4"), ("a", "<u4")]))
    address = records["a"]
    events = make_events(records["t"], address & 0x3FFF, address >> 14 & 0x3FFF, address >> 28 & 1)
    size = (int(header["height"][0]), int(header["width"][0])) if {"height", "width"} <= header.keys() else None
    return events, size


def _aedat(path: Path) -> tuple[Events, Size | None]:
    """Either version, told by the first line."""
    with path.open("rb") as file:
        first = file.readline()
    if first.startswith(b"#!AER-DAT2"):
        return _aedat2(path)
    if first.startswith(b"#!AER-DAT3.1"):
        events, size = read_aedat3(path)
        return make_events(events["t"], events["x"], events["y"], events["p"]), size
    found = first[:20].decode("latin-1").strip()
    raise DataError(
        f"'{path}' starts with '{found}'; expected #!AER-DAT2.0 or 3.1. Other versions: convert them to AEDAT 4."
    )


def _aedat2(path: Path) -> tuple[Events, Size]:
    """Records (address, time), big-endian. Bit 31 of the address: no contrast event, but a frame or a motion sample. Bit 10:
    no pixel, but an external trigger (jAER's DavisChip, EXTERNAL_INPUT_EVENT_ADDR).

    x is bits 12-21 and y bits 22-30, both counted from the far corner as jAER does; polarity is bit 11.
    """
    from tonic.io import get_aer_events_from_file, read_aedat_header_from_file

    version, start, _ = read_aedat_header_from_file(str(path))
    height, width = _davis_size(path, start)
    if (path.stat().st_size - start) % _RECORD:
        raise _cut(path, f"{path.stat().st_size - start} bytes of records", f"whole records of {_RECORD} bytes")
    records = get_aer_events_from_file(str(path), version, start)
    records = records[records["address"] & (1 << 31 | 1 << 10) == 0]
    address = records["address"].astype(np.int64)
    x, y = width - 1 - (address >> 12 & 0x3FF), height - 1 - (address >> 22 & 0x1FF)
    return make_events(records["timeStamp"], x, y, address >> 11 & 1), (height, width)


def _davis_size(path: Path, start: int) -> Size:
    with path.open("rb") as file:
        named = re.search(rb"# ?AEChip: (\S+)", file.read(start))
    chip = named.group(1).decode("latin-1").rpartition(".")[2] if named else "nothing"
    for known, size in _DAVIS.items():
        if chip.upper().startswith(known):
            return size
    raise DataError(
        f"'{path}' names the chip '{chip}'; addresses are known of {' and '.join(_DAVIS)}. Convert it to AEDAT 4."
    )


def _aedat4(path: Path) -> tuple[Events, Size]:
    import aedat
    from tonic.io import read_aedat4

    try:
        streams = aedat.Decoder(str(path)).id_to_stream()
        chosen = min(number for number, stream in streams.items() if stream["type"] == "events")
        events = read_aedat4(str(path))
    except ValueError as error:
        raise DataError(f"'{path}' holds no stream of events, or a packet that is none: {error}.") from None
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except (
        BaseException
    ) as error:  # the decoder raises Exception itself, and panics (pyo3's PanicException) on odd headers
        raise DataError(
            f"'{path}' cannot be read as AEDAT 4: {error}. It is damaged or cut short: copy it again."
        ) from None
    stream = streams[chosen]
    return make_events(events["t"], events["x"], events["y"], events["on"]), (stream["height"], stream["width"])


_Reader: TypeAlias = Callable[[Path], "tuple[Events, Size | None]"]
_READERS: dict[str, _Reader] = {".bin": _nmnist, ".bs2": _dvs128, ".dat": _dat, ".aedat": _aedat, ".aedat4": _aedat4}
SUFFIXES = tuple(_READERS)


def _cut(path: Path, found: str, expected: str) -> DataError:
    return DataError(f"'{path}' ends within an event: {found}, expected {expected}. It is cut short: copy it again.")


def _text(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
