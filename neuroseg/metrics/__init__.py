"""Measures of segmentations and of images, shared by training, studies and parity."""

from neuroseg.data import VOID
from neuroseg.metrics.boundary import BoundaryF, boundary_f
from neuroseg.metrics.foreground import FOREGROUND, foreground_scores
from neuroseg.metrics.images import ImageScores, psnr, ssim
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
    "FOREGROUND",
    "VOID",
    "BoundaryF",
    "ImageScores",
    "MiouPerImage",
    "SegmentationScores",
    "boundary_f",
    "class_map",
    "confusion_matrix",
    "confusion_per_image",
    "foreground_scores",
    "image_mious",
    "iou_per_class",
    "miou",
    "miou_per_image",
    "pixel_accuracy",
    "pixel_agreement",
    "psnr",
    "ssim",
]
