"""Find, read and validate a hardware config."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from hw_configs.chip import Chip, Coefficients
from hw_configs.errors import HardwareConfigError
from hw_configs.quantity import HardwareConfig, Quantity
from hw_configs.system import System, contradictions

_HERE = Path(__file__).parent
_CHIPS, _SYSTEMS, _COEFFICIENTS = _HERE / "chips", _HERE / "systems", _HERE / "coefficients"
# A key that only files of this kind have.
_KINDS: dict[str, type[HardwareConfig]] = {"core": Chip, "chips": System, "mac_energy": Coefficients}
_Config = TypeVar("_Config", bound=HardwareConfig)


class _Loader(yaml.SafeLoader):
    """A key that stands twice is an error; PyYAML would take the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def available() -> tuple[str, ...]:
    """Names of the chips that are installed with the package."""
    return _names(_CHIPS)


def available_systems() -> tuple[str, ...]:
    """Names of the systems that are installed with the package."""
    return _names(_SYSTEMS)


def available_coefficients() -> tuple[str, ...]:
    """Names of the coefficient sets that are installed with the package."""
    return _names(_COEFFICIENTS)


def load(name_or_path: str | Path) -> Chip:
    """A chip, by its name ('loihi2') or by the path of a YAML file. Raises HardwareConfigError."""
    return _read(_locate(name_or_path, _CHIPS), Chip)


def load_system(name_or_path: str | Path) -> System:
    """A system, by its name ('kapoho_point') or by the path of a YAML file; its chip is loaded, too, to check it.

    `load(system.chip)` is its chip, wherever the file lies. Raises HardwareConfigError, also for a chip that is unknown or
    wrong and for counts that contradict each other or the chip.
    """
    path = _locate(name_or_path, _SYSTEMS)
    system = _read(path, System)
    chip_path = _chip_of(system, path)
    chip = load(chip_path)
    if wrong := contradictions(system, chip):
        raise HardwareConfigError(_listed(path, wrong))
    return system.model_copy(update={"chip": str(chip_path)})


def load_coefficients(name_or_path: str | Path) -> Coefficients:
    """A set of coefficients, by its name ('horowitz45nm') or by the path of a YAML file. Raises HardwareConfigError."""
    return _read(_locate(name_or_path, _COEFFICIENTS), Coefficients)


def load_any(name_or_path: str | Path) -> HardwareConfig:
    """A chip, a system or a set of coefficients, whichever the name or the file is. Raises HardwareConfigError."""
    path = _locate(name_or_path, _CHIPS, _SYSTEMS, _COEFFICIENTS)
    content = _content(path)
    kinds = {kind for key, kind in _KINDS.items() if key in content}
    if len(kinds) != 1:
        raise HardwareConfigError(
            f"hardware config '{path}' is neither clearly a chip, nor a system, nor a set of coefficients: a chip has the key "
            "core, a system the key chips, a set of coefficients the key mac_energy, and each has one of them only."
        )
    (kind,) = kinds
    return load_system(path) if kind is System else _read(path, kind)


def _names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def _content(path: Path) -> dict[Any, Any]:
    """What a YAML file holds, not yet validated."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise HardwareConfigError(f"hardware config '{path}' cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise HardwareConfigError(f"hardware config '{path}' is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise HardwareConfigError(f"hardware config '{path}' must be a mapping of keys, not {type(content).__name__}.")
    return content


def _read(path: Path, model: type[_Config]) -> _Config:
    """A validated YAML file."""
    try:
        config = model.model_validate(_content(path))
    except ValidationError as error:
        raise HardwareConfigError(_explain(path, error)) from error
    config.read_from(str(path))
    return config


def _locate(name_or_path: str | Path, *folders: Path) -> Path:
    """The file behind a name or a path."""
    text = str(name_or_path)
    for folder in folders:
        if text in _names(folder):
            return folder / f"{text}.yaml"
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return path
    names = ", ".join(name for folder in folders for name in _names(folder))
    raise HardwareConfigError(f"unknown hardware config '{text}': use one of {names}, or the path of a .yaml file.")


def _chip_of(system: System, path: Path) -> str | Path:
    """Name of a system's chip, or the path of its file; HardwareConfigError if there is none of it."""
    if system.chip in available():
        return system.chip
    chip = Path(system.chip)
    if chip.suffix in (".yaml", ".yml") and (path.parent / chip).is_file():
        return (path.parent / chip).resolve()  # an absolute path stays as it is
    names = ", ".join(available())
    wrong = f"chip: no such chip; use one of {names}, or the path of a .yaml file, seen from this file (found: {system.chip})"
    raise HardwareConfigError(_listed(path, [wrong]))


def _explain(path: Path, error: ValidationError) -> str:
    """One line per wrong key: its dotted path, what is wrong, what stood there."""
    lines = []
    for problem in error.errors():
        key, message = ".".join(str(part) for part in problem["loc"]), problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "model_type":
            message = f"must be a block of keys, {', '.join(Quantity.model_fields)} for a fact"
        found = f" (found: {problem['input']})" if isinstance(problem["input"], str | int | float | None) else ""
        lines.append(f"{key}: {message}{found}" if key else message)  # a check of the whole file names the key itself
    return _listed(path, lines)


def _listed(path: Path, wrong: list[str]) -> str:
    return f"hardware config '{path}' is wrong:\n" + "\n".join(f"  {line}" for line in wrong)
