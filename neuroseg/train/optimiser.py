"""The optimiser of a config, and how its learning rate moves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from neuroseg.config import TrainConfig


def learning_rate_factor(settings: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Learning rate before optimiser step `step`, as a share of `lr`: a pure function, so that nothing is to be resumed."""
    epoch = step / steps_per_epoch
    warm = min(1.0, (step + 1) / (settings.warmup_epochs * steps_per_epoch)) if settings.warmup_epochs else 1.0
    if settings.schedule == "constant":
        return warm
    if settings.schedule == "step":
        return warm * float(settings.step_factor ** (int(epoch) // settings.step_epochs))
    return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, epoch / settings.epochs)))


def optimiser(settings: TrainConfig, parameters: Iterable[nn.Parameter], steps_per_epoch: int) -> Any:
    """Optimiser and schedule, which steps once per batch, as Lightning's `configure_optimizers` returns them."""
    trained = [p for p in parameters if p.requires_grad]
    chosen: torch.optim.Optimizer
    if settings.optimizer == "rmsprop":
        chosen = torch.optim.RMSprop(trained, lr=settings.lr, weight_decay=settings.weight_decay)
    else:
        chosen = torch.optim.Adam(trained, lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        chosen, lambda step: learning_rate_factor(settings, step, steps_per_epoch)
    )
    return {"optimizer": chosen, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
