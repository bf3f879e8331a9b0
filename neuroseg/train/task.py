"""The training task: multi-scale loss, optimiser, and one confusion matrix over each evaluation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassConfusionMatrix

from export.errors import NeurosegError
from neuroseg.config import TrainConfig
from neuroseg.metrics import VOID, class_map, miou, pixel_accuracy
from neuroseg.models import MfsSeg, lifs

Batch = tuple[Tensor, Tensor]


def class_weights(masks: Tensor, classes: int, power: float) -> Tensor:
    """Loss weights (classes,): (median frequency / frequency) ** power over the pixels of masks (N, H, W), void aside.

    Power 1 is median frequency balancing (Eigen and Fergus 2015). A class that does not occur gets weight 1.
    """
    counts = torch.bincount(masks[masks != VOID].flatten(), minlength=classes).double()
    weights = torch.ones(classes, dtype=torch.float64)
    there = counts > 0
    weights[there] = (counts[there].quantile(0.5) / counts[there]) ** power
    return weights.float()


def multi_scale_loss(logits: tuple[Tensor, ...], mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sum over scales of the cross entropy against the mask resized by nearest neighbour (MFS-Seg, section 4).

    logits  (N, classes, H / 2^i, W / 2^i) per scale i;  mask (N, H, W), VOID pixels do not count;  weights (classes,)
    """
    losses = []
    for scale, scores in enumerate(logits):
        step = 2**scale
        losses.append(F.cross_entropy(scores, mask[:, ::step, ::step], weights, ignore_index=VOID))
    return torch.stack(losses).sum()


class SegmentationTask(LightningModule):
    """A network with its loss, optimiser and measures. Logs `train/loss`, `val/miou`, `val/pixel_accuracy`, firing rates."""

    weights: Tensor

    def __init__(self, model: MfsSeg, config: TrainConfig, weights: Tensor | None = None) -> None:
        super().__init__()
        self.model = model
        self.settings = config
        self.register_buffer("weights", torch.ones(model.classes) if weights is None else weights)
        self.confusion = MulticlassConfusionMatrix(model.classes, ignore_index=VOID)
        # Metric names must not hold dots, module names do.
        self.rates = MetricCollection({_key(name): MeanMetric() for name in lifs(model)})
        self._hooks: list[Any] = []

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of one batch of (images (N, 3, H, W), masks (N, H, W))."""
        images, mask = batch
        loss = multi_scale_loss(self.model(images), mask, self.weights)
        if not torch.isfinite(loss):
            raise NeurosegError(
                f"the loss became {float(loss)} in epoch {self.current_epoch}, batch {batch_index}: training diverged; "
                f"lower train.lr (now {self.settings.lr:g}) and train again"
            )
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=False)
        return loss

    def on_validation_start(self) -> None:
        """Listen to every population."""
        self._listen()

    def on_test_start(self) -> None:
        """Listen to every population."""
        self._listen()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Count the pixels of a batch."""
        self._count(batch)

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Count the pixels of a batch."""
        self._count(batch)

    def on_validation_epoch_end(self) -> None:
        """Log mIoU, accuracy and firing rates of the validation set."""
        confusion = self.confusion.compute()
        self.log("val/miou", miou(confusion), prog_bar=True)
        self.log("val/pixel_accuracy", pixel_accuracy(confusion))
        self.log_dict({f"rate/{name}": rate for name, rate in self.firing_rates().items()})
        self._forget()

    def on_test_epoch_end(self) -> None:
        """Keep the counts for the caller; only stop listening."""
        self._stop_listening()

    def firing_rates(self) -> dict[str, float]:
        """Mean spikes per neuron and step of every population over the last evaluation."""
        return {name: float(self.rates[_key(name)].compute()) for name in lifs(self.model)}

    def configure_optimizers(self) -> Any:
        """Adam; the schedule steps once per batch (cosine) or per epoch (step)."""
        settings = self.settings
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
        if settings.schedule == "constant":
            return optimizer
        if settings.schedule == "step":
            steps = torch.optim.lr_scheduler.StepLR(optimizer, settings.step_epochs, settings.step_factor)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": steps, "interval": "epoch"}}
        total = int(self.trainer.estimated_stepping_batches)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}

    def _count(self, batch: Batch) -> None:
        images, mask = batch
        self.confusion.update(class_map(self.model(images)[0]), mask)

    def _listen(self) -> None:
        for name, lif in lifs(self.model).items():
            self._hooks.append(lif.register_forward_hook(self._counter(name)))

    def _counter(self, name: str) -> Any:
        rate = self.rates[_key(name)]
        return lambda _module, _inputs, spikes: rate.update(spikes.mean(), weight=spikes.shape[0])

    def _stop_listening(self) -> None:
        while self._hooks:
            self._hooks.pop().remove()

    def _forget(self) -> None:
        self._stop_listening()
        self.confusion.reset()
        self.rates.reset()


def _key(name: str) -> str:
    return name.replace(".", "/")
