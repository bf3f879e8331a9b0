"""The training task: loss, optimiser, quantisation-aware phase, and the measures of each evaluation."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, distributed
from torchmetrics import MeanMetric, MetricCollection

from export.compute.floats import exact_floats
from export.errors import NeurosegError
from neuroseg.config import TrainConfig
from neuroseg.metrics import SegmentationScores, class_map
from neuroseg.models import lifs
from neuroseg.models.norm import Tdbn
from neuroseg.models.quantize_aware import Groups, QuantizeAware
from neuroseg.models.stages import Stream
from neuroseg.train.loss import multi_scale_loss

Batch = tuple[Tensor, Tensor]


def learning_rate_factor(settings: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Learning rate before optimiser step `step`, as a share of `lr`: a pure function, so that nothing is to be resumed."""
    epoch = step / steps_per_epoch
    warm = min(1.0, (step + 1) / (settings.warmup_epochs * steps_per_epoch)) if settings.warmup_epochs else 1.0
    if settings.schedule == "constant":
        return warm
    if settings.schedule == "step":
        return warm * float(settings.step_factor ** (int(epoch) // settings.step_epochs))
    return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, epoch / settings.epochs)))


class SegmentationTask(LightningModule):
    """A network with its loss, optimiser and measures. Logs `train/loss`, `val/miou`, `val/pixel_accuracy`, firing rates.

    model    a `SegmentationModel`
    weights  of the classes in the loss; None: all alike
    groups   populations that share a scale, for the quantisation-aware epochs
    """

    weights: Tensor

    def __init__(
        self, model: Any, config: TrainConfig, weights: Tensor | None = None, groups: Groups | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.settings = config
        for module in model.modules():
            if isinstance(module, Stream):
                module.checkpointing = config.activation_checkpointing
        self.register_buffer("weights", torch.ones(model.classes) if weights is None else weights)
        self.scores = SegmentationScores(model.classes)
        # Metric names must not hold dots, module names do.
        self.rates = MetricCollection({_key(name): MeanMetric() for name in lifs(model)})
        self.aware = None if groups is None else QuantizeAware(model, groups)
        self._hooks: list[Any] = []
        self._sizes: dict[str, int] = {}  # neurons of each population, once it was seen
        self._start, self._before = time.perf_counter(), 0.0

    @property
    def first_integer_epoch(self) -> int:
        """From this epoch on the network computes with integers; never, if that is the number of epochs."""
        return self.settings.epochs - self.settings.qat_epochs

    @property
    def in_integers(self) -> bool:
        """Whether the forward pass computes with the chip's integers."""
        return self.aware is not None and self.aware.active

    def compute_in_integers(self) -> None:
        """From now on the forward pass computes with the chip's integers."""
        assert self.aware is not None, "the compiler's groups are needed"
        self.aware.start()

    @property
    def train_time_s(self) -> float:
        """Seconds since the training began, over all its parts when it was resumed."""
        return self._before + time.perf_counter() - self._start

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the time."""
        checkpoint["train_time_s"] = self.train_time_s

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Count on from the time of the parts before."""
        self._before = float(checkpoint.get("train_time_s", 0.0))

    def on_train_epoch_start(self) -> None:
        """Begin the quantisation-aware phase when its time has come, also after a resume within it."""
        if self.aware is not None and not self.in_integers and self.current_epoch >= self.first_integer_epoch:
            self._share_statistics()
            self.compute_in_integers()

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Scales follow the weights."""
        self._update_scales()

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of one batch of (images (N, 3, H, W), masks (N, H, W))."""
        images, mask = batch
        # Integers must stay exact: no mixed precision in the quantisation-aware phase.
        mixed = torch.is_autocast_enabled(self.device.type) and not self.in_integers
        with torch.autocast(self.device.type, enabled=mixed):
            logits = self.model(images)
        loss = multi_scale_loss(tuple(scores.float() for scores in logits), mask, self.weights)
        if not torch.isfinite(loss):
            raise NeurosegError(
                f"the loss became {float(loss)} in epoch {self.current_epoch}, batch {batch_index}: training diverged; "
                f"lower train.lr (now {self.settings.lr:g}) and train again"
            )
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=False)
        return loss

    def on_validation_start(self) -> None:
        """Listen to every population."""
        self._begin_evaluation()

    def on_test_start(self) -> None:
        """Listen to every population."""
        self._begin_evaluation()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Count the pixels of a batch."""
        self._count(batch)

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Count the pixels of a batch."""
        self._count(batch)

    def on_validation_epoch_end(self) -> None:
        """Log scores and firing rates of the validation set."""
        scores = self.scores.compute()
        for name in ("miou", "pixel_accuracy", "miou_per_image"):
            self.log(f"val/{name}", scores[name].float(), prog_bar=name == "miou", rank_zero_only=False)
        self.log_dict({f"rate/{name}": rate for name, rate in self.firing_rates().items()})
        self.forget()

    def on_test_epoch_end(self) -> None:
        """Keep the counts for the caller; only stop listening."""
        self._stop_listening()

    def firing_rates(self) -> dict[str, float]:
        """Mean spikes per neuron and step of every population over the last evaluation."""
        return {name: float(self.rates[_key(name)].compute()) for name in lifs(self.model)}

    def mean_firing_rate(self) -> float:
        """The same over all neurons of the network, auxiliary heads included: large populations count more."""
        rates = self.firing_rates()
        return sum(rate * self._sizes[name] for name, rate in rates.items()) / sum(self._sizes.values())

    def forget(self) -> None:
        """Drop the counts of the last evaluation."""
        self._stop_listening()
        self.scores.reset()
        self.rates.reset()

    def configure_optimizers(self) -> Any:
        """Adam; the schedule steps once per batch."""
        settings = self.settings
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
        per_epoch = max(1, int(self.trainer.estimated_stepping_batches) // settings.epochs)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(settings, step, per_epoch)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _update_scales(self) -> None:
        if self.aware is not None:
            self.aware.update()

    def _count(self, batch: Batch) -> None:
        images, mask = batch
        # Scores are of the network that is deployed.
        with exact_floats(), torch.autocast(self.device.type, enabled=False):
            scores = self.model.class_scores(self.model(images)[0])
        self.scores.update(class_map(scores, (mask.shape[-2], mask.shape[-1])), mask)

    def _begin_evaluation(self) -> None:
        self._share_statistics()
        self._update_scales()
        for name, lif in lifs(self.model).items():
            self._hooks.append(lif.register_forward_hook(self._counter(name)))

    def _counter(self, name: str) -> Any:
        rate = self.rates[_key(name)]

        def count(_module: Any, _inputs: Any, spikes: Tensor) -> None:
            self._sizes[name] = spikes[0, 0].numel()
            rate.update(spikes.mean(), weight=spikes.shape[0])

        return count

    def _stop_listening(self) -> None:
        while self._hooks:
            self._hooks.pop().remove()

    @torch.no_grad()
    def _share_statistics(self) -> None:
        """With several processes each norm has seen other batches: from here on all use the average of what was seen."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return
        for module in self.model.modules():
            if isinstance(module, Tdbn):
                for statistic in (module.running_mean, module.running_var):
                    distributed.all_reduce(statistic)
                    statistic /= distributed.get_world_size()


def _key(name: str) -> str:
    return name.replace(".", "/")
