"""Training a segmentation: cross entropy, mIoU."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from neuroseg.config import TrainConfig
from neuroseg.metrics import FOREGROUND, BoundaryF, SegmentationScores, class_map
from neuroseg.models.quantize_aware import Groups
from neuroseg.train.base import Batch, Task, number
from neuroseg.train.loss import imitation, multi_scale_loss
from neuroseg.train.padding import cropped
from neuroseg.train.teacher import Teacher


class SegmentationTask(Task):
    """Learns masks (N, H, W); the best epoch is that of the best `val/miou`. Two classes have `val/f1`, too.

    weights   of the classes in the loss; None: all alike
    boundary  tolerance in pixels at which evaluations score the boundaries, too; None: they do not
    teacher   a trained network that is imitated while training
    """

    best_by: ClassVar[str] = "miou"
    weights: Tensor

    def __init__(
        self,
        model: Any,
        config: TrainConfig,
        weights: Tensor | None = None,
        groups: Groups | None = None,
        *,
        multiple: int = 1,
        boundary: float | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__(model, config, groups, multiple)
        self.teacher = teacher
        self.register_buffer("weights", torch.ones(model.classes) if weights is None else weights)
        self.scores = SegmentationScores(model.classes)
        self.boundaries = None if boundary is None else BoundaryF(model.classes, boundary)

    def loss(self, outputs: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """Cross entropy of the logits at every scale against masks (N, H, W), and what the config adds to it."""
        images, mask = batch
        settings = self.settings
        loss = multi_scale_loss(
            outputs,
            mask,
            self.weights,
            float(settings.multi_scale),
            focal_gamma=settings.focal_gamma,
            lovasz_weight=settings.lovasz_weight,
        )
        if self.teacher is None:
            return loss
        shown = self.teacher.logits(images)
        return loss + settings.teacher_weight * imitation(outputs[0], shown, mask, settings.teacher_temperature)

    def count(self, output: Tensor, batch: Batch) -> None:
        """Count the pixels of a batch."""
        images, mask = batch
        scores = cropped(self.model.class_scores(output), (images.shape[-2], images.shape[-1]), self.multiple)
        classes = class_map(scores, (mask.shape[-2], mask.shape[-1]))
        self.scores.update(classes, mask)
        if self.boundaries is not None:
            self.boundaries.update(classes, mask)

    def logged(self) -> dict[str, Tensor]:
        """Scores over the data set."""
        scores = self.scores.compute()
        return {name: scores[name] for name in ("miou", "pixel_accuracy", "miou_per_image", "f1") if name in scores}

    def measures(self, items: Any) -> dict[str, Any]:
        """mIoU by both definitions, accuracy, IoU of every class; with two classes what is usual for one foreground."""
        scores = self.scores.compute()
        found: dict[str, Any] = {
            "miou": float(scores["miou"]),
            "pixel_accuracy": float(scores["pixel_accuracy"]),
            "miou_per_image": float(scores["miou_per_image"]),
            "class_names": list(items.class_names),
            "iou_per_class": [number(value) for value in scores["iou_per_class"]],
        }
        if self.model.classes == 2:
            found["foreground"] = {name: number(scores[name]) for name in FOREGROUND}
        if self.boundaries is not None:
            boundaries = self.boundaries.compute()
            found["boundary"] = {
                "tolerance_px": self.boundaries.tolerance,
                "f": number(boundaries["f"]),
                "f_per_class": [number(value) for value in boundaries["f_per_class"]],
            }
        return found

    def forget(self) -> None:
        """Drop the counts of the last evaluation."""
        super().forget()
        if self.boundaries is not None:
            self.boundaries.reset()
