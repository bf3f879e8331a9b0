"""Find, read and validate a hardware config."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from hw_configs.chip import Chip, Coefficients

_CHIPS = Path(__file__).parent / "chips"
_COEFFICIENTS = Path(__file__).parent / "coefficients"
_Model = TypeVar("_Model", bound=BaseModel)


class HardwareConfigError(ValueError):
    """A hardware config that is unknown, unreadable or wrong: the message names the file, the key and the fix.

    A ValueError of its own, since this package depends on no other of ours; the CLI shows it as it stands.
    """


def available() -> tuple[str, ...]:
    """Names of the chips that are installed with the package."""
    return _names(_CHIPS)


def available_coefficients() -> tuple[str, ...]:
    """Names of the coefficient sets that are installed with the package."""
    return _names(_COEFFICIENTS)


def load(name_or_path: str | Path) -> Chip:
    """A chip, by its name ('loihi2') or by the path of a YAML file. Raises HardwareConfigError."""
    return _read(_locate(name_or_path, _CHIPS), Chip)


def load_coefficients(name_or_path: str | Path) -> Coefficients:
    """A set of coefficients, by its name ('horowitz45nm') or by the path of a YAML file. Raises HardwareConfigError."""
    return _read(_locate(name_or_path, _COEFFICIENTS), Coefficients)


def _names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def _read(path: Path, model: type[_Model]) -> _Model:
    """A validated YAML file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HardwareConfigError(f"hardware config '{path}' cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise HardwareConfigError(f"hardware config '{path}' is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise HardwareConfigError(f"hardware config '{path}' must be a mapping of keys, not {type(content).__name__}.")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise HardwareConfigError(_explain(path, error)) from error


def _locate(name_or_path: str | Path, folder: Path) -> Path:
    """The file behind a name or a path."""
    text = str(name_or_path)
    if text in _names(folder):
        return folder / f"{text}.yaml"
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return path
    raise HardwareConfigError(
        f"unknown hardware config '{text}': use one of {', '.join(_names(folder))}, or the path of a .yaml file."
    )


def _explain(path: Path, error: ValidationError) -> str:
    """One line per wrong key: its dotted path, what is wrong, what stood there."""
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        given = problem["input"] if isinstance(problem["input"], str | int | float | None) else "a block"
        lines.append(f"  {key}: {problem['msg']} (found: {given})")
    return f"hardware config '{path}' is wrong:\n" + "\n".join(lines)
