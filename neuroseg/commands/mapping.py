"""`neuroseg map`: which cores a network takes, ours or another's, and what binds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hw_configs
from export.bundle import open_bundle
from export.errors import NeurosegError
from export.graph import Graph
from export.mapping.check import faults
from export.mapping.partition import place
from export.mapping.summary import summarise
from export.netx.read import read_for_mapping
from neuroseg.commands.console import say, show
from neuroseg.commands.locating import locate_and_cost, show_location

COLUMNS = ("population", "cores", "tile x,y,c", "neurons", "words", "pool", "binds")


def map_network(
    path: Path,
    system_name: str,
    *,
    verify: bool = True,
    located: bool = False,
    rate: float | None = None,
    costs: str | None = None,
) -> dict[str, Any]:
    """Place a network and check the placement by a recount (JSON-ready: see `export.mapping.summary`).

    path         a NetX file of any neuron model, or a bundle, whose hashes are checked if `verify`
    system_name  a name in `hw_configs`, or the path of a YAML file
    located      also where its cores stand, and what a sample costs there; not for what does not fit
    rate, costs  see `neuroseg.commands.locating.locate_and_cost`
    raises       UsageError, FileFormatError, HardwareConfigError
    """
    system = hw_configs.load_system(system_name)
    graph, cannot_run = _read(path, verify)
    placement = place(graph, hw_configs.load(system.chip))
    for fault in faults(graph, placement):
        raise NeurosegError(f"the placement of '{path}' does not stand a recount: {fault}. This is a bug of neuroseg.")
    result = {**summarise(path.name, graph, placement, system), "cannot_run": list(cannot_run)}
    if located and result["fits"]:
        result["location"] = locate_and_cost(path, graph, placement, system, rate, costs)
    return result


def _read(path: Path, verify: bool) -> tuple[Graph, tuple[str, ...]]:
    """The network of a file or a bundle, and why neuroseg cannot run it, if so."""
    if path.is_dir():
        return open_bundle(path, verify=verify).graph, ()
    foreign = read_for_mapping(path)
    return foreign.graph, foreign.cannot_run


def show_mapping(result: dict[str, Any]) -> None:
    """The same as a table."""
    head = f"{result['network']} on {result['system']}: {_count(result['cores'], 'core')}, {_count(result['chips'], 'chip')}"
    show(head, COLUMNS, [_cells(row) for row in result["populations"]])
    say(f"Loads are those of a population's fullest core. {bound_words(result)}")
    for what in result["unchecked"]:
        say(f"not checked: {what}")
    say(f"not modelled: {'; '.join(result['not_modelled'])}.")
    for reason in result["cannot_run"]:
        say(f"placed, but neuroseg cannot run this network: {reason}")
    for text in (*result["warnings"], *result["findings"]):
        say(text)
    if "location" in result:
        show_location(result["location"])
    unplaced = [row["name"] for row in result["populations"] if not row["fits"]]
    if unplaced:
        say(f"DOES NOT FIT: no core of {result['chip']} holds {', '.join(unplaced[:3])}{' ...' * (len(unplaced) > 3)}.")
        return
    cores, has = result["cores"], result["system_cores"]
    say(f"{'fits' if result['fits'] else 'DOES NOT FIT'}: {cores:,} of {_count(has, 'core')} of {result['system']}.")


def bound_words(result: dict[str, Any]) -> str:
    """The lower bounds in a sentence; nothing where a population cannot be placed, since no count means anything then."""
    if not all(row["fits"] for row in result["populations"]):
        return "Counts mean little while a population fits no core."
    return (
        f"With one population per core no placement takes fewer than {result['lower_bound']:,} cores; if populations could "
        f"share cores, none fewer than {result['lower_bound_shared']:,}."
    )


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    tile, pool = ",".join(map(str, row["tile"])), row["pool_per_core"]
    loads = (row["neurons_per_core"], _known(row["synmem_words_per_core"]), "?" if pool is None else f"{pool:.0%}")
    return row["name"], row["cores"], tile, *loads, row["binding"] if row["fits"] else "DOES NOT FIT"


def _known(value: int | None) -> object:
    return "?" if value is None else value


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
