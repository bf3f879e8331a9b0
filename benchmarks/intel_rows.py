"""Our resource model beside Intel's compiler, row by row, with Intel's own tiles.

    python benchmarks/intel_rows.py [--write]     the tables of docs/explanation/mapping-to-loihi2.md

Where a notebook's weights are not in reach, synaptic words are Intel's own and only the other columns are ours.
"""

from __future__ import annotations

import sys
from pathlib import Path
from sysconfig import get_paths
from typing import Any

import numpy as np
import yaml

import hw_configs
from export.graph import Conv, Dense, Graph, Lif, Population, Projection
from export.mapping.partition import place
from export.mapping.placement import Cut, Placement
from export.netx.read import read_for_mapping

ROWS = Path(__file__).with_suffix(".yaml")
PAGE = Path(__file__).parent.parent / "docs/explanation/mapping-to-loihi2.md"
MARKS = {
    name: (f"<!-- {name}: python benchmarks/intel_rows.py --write -->", f"<!-- /{name} -->")
    for name in ("rows", "cuts")
}
NETX = Path(get_paths()["purelib"]) / "tests/lava/lib/dl/netx"
MEMORIES = ("words", "axon_in", "axon_map", "axon_mem")
COLUMNS = ("neurons", *MEMORIES)


def compare(network: dict[str, Any]) -> tuple[Placement, list[dict[str, Any]]]:
    """The placement with Intel's tiles, and per row  column -> (Intel's, ours), both as printed; ours None: not known."""
    graph = _stored(network) if network["weights"] else _drawn(network)
    names = [name for name, p in graph.populations.items() if p.kind != "input" or p.lif is not None]
    tiles = {name: tuple(row["tile"]) for name, row in zip(names, network["rows"], strict=True)}
    placement = place(graph, hw_configs.load("loihi2"), tiles=tiles)
    cuts = placement.cuts.values()
    return placement, [_row(network, row, cut, placement) for row, cut in zip(network["rows"], cuts, strict=True)]


def tables() -> str:
    """Markdown: a table per network, and how many figures agree."""
    text, agree, all_figures = [], 0, 0
    for network in yaml.safe_load(ROWS.read_text(encoding="utf-8")):
        placement, rows = compare(network)
        unit = "" if network["unit"] == "count" else ", in % of a core's limits"
        total = sum(row["cores"] for row in network["rows"])
        text += [
            f"**{network['network']}** ({network['source']}{unit}): {total} cores, ours with these tiles {placement.cores}.",
            "",
        ]
        columns = list(rows[0])
        text += [f"| layer | cores | tile x, y, c | {' | '.join(c.replace('_', ' ') for c in columns)} |"]
        text += ["|" + " --- |" * (len(columns) + 3)]
        for given, row in zip(network["rows"], rows, strict=True):
            cells = [given["layer"], str(given["cores"]), ", ".join(map(str, given["tile"]))]
            text.append(f"| {' | '.join(cells + [_cell(*pair) for pair in row.values()])} |")
            known = [pair for pair in row.values() if pair[1] is not None]
            agree, all_figures = agree + sum(a == b for a, b in known), all_figures + len(known)
        text.append("")
    head = f"{agree} of {all_figures} figures agree to the last digit. Where one differs, the cell reads *Intel's* / *ours*."
    return "\n".join([head, "", *text])


def _row(network: dict[str, Any], row: dict[str, Any], cut: Cut, placement: Placement) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in (*COLUMNS, "pool"):
        if name in row:
            ours = None if name == "words" and not network["weights"] else _printed(network, row, cut, placement, name)
            found[name] = (row[name], ours)
    return found


def _printed(network: dict[str, Any], row: dict[str, Any], cut: Cut, placement: Placement, name: str) -> float:
    """Our figure as Intel's compiler would print it."""
    limits = placement.limits
    if name == "pool":  # Intel's words, our other memories
        parts = [_printed(network, row, cut, placement, m) if m != "words" else row["words"] for m in MEMORIES]
        neurons = _printed(network, row, cut, placement, "neurons")
        assert limits.pool is not None
        return round(limits.pool.memory_share * sum(parts) + limits.pool.neuron_share * neurons, 2)
    load = cut.load.of(name)
    assert load is not None
    if network["unit"] == "percent":
        cap = limits.cap(name)
        assert cap
        return round(100 * float(load.flat[0]) / cap, 2)
    whole_tile = name == "neurons" and not row["layer"].startswith("Dense")
    return int(load.max() if whole_tile else load.mean())


def _cell(intel: float, ours: float | None) -> str:
    if ours is None:
        return f"{intel:,}"
    return f"{intel:,}" if intel == ours else f"{intel:,} / {ours:,}"


def _stored(network: dict[str, Any]) -> Graph:
    return read_for_mapping(NETX / network["weights"]).graph


def _drawn(network: dict[str, Any]) -> Graph:
    """The network's shapes with weights of 1."""
    shape = tuple(network["input"])
    populations = {"input": Population("input", "input", shape)}
    projections: list[Projection] = []
    source = "input"
    for i, row in enumerate(network["rows"]):
        target, out = f"layer{i}", int(row["layer"].split()[1])
        inputs = populations[source].shape
        projection: Projection
        if "kernel" in row:
            weight = np.ones((out, inputs[0], row["kernel"], row["kernel"]), dtype=np.int32)
            projection = Conv(f"p{i}", source, target, weight, tuple(row["stride"]), tuple(row["padding"]))
        else:
            projection = Dense(f"p{i}", source, target, np.ones((out, int(np.prod(inputs))), dtype=np.int32))
        populations[target] = Population(target, "lif", projection.output_shape(inputs), Lif(1, 4096, 4095))
        projections.append(projection)
        source = target
    return Graph(populations, tuple(projections), (source,), 1)


def cuts() -> str:
    """Markdown: the cuts that we choose for the trained PilotNet-LIF beside Intel's."""
    network = yaml.safe_load(ROWS.read_text(encoding="utf-8"))[0]
    ours = place(_stored(network), hw_configs.load("loihi2"))
    theirs = compare(network)[0]
    text = ["| layer | cores Intel | cores ours | least | tile Intel | tile ours | pool Intel | pool ours | binds |"]
    text += ["|" + " --- |" * 9]
    for row, own, other in zip(network["rows"], ours.cuts.values(), theirs.cuts.values(), strict=True):
        tiles = [", ".join(map(str, cut.tile)) for cut in (other, own)]
        pools = [f"{_fullest(cut):.0%}" for cut in (other, own)]
        cells = [row["layer"], str(other.cores), str(own.cores), str(own.least), *tiles, *pools, own.binding]
        text.append(f"| {' | '.join(cells)} |")
    packets = [sum(cut.packets for cut in placement.cuts.values()) for placement in (theirs, ours)]
    text += [f"| **total** | **{theirs.cores}** | **{ours.cores}** | **{ours.least}** | | | | | |", ""]
    text += [f"If every neuron fires once, {packets[1]:,} packets arrive with our cuts, {packets[0]:,} with Intel's."]
    return "\n".join(text)


def _fullest(cut: Cut) -> float:
    assert cut.load.pool is not None
    return float(cut.load.pool.max())


def main() -> None:
    """Print the tables, or write them into the page."""
    made = {"rows": tables(), "cuts": cuts()}
    if "--write" not in sys.argv:
        print("\n".join(made.values()))
        return
    page = PAGE.read_text(encoding="utf-8")
    for name, text in made.items():
        start, end = MARKS[name]
        before, _, rest = page.partition(start)
        page = f"{before}{start}\n\n{text.strip()}\n\n{end}{rest.partition(end)[2]}"
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
