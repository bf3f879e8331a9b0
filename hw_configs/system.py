"""The schema of a system: how many chips of which kind, and how they stand. Leaves are those of a chip."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hw_configs.chip import Chip
from hw_configs.quantity import Chips, Cores, HardwareConfig, Neurons, Power


class System(HardwareConfig):
    """Equal chips that work together.

    chip                   name of a chip config, or the path of a YAML file; in a file, a path is relative to it
    chips                  of the system
    cores                  of all chips, usable or not
    usable_cores_per_chip  that a network may be placed on
    chip_columns           chips from west to east: how far apart two chips are follows from it and chip_rows
    chip_rows              chips from north to south
    neurons                of the whole system, as its maker states it; no limit of the partitioner's
    max_power              of the whole system
    """

    chip: Annotated[str, Field(min_length=1)]
    chips: Chips
    cores: Cores
    usable_cores_per_chip: Cores
    chip_columns: Chips
    chip_rows: Chips
    neurons: Neurons
    max_power: Power


def contradictions(system: System, chip: Chip) -> list[str]:
    """What in a system's file cannot be, given its chip: a line per key. Nulls contradict nothing."""
    chips, cores, usable = system.chips.value, system.cores.value, system.usable_cores_per_chip.value
    columns, rows, physical = system.chip_columns.value, system.chip_rows.value, chip.cores.value
    found = []
    if chips and cores and physical and cores > chips * physical:
        found.append(f"cores: {cores:,.0f} are more than {chips:,.0f} chips of {physical:,.0f} cores have")
    if usable and physical and usable > physical:
        found.append(f"usable_cores_per_chip: {usable:,.0f} are more than the {physical:,.0f} cores of {chip.name}")
    elif chips and cores and usable and chips * usable > cores:
        found.append(f"usable_cores_per_chip: {chips:,.0f} chips of {usable:,.0f} are more than the {cores:,.0f} cores")
    if chips and columns and rows and columns * rows < chips:
        found.append(
            f"chip_columns: {columns:,.0f} columns of {rows:,.0f} chips (chip_rows) do not hold {chips:,.0f} chips"
        )
    return found
