"""Reading, changing, checking and writing configs."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from export.errors import UsageError
from neuroseg.config.data import KINDS, data_name
from neuroseg.config.data_section import AugmentConfig
from neuroseg.config.models import FAMILIES, model_family
from neuroseg.config.schema import Config
from neuroseg.config.train import TrainConfig

# Section -> its kinds by tag; the first is what a section without a tag is.
SECTIONS: dict[str, dict[str, type[BaseModel]]] = {
    "data": {data_name(kind): kind for kind in KINDS},
    "model": {model_family(kind): kind for kind in FAMILIES},
    "train": {"": TrainConfig},
}
TAGS = {"data": "name", "model": "family"}


def shipped_configs() -> list[str]:
    """Names of the configs that come with the package."""
    return _names_in(_shipped_folder())


def shipped_schedules() -> list[str]:
    """Names of the train sections that come with the package, for `train: NAME` and `train=NAME`."""
    return _names_in(_shipped_folder() / "schedules")


def load_config(path_or_name: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, or a shipped config by its name, and apply `key.sub=value` overrides (values are YAML).

    A `train` section may be the name of a shipped schedule; overrides of its keys apply on top of it.
    Raises UsageError naming the file, the key and the fix.
    """
    text, source = _text_of(path_or_name)
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from None
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise UsageError(
            f"{source} holds a {type(tree).__name__}; a config is a mapping of {', '.join(Config.model_fields)}"
        )
    _fill_schedule(tree, source)
    return _overridden(tree, overrides, source)


def changed(config: Config, overrides: Sequence[str]) -> Config:
    """The config with the overrides of `load_config`. Raises UsageError naming the key and the fix."""
    return _overridden(config.model_dump(mode="json"), overrides, f"config '{config.name}'")


def _overridden(tree: dict[str, Any], overrides: Sequence[str], source: str) -> Config:
    for override in overrides:
        _apply(tree, override)
        _fill_schedule(tree, f"override '{override}'")
    return validate(tree, source)


def validate(tree: dict[str, Any], source: str) -> Config:
    """A checked Config from plain data; `source` says in errors where the data came from."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(dict(problem)) for problem in error.errors()]
        raise UsageError(f"{source}: " + "; ".join(lines)) from None


def dump_config(config: Config) -> str:
    """YAML text from which `load_config` gives an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _shipped_folder() -> Any:
    return resources.files("neuroseg") / "configs"


def _names_in(folder: Any) -> list[str]:
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def _fill_schedule(tree: dict[str, Any], source: str) -> None:
    """Put the content of a shipped schedule where the tree has its name."""
    name = tree.get("train")
    if not isinstance(name, str):
        return
    if name not in shipped_schedules():
        raise UsageError(f"{source}: no schedule is called '{name}'; shipped are: {', '.join(shipped_schedules())}")
    tree["train"] = yaml.safe_load((_shipped_folder() / "schedules" / f"{name}.yaml").read_text(encoding="utf-8"))


def _text_of(path_or_name: str | Path) -> tuple[str, str]:
    path = Path(path_or_name)
    try:
        if path.is_file():
            return path.read_text(encoding="utf-8"), str(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"config '{path}' cannot be read: {error}") from None
    name = str(path_or_name).removesuffix(".yaml")
    if name in shipped_configs():
        return (_shipped_folder() / f"{name}.yaml").read_text(encoding="utf-8"), f"config '{name}'"
    raise UsageError(
        f"config '{path_or_name}' is neither a file nor a shipped config; shipped are: {', '.join(shipped_configs())}"
    )


def _apply(tree: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        raise UsageError(f"override '{override}' is not of the form key.sub=value, for example train.epochs=5")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"override '{override}': the value is not valid YAML") from None
    *parents, key = dotted.strip().split(".")
    for parent in parents:
        child = tree.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UsageError(f"override '{override}': '{parent}' is a value, not a section")
        tree = child
    tree[key] = value


def _explain(problem: dict[str, Any]) -> str:
    location = [str(part) for part in problem["loc"]]
    tagged = len(location) > 1 and location[0] in TAGS and location[1] in SECTIONS[location[0]]
    kind = location.pop(1) if tagged else ""  # which kind of section it is; not a key
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        return _explain_unknown(location, kind)
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] in ("value_error", "section_kind"):
        return f"{key}: {message}" if key else message
    return f"{key} = {problem['input']!r}: {message[:1].lower()}{message[1:]}"


def _explain_unknown(location: list[str], kind: str) -> str:
    *parents, key = location
    section = _section_type(parents, kind)
    prefix = ".".join([*parents, ""])
    valid = [prefix + name for name in section.model_fields]
    # The right key in the wrong section comes before a similar one in this section.
    moved = [known for known in _all_keys() if known.rpartition(".")[2] == key and known != prefix + key]
    close = moved or [prefix + name for name in get_close_matches(key, section.model_fields, n=1)]
    if prefix + key in _all_keys() and kind:
        hint = f"{prefix}{TAGS[parents[0]]} = {kind} has {', '.join(valid)}"
    else:
        hint = f"did you mean '{close[0]}'?" if close else f"valid keys are {', '.join(valid)}"
    return f"unknown key '{prefix}{key}'; {hint}"


def _section_type(parents: list[str], kind: str) -> type[BaseModel]:
    if not parents:
        return Config
    if parents == ["data", "augment"]:
        return AugmentConfig
    kinds = SECTIONS[parents[0]]
    return kinds.get(kind) or next(iter(kinds.values()))


def _all_keys() -> list[str]:
    nested = [
        f"{name}.{key}" for name, kinds in SECTIONS.items() for kind in kinds.values() for key in kind.model_fields
    ]
    return list(dict.fromkeys([*Config.model_fields, *nested]))
