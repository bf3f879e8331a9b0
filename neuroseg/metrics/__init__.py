"""Measures of segmentation quality, shared by training and parity."""

from neuroseg.metrics.segmentation import (
    VOID,
    class_map,
    confusion_matrix,
    iou_per_class,
    miou,
    miou_per_image,
    pixel_accuracy,
    pixel_agreement,
)

__all__ = [
    "VOID",
    "class_map",
    "confusion_matrix",
    "iou_per_class",
    "miou",
    "miou_per_image",
    "pixel_accuracy",
    "pixel_agreement",
]
