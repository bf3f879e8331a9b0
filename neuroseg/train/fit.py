"""Training from a config to a RUN folder."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, LearningRateMonitor, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from export.errors import NeurosegError, UsageError
from neuroseg.config import Config
from neuroseg.config.data import data_name
from neuroseg.data import Split
from neuroseg.data.opening import SegmentationData
from neuroseg.models import build, parameter_count
from neuroseg.models.quantize_aware import Groups
from neuroseg.train.base import Task
from neuroseg.train.checkpoints import Checkpoints, read_state
from neuroseg.train.data import all_splits, dataset, loader, training_masks
from neuroseg.train.denoising import DenoisingTask
from neuroseg.train.lines import EpochLines
from neuroseg.train.loss import class_weights, pixel_counts
from neuroseg.train.run_folder import SCHEMA_VERSION, prepare_run, save_run
from neuroseg.train.task import SegmentationTask
from neuroseg.train.teacher import Teacher

LOG_EVERY = 10  # training steps
TASKS: dict[str, type[Task]] = {"segmentation": SegmentationTask, "denoising": DenoisingTask}
Account: TypeAlias = Callable[[Config, dict[str, Any]], dict[str, Any]]


def train(
    config: Config,
    out: Path,
    *,
    groups: Groups | None = None,
    account: Account | None = None,
    start: Mapping[str, Tensor] | None = None,
    resume: bool = False,
    restart: bool = False,
) -> dict[str, Any]:
    """Train, keep the weights of the best validation, measure them on the test split, write the RUN folder.

    The best validation is that of the highest mIoU, of a denoiser that of the highest PSNR.

    groups   populations that share a scale (`export.passes.quantize.scale_groups`); needed when train.qat_epochs > 0
    account  (config, measures) -> more measures, which only the compiler knows
    start    the network's state to begin with, such as that of a converted ANN; None: random weights
    resume   go on from the last checkpoint in `out`, as if training had not been interrupted; UsageError if there is none,
             or if it is of another config
    restart  forget the checkpoints of an interrupted training in `out`; without it they are refused (UsageError)

    Returns the measures that `metrics.json` holds beside hashes. Folder and data are checked before anything is computed
    (UsageError). Ctrl-C raises NeurosegError after a clean stop: checkpoints stay, an older run's weights are untouched.
    With several devices or nodes every process returns the measures; the first one writes.
    """
    out = Path(out)
    assert groups is not None or not config.train.qat_epochs, "quantisation-aware epochs need the compiler's groups"
    splits = all_splits(config)
    checkpoints = Checkpoints(out, config, TASKS[config.data.task].best_by)
    start_from = checkpoints.resume() if resume else None
    if not (resume or restart):
        checkpoints.check_free()
    teacher = None if config.train.teacher is None else Teacher(config.train.teacher, config)
    prepare_run(out)
    task = task_of(config, _network(config, start), groups, weights=_weights(config), teacher=teacher)
    with _quiet_lightning():
        trainer = _trainer(config, out, checkpoints.callbacks(), task.best_by)
        train_loader = _loader(config, splits, "train", trainer)
        val_loader = _loader(config, splits, "val", trainer)
        if start_from is None:
            checkpoints.begin()
        fit = lambda: trainer.fit(task, train_loader, val_loader, ckpt_path=start_from, weights_only=True)  # noqa: E731
        _interruptible(out, fit, lambda: _epoch(trainer))
        history = _history(config, task, checkpoints)
        _take_best(task, checkpoints)
        test_loader = _loader(config, splits, "test", trainer)
        _interruptible(
            out, lambda: trainer.test(task, test_loader, verbose=False), lambda: "while it measured the test split"
        )
    metrics = {**measures(config, task, splits["test"], "test"), **history}
    metrics |= {} if account is None else account(config, metrics)
    if trainer.is_global_zero:
        save_run(out, config, task.model, metrics)
    return metrics


def _network(config: Config, start: Mapping[str, Tensor] | None) -> Any:
    """What a training begins with."""
    model = build(config, config.train.seed)
    if start is not None:
        model.load_state_dict(start)
    return model


def _take_best(task: Task, checkpoints: Checkpoints) -> None:
    """Back to the weights of the best epoch."""
    task.load_state_dict(read_state(checkpoints.best_path)["state_dict"])
    task.forget()
    if task.settings.qat_epochs:
        task.compute_in_integers()  # a run that was resumed after its last epoch has not begun to


def task_of(
    config: Config,
    model: Any,
    groups: Groups | None = None,
    *,
    weights: Tensor | None = None,
    boundary: float | None = None,
    teacher: Teacher | None = None,
) -> Task:
    """What a config's network is trained for; UsageError for what its data set does not ask.

    weights   of the classes, in the loss
    teacher   a trained network to imitate, of a segmentation
    boundary  tolerance in pixels of the boundaries' score
    """
    multiple = config.model.multiple
    if config.data.task == "segmentation":
        return SegmentationTask(
            model, config.train, weights, groups, multiple=multiple, boundary=boundary, teacher=teacher
        )
    if boundary is not None:
        raise UsageError(
            f"data.name = {data_name(type(config.data))} is for denoising: it has no boundaries of classes."
        )
    return DenoisingTask(model, config.train, groups, multiple=multiple)


def evaluate(config: Config, task: Task, split: Split, items: SegmentationData | None = None) -> dict[str, Any]:
    """Scores and firing rates of a trained network on one split, by one process; nothing is written.

    items  of the split, where they are others than the config's
    """
    items = dataset(config, split) if items is None else items
    with _quiet_lightning():
        trainer = Trainer(
            accelerator="cpu" if config.train.accelerator == "cpu" else "auto",  # it may have been trained elsewhere
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=sys.stderr.isatty(),
            enable_model_summary=False,
        )
        trainer.test(task, loader(config, items, shuffle=False, rank=0, processes=1), verbose=False)
    return measures(config, task, items, split)


def measures(config: Config, task: Task, items: SegmentationData, split: str) -> dict[str, Any]:
    """JSON-ready scores and firing rates of the task's last evaluation, and what they depend on."""
    return {
        "schema_version": SCHEMA_VERSION,
        "task": config.data.task,
        "split": split,
        "protocol": getattr(items, "protocol", None),
        "samples": len(items),
        "padded_images": task.padded_images,
        "arithmetic": "integer" if task.in_integers else "real",
        **task.measures(items),
        "firing_rate": task.rates.of_network(),
        "firing_rates": task.rates.of_populations(),
        "parameters": parameter_count(task.model),
        "steps": config.model.steps,
        "seed": config.train.seed,
    }


