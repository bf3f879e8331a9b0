"""MNIST's handwritten digits, from its idx files, plain or gzipped.

Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits", 1998, with the format of its files.
"""

from __future__ import annotations

import gzip
import math
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from export.errors import DataError
from neuroseg.data.pictures import Bytes

DIGIT = 28  # side in pixels
_MNIST = "the files of MNIST: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-..., plain or .gz"


def digit_classes(classes: int) -> tuple[str, ...]:
    """Names in mask order: of 2 classes background and digit, of 11 background and the digits."""
    return ("background", "digit") if classes == 2 else ("background", *map(str, range(10)))


def read_mnist(folder: Path, test: bool) -> tuple[Bytes, Bytes]:
    """Digits uint8 (N, 28, 28) and labels uint8 (N,); N is 60,000, or 10,000 of the test files."""
    prefix = "t10k" if test else "train"
    digits = read_idx(_idx_file(folder, f"{prefix}-images-idx3-ubyte"))
    labels = read_idx(_idx_file(folder, f"{prefix}-labels-idx1-ubyte"))
    if digits.shape[1:] != (DIGIT, DIGIT) or labels.shape != digits.shape[:1] or labels.max(initial=0) > 9:
        raise DataError(
            f"'{folder}' holds {prefix} images of shape {digits.shape} and labels of shape {labels.shape} up to "
            f"{labels.max(initial=0)}; expected: (N, {DIGIT}, {DIGIT}), (N,) and 9. Use {_MNIST}."
        )
    return digits, labels


def read_idx(path: Path) -> Bytes:
    """The array of an idx file of bytes (magic 00 00 08, number of dimensions, sizes as big-endian 32-bit numbers)."""
    return _read_idx(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read_idx(path: Path, _changed: int) -> Bytes:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"'{path}' cannot be read: {error}. It is damaged or cut short: copy it again.") from None
    dimensions = content[3] if len(content) > 3 else 0
    start = 4 + 4 * dimensions
    if content[:3] != b"\0\0\x08" or len(content) < start:
        raise DataError(f"'{path}' does not begin as an idx file of bytes (00 00 08). Use {_MNIST}.")
    shape = tuple(np.frombuffer(content, ">u4", dimensions, 4).tolist())
    if len(content) - start != math.prod(shape):
        raise DataError(
            f"'{path}' holds {len(content) - start:,} bytes of data; its head says {math.prod(shape):,} {shape}. It is cut "
            "short: copy it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _idx_file(folder: Path, name: str) -> Path:
    """The file, plain or .gz, with a dash or a dot before idx."""
    names = [name, name.replace("-idx", ".idx")]
    for path in [folder / f"{stem}{ending}" for stem in names for ending in ("", ".gz")]:
        if path.is_file():
            return path
    raise DataError(f"'{folder / name}' is missing, also with .gz. It takes {_MNIST}.")
