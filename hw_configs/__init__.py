"""Hardware facts, each with unit, range, evidence and source.

    chip = load("loihi2")                 # or a path to a YAML file of the same schema
    chip.core.neurons.value               # 4095
    chip.costs["loihi2_range"]["synop_energy"].range

Other packages read hardware constants from here and nowhere else.
"""

from hw_configs.chip import Chip, Quantity
from hw_configs.reader import HardwareConfigError, available, load

__all__ = ["Chip", "HardwareConfigError", "Quantity", "available", "load"]
