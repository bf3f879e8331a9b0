"""Rounding to the chip's integers with a gradient, for quantisation-aware training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

WEIGHT_UNIT = 64  # integers stand for 1/64, SLAYER's unit of weights
EVEN, WHOLE = 2, 1  # weights are even, biases any integers


class _Rounded(torch.autograd.Function):
    """x -> step round(x scale / step) / 64; backward as if nothing were rounded (straight-through estimator)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, step: int) -> Tensor:
        ctx.factor = scale / WEIGHT_UNIT
        return step * torch.round(x * scale / step) / WEIGHT_UNIT

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad * ctx.factor, None, None


def rounded(x: Tensor, scale: float, step: int) -> Tensor:
    """Integers of step `step`, in units of 1/64, from real numbers with `scale` integers per unit."""
    result: Tensor = _Rounded.apply(x, scale, step)  # type: ignore[no-untyped-call]
    return result
