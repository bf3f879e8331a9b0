"""Hardware facts, each with unit, range, evidence and source.

    chip = load("loihi2")                 # or a path to a YAML file of the same schema
    chip.core.neurons.value               # 4095
    chip.costs["loihi2_range"]["synop_energy"].range
    system = load_system("kapoho_point")  # 8 chips
    system.needed("chips")                # 8.0; an error that names file and key where the file says null
    load(system.chip)                     # its chip
    load_coefficients("horowitz45nm").mac_energy.value   # 4.6

Other packages read hardware constants from here and nowhere else.
"""

from hw_configs.chip import Chip, Coefficients
from hw_configs.errors import HardwareConfigError
from hw_configs.quantity import HardwareConfig, Quantity
from hw_configs.reader import (
    available,
    available_coefficients,
    available_systems,
    load,
    load_any,
    load_coefficients,
    load_system,
)
from hw_configs.system import System

__all__ = [
    "Chip",
    "Coefficients",
    "HardwareConfig",
    "HardwareConfigError",
    "Quantity",
    "System",
    "available",
    "available_coefficients",
    "available_systems",
    "load",
    "load_any",
    "load_coefficients",
    "load_system",
]
