"""What is asked of a data set, and the folder where it lies."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from export.errors import MissingData
from neuroseg.data.sources import Split

DATA_FOLDER = "NEUROSEG_DATA"


@dataclass(frozen=True)
class Ask:
    """Which part of a data set is asked for.

    training  with the config's random changes, and masks of the input's size; else items as they are, and the labels of the
              files, which scores are against
    seed      of the random changes
    steps     T: frames per item, for data sets that have a time axis
    """

    split: Split
    training: bool = False
    seed: int = 0
    steps: int = 1


def data_folder(root: str, key: str = "data.root") -> Path:
    """Where a data set lies: an absolute path as it is, a relative one in $NEUROSEG_DATA, else in the current folder.

    key  that names it, for the error
    """
    path = Path(root).expanduser()
    base = os.environ.get(DATA_FOLDER)
    if path.is_absolute() or (base is None and path.is_dir()):
        return path
    if base is None:
        raise MissingData(
            f"data folder '{root}' is not in the current folder, and {DATA_FOLDER} is not set. Set {DATA_FOLDER} to the "
            f"folder that holds it, or say where it is: {key}=/path/to/{path.name}"
        )
    return Path(base) / path
