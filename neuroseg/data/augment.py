"""Random changes of training pictures by torchvision: image and mask move together, and every draw can be repeated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors  # type: ignore[import-untyped]
from torchvision.transforms import InterpolationMode, v2  # type: ignore[import-untyped]

from export.errors import DataError

VOID = 255  # in every mask: a pixel that counts nowhere, neither in the loss nor in a score


@dataclass(frozen=True)
class Augment:
    """Flips, turns, scale, crop and colour jitter, in this order. Train on it, never score on it.

    flip        probability of a flip from left to right; vertical_flip: from top to bottom
    quarter_turns   by 0, 90, 180 or 270 degrees, each as likely; the picture must be square
    rotate      turn drawn from [-value, value] degrees, at most 180; what it leaves free is the mean colour, and VOID
    scale       (least, most) factor of both sides, drawn for whole pixels of the shorter side; then a random window of
                the old size is cut out. What a smaller picture leaves free is the picture's mean colour, and VOID
    brightness  factor drawn from [1 - value, 1 + value], and not below 0; contrast and saturation likewise
    hue         shift drawn from [-value, value] turns of the colour circle; at most 0.5

    The image is turned and scaled bilinearly (scaled with antialiasing), the mask by nearest neighbour: no label is invented.
    What is off draws no random number: turning one change on leaves the draws of those before it as they were.
    Raises DataError, naming the value, the limit and the fix.
    """

    flip: float = 0.5
    scale: tuple[float, float] = (1.0, 1.0)
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    vertical_flip: float = 0.0
    quarter_turns: bool = False
    rotate: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values out of their limits."""
        _check_within("flip", self.flip, 1.0)
        _check_within("vertical_flip", self.vertical_flip, 1.0)
        _check_within("rotate", self.rotate, 180.0)
        _check_within("hue", self.hue, 0.5)
        for name in ("brightness", "contrast", "saturation"):
            _check_within(name, getattr(self, name), math.inf)
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise DataError(
                f"augmentation: scale={self.scale} is not (least, most) with 0 < least <= most; "
                "use for example (0.75, 1.5), or (1, 1) to leave the size alone."
            )

    def __call__(self, image: Tensor, mask: Tensor, seed: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Changed copies of image uint8 (C, H, W) and mask uint8 (H, W); the same seed makes the same changes.

        seed  numbers of 0 or more, for example (seed, epoch, index). Torch's own generator is left as it was.
        """
        if image.shape[-2:] != mask.shape[-2:]:
            raise DataError(
                f"augmentation: the image has {tuple(image.shape[-2:])} pixels, the mask {tuple(mask.shape[-2:])}; "
                "resize one to the other first."
            )
        if self.quarter_turns and image.shape[-2] != image.shape[-1]:
            raise DataError(
                f"augmentation: quarter_turns needs square pictures, not {tuple(image.shape[-2:])} (height, width); "
                "give a square size, or turn quarter_turns off."
            )
        state = np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)
        # torchvision draws from torch's global generator. devices=[] and default_generator: CUDA's stays untouched.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(state[0]))
            moved = self._transform(image)(tv_tensors.Image(image), tv_tensors.Mask(mask))
        return moved[0].as_subclass(Tensor), moved[1].as_subclass(Tensor)

    def _transform(self, image: Tensor) -> Any:
        height, width = image.shape[-2:]
        least, most = (max(1, round(factor * min(height, width))) for factor in self.scale)
        mean = [round(float(level)) for level in image.float().mean(dim=(1, 2))]
        fill = {tv_tensors.Image: mean, tv_tensors.Mask: VOID}
        return v2.Compose(
            [
                v2.RandomHorizontalFlip(self.flip),
                *self._turns(fill),
                v2.RandomResize(least, most + 1, InterpolationMode.BILINEAR, antialias=True),  # the end is exclusive
                v2.RandomCrop((height, width), pad_if_needed=True, fill=fill),
                v2.ColorJitter(self.brightness, self.contrast, self.saturation, self.hue),
            ]
        )

    def _turns(self, fill: dict[Any, Any]) -> list[Any]:
        """The changes that are on, of those that turn a picture."""
        turns: list[Any] = []
        if self.vertical_flip:
            turns.append(v2.RandomVerticalFlip(self.vertical_flip))
        if self.quarter_turns:
            turns.append(v2.RandomChoice([v2.Lambda(partial(_quarter_turned, times=times)) for times in range(4)]))
        if self.rotate:
            turns.append(v2.RandomRotation(self.rotate, InterpolationMode.BILINEAR, fill=fill))
        return turns


def _quarter_turned(picture: Tensor, times: int) -> Any:
    """Turned by `times` right angles, exactly."""
    return tv_tensors.wrap(torch.rot90(picture, times, (-2, -1)), like=picture)


def _check_within(name: str, value: float, most: float) -> None:
    if not (0 <= value <= most and math.isfinite(value)):
        limit = "0 or more" if math.isinf(most) else f"0 to {most:g}"
        raise DataError(f"augmentation: {name}={value} is out of its limits; use {limit} (0 turns it off).")
