"""Checkpoints of a run: the best epoch's and the last one's, and going on from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from export.errors import FileFormatError, UsageError
from export.files import replacing
from neuroseg.config import Config, dump_config, load_config

FOLDER = "checkpoints"
CONFIG = "config.yaml"
ELSEWHERE = ("accelerator", "workers")  # where a run computes may change; what it computes may not


class LatestBest(ModelCheckpoint):
    """Of several epochs with the best value, the last: early epochs often tie at "all background".

    best_by      name of the validation score, of which more is better
    first_epoch  epochs before this one do not count: a network in real numbers is no rival of one in integers
    """

    def __init__(self, folder: Path, best_by: str, first_epoch: int, every: int) -> None:
        super().__init__(
            folder,
            "best",
            monitor=f"val/{best_by}",
            mode="max",
            every_n_epochs=every,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        self.first_epoch = first_epoch

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """True when this epoch's checkpoint replaces the best one."""
        if trainer.current_epoch < self.first_epoch:
            return False
        ties = current is not None and self.best_model_score is not None and bool(current == self.best_model_score)
        return ties or super().check_monitor_top_k(trainer, current)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best so far, also in a folder that was moved: Lightning would forget it there."""
        here = {path: str(Path(self.dirpath or "") / Path(path).name) for path in state_dict["best_k_models"]}
        best = state_dict["best_model_path"]
        state = {
            **state_dict,
            "dirpath": self.dirpath,
            "best_model_path": here.get(best, best),
            "kth_best_model_path": here.get(state_dict["kth_best_model_path"], ""),
            "best_k_models": {here[path]: score for path, score in state_dict["best_k_models"].items()},
        }
        super().load_state_dict(state)


class Checkpoints:
    """The checkpoint folder of one run. With several processes only the first one writes.

    best_by  name of the validation score that chooses the best epoch
    """

    def __init__(self, out: Path, config: Config, best_by: str) -> None:
        self.folder = out / FOLDER
        self.config = config
        settings = config.train
        first = settings.epochs - settings.qat_epochs if settings.qat_epochs else 0
        self._best = LatestBest(self.folder, best_by, first, settings.val_every)
        self._last = ModelCheckpoint(
            self.folder, "last", save_on_train_epoch_end=True, enable_version_counter=False, every_n_epochs=1
        )

    def callbacks(self) -> list[Callback]:
        """For the Trainer; the last checkpoint also holds which one was the best."""
        return [self._best, self._last]

    @property
    def best_path(self) -> Path:
        """File of the best epoch."""
        return Path(self._best.best_model_path)

    @property
    def best_epoch(self) -> int:
        """Its number, counted from 1."""
        return int(read_state(self.best_path)["epoch"]) + 1

    @property
    def best_score(self) -> float:
        """Its validation score."""
        assert self._best.best_model_score is not None
        return float(self._best.best_model_score)

    def check_free(self) -> None:
        """UsageError when the folder holds an unfinished training, which starting over would destroy."""
        last, config = self.folder / "last.ckpt", self.folder / CONFIG
        if not last.is_file() or not config.is_file():
            return
        done, epochs = int(read_state(last)["epoch"]) + 1, load_config(config).train.epochs
        if done < epochs:
            raise UsageError(
                f"'{self.folder}' holds a training that was interrupted after epoch {done} of {epochs}. Go on with --resume, "
                "start over with --restart, or choose another --out."
            )

    def begin(self) -> None:
        """Note what is trained here, for `resume`; checkpoints of an older run go."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / CONFIG) as temporary:
            temporary.write_text(dump_config(self.config), encoding="utf-8")
        for name in ("best.ckpt", "last.ckpt"):
            (self.folder / name).unlink(missing_ok=True)

    def resume(self) -> str:
        """Path of the last checkpoint; UsageError when there is none, or it is of another config."""
        last = self.folder / "last.ckpt"
        if not last.is_file() or not (self.folder / CONFIG).is_file():
            raise UsageError(
                f"there is nothing to resume: '{last}' does not exist. Train without --resume, or name the RUN folder of "
                "the interrupted training with --out."
            )
        _check_equal(load_config(self.folder / CONFIG), self.config, self.folder / CONFIG)
        read_state(last)
        return str(last)


def read_state(path: Path) -> dict[str, Any]:
    """Content of a checkpoint, tensors and plain values only: nothing in it is executed."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is damaged, or that wants to execute something
        raise FileFormatError(
            f"checkpoint '{path}' cannot be read ({type(error).__name__}: {str(error).splitlines()[0]}). "
            "Train again without --resume."
        ) from None
    return state


def _check_equal(before: Config, now: Config, path: Path) -> None:
    old, new = _flat(before.model_dump(mode="json")), _flat(now.model_dump(mode="json"))
    for key in [*old, *new]:
        if key.removeprefix("train.") not in ELSEWHERE and old.get(key) != new.get(key):
            raise UsageError(
                f"the interrupted training had {key} = {old.get(key)}, this config has {new.get(key)}. Resume with the same "
                f"config ('{path}'), or train anew without --resume."
            )


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
