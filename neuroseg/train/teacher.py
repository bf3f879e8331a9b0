"""A trained network that another one imitates (distillation)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from export.errors import UsageError
from neuroseg.config import Config
from neuroseg.train.run_folder import load_run
from neuroseg.zoo import resolve_run


class Teacher:
    """The class map of a trained RUN for the images that a network trains on. No module: it is not saved with that network.

    run     folder of the teacher, or zoo:NAME
    config  of the network that learns: of the same data set, split, classes and kind of input, else UsageError. A teacher that
            saw the images on which its pupil is scored would give them away
    """

    def __init__(self, run: str | Path, config: Config) -> None:
        self.config, self.model = load_run(resolve_run(run))
        self._check(run, config)
        self.model.requires_grad_(False)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """(N, C, H, W) images -> the teacher's logits (N, classes, H', W'), whose images may be of another size."""
        self.model.to(images.device)
        resized = F.interpolate(images, self.config.data.size, mode="bilinear", align_corners=False, antialias=True)
        scores: Tensor = self.model(resized if resized.shape != images.shape else images)[0]
        return scores

    def _check(self, run: str | Path, config: Config) -> None:
        for what, own, wanted in (
            ("task", self.config.data.task, config.data.task),
            ("data set", _data(self.config), _data(config)),
            ("classes", self.config.data.classes, config.data.classes),
            ("inputs", _kind(self.config), _kind(config)),
        ):
            if own != wanted:
                raise UsageError(
                    f"train.teacher = '{run}' has {what} {own}, this network {wanted}: it cannot be imitated. "
                    "Train a teacher on the same data set, or set train.teacher=null."
                )
        if _kind(config)[0] != "image":
            raise UsageError(
                f"train.teacher needs images as inputs, and data.name = {config.data.name} gives {_kind(config)[0]}; "
                "set train.teacher=null."
            )


def _data(config: Config) -> str:
    """Data set and, where it has several, the protocol that splits it."""
    protocol = getattr(config.data, "protocol", None)
    return f"{config.data.name} (data.protocol={protocol})" if protocol else str(config.data.name)


def _kind(config: Config) -> tuple[Any, ...]:
    return config.data.inputs.kind, config.data.inputs.channels
