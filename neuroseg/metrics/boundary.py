"""Boundary F: how well the outlines of classes agree, within a tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torchmetrics import Metric

from export.errors import UsageError
from neuroseg.metrics.segmentation import ClassMap, checked_maps

_CROSS = ndimage.generate_binary_structure(2, 1)
Bits = NDArray[np.bool_]


def boundary_f(predicted: ClassMap, truth: ClassMap, classes: int, tolerance: float) -> Tensor:
    """F of the boundaries of each class in each image: (N, classes) float64 of maps (N, H, W) (Csurka et al. 2013).

        F = 2 P R / (P + R)
        P   share of the predicted boundary's pixels within `tolerance` of a true one;  R   the other way round

    A boundary pixel belongs to the class and has one of its four neighbours in another one; the border of the image and
    void are no other class. True void counts nowhere: predictions there are dropped. `tolerance` is Euclidean, in pixels.
    NaN for a class that an image neither shows nor is predicted to show; 1 where both maps have the class and neither has a
    boundary of it; 0 where only one has.
    """
    if tolerance < 0:
        raise UsageError(f"boundary tolerance {tolerance:g} is below 0: it is a distance in pixels, such as 2.")
    guess, true, known = (part.cpu().numpy() for part in checked_maps(predicted, truth, classes))
    figures = np.full((len(true), classes), np.nan)
    for n, label in np.ndindex(figures.shape):
        left, right = (guess[n] == label) & known[n], (true[n] == label) & known[n]
        if left.any() != right.any():
            figures[n, label] = 0.0
        elif left.any():
            figures[n, label] = _f(_outline(left, known[n]), _outline(right, known[n]), tolerance)
    return torch.from_numpy(figures)


def _outline(mask: Bits, known: Bits) -> Bits:
    """Pixels of a class beside another class. Beyond the image and in void there is none."""
    inner: Bits = ndimage.binary_erosion(mask | ~known, _CROSS, border_value=1)
    return mask & ~inner


def _f(left: Bits, right: Bits, tolerance: float) -> float:
    if not left.any() or not right.any():
        return float(left.any() == right.any())
    precision = np.mean(_distance_to(right)[left] <= tolerance)
    recall = np.mean(_distance_to(left)[right] <= tolerance)
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _distance_to(outline: Bits) -> NDArray[np.float64]:
    """Distance in pixels of each pixel to the nearest one of an outline."""
    return np.asarray(ndimage.distance_transform_edt(~outline))


class BoundaryF(Metric):
    """Boundary F over a data set: of each class the mean over the images that have it, and `f`, the mean over classes.

    Sums over images are kept: batches may be of any size, and processes of a distributed run add up.
    """

    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self, classes: int, tolerance: float) -> None:
        super().__init__()
        self.classes, self.tolerance = classes, tolerance
        self.add_state("total", torch.zeros(classes, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros(classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, truth: Tensor) -> None:
        """Count class maps (N, H, W); DataError for maps that do not fit."""
        figures = boundary_f(predicted, truth, self.classes, self.tolerance).to(self.total.device)
        self.total += figures.nansum(dim=0)
        self.images += (~figures.isnan()).sum(dim=0)

    def compute(self) -> dict[str, Any]:
        """`f_per_class` (classes,), NaN for a class that no image has, and `f`."""
        each = self.total / self.images
        return {"f": each.nanmean(), "f_per_class": each}