def _history(config: Config, task: Task, checkpoints: Checkpoints) -> dict[str, Any]:
    return {
        "name": config.name,
        "epochs": config.train.epochs,
        "best_epoch": checkpoints.best_epoch,
        f"best_val_{task.best_by}": checkpoints.best_score,
        "quantisation_aware": config.train.qat_epochs > 0,
        "train_time_s": task.train_time_s,
    }


def _weights(config: Config) -> Tensor | None:
    """Loss weights of the classes, None when all weigh the same."""
    if not config.train.class_weight_power or config.data.task == "denoising":
        return None
    return class_weights(pixel_counts(training_masks(config), config.data.classes), config.train.class_weight_power)


def _loader(config: Config, splits: dict[Split, SegmentationData], split: Split, trainer: Trainer) -> Any:
    rank, processes = trainer.global_rank, trainer.world_size
    return loader(config, splits[split], shuffle=split == "train", rank=rank, processes=processes)


def _trainer(config: Config, out: Path, checkpoints: list[Callback], best_by: str) -> Trainer:
    on_terminal = sys.stderr.isatty()
    progress = RichProgressBar(console_kwargs={"stderr": True}) if on_terminal else EpochLines(best_by)
    settings = config.train
    averaging = [EMAWeightAveraging(decay=settings.ema_decay)] if settings.ema_decay else []
    callbacks = [LearningRateMonitor("epoch"), progress, *averaging, *checkpoints]
    # Running statistics are averaged before each validation (Task), not sent around with every batch.
    several = settings.devices * settings.nodes > 1
    try:
        trainer = Trainer(
            accelerator=settings.accelerator,
            devices=settings.devices,
            num_nodes=settings.nodes,
            strategy=DDPStrategy(broadcast_buffers=False) if several else "auto",
            precision=settings.precision,
            use_distributed_sampler=False,
            max_epochs=settings.epochs,
            check_val_every_n_epoch=settings.val_every,
            logger=TensorBoardLogger(out, name="tensorboard", version=""),
            callbacks=callbacks,
            enable_progress_bar=on_terminal,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=LOG_EVERY,
        )
    except (MisconfigurationException, ValueError) as error:
        raise UsageError(
            f"train.accelerator = {settings.accelerator} is not to be had here, with train.devices = {settings.devices} "
            f"({' '.join(str(error).split())}); use train.accelerator=auto or cpu, or fewer devices"
        ) from None
    if settings.precision != "32-true" and trainer.strategy.root_device.type == "cpu":
        raise UsageError(f"train.precision = {settings.precision} needs a GPU, and none is used here; use 32-true")
    return trainer


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
            f"checkpoints are kept in {out / 'checkpoints'}, no weights were written; go on with --resume, or over with --restart"
        ) from None
    except OSError as error:
        raise UsageError(
            f"cannot write in '{out}': {error.strerror or error}; make room or choose another folder with --out"
        ) from error
    finally:
        if handler is not None and signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)


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
            warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
            warnings.filterwarnings(
                "ignore", message=".*sync_dist=True.*"
            )  # torchmetrics has synchronised what is logged
            warnings.filterwarnings(
                "ignore", message=".*dirpath has changed.*"
            )  # LatestBest takes care of moved folders
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
