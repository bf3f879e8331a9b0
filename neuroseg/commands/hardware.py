"""`neuroseg hw`: the facts about chips, systems and costs, with their evidence."""

from __future__ import annotations

from typing import Any

import hw_configs
from hw_configs import Chip, HardwareConfig, Quantity, System
from neuroseg.commands.console import say, show

COLUMNS = ("key", "value", "range", "unit", "evidence", "source")


def list_hardware() -> dict[str, Any]:
    """Chips with their cost sets, systems and sets of coefficients that are installed (JSON-ready)."""
    chips = [hw_configs.load(name) for name in hw_configs.available()]
    systems = [hw_configs.load_system(name) for name in hw_configs.available_systems()]
    coefficients = [hw_configs.load_coefficients(name) for name in hw_configs.available_coefficients()]
    return {
        "schema_version": 1,
        "chips": [{**_head(c), "cores": _number(c.cores), "cost_sets": list(c.costs)} for c in chips],
        "systems": [
            {
                **_head(s),
                "chip": s.chip,
                "chips": _number(s.chips),
                "usable_cores_per_chip": _number(s.usable_cores_per_chip),
            }
            for s in systems
        ],
        "coefficients": [_head(c) for c in coefficients],
    }


def show_list(content: dict[str, Any]) -> None:
    """The same as a table."""
    rows = [(c["name"], "chip", c["description"]) for c in content["chips"]]
    rows += [(s["name"], f"system of {s['chip']}", s["description"]) for s in content["systems"]]
    rows += [
        (name, "costs", f"what an operation of {c['name']} takes: pJ and ns")
        for c in content["chips"]
        for name in c["cost_sets"]
    ]
    rows += [(c["name"], "coefficients", c["description"]) for c in content["coefficients"]]
    show("hardware", ("name", "kind", "what it is"), rows)
    say("neuroseg hw show NAME lists the facts of one. NAME may be the path of a YAML file of your own.")


def read_hardware(name_or_path: str) -> dict[str, Any]:
    """Every fact of a chip, a system, a set of costs or of coefficients (JSON-ready).

    raises  HardwareConfigError for a name that is unknown, or a file that is wrong
    """
    chip = _chip_with_costs(name_or_path)
    config = chip or hw_configs.load_any(name_or_path)
    leaves = config.leaves()
    if chip:
        leaves = {key: leaf for key, leaf in leaves.items() if key.startswith(f"costs.{name_or_path}.")}
    return {
        "schema_version": 1,
        "kind": "costs" if chip else type(config).__name__.lower(),
        **_head(config),
        **({"chip": config.chip} if isinstance(config, System) else {}),
        "file": config.file,
        "facts": [{"key": key, **leaf.model_dump(mode="json"), "value": _number(leaf)} for key, leaf in leaves.items()],
    }


def show_hardware(content: dict[str, Any]) -> None:
    """The same as a table."""
    rows = [_cells(fact) for fact in content["facts"]]
    show(f"{content['name']} ({content['kind']}): {content['description']}", COLUMNS, rows)
    if "chip" in content:
        say(f"its chip: {content['chip']}")
    say(f"file: {content['file']}")


def _head(config: HardwareConfig) -> dict[str, Any]:
    return {"name": config.name, "description": config.description}


def _number(quantity: Quantity) -> float | None:
    """The value; 128 rather than 128.0."""
    value = quantity.value
    return int(value) if value is not None and value.is_integer() else value


def _chip_with_costs(name: str) -> Chip | None:
    """The installed chip that has a set of costs of this name."""
    return next((chip for chip in map(hw_configs.load, hw_configs.available()) if name in chip.costs), None)


def _cells(fact: dict[str, Any]) -> tuple[str, ...]:
    value = "unknown" if fact["value"] is None else f"{fact['value']:,.10g}"
    interval = "" if fact["range"] is None else " to ".join(f"{end:,.10g}" for end in fact["range"])
    unit = "" if fact["unit"] == "1" else fact["unit"]
    return fact["key"], value, interval, unit, fact["evidence"] or "", fact["source"]
