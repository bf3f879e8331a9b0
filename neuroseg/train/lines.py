"""Signs of life where there is no terminal: one line per epoch, on standard error."""

from __future__ import annotations

import sys
import time

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

WORDS = {"miou": "mIoU {:.3f}", "psnr": "PSNR {:.2f} dB"}


class EpochLines(Callback):
    """`epoch 3 of 80: loss 4.21, val mIoU 0.312, 12 s`, for log files.

    best_by  the validation score that is told
    """

    def __init__(self, best_by: str) -> None:
        self._score = f"val/{best_by}"
        self._words = WORDS[best_by]
        self._start = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The clock of an epoch."""
        self._start = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line; only the first of several processes does."""
        if not trainer.is_global_zero:
            return
        known, epoch = trainer.callback_metrics, trainer.current_epoch + 1
        parts = [f"loss {float(known['train/loss']):.4g}"] if "train/loss" in known else []
        if self._score in known and epoch % (trainer.check_val_every_n_epoch or 1) == 0:
            parts.append(f"val {self._words.format(float(known[self._score]))}")
        told = ", ".join([*parts, f"{time.monotonic() - self._start:.0f} s"])
        print(f"epoch {epoch} of {trainer.max_epochs}: {told}", file=sys.stderr, flush=True)
