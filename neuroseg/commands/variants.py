"""Networks of one family: the same config at another resolution, width or depth, and the largest of them that fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt

import hw_configs
from hw_configs import Chip, System
from neuroseg.commands.candidate import Candidate, Untrained, lower_untrained, place_untrained
from neuroseg.config import Config, MfsConfig
from neuroseg.config.models import NARROWEST

SMALLEST = 16  # pixels: config refuses smaller images
KEPT = 2  # lowered networks: a search looks at the last that fits and at the first that does not
Size = tuple[int, int]


def widths_of(config: Config) -> tuple[int, ...]:
    """Channels of the network's scales or levels; empty for a family without such a key."""
    return tuple(getattr(config.model, "widths", ()))


def blocks_of(config: Config) -> tuple[int, ...]:
    """Residual blocks per scale; empty for a family that has none."""
    return config.model.blocks_per_scale if isinstance(config.model, MfsConfig) else ()


def with_size(config: Config, size: Size) -> Config:
    """The config at another (height, width)."""
    return config.model_copy(update={"data": config.data.model_copy(update={"size": size})})


def with_widths(config: Config, widths: tuple[int, ...]) -> Config:
    """The config with other channels per scale."""
    return config.model_copy(update={"model": config.model.model_copy(update={"widths": widths})})


def with_blocks(config: Config, blocks: tuple[int, ...]) -> Config:
    """The config with other residual blocks per scale."""
    return config.model_copy(update={"model": config.model.model_copy(update={"blocks": blocks})})


def size_of_height(config: Config, height: int) -> Size:
    """(height, width) with the config's aspect, as near as the multiples allow that the network needs."""
    multiple = config.model.multiple
    tall, wide = config.data.size
    least = -(-SMALLEST // multiple) * multiple
    return height, max(least, round(height * wide / tall / multiple) * multiple)


def heights(config: Config, largest: int) -> list[int]:
    """All heights up to a largest one that the network can take."""
    multiple = config.model.multiple
    return list(range(-(-SMALLEST // multiple) * multiple, largest + 1, multiple))


def scaled_widths(config: Config, factor: float) -> tuple[int, ...]:
    """Channels of all scales times a factor, 1 at least, or what the block needs."""
    least = NARROWEST.get(config.model.block, 1) if isinstance(config.model, MfsConfig) else 1
    return tuple(max(least, round(width * factor)) for width in widths_of(config))


def arguments(before: Config, after: Config) -> list[str]:
    """KEY=VALUE arguments that make one config of the other."""
    found = []
    if after.data.size != before.data.size:
        found.append(f"data.size={_listed(after.data.size)}")
    if widths_of(after) != widths_of(before):
        found.append(f"model.widths={_listed(widths_of(after))}")
    if blocks_of(after) != blocks_of(before):
        found.append(f"model.blocks={_listed(blocks_of(after))}")
    return found


def _listed(numbers: Sequence[int]) -> str:
    return f"[{','.join(map(str, numbers))}]"


def last_that_fits(count: int, fits: Callable[[int], bool], guess: int) -> int:
    """Largest index below `count` at which something fits, -1 for none, where less of it always fits, too.

    Looks around `guess` in growing steps, then in between: two or three looks where the guess is good.
    """
    good, bad, step = -1, count, 1
    while bad - good > 1:
        if good < 0 and bad == count:
            at = min(max(guess, 0), count - 1)
        elif good < 0:
            at, step = max(bad - step, 0), 2 * step
        elif bad == count:
            at, step = min(good + step, count - 1), 2 * step
        else:
            at = (good + bad) // 2
        good, bad = (at, bad) if fits(at) else (good, at)
    return good


class Trials:
    """Networks tried on one system. What was lowered or placed last is kept, since neighbours in a search ask again."""

    def __init__(self, system: System, layout: str) -> None:
        self.system = system
        self.chip: Chip = hw_configs.load(system.chip)
        self.layout = layout
        self.count = 0
        self._lowered: dict[tuple[Config, str], Untrained] = {}
        self._placed: dict[tuple[Config, str, str], tuple[bool, int]] = {}

    @property
    def cores(self) -> int:
        """That the system has."""
        return int(self.system.needed("chips")) * int(self.system.needed("usable_cores_per_chip"))

    def candidate(self, config: Config, delays: str, layout: str | None = None) -> Candidate:
        """The network with one time step, which places as with any number of them."""
        key = (_one_step(config), layout or self.layout)
        if key not in self._lowered:
            self._lowered = dict(list(self._lowered.items())[1 - KEPT :])  # before the next one takes its memory
            self._lowered[key] = lower_untrained(*key)
        self.count += 1
        return place_untrained(self._lowered[key], delays, self.system, self.chip)

    def look(self, config: Config, delays: str, layout: str | None = None) -> tuple[bool, int]:
        """Whether it fits, and its cores."""
        key = (_one_step(config), delays, layout or self.layout)
        if key not in self._placed:
            found = self.candidate(config, delays, layout)
            self._placed[key] = (found.fits, found.placement.cores)
        return self._placed[key]

    def largest_size(self, config: Config, delays: str, tall: int, start_at: float) -> Size | None:
        """Largest size of the config's aspect up to a height that fits; looks first at one near `start_at`."""
        choices = [size_of_height(config, height) for height in heights(config, tall)]
        if not choices:
            return None
        start = max(sum(size[0] <= start_at for size in choices) - 1, 0)
        cores = self.look(with_size(config, choices[start]), delays)[1]
        expected = choices[start][0] * sqrt(self.cores / cores)  # cores grow with the pixels
        guess = sum(size[0] <= expected for size in choices) - 1
        index = last_that_fits(len(choices), lambda i: self.look(with_size(config, choices[i]), delays)[0], guess)
        return None if index < 0 else choices[index]


def _one_step(config: Config) -> Config:
    return config.model_copy(update={"model": config.model.model_copy(update={"steps": 1})})
