"""Spikes of pixels: how an image enters a network of spikes alone."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, distributed, nn

from export.errors import DataError

STEP, RANK = 1_000_003, 7_919  # streams of numbers lie this far apart


class Poisson(nn.Module):
    """Poisson rate coding (Kim et al. 2022, section 4.2): at every step a pixel spikes with its intensity as probability.

        s[t] = u[t] < pixel,   u uniform in [0, 1)

    A pixel of 1 spikes at every step, one of 0 never; so does one that noise has carried beyond. The paper's sentence has it
    the other way round ("if the random number is greater than the pixel intensity, ... a spike"), which would make dark
    pixels fire; its figure, and "proportional to the pixel intensity", mean this.

    input   (N, C, H, W) pixels in [0, 1]
    output  (N, T, C, H, W) spikes, 0 or 1, in the pixels' dtype
    seed    of the evaluation: every image meets the same table of numbers (T, C, H, W), so that results repeat, on every
            device, and do not depend on what else is in the batch. The host of a chip would hold the same table

    Training draws fresh numbers for every batch. What it draws depends on the network's first weights' seed and on how many
    batches came before, both of which are kept with the weights: a resumed training draws what it would have drawn.
    """

    stream: Tensor
    draws: Tensor

    def __init__(self, steps: int, channels: int, seed: int = 0) -> None:
        super().__init__()
        self.steps, self.channels, self.seed = steps, channels, seed
        self.register_buffer("stream", torch.randint(2**62, ()))
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    def forward(self, pixels: Tensor) -> Tensor:
        """Spikes of the pixels."""
        if pixels.ndim != 4 or pixels.shape[1] != self.channels:
            raise DataError(
                f"images have shape {tuple(pixels.shape)}; Poisson coding reads (N, {self.channels}, H, W): a batch of images "
                f"of {self.channels} channels"
            )
        if self.training:
            numbers = self._fresh((pixels.shape[0], self.steps, *pixels.shape[1:]), pixels.device)
        else:
            numbers = fixed_numbers(self.seed, (self.steps, *pixels.shape[1:])).to(pixels.device)
        return (numbers < pixels.unsqueeze(1)).to(pixels.dtype)

    def _fresh(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        several = distributed.is_available() and distributed.is_initialized()
        here = distributed.get_rank() if several else 0
        seed = (int(self.stream) + STEP * int(self.draws) + RANK * here) % 2**63
        self.draws += 1
        return torch.rand(shape, generator=torch.Generator(device).manual_seed(seed), device=device)

    def describe(self) -> dict[str, Any]:
        """Spikes that the host makes: an input population."""
        return {"op": "spike_source"}


@lru_cache(maxsize=8)
def fixed_numbers(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Uniform numbers in [0, 1), float32, the same for all time; do not write to them."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))
