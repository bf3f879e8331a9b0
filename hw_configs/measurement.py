"""The schema of a measurement: what was measured on silicon of a network that can be run here, too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError

from hw_configs.errors import HardwareConfigError
from hw_configs.quantity import Cores, Energy, Evidence, Frozen, HardwareConfig, Power, Share, Steps, Time

_FOLDER = Path(__file__).parent / "measurements"
Count = Annotated[int, Field(gt=0)]


class Row(Frozen):
    """How one population was cut: tile (x, y, c), and what a core then held."""

    population: str
    cores: Count
    tile: tuple[Count, Count, Count]
    neurons_per_core: Count
    words_per_core: int


class Mapping(Frozen):
    """How the network was spread over cores when it was measured."""

    evidence: Evidence
    source: Annotated[str, Field(min_length=1)]
    rows: tuple[Row, ...]


class Measurement(HardwareConfig):
    """A network on a chip, measured; per sample of `steps` steps. Every leaf with evidence and source, unknown is null."""

    chip: str
    network: str  # path of the network's file below site-packages
    image: str  # path of its recorded input there
    steps: Steps
    cores: Cores
    synops: Share  # per sample
    step_time: Time
    dynamic_energy: Energy
    total_energy: Energy
    static_power: Power
    total_power: Power
    mapping: Mapping


def available_measurements() -> tuple[str, ...]:
    """Names of the measurements that are installed with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_measurement(name: str) -> Measurement:
    """A measurement by its name ('pilotnet_lif'). Raises HardwareConfigError."""
    path = _FOLDER / f"{name}.yaml"
    if name not in available_measurements():
        raise HardwareConfigError(f"unknown measurement '{name}': use one of {', '.join(available_measurements())}.")
    try:
        return Measurement.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        raise HardwareConfigError(f"measurement '{path}' is wrong: {error}") from error
