"""Where cores are: chips of a system side by side on one plane, each a mesh of routers with a few cores each.

Core `spot` of the system: chip = spot // usable cores per chip; router within the chip = (spot % usable) // cores per
router, west to east, then north to south; chips likewise. How chips are arranged and joined is not published: that
neighbouring chips continue each other's mesh is an assumption, and so every crossing of their borders is counted apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

import hw_configs
from export.errors import UsageError
from hw_configs import System

Spots: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Mesh:
    """Routers of a system.

    columns, rows            routers of one chip
    chips, chip_columns      chips, and how many stand side by side
    usable, per_router       cores of a chip that a network may use; cores of a router
    """

    columns: int
    rows: int
    chips: int
    chip_columns: int
    usable: int
    per_router: int

    @property
    def spots(self) -> int:
        """Cores that a network may use."""
        return self.chips * self.usable

    @property
    def size(self) -> tuple[int, int]:
        """Routers of the plane, (columns, rows)."""
        return self.columns * min(self.chips, self.chip_columns), self.rows * -(-self.chips // self.chip_columns)

    def chip_at(self, spot: Spots) -> tuple[Spots, Spots]:
        """Column and row of each core's chip."""
        chip = spot // self.usable
        return chip % self.chip_columns, chip // self.chip_columns

    def router_at(self, spot: Spots) -> tuple[Spots, Spots]:
        """Column and row of each core's router on the plane."""
        chip_x, chip_y = self.chip_at(spot)
        router = spot % self.usable // self.per_router
        return chip_x * self.columns + router % self.columns, chip_y * self.rows + router // self.columns


@dataclass(frozen=True, eq=False)
class Location:
    """Where every core of a placement is.

    method   how it was found
    spot     (cores,) core of the system; no two are equal
    chips    chips in use
    notes    sentences on what was not done, and on what is assumed
    """

    method: str
    spot: Spots
    chips: int
    notes: tuple[str, ...] = ()


def mesh_of(system: System) -> Mesh:
    """The routers of a system; UsageError naming a number that its config, or its chip's, does not know."""
    chip = hw_configs.load(system.chip)

    def known(owner: str, key: str, value: float | None) -> int:
        if value is None:
            raise UsageError(
                f"hardware config '{owner}' has no value for {key}, so cores cannot be given places on it. "
                f"Write an estimate of {key} into a copy of the file, and give its path."
            )
        return int(value)

    mesh = Mesh(
        known(chip.name, "mesh_columns", chip.mesh_columns.value),
        known(chip.name, "mesh_rows", chip.mesh_rows.value),
        known(system.name, "chips", system.chips.value),
        known(system.name, "chip_columns", system.chip_columns.value),
        known(system.name, "usable_cores_per_chip", system.usable_cores_per_chip.value),
        known(chip.name, "cores_per_router", chip.cores_per_router.value),
    )
    if mesh.usable > mesh.columns * mesh.rows * mesh.per_router:
        raise UsageError(
            f"system '{system.name}' uses {mesh.usable} cores of a chip; the routers of {chip.name} have "
            f"{mesh.columns} x {mesh.rows} x {mesh.per_router}. Correct usable_cores_per_chip or the mesh."
        )
    return mesh
