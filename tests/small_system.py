"""Systems and chips smaller than those that exist, written as a user would write them."""

import json
from pathlib import Path

import yaml

import hw_configs


def write_system(folder: Path, cores: int, *, name="mine", chip="loihi2", **core) -> Path:
    """A system of one chip with `cores` usable cores; `core` are other limits of a core (None: unknown), in a chip of its own."""
    content = _plain(hw_configs.load_system("oheo_gulch")) | {"name": name, "chip": chip}
    content["usable_cores_per_chip"] |= {"value": cores}
    if core:
        content["chip"] = "chip.yaml"
        write_chip(folder / "chip.yaml", **core)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def write_chip(path: Path, **core) -> None:
    """loihi2 with other limits of a core."""
    content = _plain(hw_configs.load("loihi2")) | {"name": "little"}
    for key, value in core.items():
        evidence = None if value is None else "estimate"
        content["core"][key] |= {"value": value, "range": None, "evidence": evidence}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def _plain(config) -> dict:
    return json.loads(config.model_dump_json())
