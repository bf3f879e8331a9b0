"""Measures of segmentation quality, shared by training and parity."""

from neuroseg.data import VOID
from neuroseg.metrics.scores import MiouPerImage, SegmentationScores
from neuroseg.metrics.segmentation import (
    class_map,
    confusion_matrix,
    confusion_per_image,
    image_mious,
    iou_per_class,
    miou,
    miou_per_image,
    pixel_accuracy,
    pixel_agreement,
)

__all__ = [
    "VOID",
    "MiouPerImage",
    "SegmentationScores",
    "class_map",
    "confusion_matrix",
    "confusion_per_image",
    "image_mious",
    "iou_per_class",
    "miou",
    "miou_per_image",
    "pixel_accuracy",
    "pixel_agreement",
]
