"""What every training task shares: optimiser, quantisation-aware phase, firing rates, the clock."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeAlias

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, distributed
from torchmetrics import SumMetric

from export.compute.floats import exact_floats
from export.errors import NeurosegError
from neuroseg.config import TrainConfig
from neuroseg.models.norm import Norm
from neuroseg.models.quantize_aware import Groups, QuantizeAware
from neuroseg.models.stages import Stream
from neuroseg.train.optimiser import optimiser
from neuroseg.train.padding import padded
from neuroseg.train.rates import FiringRates

Batch: TypeAlias = tuple[Tensor, Tensor]


class Task(LightningModule, ABC):
    """A network with its optimiser and measures. Logs `train/loss`, `val/<score>` and firing rates.

    A subclass says what the loss is, what is counted and which of its scores chooses the best epoch.

    model     a `SegmentationModel`
    groups    populations that share a scale, for the quantisation-aware epochs
    multiple  what height and width of an input must be multiples of: evaluation pads others by reflection, at the bottom and
              on the right, and crops the outputs back; `padded_images` counts them
    """

    best_by: ClassVar[str]
    scores: Any

    def __init__(self, model: Any, config: TrainConfig, groups: Groups | None = None, multiple: int = 1) -> None:
        super().__init__()
        self.model = model
        self.settings = config
        self.multiple = multiple
        self._padded = SumMetric()
        for module in model.modules():
            if isinstance(module, Stream):
                module.checkpointing = config.activation_checkpointing
        self.rates = FiringRates(model)
        self.aware = None if groups is None else QuantizeAware(model, groups)
        self._start, self._before = time.perf_counter(), 0.0

    @abstractmethod
    def loss(self, outputs: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """Loss of the network's outputs, float32."""

    @abstractmethod
    def count(self, output: Tensor, batch: Batch) -> None:
        """Add the network's first output (N, classes, H', W') for a batch to `scores`."""

    @abstractmethod
    def measures(self, items: Any) -> dict[str, Any]:
        """JSON-ready scores of the last evaluation of a data set."""

    @abstractmethod
    def logged(self) -> dict[str, Tensor]:
        """Scores of a validation, by name; `best_by` is one of them."""

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
    def padded_images(self) -> int:
        """Images of the last evaluation that were padded, over all processes."""
        return int(self._padded.compute())

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
        """Loss of one batch of (inputs (N, C, H, W) or (N, T, C, H, W), what is to be learned)."""
        # Integers must stay exact: no mixed precision in the quantisation-aware phase.
        mixed = torch.is_autocast_enabled(self.device.type) and not self.in_integers
        with torch.autocast(self.device.type, enabled=mixed):
            outputs = self.model(batch[0])
        loss = self.loss(tuple(output.float() for output in outputs), batch)
        if not torch.isfinite(loss):
            raise NeurosegError(
                f"the loss became {float(loss.detach())} in epoch {self.current_epoch}, batch {batch_index}: training diverged; "
                f"lower train.lr (now {self.settings.lr:g}) and train again"
            )
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=False)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Listen to every population. Not earlier: by now averaged weights, if there are any, have taken their place."""
        self._begin_evaluation()

    def on_test_start(self) -> None:
        """Listen to every population."""
        self._begin_evaluation()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Score a batch."""
        self._evaluate(batch)

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Score a batch."""
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        """Log scores and firing rates of the validation set."""
        for name, value in self.logged().items():
            self.log(f"val/{name}", value.float(), prog_bar=name == self.best_by, rank_zero_only=False)
        self.log_dict({f"rate/{name}": rate for name, rate in self.rates.of_populations().items()})
        self.forget()

    def on_test_epoch_end(self) -> None:
        """Keep the counts for the caller; only stop listening."""
        self.rates.stop()

    def forget(self) -> None:
        """Drop the counts of the last evaluation."""
        self.rates.stop()
        self.rates.forget()
        self.scores.reset()
        self._padded.reset()

    def configure_optimizers(self) -> Any:
        """The config's optimiser; the schedule steps once per batch."""
        per_epoch = max(1, int(self.trainer.estimated_stepping_batches) // self.settings.epochs)
        return optimiser(self.settings, self.model.parameters(), per_epoch)

    def _update_scales(self) -> None:
        if self.aware is not None:
            self.aware.update()

    def _evaluate(self, batch: Batch) -> None:
        images = padded(batch[0], self.multiple)
        self._padded.update(len(images) if images.shape != batch[0].shape else 0)
        # Scores are of the network that is deployed.
        with exact_floats(), torch.autocast(self.device.type, enabled=False):
            self.count(self.model(images)[0], batch)

    def _begin_evaluation(self) -> None:
        self._share_statistics()
        self._update_scales()
        self.rates.listen(self.model)

    @torch.no_grad()
    def _share_statistics(self) -> None:
        """With several processes each norm has seen other batches: from here on all use the average of what was seen."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return
        for module in self.model.modules():
            if isinstance(module, Norm):
                for statistic in (module.running_mean, module.running_var):
                    distributed.all_reduce(statistic)
                    statistic /= distributed.get_world_size()


def number(value: Tensor) -> float | None:
    """A score for JSON, which knows neither NaN (nothing was counted) nor infinity (the PSNR of equal images)."""
    return float(value) if bool(value.isfinite()) else None
