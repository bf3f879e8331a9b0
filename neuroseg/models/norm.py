"""Normalisation: threshold-dependent batch norm, and the bias that is left of it after folding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from export.errors import DataError
from neuroseg.models.currents import Currents, Statistics, Term, statistics_of, tensor_of

MOMENTUM = 0.1  # share of the newest batch in the running statistics, torch's default


class Norm(nn.Module, ABC):
    """What batch norms of spiking networks share: running statistics for evaluation.

    They are a plain average over the first batches, an exponential one from then on, so that even a network trained for a
    few batches is not evaluated with the values it started from.

    shape     of the statistics: (C,), or (T, C)
    frozen    True: training, too, uses the running statistics and leaves them alone
    tracking  False while a part of the network is computed a second time
    """

    running_mean: Tensor
    running_var: Tensor
    batches: Tensor
    frozen = False
    tracking = True

    def __init__(self, shape: tuple[int, ...], eps: float) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(shape))
        self.register_buffer("running_var", torch.ones(shape))
        self.register_buffer("batches", torch.zeros(()))
        self.eps = eps

    @property
    def of_batch(self) -> bool:
        """Whether the next values are normed by their own statistics."""
        return self.training and not self.frozen

    def known(self) -> Statistics:
        """The running statistics. Copies: another training batch may change the buffers before the way back through this one."""
        return Statistics(self.running_mean.clone(), self.running_var.clone(), self.eps, of_batch=False)

    @torch.no_grad()
    def track(self, seen: Statistics, count: int) -> None:
        """Take the statistics of a batch of `count` values each into the running ones."""
        if not self.tracking:
            return
        self.batches += 1
        share = self.batches.reciprocal().clamp_(min=MOMENTUM)
        self.running_mean.lerp_(seen.mean.to(self.running_mean), share)
        self.running_var.lerp_(seen.var.to(self.running_var) * (count / (count - 1)), share)  # unbiased

    @abstractmethod
    def forward(self, x: Tensor | Currents) -> Tensor | Currents:
        """Normalised currents."""

    @abstractmethod
    def affine(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(gain, shift, running mean, sqrt(running var + eps)), each (C,), float64, differentiable: what folds."""


def check_count(count: int, channels: int, shape: tuple[int, ...]) -> None:
    """Raise DataError while a norm trains on fewer than two values per channel: they have no variance."""
    if count < 2:
        raise DataError(
            f"a norm of {channels} channels trains on currents of shape {shape}: {count} values per channel, at least 2 are "
            f"needed for a variance. Use a larger batch or larger images (an incomplete last batch can be dropped), or call "
            f"`eval()` first"
        )


class Tdbn(Norm):
    """Threshold-dependent batch norm: statistics per channel over batch, space and time (MFS-Seg, section 3).

        y = gain alpha v_th (x - mean) / sqrt(var + eps) + shift

    input, output  (N, T, C, H, W); or (N, C, H, W) for a current that is the same at every step: the statistics are equal.
                   Tensor in, tensor out; `Currents` in, `Currents` out
    gain           initial value of the trained factor; small for the last norm of a residual path (their Proposition 1)

    Raises DataError while training on fewer than two values per channel: they have no variance.
    """

    def __init__(self, channels: int, v_th: float, *, alpha: float = 1.0, gain: float = 1.0, eps: float = 1e-5) -> None:
        super().__init__((channels,), eps)
        self.gain = nn.Parameter(torch.full((channels,), gain))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.scale = alpha * v_th

    def forward(self, x: Tensor | Currents) -> Tensor | Currents:
        """Normalised currents, not yet computed where x is not; while training, by the statistics of this batch."""
        raw = tensor_of(x)
        count = raw.numel() // max(1, raw.shape[-3])
        if self.of_batch:
            check_count(count, len(self.gain), tuple(raw.shape))
        statistics = statistics_of(raw, self.eps) if self.of_batch else self.known()
        term = Term(raw, self.gain * self.scale, self.shift, statistics)  # refuses other channels
        if self.of_batch:
            self.track(statistics, count)
        normed = Currents((term,))
        return normed if isinstance(x, Currents) else normed.tensor()

    def affine(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(gain with alpha v_th in it, shift, running mean, sqrt(running var + eps)), each (C,), float64."""
        deviation = torch.sqrt(self.running_var.double() + self.eps)
        return (self.gain * self.scale).double(), self.shift.double(), self.running_mean.double(), deviation

    def describe(self) -> dict[str, Any]:
        """y = gain (x - mean) / sqrt(var + eps) + shift, with alpha v_th inside the gain; tensors are (C,)."""
        return {
            "op": "norm",
            "gain": (self.gain * self.scale).detach(),
            "shift": self.shift.detach(),
            "mean": self.running_mean.detach(),
            "var": self.running_var.detach(),
            "eps": self.eps,
        }


@contextmanager
def seen_before(module: nn.Module) -> Iterator[None]:
    """Within: the norms of a module leave their running statistics alone, since they have had this batch already."""
    norms = [norm for norm in module.modules() if isinstance(norm, Norm)]
    for norm in norms:
        norm.tracking = False
    try:
        yield
    finally:
        for norm in norms:
            norm.tracking = True


class ChannelBias(nn.Module):
    """Adds a constant per channel: what a folded norm leaves behind.

    It does not carry SLAYER's attribute `pre_hook_fx`, whose 8-bit quantiser would clamp a 13-bit bias to [-256, 254].
    """

    bias: Tensor

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor | Currents) -> Tensor | Currents:
        """x + bias, for (N, T, C, H, W); not yet computed where x is not."""
        biased = Currents((Term(tensor_of(x), shift=self.bias),))
        return biased if isinstance(x, Currents) else biased.tensor()

    def describe(self) -> dict[str, Any]:
        """The bias (C,), real."""
        return {"op": "bias", "bias": self.bias.detach()}
