"""Quality of class maps, all from confusion matrices: data-set mIoU, the papers' per-image mIoU, pixel accuracy.

Class maps are integers (N, H, W), torch or numpy; pixels whose true class is VOID count nowhere.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from export.errors import DataError
from neuroseg.data import VOID

ClassMap: TypeAlias = Tensor | NDArray[Any]


def class_map(scores: ClassMap, size: tuple[int, int] | None = None) -> Tensor:
    """(N, classes, H, W) scores -> (N, H, W) int64; a tie goes to the lowest class.

    size  (H, W) of the map: where it is another than the scores' own, the scores are resized first, bilinearly between the
          centres of pixels (torch's align_corners=False). Counts are resized in float64, real scores in their own type
    """
    values = torch.as_tensor(scores)
    if size is not None and tuple(values.shape[2:]) != tuple(size):
        real = values if values.is_floating_point() else values.double()
        values = F.interpolate(real, size=tuple(size), mode="bilinear", align_corners=False)
    return values.argmax(dim=1)


def confusion_matrix(predicted: ClassMap, truth: ClassMap, classes: int) -> Tensor:
    """Pixels (classes, classes) int64, indexed [true class, predicted class].

    Raises DataError for maps of different shape and for classes outside 0 .. classes - 1.
    """
    guess, true, known = checked_maps(predicted, truth, classes)
    return multiclass_confusion_matrix(guess[known], true[known], num_classes=classes, validate_args=False)


def confusion_per_image(predicted: ClassMap, truth: ClassMap, classes: int) -> Tensor:
    """The same image by image: pixels (N, classes, classes) int64; their sum over N is `confusion_matrix`."""
    guess, true, known = checked_maps(predicted, truth, classes)
    counts = [
        multiclass_confusion_matrix(g[k], t[k], num_classes=classes, validate_args=False)
        for g, t, k in zip(guess, true, known, strict=True)
    ]
    return torch.stack(counts) if counts else true.new_zeros(0, classes, classes)


def iou_per_class(confusion: Tensor) -> Tensor:
    """Intersection over union (..., classes) float64 of (..., classes, classes) pixels.

    NaN for a class that neither occurs nor is predicted: there is no such number. Otherwise equal to torchmetrics'
    MulticlassJaccardIndex, average "none", but for that class (0 there) and the float64 (float32 there).
    """
    counts = confusion.double()
    both = counts.diagonal(dim1=-2, dim2=-1)
    return both / (counts.sum(-2) + counts.sum(-1) - both)


def miou(confusion: Tensor) -> float:
    """Data-set mIoU: mean over the classes that occur or are predicted, of one confusion matrix over all images.

    Equal to torchmetrics' MulticlassJaccardIndex, average "macro". Its segmentation.MeanIoU is something else: a mean over
    images, which knows no void.
    """
    return float(iou_per_class(confusion).nanmean())


def pixel_accuracy(confusion: Tensor) -> float:
    """Share of pixels, void aside, whose class is right: torchmetrics' MulticlassAccuracy, average "micro"."""
    return float(confusion.diagonal().sum() / confusion.sum())


def image_mious(confusions: Tensor) -> Tensor:
    """MFS-Seg's figure for each image: (N,) float64 of (N, classes, classes) pixels.

    The mean over classes of the image's IoU, where a class that the image neither shows nor is predicted to show counts as
    IoU 1. Not in torchmetrics: segmentation.MeanIoU leaves such classes out of an image's mean.
    """
    return iou_per_class(confusions).nan_to_num(nan=1.0).mean(dim=-1)


def miou_per_image(predicted: ClassMap, truth: ClassMap, classes: int) -> float:
    """MFS-Seg's own figure, the mean of `image_mious` over images. For comparison with their table only.

    It is higher than the data-set mIoU where most images lack some class.
    """
    return float(image_mious(confusion_per_image(predicted, truth, classes)).mean())


def pixel_agreement(left: ClassMap, right: ClassMap) -> float:
    """Share of pixels to which two class maps give the same class."""
    return float(np.mean(np.asarray(left) == np.asarray(right)))


def checked_maps(predicted: ClassMap, truth: ClassMap, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Predicted and true maps, int64, and which pixels are not void; DataError for maps that do not fit."""
    guess, true = torch.as_tensor(predicted).long(), torch.as_tensor(truth).long()
    if guess.shape != true.shape:
        raise DataError(
            f"predicted maps have shape {tuple(guess.shape)}, true maps {tuple(true.shape)}; resize one to the other"
        )
    known = true != VOID
    for name, values in (("true", true[known]), ("predicted", guess[known])):
        if values.numel() and not 0 <= int(values.min()) <= int(values.max()) < classes:
            raise DataError(
                f"{name} maps hold class {_outside(values, classes)}; the {classes} classes are 0 .. {classes - 1}"
            )
    return guess, true, known


def _outside(values: Tensor, classes: int) -> int:
    return int(values[(values < 0) | (values >= classes)][0])
