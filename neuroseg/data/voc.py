"""PASCAL VOC2012: photographs with 20 objects and background, void along their outlines.

Layout of VOCdevkit/VOC2012: JPEGImages/NAME.jpg, SegmentationClass/NAME.png (with a palette; 255 is void), and the lists
ImageSets/Segmentation/{train,val}.txt with a NAME a line. The 10,582 training images of SBD: SegmentationClassAug/NAME.png
(grey) and ImageSets/Segmentation/trainaug.txt (or train_aug.txt, or in SegmentationAug), with a NAME a line, or a pair
`/JPEGImages/NAME.jpg /SegmentationClassAug/NAME.png`.
Source: Everingham et al., "The PASCAL visual object classes (VOC) challenge", 2010; Hariharan et al., "Semantic contours from
inverse detectors", 2011 (SBD).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from export.errors import DataError
from neuroseg.data.augment import VOID, Augment
from neuroseg.data.labelled import Colour, LabelledPictures, checked_labels
from neuroseg.data.pictures import Bytes, Pair, Size, check_existence, listed_lines, pixels
from neuroseg.data.sources import Split

TrainList: TypeAlias = Literal["train", "trainaug"]
CLASS_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_LAYOUT = "the layout of VOCdevkit/VOC2012: JPEGImages, SegmentationClass, ImageSets/Segmentation"
_AUGMENTED = ("Segmentation/trainaug.txt", "Segmentation/train_aug.txt", "SegmentationAug/train_aug.txt")


def voc_colour(number: int) -> Colour:
    """Colour of a class in VOC's own palette: the bits of its number, dealt to red, green and blue from the highest down."""
    red, green, blue = (
        sum((number >> (3 * place + channel) & 1) << (7 - place) for place in range(8)) for channel in range(3)
    )
    return red, green, blue


class Voc(LabelledPictures):
    """PASCAL VOC2012; items and further arguments as in `LabelledPictures`. Pictures are of many sizes: `size` is needed.

    root        VOC2012, VOCdevkit, or the folder that holds it
    split       train; test: the list `val`, whose labels are public; val: the same, or what `val` holds out
    train_list  train: the challenge's own; trainaug: with the labels of SBD
    val         images at the end of the training list that are the split val; 0: val is test, as in the papers
    """

    source = "PASCAL VOC2012"
    class_names = CLASS_NAMES
    colours = tuple(voc_colour(number) for number in range(len(CLASS_NAMES)))
    mixed = True

    def __init__(
        self,
        root: str | Path,
        split: Split,
        *,
        train_list: TrainList = "trainaug",
        val: int = 0,
        size: Size | None = None,
        label_size: Size | None = None,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        """Check the lists and every listed file but for its pixels."""
        folder = voc_folder(Path(root))
        scored = split == "test" or (split == "val" and val == 0)
        pairs = _listed(folder, "val") if scored else _listed(folder, train_list)
        if not scored and not val < len(pairs):
            raise DataError(
                f"val_images={val} of the {len(pairs)} in the list '{train_list}' leaves none for training."
            )
        if val and not scored:
            pairs = pairs[-val:] if split == "val" else pairs[:-val]
        check_existence(pairs)
        super().__init__(split, tuple(pairs), size=size, label_size=label_size, augment=augment, seed=seed)

    def _labels(self, pair: Pair) -> Bytes:
        fix = "Use the masks of VOC, whose palette's indices are the classes, or of SegmentationClassAug."
        return checked_labels(pair.mask, pixels(pair.mask), len(CLASS_NAMES), VOID, fix)


def voc_folder(root: Path) -> Path:
    """The folder that holds JPEGImages: `root`, or VOC2012 or VOCdevkit/VOC2012 below it; DataError if it is none of them."""
    for folder in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        if (folder / "JPEGImages").is_dir():
            return folder
    raise DataError(f"'{root}' holds no JPEGImages. Give the folder of PASCAL VOC2012 in {_LAYOUT}.")


def _listed(folder: Path, name: str) -> list[Pair]:
    """The pairs of a list."""
    sets = folder / "ImageSets"
    listing = sets / "Segmentation" / f"{name}.txt"
    if name == "trainaug":
        listing = next((sets / path for path in _AUGMENTED if (sets / path).is_file()), listing)
    labels = "SegmentationClassAug" if name == "trainaug" else "SegmentationClass"
    hint = f"{_LAYOUT}; trainaug is not part of VOC, train_list=train is" if name == "trainaug" else _LAYOUT
    lines = listed_lines(listing, "PASCAL VOC2012", hint, "a name a line")
    return [_pair(folder, labels, where, line) for where, line in lines]


def _pair(folder: Path, labels: str, where: str, line: str) -> Pair:
    words = line.split()
    names = [word.lstrip("/") for word in words]
    if len(words) == 1:
        names = [f"JPEGImages/{line}.jpg", f"{labels}/{line}.png"]
    if len(words) > 2 or any(".." in Path(name).parts for name in names):
        raise DataError(
            f"{where}: '{line}' is neither a name nor a pair 'image label' below '{folder}'. Correct the line."
        )
    return Pair(folder / names[0], folder / names[1], where)
