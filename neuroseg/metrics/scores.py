"""Scores that add up over batches and over processes: torchmetrics metrics for training and evaluation."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from neuroseg.metrics.foreground import foreground_scores
from neuroseg.metrics.segmentation import confusion_per_image, image_mious, iou_per_class


class MiouPerImage(Metric):
    """MFS-Seg's per-image mIoU (`miou_per_image`) over all images seen. For comparison with their table only.

    The sum of the images' figures (float64) and their number are kept, so batches may be of any size, and processes of
    a distributed run add up to the figure of all their images.
    """

    higher_is_better = True
    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, truth: Tensor) -> None:
        """Count class maps (N, H, W); DataError for maps that do not fit."""
        figures = image_mious(confusion_per_image(predicted, truth, self.classes))
        self.total += figures.sum()
        self.images += len(figures)

    def compute(self) -> Tensor:
        """The mean over images, float64; NaN before the first image."""
        return self.total / self.images


class SegmentationScores(Metric):
    """All scores of a segmentation from one pass over the pixels; void counts nowhere.

        miou            data-set mIoU: one confusion matrix over all images; the number to trust
        iou_per_class   (classes,), NaN for a class that neither occurs nor is predicted
        pixel_accuracy  share of pixels whose class is right
        miou_per_image  MFS-Seg's definition (`image_mious`), for comparison with their table only
        f1 and others   with two classes those of `foreground_scores`

    `confusion` holds the pixels (classes, classes) int64, indexed [true class, predicted class]; with several processes those
    of this one, while `compute` is over all of them.
    """

    full_state_update = False
    confusion: Tensor
    total: Tensor
    images: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.add_state("confusion", torch.zeros(classes, classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, truth: Tensor) -> None:
        """Count class maps (N, H, W); DataError for maps that do not fit."""
        confusions = confusion_per_image(predicted, truth, self.classes)
        self.confusion += confusions.sum(dim=0)
        self.total += image_mious(confusions).sum()
        self.images += len(confusions)

    def compute(self) -> dict[str, Tensor]:
        """The scores, float64; NaN where nothing was counted."""
        iou = iou_per_class(self.confusion)
        return {
            **(foreground_scores(self.confusion) if self.classes == 2 else {}),
            "miou": iou.nanmean(),
            "iou_per_class": iou,
            "pixel_accuracy": self.confusion.diagonal().sum().double() / self.confusion.sum(),
            "miou_per_image": self.total / self.images,
        }
