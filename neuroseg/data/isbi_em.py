"""ISBI 2012 challenge: 30 serial sections of a larva's nerve cord under the electron microscope, with their membranes.

Layout: train/image/0.png to 29.png and train/label, as in github.com/zhixuhao/unet (data/membrane); labels are 255 for the
inside of a cell and 0 for a membrane.
Source: Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms for connectomics", 2015.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from export.errors import DataError
from neuroseg.config.image_data import Order
from neuroseg.data.augment import Augment
from neuroseg.data.labelled import LabelledPictures
from neuroseg.data.pictures import GREY, Bytes, Pair, Size, check_existence, picture_files, pixels
from neuroseg.data.shares import shared_out
from neuroseg.data.sources import Split

CLASS_NAMES = ("membrane", "cell")
_INSIDE = 255
_LAYOUT = "the layout of github.com/zhixuhao/unet: train/image and train/label with 0.png, 1.png, ..."


class IsbiEm(LabelledPictures):
    """ISBI EM; items and further arguments as in `LabelledPictures`, images with one channel.

    root    the folder that holds `train`
    split   train, val or test, cut from the sections in the order of their numbers
    val, test   sections in these splits; the others train
    order   consecutive or random, see `shared_out`; share_seed: of the random order
    """

    source = "ISBI EM"
    class_names = CLASS_NAMES
    colours = ((0, 0, 0), (255, 255, 255))
    image_modes = GREY
    mask_modes = GREY

    def __init__(
        self,
        root: str | Path,
        split: Split,
        *,
        val: int = 3,
        test: int = 6,
        order: Order = "consecutive",
        share_seed: int = 0,
        size: Size | None = None,
        label_size: Size | None = None,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        """Check the folder and every file of the split but for its pixels."""
        folder = Path(root) / "train"
        images = picture_files(folder / "image", f"the images of ISBI EM in {_LAYOUT}")
        chosen = shared_out(len(images), val, test, order, share_seed, f"sections in '{folder}'")
        pairs = [Pair(images[i], folder / "label" / images[i].name, f"'{images[i]}'") for i in chosen.get(split, ())]
        check_existence(pairs)
        super().__init__(split, tuple(pairs), size=size, label_size=label_size, augment=augment, seed=seed)

    def _labels(self, pair: Pair) -> Bytes:
        levels = pixels(pair.mask)
        wrong = np.argwhere((levels != 0) & (levels != _INSIDE))
        if len(wrong):
            row, column = wrong[0].tolist()
            raise DataError(
                f"the mask '{pair.mask}' holds level {levels[row, column]} at row {row}, column {column} ({len(wrong)} such "
                f"pixels); expected: 0 for membrane and {_INSIDE} for the inside of a cell. Use the labels as they come, not "
                "resized."
            )
        labels: Bytes = (levels == _INSIDE).astype(np.uint8)
        return labels
