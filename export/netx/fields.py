"""Typed access to the keys of an HDF5 group: every error names the file, the layer and the key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from export.errors import FileFormatError
from export.graph import Array, Pair, Shape

INT32_MAX = (1 << 31) - 1
Integers: TypeAlias = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Fields:
    """One HDF5 group and the words with which errors name it.

    where   "net.net: layer 3 (conv)"
    """

    group: h5py.Group
    where: str

    def fail(self, problem: str) -> NoReturn:
        """Raise FileFormatError with the place and the problem."""
        raise FileFormatError(f"{self.where}: {problem}.")

    def has(self, key: str) -> bool:
        """True when the group holds the key."""
        return key in self.group

    def child(self, key: str, where: str) -> Fields:
        """A group inside this one, under a name of its own for errors."""
        found = self.group.get(key)
        if not isinstance(found, h5py.Group):
            self.fail(f"group '{key}' is missing")
        return Fields(found, where)

    def children(self) -> Iterator[int]:
        """The numbers 0, 1, ... of numbered sub-groups; a gap is an error."""
        for number in range(len(self.group)):
            if str(number) not in self.group:
                self.fail(f"group '{number}' is missing: {len(self.group)} entries must be numbered from 0")
            yield number

    def text(self, key: str) -> str:
        """A string, stored as a scalar or as an array of one."""
        value = self._value(key).reshape(-1)
        if value.size != 1 or not isinstance(value[0], (bytes, str)):
            self.fail(f"key '{key}' must hold one string")
        return value[0].decode("ascii", "replace") if isinstance(value[0], bytes) else str(value[0])

    def integer(self, key: str) -> int:
        """One integer (or a real number that is one), stored as a scalar or as an array of one."""
        value = self.integers(key).reshape(-1)
        if value.size != 1:
            self.fail(f"key '{key}' has {value.size} values; expected 1")
        return int(value[0])

    def pair(self, key: str) -> Pair:
        """(y, x); a single number stands for both."""
        value = self.integers(key).reshape(-1)
        if value.size not in (1, 2):
            self.fail(f"key '{key}' has {value.size} values; expected 1 or 2")
        return int(value[0]), int(value[-1])

    def shape(self, key: str) -> Shape:
        """(C, H, W); a single number n is (n, 1, 1)."""
        value = self.integers(key).reshape(-1)
        if value.size not in (1, 3) or (value < 1).any():
            self.fail(f"key '{key}' is {value.tolist()}; expected C, H, W of at least 1 each")
        c, h, w = [int(n) for n in value] if value.size == 3 else (int(value[0]), 1, 1)
        return c, h, w

    def integers(self, key: str) -> Integers:
        """An array of integers as stored; lava-dl's float32 is accepted where every value is an integer."""
        value = self._value(key)
        if np.issubdtype(value.dtype, np.integer):
            return value.astype(value.dtype.type, copy=False)
        if not np.issubdtype(value.dtype, np.floating):
            self.fail(f"key '{key}' holds {value.dtype}; expected numbers")
        numbers = value.astype(np.float64)
        if not np.isfinite(numbers).all():
            self.fail(f"key '{key}' holds NaN or infinity: export the trained network again")
        if (numbers != np.round(numbers)).any():
            self.fail(f"key '{key}' holds real numbers; integers are expected: export a quantised network")
        if numbers.size and np.abs(numbers).max() > INT32_MAX:
            self.fail(f"key '{key}' holds {np.abs(numbers).max():.3g}, beyond 32 bits: export a quantised network")
        return numbers.astype(np.int32)

    def reals(self, key: str, axes: int) -> NDArray[np.float64]:
        """An array of finite real numbers with so many axes."""
        value = self._value(key)
        if value.ndim != axes or not np.issubdtype(value.dtype, np.floating) or not np.isfinite(value).all():
            self.fail(f"key '{key}' holds {value.dtype} {value.shape}; expected {axes} axes of finite real numbers")
        return value.astype(np.float64)

    def _value(self, key: str) -> Array:
        found = self.group.get(key)
        if not isinstance(found, h5py.Dataset):
            self.fail(f"key '{key}' is missing")
        return np.asarray(found[()])
