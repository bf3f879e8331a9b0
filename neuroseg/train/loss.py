"""The training loss: cross entropy at every scale, with class weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from neuroseg.data import VOID


def multi_scale_loss(
    logits: tuple[Tensor, ...], mask: Tensor, weights: Tensor | None = None, auxiliary: float = 1.0
) -> Tensor:
    """Sum over scales of the cross entropy against the mask resized by nearest neighbour (MFS-Seg, section 4).

    A first map that is smaller than the mask (a model with a stem) is resized to it bilinearly, as it is for scoring.

    logits  (N, classes, H', W') per scale;  mask (N, H, W), VOID pixels do not count;  weights (classes,)
    auxiliary  factor of the losses of all scales but the first; 0 trains the first alone, and the others' gradients are zero
    """
    losses = []
    for scale, scores in enumerate(logits):
        step = mask.shape[-1] // scores.shape[-1]
        if scale == 0 and step > 1:
            scores, step = F.interpolate(scores, mask.shape[-2:], mode="bilinear", align_corners=False), 1
        factor = 1.0 if scale == 0 else auxiliary
        losses.append(factor * _cross_entropy(scores, mask[:, ::step, ::step], weights))
    return torch.stack(losses).sum()


def _cross_entropy(scores: Tensor, mask: Tensor, weights: Tensor | None) -> Tensor:
    if not bool((mask != VOID).any()):  # a crop of void alone: the mean over no pixel is not a number
        return scores.sum() * 0.0
    return F.cross_entropy(scores, mask, weights, ignore_index=VOID)


def pixel_counts(masks: Iterable[Tensor], classes: int) -> Tensor:
    """Pixels of each class (classes,) int64 over masks of any shapes, void aside; one mask is in memory at a time."""
    counts = torch.zeros(classes, dtype=torch.int64)
    for mask in masks:
        counts += torch.bincount(mask[mask != VOID].flatten(), minlength=classes)
    return counts


def class_weights(counts: Tensor, power: float) -> Tensor:
    """Loss weights (classes,): (median frequency / frequency) ** power of the classes' pixels (`pixel_counts`).

    Power 1 is median frequency balancing (Eigen and Fergus 2015). A class that does not occur gets weight 1.
    """
    counts = counts.double()
    weights = torch.ones(len(counts), dtype=torch.float64)
    there = counts > 0
    weights[there] = (counts[there].quantile(0.5) / counts[there]) ** power
    return weights.float()
