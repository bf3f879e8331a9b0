"""Quality of class maps, all from confusion matrices: data-set mIoU, the papers' per-image mIoU, pixel accuracy.

Class maps are integers (N, H, W), torch or numpy; pixels whose true class is VOID count nowhere.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from export.errors import DataError

VOID = 255
ClassMap: TypeAlias = Tensor | NDArray[Any]


def class_map(scores: ClassMap) -> Tensor:
    """(N, classes, H, W) scores -> (N, H, W) int64; a tie goes to the lowest class."""
    return torch.as_tensor(scores).argmax(dim=1)


def confusion_matrix(predicted: ClassMap, truth: ClassMap, classes: int) -> Tensor:
    """Pixels (classes, classes) int64, indexed [true class, predicted class].

    Raises DataError for maps of different shape and for classes outside 0 .. classes - 1.
    """
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
    return multiclass_confusion_matrix(guess[known], true[known], num_classes=classes)


def iou_per_class(confusion: Tensor) -> Tensor:
    """Intersection over union (classes,) float64; NaN for a class that neither occurs nor is predicted."""
    counts = confusion.double()
    both = counts.diagonal()
    return both / (counts.sum(0) + counts.sum(1) - both)


def miou(confusion: Tensor) -> float:
    """Data-set mIoU: mean over the classes that occur or are predicted, of one confusion matrix over all images."""
    return float(iou_per_class(confusion).nanmean())


def pixel_accuracy(confusion: Tensor) -> float:
    """Share of pixels, void aside, whose class is right."""
    return float(confusion.diagonal().sum() / confusion.sum())


def miou_per_image(predicted: ClassMap, truth: ClassMap, classes: int) -> float:
    """MFS-Seg's own figure: mean over images of the mean over classes of the image's IoU.

    A class that an image neither shows nor is predicted to show counts as IoU 1 there. For comparison with their table only.
    """
    images = zip(torch.as_tensor(predicted), torch.as_tensor(truth), strict=True)
    scores = [
        iou_per_class(confusion_matrix(guess, true, classes)).nan_to_num(nan=1.0).mean() for guess, true in images
    ]
    return float(torch.stack(scores).mean())


def pixel_agreement(left: ClassMap, right: ClassMap) -> float:
    """Share of pixels to which two class maps give the same class."""
    return float(np.mean(np.asarray(left) == np.asarray(right)))


def _outside(values: Tensor, classes: int) -> int:
    return int(values[(values < 0) | (values >= classes)][0])
