"""PilotNet-LIF against what Intel measured of it: energy and time of a frame, from the loaded network and its mapping.

    .venv/bin/python benchmarks/pilotnet_anchor.py

The trained file that lava-dl installs is run on its recorded image by the integer executor. That gives the spikes, and so
the synops of every layer, core and step; scaled to the published synops per frame they give energy and step time, with
our mapping and with the tiles of Intel's compiler. No constant is fitted: all costs are those of `hw_configs`.
Writes benchmarks/results/pilotnet_anchor.json, and the two tables of docs/explanation/time-and-energy.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from sysconfig import get_paths
from typing import Any

import numpy as np

import hw_configs
from export.graph import Graph
from export.mapping.coefficients import LEVELS
from export.mapping.cost import Cost, cost
from export.mapping.hops import Hops, measure_hops
from export.mapping.locate import locate
from export.mapping.partition import place
from export.mapping.placement import Placement
from export.mapping.traffic import Traffic, count_packets, measured_activity
from export.mapping.work import Work, complete, measure, work_of
from export.netx.read import read_netx
from hw_configs.measurement import Measurement, load_measurement

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "pilotnet_anchor.json"
PAGE = ROOT / "docs" / "explanation" / "time-and-energy.md"
SYSTEM = "oheo_gulch"  # one chip, as measured


@dataclass(frozen=True, eq=False)
class Anchor:
    """One mapping of the network, and what it does on the recorded image."""

    measured: Measurement
    graph: Graph
    placement: Placement
    work: Work
    traffic: Traffic
    hops: Hops
    spikes: dict[str, Any]

    @property
    def scale(self) -> float:
        """Published synops over ours; packets are scaled alike."""
        assert self.measured.synops.value is not None
        return self.measured.synops.value / self.work.synops_per_sample

    def cost(self, scaled: bool = True, chip: hw_configs.Chip | None = None) -> Cost:
        """Cost of a frame, at the published activity or as run; `chip`: with other coefficients."""
        chip = chip or self.placement.chip
        if not scaled:
            return cost(self.work, chip, None, self.traffic, self.hops)
        traffic = replace(
            self.traffic, packets=self.traffic.packets * self.scale, local=self.traffic.local * self.scale
        )
        counts = ("packets", "hops_east_west", "hops_north_south", "inter_chip", "between_chips", "busiest_link")
        hops = replace(self.hops, **{name: getattr(self.hops, name) * self.scale for name in counts})
        return cost(self.work.scaled(self.scale), chip, None, traffic, hops)


def load_anchor(tiles: str) -> Anchor:
    """PilotNet-LIF with 'our' tiles or 'intel' ones, run on its recorded image."""
    measured = load_measurement("pilotnet_lif")
    folder = Path(get_paths()["purelib"])
    graph = read_netx(folder / measured.network)
    chip = hw_configs.load(measured.chip)
    intel = {row.population: row.tile for row in measured.mapping.rows}
    placement = place(graph, chip, tiles=intel if tiles == "intel" else None)
    image = np.load(folder / measured.image).transpose(2, 1, 0)[None]  # (X, Y, C) -> (1, C, H, W)
    [driven] = graph.inputs
    spikes = complete(graph, {driven.name: image}, {})
    work = work_of(graph, placement, measure(graph, placement, spikes))
    traffic = count_packets(graph, placement, measured_activity(spikes))
    system = hw_configs.load_system(SYSTEM)
    hops = measure_hops(traffic, locate(traffic, system, "sequential" if tiles == "intel" else "best"), system)
    return Anchor(measured, graph, placement, work, traffic, hops, spikes)


def layers(anchor: Anchor) -> list[dict[str, Any]]:
    """One row per population: its cores and its share of the work, as run."""
    synops, bill = anchor.work.core_synops, anchor.cost().energy
    rows = []
    for name, cut in anchor.placement.cuts.items():
        own = slice(cut.first, cut.first + cut.cores)
        rows.append(
            {
                "population": name,
                "cores": cut.cores,
                "tile": list(cut.tile),
                "neurons": anchor.graph.populations[name].neurons,
                "firing_rate": float(anchor.spikes[name].mean()),
                "synops_per_frame": float(synops[own].sum()),
                "most_synops_of_a_core": float(synops[own].max()),
                "least_synops_of_a_core": float(synops[own].min()),
                "scaled_synops_per_frame": float(synops[own].sum()) * anchor.scale,
                "scaled_energy_j": {level: float(bill.cores[level][own].sum()) for level in LEVELS},
            }
        )
    return rows


def summary(anchor: Anchor) -> dict[str, Any]:
    """One mapping, at both activities, with its ratios to the measurement."""
    assert anchor.measured.dynamic_energy.value is not None and anchor.measured.step_time.value is not None
    energy_j, step_s = anchor.measured.dynamic_energy.value * 1e-12, anchor.measured.step_time.value * 1e-9
    content: dict[str, Any] = {"cores": anchor.placement.cores, "fits": anchor.placement.fits}
    for name, scaled in (("published_activity", True), ("own_activity", False)):
        found = anchor.cost(scaled).to_json()
        content[name] = {
            "synops_per_frame": anchor.work.synops_per_sample * (anchor.scale if scaled else 1.0),
            **found,
            "dynamic_energy_to_measured": {x: found["dynamic_energy_j"][x] / energy_j for x in LEVELS},
            "step_time_to_measured": {x: found["step_time_s"][x] / step_s for x in LEVELS},
            "overlapped_step_time_to_measured": {x: found["overlapped_step_time_s"][x] / step_s for x in LEVELS},
            "slowest_step_time_to_measured": {x: found["slowest_step_time_s"][x] / step_s for x in LEVELS},
        }
    traffic = {"packets": anchor.traffic.total, "hops": anchor.hops.hops, "busiest_link": anchor.hops.busiest_link}
    return content | {"own_traffic": traffic, "populations": layers(anchor)}


def show(activity: str, found: dict[str, Any]) -> None:
    """Print the figures of one activity."""
    print(f"  {activity}: {found['synops_per_frame'] / 1e6:.2f} M synops per frame")
    rows = [("dynamic_energy", "_j", 1e3, "mJ")]
    rows += [(f"{kind}step_time", "_s", 1e6, "us") for kind in ("", "overlapped_", "slowest_")]
    for key, suffix, factor, unit in rows:
        values = ", ".join(f"{level} {found[key + suffix][level] * factor:.4g}" for level in LEVELS)
        print(f"    {key}: {values} {unit}; nominal / measured {found[key + '_to_measured']['nominal']:.3f}")
    bound, packets = found["step_bound_by"]["nominal"], found["busiest_link_packets_per_step"]
    print(f"    bound by {bound} of core {found['slowest_core']}; {packets:,.0f} packets per step on the busiest link")


def tables(content: dict[str, Any]) -> dict[str, str]:
    """Markdown of the documentation, from what the result file holds: name -> table."""
    ours, intel = (content["mappings"][tiles] for tiles in ("ours", "intel"))
    measured = {key: leaf["value"] for key, leaf in content["measured"].items()}
    energy, step = measured["dynamic_energy"] * 1e-9, measured["step_time"] * 1e-3  # mJ, us

    def cells(key: str, suffix: str, factor: float) -> list[str]:
        found = [one["published_activity"] for one in (ours, intel)]
        spans = [[f[key + suffix][level] * factor for level in LEVELS] for f in found]
        ratios = [f[key + "_to_measured"]["nominal"] for f in found]
        return [
            f"{n:.4g} ({low:.3g} to {high:.3g}); {r:.2f} of it" for (low, n, high), r in zip(spans, ratios, strict=True)
        ]

    rows = [
        ["", "measured", "our mapping", "the tiles of Intel's compiler"],
        ["---"] * 4,
        ["cores", f"{measured['cores']:.0f}", str(ours["cores"]), str(intel["cores"])],
        ["dynamic energy per frame, mJ", f"{energy:.4g}", *cells("dynamic_energy", "_j", 1e3)],
        ["time of a step, mean, us", f"{step:.4g}", *cells("step_time", "_s", 1e6)],
        ["the same, if a core's terms overlap", "", *cells("overlapped_step_time", "_s", 1e6)],
        ["slowest of the 16 steps, us", "", *cells("slowest_step_time", "_s", 1e6)],
    ]
    layers = [["population", "cores", "rate", "synops, own run", "synops, scaled", "energy, scaled, mJ"], ["---"] * 6]
    for row in ours["populations"]:
        layers.append(
            [
                row["population"],
                str(row["cores"]),
                f"{row['firing_rate']:.3f}",
                f"{row['synops_per_frame']:,.0f}",
                f"{row['scaled_synops_per_frame']:,.0f}",
                f"{row['scaled_energy_j']['nominal'] * 1e3:.4f}",
            ]
        )
    totals = (sum(row[f"{kind}synops_per_frame"] for row in ours["populations"]) for kind in ("", "scaled_"))
    joules = sum(row["scaled_energy_j"]["nominal"] for row in ours["populations"]) * 1e3
    layers.append(["**all**", str(ours["cores"]), "", *(f"{total:,.0f}" for total in totals), f"{joules:.4f}"])
    return {name: "\n".join(f"| {' | '.join(r)} |" for r in t) for name, t in (("anchor", rows), ("layers", layers))}


def write_tables(content: dict[str, Any]) -> None:
    """Put the tables between their marks in the documentation."""
    text = PAGE.read_text(encoding="utf-8")
    for name, table in tables(content).items():
        start, end = f"<!-- {name}: made by benchmarks/pilotnet_anchor.py -->\n", f"\n<!-- end of {name} -->"
        before, rest = text.split(start)
        text = before + start + "\n" + table + "\n" + end + rest.split(end)[1]
    PAGE.write_text(text, encoding="utf-8")


def main() -> None:
    """Both mappings beside the measurement."""
    anchors = {tiles: load_anchor(tiles) for tiles in ("ours", "intel")}
    measured = anchors["ours"].measured
    content = {
        "schema_version": 1,
        "measured": {key: quantity.model_dump(mode="json") for key, quantity in measured.leaves().items()},
        "mappings": {tiles: summary(anchor) for tiles, anchor in anchors.items()},
    }
    RESULT.write_text(json.dumps(content, indent=1) + "\n")
    write_tables(content)
    for tiles, one in content["mappings"].items():
        print(f"{tiles}: {one['cores']} cores")
        for activity in ("published_activity", "own_activity"):
            show(activity, one[activity])
    print(f"wrote {RESULT.relative_to(ROOT)} and {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
