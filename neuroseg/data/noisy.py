"""Another data set's items with Gaussian noise on what the network reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from export.errors import DataError


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Items (input + sigma n, mask), where n are standard normal numbers of (seed, index) alone.

    items  a data set; its classes, their names and its protocol stay
    sigma  standard deviation, in units of the pixels' range: inputs lie in [0, 1]
    seed   0 or more

    Each sigma scales the same numbers, so that two strengths differ by nothing else. The sum is not clipped: it may leave
    [0, 1], as Kim et al. (2022) add their noise. Raises DataError for values out of their limits.
    """

    def __init__(self, items: Any, sigma: float, seed: int = 0) -> None:
        """Check the arguments."""
        if sigma < 0 or seed < 0:
            raise DataError(
                f"noise of sigma={sigma:g}, seed={seed}: both are 0 or more; 0.1 is a tenth of the pixels' range."
            )
        self.items, self.sigma, self.seed = items, sigma, seed

    @property
    def classes(self) -> int:
        """Of the data set."""
        return int(self.items.classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the data set."""
        return tuple(self.items.class_names)

    @property
    def protocol(self) -> str | None:
        """Of the data set, if it has several."""
        return getattr(self.items, "protocol", None)

    def __len__(self) -> int:
        """Number of items."""
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The noisy input and the mask as it is."""
        values, mask = self.items[index]
        if not self.sigma:
            return values, mask
        normal = np.random.default_rng([self.seed, index]).standard_normal(values.shape, dtype=np.float32)
        return values + self.sigma * torch.from_numpy(normal), mask
