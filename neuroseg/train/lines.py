"""Signs of life where there is no terminal: one line per epoch, on standard error."""

from __future__ import annotations

import sys
import time

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback


class EpochLines(Callback):
    """`epoch 3 of 80: loss 4.21, val mIoU 0.312, 12 s`, for log files."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The clock of an epoch."""
        self._start = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line; only the first of several processes does."""
        if not trainer.is_global_zero:
            return
        known, epoch = trainer.callback_metrics, trainer.current_epoch + 1
        parts = [f"loss {float(known['train/loss']):.3f}"] if "train/loss" in known else []
        if "val/miou" in known and epoch % (trainer.check_val_every_n_epoch or 1) == 0:
            parts.append(f"val mIoU {float(known['val/miou']):.3f}")
        told = ", ".join([*parts, f"{time.monotonic() - self._start:.0f} s"])
        print(f"epoch {epoch} of {trainer.max_epochs}: {told}", file=sys.stderr, flush=True)
