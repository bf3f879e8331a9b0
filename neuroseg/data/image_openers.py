"""Openers of the image sets: from their sections of a config to items."""

from __future__ import annotations

from typing import Any, TypeAlias

from neuroseg.config.data_section import AugmentConfig
from neuroseg.config.image_data import (
    CamSeqConfig,
    DenoiseConfig,
    DriveConfig,
    IsbiEmConfig,
    MnistCifarConfig,
    PatchSection,
    VocConfig,
)
from neuroseg.data.ask import Ask, data_folder
from neuroseg.data.augment import Augment
from neuroseg.data.camseq import CamSeq
from neuroseg.data.denoise import NoisyPatches, NoisyPictures
from neuroseg.data.drive import Drive, Preparation
from neuroseg.data.isbi_em import IsbiEm
from neuroseg.data.labelled import LabelledPictures
from neuroseg.data.mnist_cifar import MnistCifar
from neuroseg.data.pictures import Size
from neuroseg.data.voc import Voc
from neuroseg.data.windows import Patches, Tiles

PatchItems: TypeAlias = LabelledPictures | Patches | Tiles


def resizing(size: Size, augment: AugmentConfig | None, ask: Ask, label_size: Size | None = None) -> dict[str, Any]:
    """Arguments of a data set of `LabelledPictures` whose pictures are resized to what the network gets.

    Masks follow the images for training; else they are resized to `label_size`, or stay as in the files.
    """
    changes = augmentation(augment, ask)
    if ask.training:
        label_size = size if changes is None else None
    return {"size": size, "label_size": label_size, "augment": changes, "seed": ask.seed}


def augmentation(augment: AugmentConfig | None, ask: Ask) -> Augment | None:
    """The random changes of a section, for training."""
    return Augment(**augment.model_dump()) if ask.training and augment is not None else None


def open_camseq(config: CamSeqConfig, ask: Ask) -> CamSeq:
    """CamSeq01."""
    return CamSeq(
        data_folder(config.root),
        ask.split,
        val=config.val_images,
        test=config.test_images,
        order=config.order,
        share_seed=config.seed,
        **resizing(config.size, config.augment, ask),
    )


def open_drive(config: DriveConfig, ask: Ask) -> PatchItems:
    """DRIVE: patches for training, whole pictures or tiles for scores; resized pictures without `patch`."""
    pictures = Drive(
        data_folder(config.root),
        ask.split,
        val=config.val_images,
        preparation=Preparation(config.channel, config.clahe, config.gamma),
        outside=config.outside,
        observer=config.observer,
        **_files_or_resized(config, config.augment, ask),
    )
    return _windows(pictures, config, config.augment, ask)


def open_isbi_em(config: IsbiEmConfig, ask: Ask) -> PatchItems:
    """ISBI EM: resized pictures; with `patch` patches for training, whole pictures or tiles for scores."""
    pictures = IsbiEm(
        data_folder(config.root),
        ask.split,
        val=config.val_images,
        test=config.test_images,
        order=config.order,
        share_seed=config.seed,
        **_files_or_resized(config, config.augment, ask),
    )
    return _windows(pictures, config, config.augment, ask)


def open_mnist_cifar(config: MnistCifarConfig, ask: Ask) -> MnistCifar:
    """MNIST-CIFAR10-Segmentation."""
    samples = {"train": config.train_samples, "val": config.val_samples, "test": config.test_samples}[ask.split]
    mnist, cifar10 = data_folder(config.mnist), data_folder(config.cifar10)
    classes, seed = config.classes, config.seed
    return MnistCifar(mnist, cifar10, ask.split, size=config.size, classes=classes, samples=samples, seed=seed)


def open_voc(config: VocConfig, ask: Ask) -> Voc:
    """PASCAL VOC2012."""
    arguments = resizing(config.size, config.augment, ask)
    if config.labels == "input" and not ask.training:
        arguments["label_size"] = config.size
    return Voc(data_folder(config.root), ask.split, train_list=config.train_list, val=config.val_images, **arguments)


def open_denoise(config: DenoiseConfig, ask: Ask) -> NoisyPatches | NoisyPictures:
    """Denoising: noisy patches for training; whole pictures, or tiles, for scores."""
    roots = (config.train_root,) if isinstance(config.train_root, str) else config.train_root
    if ask.training:
        return NoisyPatches(
            [data_folder(root) for root in roots],
            config.size,
            config.patches,
            config.train_sigma or (config.sigma, config.sigma),
            colour=config.colour,
            turns=config.turns,
            seed=ask.seed,
        )
    chosen = {"train": roots, "val": (config.val_root,), "test": (config.test_root,)}[ask.split]
    folders = [data_folder(root) for root in chosen]
    tiles = config.size if config.tiles else None
    most = config.val_pictures if ask.split == "val" else None
    return NoisyPictures(folders, config.sigma, colour=config.colour, tiles=tiles, most=most, seed=config.seed)


def _files_or_resized(config: PatchSection, augment: AugmentConfig | None, ask: Ask) -> dict[str, Any]:
    """With patches the pictures stay as in the files."""
    return resizing(config.size, augment, ask) if config.patch is None else {}


def _windows(pictures: LabelledPictures, config: PatchSection, augment: AugmentConfig | None, ask: Ask) -> PatchItems:
    """What items are made of pictures as in the files."""
    if config.patch is None:
        return pictures
    if ask.training:
        return Patches(pictures, config.patch, config.patches, augmentation(augment, ask), ask.seed)
    return Tiles(pictures, config.size)
