"""What to change about a network that does not fit a system: each change is placed, none is guessed.

One thing at a time: how skips wait, how up-sampled stages are stored, the system, the images' size, the widths, the
blocks; size and widths together where none of them is enough. With relays, all of it is also tried with delay neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import hw_configs
from export.pipeline import LAYOUTS
from hw_configs import System
from neuroseg.commands.candidate import Candidate
from neuroseg.commands.variants import (
    Trials,
    arguments,
    blocks_of,
    heights,
    last_that_fits,
    scaled_widths,
    size_of_height,
    widths_of,
    with_blocks,
    with_size,
    with_widths,
)
from neuroseg.config import Config

NEARLY = 1.25  # times the cores that there are: up to here another layout may be enough
BOTH_FACTORS = (1 / 16, 1 / 12, 1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4)
Row = dict[str, Any]


def changes(found: Candidate, layout: str) -> list[Row]:
    """Rows with the keys what, arguments (of `neuroseg fit`), fits, cores, chips; those that fit first.

    found   does not fit
    """
    search = _Search(found, layout)
    given = found.delays.mode
    rows = [*search.other_delays(), *search.other_layouts(), *search.other_systems()]
    for mode in dict.fromkeys((given, "neuron") if given == "relay" else (given,)):
        fits, cores = search.trials.look(search.config, mode)
        if not fits and (mode == given or cores < found.placement.cores):
            rows += search.smaller(mode)
    return sorted(rows, key=lambda row: not row["fits"])


class _Search:
    def __init__(self, found: Candidate, layout: str) -> None:
        self.found = found
        self.config = found.untrained.config
        self.mode = found.delays.mode
        self.trials = Trials(found.system, layout)
        self.usable = int(found.system.needed("usable_cores_per_chip"))

    def row(self, what: str, config: Config, mode: str, *, layout: str | None = None) -> Row:
        """One change, placed."""
        fits, cores = self.trials.look(config, mode, layout)
        options = [] if mode == self.mode else ["--delays", mode]
        options += [] if layout is None else ["--layout", layout]
        return self._row(what, [*arguments(self.config, config), *options], fits, cores)

    def _row(self, what: str, changed: list[str], fits: bool, cores: int) -> Row:
        return {"what": what, "arguments": changed, "fits": fits, "cores": cores, "chips": -(-cores // self.usable)}

    def other_delays(self) -> list[Row]:
        """Other ways of waiting, those that take fewer cores than the ones before."""
        words = {"relay": "relays", "neuron": "delay neurons", "auto": "delay neurons where they are fewer"}
        rows, fewest = [], self.found.placement.cores
        for mode in words:
            row = self.row(words[mode], self.config, mode)
            if row["cores"] < fewest:
                rows.append(row)
                fewest = row["cores"]
        return rows

    def other_layouts(self) -> list[Row]:
        """Other layouts, where one might be enough: all fits but for a few cores, or a population fits no core."""
        if self.found.placement.fits and self.found.placement.cores > NEARLY * self.trials.cores:
            return []
        names = [name for name in LAYOUTS if name != self.trials.layout]
        rows = [self.row(f"layout {name}", self.config, self.mode, layout=name) for name in names]
        return [row for row in rows if row["fits"]]

    def other_systems(self) -> list[Row]:
        """The smallest known system of the same chip that has the cores; none helps where a population fits no core."""
        if not self.found.placement.fits:
            return []
        known = [hw_configs.load_system(name) for name in hw_configs.available_systems()]
        known = [system for system in known if system.chip == self.found.system.chip]
        cores = self.found.placement.cores
        enough = [system for system in known if _cores(system) >= cores]
        if not enough:
            return []
        system = min(enough, key=_cores)
        chips = int(system.needed("chips"))
        row = self._row(f"{system.name}, {chips:,} chips", ["--system", system.name], True, cores)
        return [row | {"chips": -(-cores // int(system.needed("usable_cores_per_chip")))}]

    def smaller(self, mode: str) -> list[Row]:
        """Smaller images, fewer channels, fewer blocks: of each the least change that fits."""
        rows = [self._smaller_images(mode), self._narrower(mode), self._fewer_blocks(mode)]
        if not any(row and row["fits"] for row in rows):
            rows.append(self._images_and_widths(mode))
        return [row for row in rows if row]

    def _share(self, mode: str) -> float:
        """Part of its cores that the system has."""
        return self.trials.cores / self.trials.look(self.config, mode)[1]

    def _smaller_images(self, mode: str) -> Row | None:
        tall = self.config.data.size[0]
        choices = [with_size(self.config, size_of_height(self.config, h)) for h in heights(self.config, tall - 1)]
        expected = tall * min(1.0, self._share(mode)) ** 0.5
        return self._least_change("smaller images", choices, mode, lambda c: c.data.size[0] <= expected)

    def _narrower(self, mode: str) -> Row | None:
        widths = widths_of(self.config)
        if not widths:
            return None
        factors = sorted(
            {eighths / 8 for eighths in range(1, 8)} | {2.0**-k for k in range(min(widths).bit_length() + 1)}
        )
        choices = [with_widths(self.config, scaled_widths(self.config, factor)) for factor in factors]
        expected = sum(widths) * min(1.0, self._share(mode))
        return self._least_change("fewer channels", choices, mode, lambda c: sum(widths_of(c)) <= expected)

    def _fewer_blocks(self, mode: str) -> Row | None:
        blocks = blocks_of(self.config)
        if not blocks:
            return None
        choices = [with_blocks(self.config, tuple(min(b, most) for b in blocks)) for most in range(max(blocks))]
        return self._least_change("fewer blocks", choices, mode, lambda c: False)

    def _images_and_widths(self, mode: str) -> Row | None:
        if not widths_of(self.config):
            return None
        multiple, tall = self.config.model.multiple, self.config.data.size[0]
        choices = []
        for factor in BOTH_FACTORS:
            narrow = with_widths(self.config, scaled_widths(self.config, factor))
            fitting = [h for h in heights(self.config, tall) if h <= max(tall * factor, multiple)]
            choices.append(
                with_size(narrow, size_of_height(self.config, max(fitting, default=heights(self.config, tall)[0])))
            )
        expected = tall * min(1.0, self._share(mode)) ** (1 / 3)
        return self._least_change("smaller images, fewer channels", choices, mode, lambda c: c.data.size[0] <= expected)

    def _least_change(
        self, what: str, choices: Sequence[Config], mode: str, expected: Callable[[Config], bool]
    ) -> Row | None:
        """The largest choice that fits; where none does, the smallest, with its cores."""
        choices = [c for c in dict.fromkeys(choices) if c != self.config]
        guess = max((i for i, c in enumerate(choices) if expected(c)), default=0)
        index = last_that_fits(len(choices), lambda i: self.trials.look(choices[i], mode)[0], guess)
        return self.row(what, choices[max(index, 0)], mode) if choices else None


def _cores(system: System) -> int:
    return int(system.needed("chips")) * int(system.needed("usable_cores_per_chip"))
