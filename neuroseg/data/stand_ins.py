"""Photographs in the place of images that are not on this machine: a network runs on them, but no score means anything."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from neuroseg.data import sources
from neuroseg.data.digits import random_crop
from neuroseg.data.pictures import LUMA
from neuroseg.data.sources import Region

PHOTOGRAPHS = "photographs that come with scikit-learn (china.jpg, flower.jpg)"


def stand_ins(count: int, channels: int, size: tuple[int, int]) -> torch.Tensor:
    """Float32 (N, channels, H, W) in [0, 1]: both photographs as large as they fit, then crops of them; always the same ones.

    channels  3 for colour, 1 for grey
    """
    assert channels in (1, 3)
    images = np.stack([_image(index, size) for index in range(count)])  # (N, H, W, 3)
    if channels == 1:
        images = images @ LUMA.astype(np.float32)[:, None]
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def _image(index: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """(H, W, 3) in [0, 1]."""
    photos = sources.photos()
    name = sorted(photos)[index % len(photos)]
    height, width = photos[name].shape[:2]
    whole = Region(name, 0, 0, height, width)
    first = index < len(photos)
    crop = _middle(whole, size) if first else random_crop(np.random.default_rng(index), whole, size)
    cut = photos[name][crop.top : crop.bottom, crop.left : crop.right]
    scaled = Image.fromarray(cut).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(scaled, dtype=np.float32) / 255


def _middle(whole: Region, size: tuple[int, int]) -> Region:
    """The largest window of the size's aspect, in the middle."""
    zoom = min(whole.height / size[0], whole.width / size[1])
    height, width = (max(1, int(zoom * side)) for side in size)
    top, left = (whole.height - height) // 2, (whole.width - width) // 2
    return Region(whole.photo, top, left, top + height, left + width)
