"""What a report says of a network that its graph does not hold: a name, a score, and the versions it was made with."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import metadata

DISTRIBUTIONS = ("neuroseg", "lava-nc", "lava-dl", "torch", "numpy", "h5py")


@dataclass(frozen=True)
class About:
    """What only the one who trained the network knows.

    miou              of the trained weights, 0..1, over the images of `miou_split`; None: it was not measured
    vectors_from      what the test vectors were made of, in words
    vectors_stand_in  whether these are not images of the network's own data set
    """

    name: str
    miou: float | None = None
    miou_split: str | None = None
    vectors_from: str | None = None
    vectors_stand_in: bool = False


def versions() -> dict[str, str | None]:
    """Python and the distributions that make a bundle; None: not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in DISTRIBUTIONS}}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
