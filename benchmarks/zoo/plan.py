"""plan.yaml, read and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

PLAN = Path(__file__).parent / "plan.yaml"
Folder = Annotated[str, Field(pattern=r"^[^/]")]  # below the folder of runs
Number = Annotated[int, Field(gt=0)]


class Entry(BaseModel):
    """What is packed, and what cannot be measured: words. All folders are finished RUNs.

    run           whose weights are packed
    seeds         of the same config with other seeds
    ann           the same network with ReLU;  ann_seeds  the same with other seeds
    other_splits  the same network, trained and scored by another protocol
    system        of `neuroseg hw list`; a network that does not fit it is not packed
    licence       of the data;  limits  what a user has to know
    most_drop     what the mIoU may fall by from float to chip at most; a network that loses more is not packed
    vectors       images that firing rates, energy and times are averaged over
    ladder        images of the ladder down to lava-fast;  stock  images for stock Lava
    maps          populations whose spikes are drawn; none: eight of them
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: Folder
    seeds: tuple[Folder, ...] = ()
    ann: Folder | None = None
    ann_seeds: tuple[Folder, ...] = ()
    other_splits: tuple[Folder, ...] = ()
    summary: str
    licence: str
    limits: Annotated[tuple[str, ...], Field(min_length=1)]
    system: str
    most_drop: Annotated[float, Field(ge=0)] = 0.003
    vectors: Number = 8
    ladder: Number = 20
    stock: Number = 2
    maps: tuple[str, ...] = ()

    @property
    def anns(self) -> tuple[str, ...]:
        """The ANN twins, of every seed."""
        return (*([self.ann] if self.ann else []), *self.ann_seeds)

    @property
    def runs(self) -> tuple[str, ...]:
        """Every RUN that is needed."""
        return (self.run, *self.seeds, *self.anns, *self.other_splits)


def read_plan(path: Path = PLAN) -> dict[str, Entry]:
    """Networks by name."""
    tree: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {name: Entry.model_validate(entry) for name, entry in tree.items()}
