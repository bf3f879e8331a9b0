"""Data sections of the papers' image sets, each read in its original layout."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from neuroseg.config.data_section import AugmentConfig, DataSection, Inputs
from neuroseg.config.section import Count, Seed, Side

Order = Literal["consecutive", "random"]
Sigma = Annotated[float, Field(ge=0, le=255)]
TURNS = AugmentConfig(flip=0.5, vertical_flip=0.5)


class CamSeqConfig(DataSection):
    """CamSeq01: consecutive frames of one drive, flat folder with colour-coded labels; 11 classes and void.

    root         its folder; a relative one is looked up in $NEUROSEG_DATA, then in the current folder
    size         (height, width) of the images that the network gets; scores are against the labels as they are
    val_images, test_images   frames held out; the others train. There is no official split
    order        consecutive: train, then val, then test, in the order of time; random: drawn by `seed`, so that neighbours,
                 which are almost alike, fall into different splits, and scores are higher than on another drive
    seed         of the random order
    augment      changes to training images; null: none
    """

    name: Literal["camseq01"]
    root: str = "camseq01"
    size: tuple[Side, Side] = (256, 256)
    val_images: Count = 10
    test_images: Count = 20
    order: Order = "consecutive"
    seed: Seed = 0
    augment: AugmentConfig | None = AugmentConfig()

    @property
    def classes(self) -> int:
        """Void is not one of them."""
        return 11


class PatchSection(DataSection):
    """A data set of pictures that are large beside what is to be seen in them: networks may be trained on patches.

    patch    (height, width) of the patches that are drawn for training, at the pixels of the files; val and test items are
             then whole pictures, padded to `size`, or tiles of `size` if that is smaller. null: all are resized to `size`
    patches  patches in an epoch, each at another place in another epoch
    """

    patch: tuple[Side, Side] | None = None
    patches: Count = 1200

    @property
    def train_size(self) -> tuple[int, int]:
        """(height, width) of what the network gets in training."""
        return self.patch or self.size

    @property
    def inputs(self) -> Inputs:
        """Grey images."""
        return Inputs(channels=1)

    @property
    def classes(self) -> int:
        """Background and foreground."""
        return 2


class DriveConfig(PatchSection):
    """DRIVE retinal vessels, 2 classes; images of 565x584 pixels become one grey channel.

    root        its folder, with `training` and `test`; a relative one is looked up in $NEUROSEG_DATA, then here
    size        (height, width) of the images that the network gets; with patches whole pictures are padded to it
    patch       (height, width) of the patches drawn for training, as in Spiking-UNet; val and test items are whole pictures,
                padded to `size`, or tiles of `size` if that is smaller. null: all are resized to `size`
    patches     patches in an epoch, each at another place in another epoch
    channel     grey: luma, as in Spiking-UNet; green: where vessels stand out most
    clahe       contrast-limited adaptive histogram equalisation (tiles of an eighth of the sides, clip limit 2)
    gamma       brightness to the power 1 / gamma, after that; 1: as it is
    outside     what pixels out of the field of view are: void, scored nowhere; or background, as Spiking-UNet's code has it
    observer    whose labels the test images carry: 1st, the standard; 2nd, for the score of a human
    val_images  the last ones of the 20 training images, which choose the epoch
    augment     changes to training images; null: none
    """

    name: Literal["drive"]
    root: str = "drive"
    size: tuple[Side, Side] = (592, 576)
    patch: tuple[Side, Side] | None = (48, 48)
    channel: Literal["grey", "green"] = "grey"
    clahe: bool = True
    gamma: Annotated[float, Field(gt=0, le=10)] = 1.2
    outside: Literal["void", "background"] = "void"
    observer: Literal["1st", "2nd"] = "1st"
    val_images: Annotated[int, Field(ge=1, le=19)] = 4
    augment: AugmentConfig | None = TURNS


class IsbiEmConfig(PatchSection):
    """ISBI 2012 electron microscopy, 30 sections of 512x512, grey; classes membrane and cell.

    root         its folder, with train/image and train/label; a relative one is looked up in $NEUROSEG_DATA, then here
    size         (height, width) of the images that the network gets; scores are against the labels as they are
    patch        (height, width) of patches drawn for training; null: whole pictures, resized to `size`, as in Spiking-UNet
    patches      patches in an epoch, each at another place in another epoch
    val_images, test_images   sections held out; the others train. The test sections of the challenge have no public labels
    order        consecutive: train, then val, then test, from the top of the stack; random: drawn by `seed`, so that
                 neighbouring sections, which are alike, fall into different splits
    seed         of the random order
    augment      changes to training images; null: none
    """

    name: Literal["isbi-em"]
    root: str = "isbi_em"
    size: tuple[Side, Side] = (512, 512)
    val_images: Count = 3
    test_images: Count = 6
    order: Order = "consecutive"
    seed: Seed = 0
    augment: AugmentConfig | None = TURNS


class MnistCifarConfig(DataSection):
    """MNIST-CIFAR10-Segmentation (Kim et al. 2022): a handwritten digit added to a photograph; the mask is the digit's ink.

    mnist          folder of MNIST's idx files; a relative one is looked up in $NEUROSEG_DATA, then in the current folder
    cifar10        folder of CIFAR-10's binary batches, likewise
    size           (height, width) of images and masks: the photograph's 32x32 with a digit of 14, as in the original, or scaled
    classes        2 (background, digit) or 11 (background, 0 to 9)
    train_samples, val_samples, test_samples   images of each split; they share neither digits nor photographs. The paper has
                   48,000 for training and 12,000 for testing
    seed           of what is drawn
    """

    name: Literal["mnist-cifar10"]
    mnist: str = "mnist"
    cifar10: str = "cifar10"
    size: tuple[Side, Side] = (32, 32)
    classes: Literal[2, 11] = 2
    train_samples: Count = 48_000
    val_samples: Count = 2_000
    test_samples: Count = 12_000
    seed: Seed = 0


class VocConfig(DataSection):
    """PASCAL VOC2012, 21 classes and void.

    root        the folder VOCdevkit/VOC2012, or one above it; a relative one is looked up in $NEUROSEG_DATA, then here
    size        (height, width) of the images that the network gets
    train_list  train: the 1,464 images of the challenge; trainaug: the 10,582 with labels of SBD (SegmentationClassAug)
    labels      file: scores are against the labels as they are; input: against labels resized to `size`, as in Kim et al. 2022
    val_images  the last ones of the training list, which choose the epoch; 0: chosen on the test images, the list `val`, as in
                the papers: the score is then optimistic
    augment     changes to training images; null: none
    """

    name: Literal["voc2012"]
    root: str = "VOCdevkit/VOC2012"
    size: tuple[Side, Side] = (64, 64)
    train_list: Literal["train", "trainaug"] = "trainaug"
    labels: Literal["file", "input"] = "file"
    val_images: Annotated[int, Field(ge=0)] = 0
    augment: AugmentConfig | None = AugmentConfig()

    @property
    def stackable(self) -> VocConfig:
        """Labels of the input's size."""
        return self.model_copy(update={"labels": "input"})

    @property
    def classes(self) -> int:
        """Background and 20 objects; void is not one of them."""
        return 21


