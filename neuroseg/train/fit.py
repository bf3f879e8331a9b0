"""Training from a config to a RUN folder."""

from __future__ import annotations

import logging
import math
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from export.errors import DataError, NeurosegError, UsageError
from neuroseg.config import Config, DataConfig
from neuroseg.data import SPLITS, DigitsOnPhotos, Split
from neuroseg.metrics import iou_per_class, miou, pixel_accuracy
from neuroseg.models import build_model, parameter_count
from neuroseg.train.run_folder import SCHEMA_VERSION, prepare_run, save_run
from neuroseg.train.task import SegmentationTask, class_weights


class LatestBest(ModelCheckpoint):
    """Of several epochs with the best value, the last: early epochs often tie at "all background"."""

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """True when this epoch's checkpoint replaces the best one."""
        ties = current is not None and self.best_model_score is not None and bool(current == self.best_model_score)
        return ties or super().check_monitor_top_k(trainer, current)


def train(config: Config, out: Path) -> dict[str, Any]:
    """Train, keep the weights of the best validation mIoU, measure them on the test split, write the RUN folder.

    Returns the measures that `metrics.json` holds beside hashes. The folder is checked before anything is computed
    (UsageError). Ctrl-C raises NeurosegError after a clean stop: checkpoints stay, an older run's weights are untouched.
    """
    out = Path(out)
    splits = _splits(config.data)
    prepare_run(out)
    start = time.perf_counter()
    model = build_model(config.model, config.data.classes, config.train.seed)
    items = in_memory(splits["train"])
    task = SegmentationTask(model, config.train, _weights(config, items))
    best = LatestBest(
        out / "checkpoints", "best", monitor="val/miou", mode="max", save_last=True, enable_version_counter=False
    )
    with _quiet_lightning():
        trainer = _trainer(config, out, best)
        train_loader = _loader(config, items, shuffle=True)
        val_loader = _loader(config, in_memory(splits["val"]))
        _interruptible(out, lambda: trainer.fit(task, train_loader, val_loader), lambda: _epoch(trainer))
        seconds = time.perf_counter() - start
        # Our own checkpoint, written a moment ago: loading it in full is safe.
        task.load_state_dict(torch.load(best.best_model_path, weights_only=False)["state_dict"])
        task.confusion.reset()
        task.rates.reset()
        test_loader = _loader(config, in_memory(splits["test"]))
        work = partial(trainer.test, task, test_loader, verbose=False)
        _interruptible(out, work, lambda: "while it measured the test split")
    metrics = _metrics(config, task, seconds)
    save_run(out, config, model, metrics)
    return metrics


def _splits(config: DataConfig) -> dict[Split, DigitsOnPhotos]:
    """All three splits; UsageError for a data section that cannot be had, before anything is written."""
    try:
        return {split: dataset(config, split) for split in SPLITS}
    except DataError as error:
        raise UsageError(f"config section data: {error}") from None


def dataset(config: DataConfig, split: Split) -> DigitsOnPhotos:
    """The data set of a split: items are (image (3, H, W) in [0, 1], mask (H, W))."""
    samples = {"train": config.train_samples, "val": config.val_samples, "test": config.test_samples}[split]
    return DigitsOnPhotos(split, config.size, config.classes, samples, config.seed, config.digits_per_image)


def _weights(config: Config, items: TensorDataset) -> Tensor | None:
    """Loss weights of the classes, None when all weigh the same."""
    if not config.train.class_weight_power:
        return None
    return class_weights(items.tensors[1], config.data.classes, config.train.class_weight_power)


def _loader(config: Config, items: TensorDataset, shuffle: bool = False) -> DataLoader[tuple[Tensor, ...]]:
    # Items are small and drawn the same every epoch: drawing them once is cheaper than worker processes.
    generator = torch.Generator().manual_seed(config.train.seed)
    return DataLoader(items, config.train.batch_size, shuffle=shuffle, generator=generator)


def in_memory(items: Dataset[tuple[Tensor, Tensor]]) -> TensorDataset:
    """All images and masks of a data set, stacked."""
    pairs = [items[i] for i in range(len(items))]  # type: ignore[arg-type]  # torch's Dataset does not declare __len__
    return TensorDataset(torch.stack([image for image, _ in pairs]), torch.stack([mask for _, mask in pairs]))


def _trainer(config: Config, out: Path, best: ModelCheckpoint) -> Trainer:
    on_terminal = sys.stdout.isatty()
    callbacks: list[Callback] = [best, LearningRateMonitor("epoch")]
    if on_terminal:
        callbacks.append(RichProgressBar())
    try:
        return Trainer(
            accelerator=config.train.accelerator,
            devices=1,
            max_epochs=config.train.epochs,
            logger=TensorBoardLogger(out, name="tensorboard", version=""),
            callbacks=callbacks,
            enable_progress_bar=on_terminal,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=min(10, math.ceil(config.data.train_samples / config.train.batch_size)),
        )
    except MisconfigurationException as error:
        raise UsageError(
            f"train.accelerator = {config.train.accelerator} is not to be had here ({' '.join(str(error).split())}); "
            "use train.accelerator=auto or cpu"
        ) from None


def _epoch(trainer: Trainer) -> str:
    return f"in epoch {min(trainer.current_epoch + 1, trainer.max_epochs or 1)} of {trainer.max_epochs}"


def _interruptible(out: Path, work: Callable[[], object], where: Callable[[], str]) -> None:
    """Run a Trainer's work; Lightning answers Ctrl-C with `exit` and a deaf signal handler, which become an error here."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        work()
    except (KeyboardInterrupt, SystemExit):
        raise NeurosegError(
            f"training was interrupted {where()}; "
            f"checkpoints are kept in {out / 'checkpoints'}, no weights were written; run the command again to start over"
        ) from None
    except OSError as error:
        raise UsageError(
            f"cannot write in '{out}': {error.strerror or error}; make room or choose another folder with --out"
        ) from error
    finally:
        if handler is not None and signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)


def _metrics(config: Config, task: SegmentationTask, seconds: float) -> dict[str, Any]:
    confusion = task.confusion.compute().cpu()
    rates = task.firing_rates()
    return {
        "schema_version": SCHEMA_VERSION,
        "name": config.name,
        "split": "test",
        "samples": config.data.test_samples,
        "miou": miou(confusion),
        "pixel_accuracy": pixel_accuracy(confusion),
        "iou_per_class": [None if bool(value.isnan()) else float(value) for value in iou_per_class(confusion)],
        "firing_rate": sum(rates.values()) / len(rates),
        "firing_rates": rates,
        "parameters": parameter_count(task.model),
        "epochs": config.train.epochs,
        "train_time_s": seconds,
    }


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning advertises, and warns that in-memory data sets have no worker processes: neither helps a user here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
            warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
