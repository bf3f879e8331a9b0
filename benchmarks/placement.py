"""Hops of all placing methods side by side, in one run: `python -m benchmarks.placement`.

Networks have random weights, whose normalisations have seen embedded images once, so that neurons fire; rates are measured
on two other such images. Prints a table and writes benchmarks/results/placement.json. Takes about a minute.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import hw_configs
from benchmarks.networks import benchmark_config
from export.execute.integer import run_integer
from export.mapping.hops import Hops, measure_hops
from export.mapping.locate import METHODS, locate
from export.mapping.traffic import Traffic, assumed_activity, count_packets, measured_activity
from export.pipeline import Compiled, compile_module
from neuroseg.data import DigitsOnPhotos
from neuroseg.models import build_model, record_spikes

RESULT = Path(__file__).parent / "results" / "placement.json"
NETWORKS = (("mfs-nano", 11, "oheo_gulch"), ("demo", 2, "kapoho_point"), ("mfs-small", 11, "kapoho_point"))
SEEDS = (1, 2)  # of the search, beside the usual 0
RATE = 0.2  # spikes per neuron and step, where rates are assumed
OTHER = "best, placed by an assumed rate"
COLUMNS = ("hops", "of_sequential", "of_hilbert", "of_lower_bound", "inter_chip", "busiest_link", "chips", "time_s")


def main() -> None:
    """Place, count, print, write."""
    networks = [measure(*network) for network in NETWORKS]
    console = Console(width=150)
    for network in networks:
        console.print(table(network))
    RESULT.parent.mkdir(exist_ok=True)
    content = {"schema_version": 1, "rates": "measured, random weights, 2 embedded images", "networks": networks}
    RESULT.write_text(json.dumps(content, indent=1) + "\n")
    print(f"wrote benchmarks/results/{RESULT.name}")


def measure(name: str, classes: int, system_name: str) -> dict[str, Any]:
    """All methods on one network."""
    system = hw_configs.load_system(system_name)
    compiled, traffic, guess = compile_and_count(name, classes)
    hops, seconds = {}, {}
    for method in METHODS:
        start = time.perf_counter()
        location = locate(traffic, system, method)
        seconds[method] = time.perf_counter() - start
        hops[method] = measure_hops(traffic, location, system)
    others = [measure_hops(traffic, locate(traffic, system, seed=seed), system).hops for seed in SEEDS]
    start = time.perf_counter()
    location = locate(guess, system)
    hops[OTHER], seconds[OTHER] = measure_hops(traffic, location, system), time.perf_counter() - start
    return {
        "network": name,
        "system": system_name,
        "cores": compiled.placement.cores,
        "packets": traffic.total,
        "lower_bound": hops["best"].lower_bound,
        "best_hops_other_seeds": others,
        "methods": {method: row(found, hops, seconds[method]) for method, found in hops.items()},
    }


def compile_and_count(name: str, classes: int) -> tuple[Compiled, Traffic, Traffic]:
    """A network that fires, its traffic with measured rates, and with one rate assumed for all."""
    config = benchmark_config(name)
    height, width = config.data.size
    photos = DigitsOnPhotos("test", (height, width), 2, 10, seed=3)
    images = torch.stack([photos[i][0] for i in range(10)])
    model = build_model(config.model, classes, 0)
    with torch.no_grad():
        model.train()(images[2:])
    compiled = compile_module(model.eval(), (3, height, width))
    graph = compiled.graph
    _, spikes = record_spikes(model, images[:2])
    inputs = {p.name: spikes[p.name] for p in graph.inputs}
    measured = measured_activity({**run_integer(graph, inputs), **inputs})
    counted = (count_packets(graph, compiled.placement, a) for a in (measured, assumed_activity(graph, RATE)))
    return compiled, *counted


def row(found: Hops, hops: dict[str, Hops], seconds: float) -> dict[str, float]:
    """Figures of one method."""
    return {
        "hops": found.hops,
        "of_sequential": round(found.hops / hops["sequential"].hops, 3),
        "of_hilbert": round(found.hops / hops["hilbert"].hops, 3),
        "of_lower_bound": round(found.times_lower_bound, 2),
        "inter_chip": found.inter_chip,
        "busiest_link": found.busiest_link,
        "chips": found.chips,
        "time_s": round(seconds, 2),
    }


def table(network: dict[str, Any]) -> Table:
    """Methods of one network, a row each."""
    title = f"{network['network']} on {network['system']}: {network['cores']} cores, {network['packets']:,.0f} packets per sample"
    shown = Table("method", *(column.replace("_", " ") for column in COLUMNS), title=title)
    for method, figures in network["methods"].items():
        values = (figures[c] for c in COLUMNS)
        shown.add_row(method, *(f"{v:,.0f}" if v > 1000 else f"{v:g}" for v in values))
    seeds = ", ".join(f"{v:,.0f}" for v in network["best_hops_other_seeds"])
    shown.caption = f"lower bound {network['lower_bound']:,.0f}; best with seeds {SEEDS}: {seeds}"
    return shown


if __name__ == "__main__":
    main()
