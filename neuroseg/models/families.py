"""From a config to a network: the only place that knows all families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from export.errors import UsageError
from neuroseg.config import Config, DeepLabConfig, FcnConfig, Inputs, MfsConfig, ModelSection, UNetConfig
from neuroseg.config.converted import ConvertedConfig
from neuroseg.config.models import model_family
from neuroseg.models.converted import Converted
from neuroseg.models.kim import DeepLab, Fcn
from neuroseg.models.mfs_seg import MfsSeg
from neuroseg.models.unet import UNet


@runtime_checkable
class SegmentationModel(Protocol):
    """What training, evaluation and export need of a network; each is an `nn.Module`, too.

    classes  class scores per pixel;  steps  T
    """

    classes: int
    steps: int

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (N, C, H, W), or (N, T, C, H, W), -> logits (N, classes, H', W'), the map that is deployed first."""

    def class_scores(self, logits: Tensor) -> Tensor:
        """What the host compares at each pixel (N, classes, H', W'): exact where it is a number of spikes."""


Build = Callable[[Any, int, Inputs], torch.nn.Module]


def _mfs(config: MfsConfig, classes: int, inputs: Inputs) -> MfsSeg:
    return MfsSeg(config, classes, inputs)


BUILDERS: dict[type[ModelSection], Build] = {
    MfsConfig: _mfs,
    DeepLabConfig: DeepLab,
    FcnConfig: Fcn,
    UNetConfig: UNet,
    ConvertedConfig: Converted,
}


def build(config: Config, seed: int = 0) -> Any:
    """The network of a whole config with random weights that depend on the seed alone: a `SegmentationModel`."""
    return build_model(config.model, config.data.classes, seed, config.data.inputs)


def build_model(config: ModelSection, classes: int, seed: int = 0, inputs: Inputs | None = None) -> Any:
    """The network of a model section; the caller's random generator is untouched.

    raises  UsageError for a family that cannot be built
    """
    builder = BUILDERS.get(type(config))
    if builder is None:
        known = ", ".join(model_family(kind) for kind in BUILDERS)
        raise UsageError(f"model.family = {model_family(type(config))} cannot be built yet; there are {known}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return builder(config, classes, inputs or Inputs())
