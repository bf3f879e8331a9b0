"""The training loss: cross entropy at every scale, with class weights; focal, Lovasz-softmax and distillation beside it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from neuroseg.data import VOID

CERTAIN = 1e-7  # 1 - p below which the focal loss's factor stands still: a root has no slope at 0


def multi_scale_loss(
    logits: tuple[Tensor, ...],
    mask: Tensor,
    weights: Tensor | None = None,
    auxiliary: float = 1.0,
    *,
    focal_gamma: float = 0.0,
    lovasz_weight: float = 0.0,
) -> Tensor:
    """Sum over scales of the cross entropy against the mask resized by nearest neighbour (MFS-Seg, section 4).

    A first map that is smaller than the mask (a model with a stem) is resized to it bilinearly, as it is for scoring.

    logits  (N, classes, H', W') per scale;  mask (N, H, W), VOID pixels do not count;  weights (classes,)
    auxiliary  factor of the losses of all scales but the first; 0 trains the first alone, and the others' gradients are zero
    focal_gamma    power of the focal loss at every scale; 0: cross entropy
    lovasz_weight  weight of `lovasz_softmax` of the first map
    """
    losses = []
    for scale, scores in enumerate(logits):
        step = mask.shape[-1] // scores.shape[-1]
        if scale == 0 and step > 1:
            scores, step = F.interpolate(scores, mask.shape[-2:], mode="bilinear", align_corners=False), 1
        factor = 1.0 if scale == 0 else auxiliary
        losses.append(factor * _cross_entropy(scores, mask[:, ::step, ::step], weights, focal_gamma))
        if scale == 0 and lovasz_weight:
            losses.append(lovasz_weight * lovasz_softmax(scores, mask[:, ::step, ::step]))
    return torch.stack(losses).sum()


def _cross_entropy(scores: Tensor, mask: Tensor, weights: Tensor | None, focal_gamma: float) -> Tensor:
    """Weighted mean over the pixels of (1 - p) ** focal_gamma * -log p, p the share of its class (Lin et al. 2017, eq. 5)."""
    if not bool((mask != VOID).any()):  # a crop of void alone: the mean over no pixel is not a number
        return scores.sum() * 0.0
    if not focal_gamma:
        return F.cross_entropy(scores, mask, weights, ignore_index=VOID)
    there = mask != VOID
    surprise = F.cross_entropy(scores, mask, ignore_index=VOID, reduction="none")[there]  # -log p
    share = torch.ones_like(surprise) if weights is None else weights[mask[there]]
    return (share * (1 - torch.exp(-surprise)).clamp(min=CERTAIN) ** focal_gamma * surprise).sum() / share.sum()


def lovasz_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Mean over the classes that occur in the mask of the Lovasz extension of 1 - IoU (Berman et al. 2018, eq. 8 and 11).

    Errors m of a class, its pixels' 1 - p and the others' p, are sorted from the largest; each is weighted by what the Jaccard
    loss grows by when it is added to those before it. Over all pixels of the batch.

    scores (N, classes, H, W) logits;  mask (N, H, W), VOID does not count
    """
    there = mask != VOID
    shares = scores.softmax(dim=1).permute(0, 2, 3, 1)[there]  # (pixels, classes)
    labels = mask[there]
    losses = []
    for c in labels.unique().tolist():
        own = (labels == c).to(shares.dtype)
        errors, order = (own - shares[:, c]).abs().sort(descending=True)
        losses.append(errors @ _jaccard_growth(own[order]))
    return torch.stack(losses).mean() if losses else scores.sum() * 0.0


def _jaccard_growth(own: Tensor) -> Tensor:
    """What each pixel adds to the Jaccard loss of those before it; own (pixels,), 1 where a pixel is of the class."""
    total = own.sum()
    loss = 1 - (total - own.cumsum(0)) / (total + (1 - own).cumsum(0))
    return torch.diff(loss, prepend=loss.new_zeros(1))


def imitation(logits: Tensor, teacher: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of a teacher's class shares from the network's, times temperature ** 2 (Hinton et al. 2015).

    logits   (N, classes, H', W') of the network
    teacher  (N, classes, H'', W'') logits, resized bilinearly to the network's
    mask     (N, H, W); where it is VOID at the network's size nothing is imitated
    """
    teacher = F.interpolate(teacher, logits.shape[-2:], mode="bilinear", align_corners=False)
    there = F.interpolate(mask[:, None].float(), logits.shape[-2:], mode="nearest")[:, 0] != VOID
    own, wanted = (F.log_softmax(scores / temperature, dim=1) for scores in (logits, teacher))
    divergence = F.kl_div(own, wanted, reduction="none", log_target=True).sum(dim=1)[there]
    return temperature**2 * (divergence.mean() if len(divergence) else logits.sum() * 0.0)


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
