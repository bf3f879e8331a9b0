"""From the data section of a config to one of its splits: the only place that knows all data sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from torch import Tensor

from neuroseg.config import CamVidConfig, DataSection, DigitsConfig, event_data, image_data
from neuroseg.data import event_openers, image_openers
from neuroseg.data.ask import DATA_FOLDER, Ask, data_folder
from neuroseg.data.camvid import CamVid
from neuroseg.data.digits import DigitsOnPhotos

__all__ = ["DATA_FOLDER", "OPENERS", "Ask", "Item", "SegmentationData", "data_folder", "open_split"]
Item: TypeAlias = tuple[Tensor, Tensor]


class SegmentationData(Protocol):
    """A split: items (input, mask (H', W') int64). The input has the shape that the config's `inputs` say, for one item:
    (C, H, W) in [0, 1], or (T, C, H, W). Masks of val and test may be larger than the input.
    """

    @property
    def classes(self) -> int:
        """Number of classes, void aside."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Their names, in mask order."""

    def __len__(self) -> int:
        """Number of items."""

    def __getitem__(self, index: int, /) -> Item:
        """One item."""


Opener = Callable[[Any, Ask], SegmentationData]


def open_split(config: DataSection, ask: Ask) -> SegmentationData:
    """The items of a split. Raises DataError for data that cannot be had, naming the file and the fix."""
    return OPENERS[type(config)](config, ask)


def _camvid(config: CamVidConfig, ask: Ask) -> CamVid:
    resized = image_openers.resizing(config.size, config.augment, ask, config.label_size)
    return CamVid(data_folder(config.root), ask.split, protocol=config.protocol, **resized)


def _digits(config: DigitsConfig, ask: Ask) -> DigitsOnPhotos:
    samples = {"train": config.train_samples, "val": config.val_samples, "test": config.test_samples}[ask.split]
    return DigitsOnPhotos(ask.split, config.size, config.classes, samples, config.seed, config.digits_per_image)


OPENERS: dict[type[DataSection], Opener] = {
    DigitsConfig: _digits,
    CamVidConfig: _camvid,
    image_data.CamSeqConfig: image_openers.open_camseq,
    image_data.DriveConfig: image_openers.open_drive,
    image_data.IsbiEmConfig: image_openers.open_isbi_em,
    image_data.MnistCifarConfig: image_openers.open_mnist_cifar,
    image_data.VocConfig: image_openers.open_voc,
    image_data.DenoiseConfig: image_openers.open_denoise,
    event_data.SyntheticEventsConfig: event_openers.open_synthetic,
    event_data.NMnistConfig: event_openers.open_nmnist,
    event_data.Ddd17Config: event_openers.open_ddd17,
    event_data.DsecConfig: event_openers.open_dsec,
}
