"""Hardware facts, each with unit, range, evidence and source.

    chip = load("loihi2")                 # or a path to a YAML file of the same schema
    chip.core.neurons.value               # 4095
    chip.costs["loihi2_range"]["synop_energy"].range
    load_coefficients("horowitz45nm").mac_energy.value   # 4.6

Other packages read hardware constants from here and nowhere else.
"""

from hw_configs.chip import Chip, Coefficients, Quantity
from hw_configs.reader import HardwareConfigError, available, available_coefficients, load, load_coefficients

__all__ = [
    "Chip",
    "Coefficients",
    "HardwareConfigError",
    "Quantity",
    "available",
    "available_coefficients",
    "load",
    "load_coefficients",
]
