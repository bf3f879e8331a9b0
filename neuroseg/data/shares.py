"""Splits of data sets that have no official one."""

from __future__ import annotations

import numpy as np

from export.errors import DataError
from neuroseg.config.image_data import Order
from neuroseg.data.sources import Split


def shared_out(count: int, val: int, test: int, order: Order, seed: int, what: str) -> dict[Split, tuple[int, ...]]:
    """Indices 0 to count - 1 of each split, each index once and in rising order.

    order  consecutive: train, val, test in this order; random: a permutation drawn by `seed` is cut likewise
    what   for the error: "frames in 'folder'"
    raises DataError when nothing is left to train on
    """
    train = count - val - test
    if train < 1:
        raise DataError(
            f"{count} {what}: {val} for val and {test} for test leave {max(train, 0)} to train on; lower val_images or "
            "test_images."
        )
    indices = np.arange(count) if order == "consecutive" else np.random.default_rng(seed).permutation(count)
    parts = np.split(indices, [train, train + val])
    names: tuple[Split, ...] = ("train", "val", "test")
    return {name: tuple(sorted(part.tolist())) for name, part in zip(names, parts, strict=True)}