class DenoiseConfig(DataSection):
    """Pictures with Gaussian noise added, and without: a network learns to remove it.

    train_root   folder of pictures that training patches are drawn from, or several folders
    val_root     folder of the pictures that choose the epoch
    val_pictures so many of them, spread over the names; null: all
    test_root    folder of the pictures that are scored: bsd68, set12, cbsd68. Relative folders are looked up in
                 $NEUROSEG_DATA, then in the current folder
    colour       three channels; else one: colour files become their luma
    sigma        standard deviation of the noise in grey levels of 255, in val and test: one draw by seed and file name
    train_sigma  (least, most) standard deviation in training, drawn anew for each patch and epoch; null: sigma
    size         (height, width) of the training patches
    patches      patches in an epoch, each at another place in another epoch
    tiles        val and test items are all tiles of `size` that fit into the pictures, for a network that was exported at this
                 size; else the whole pictures, whatever their size
    turns        turn training patches by right angles and mirror them
    seed         of the noise in val and test
    """

    task: ClassVar[Literal["segmentation", "denoising"]] = "denoising"
    name: Literal["denoise"]
    train_root: str | tuple[str, ...] = "train400"
    val_root: str = "set12"
    val_pictures: Count | None = None
    test_root: str = "bsd68"
    colour: bool = False
    sigma: Sigma = 25.0
    train_sigma: tuple[Sigma, Sigma] | None = None
    size: tuple[Side, Side] = (64, 64)
    patches: Count = 1600
    tiles: bool = False
    turns: bool = True
    seed: Seed = 0

    @property
    def stackable(self) -> DenoiseConfig:
        """Tiles of pictures."""
        return self.model_copy(update={"tiles": True})

    @property
    def inputs(self) -> Inputs:
        """Grey or colour images."""
        return Inputs(channels=self.classes)

    @property
    def classes(self) -> int:
        """Channels that come out of the network."""
        return 3 if self.colour else 1

    @model_validator(mode="after")
    def _ordered(self) -> DenoiseConfig:
        if self.train_sigma is not None and self.train_sigma[0] > self.train_sigma[1]:
            raise ValueError(f"train_sigma {list(self.train_sigma)} is in the wrong order; write the smaller one first")
        if self.train_root == ():
            raise ValueError("train_root is empty; name at least one folder of pictures")
        if self.turns and self.size[0] != self.size[1]:
            raise ValueError(f"turns = true needs square patches, and size is {list(self.size)}; write turns: false")
        return self
