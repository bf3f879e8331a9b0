"""Ways to compute what the integer executor computes, beside the ones it takes: `python -m benchmarks.executor_ways`.

One thread, processor time, each row's sides in turn, ratios of medians: ADR 013 quotes them. Nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median
from unittest.mock import patch

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.speed.networks import network, random_spikes, stage
from export.execute import deliver
from export.execute.deliver import prepare
from export.execute.integer import _write, run_integer
from export.execute.logical import Logical
from export.execute.neuron import fire, lif
from export.execute.synapse import synaptic_sum
from export.graph import Conv, Graph, Lif, Population
from export.passes.fold_norm import fold_norm
from export.passes.lower import lower
from export.passes.quantize import quantize
from export.passes.trace import trace

ROUNDS, SAMPLES, STEPS = 7, 4, 5
CPU = torch.device("cpu")
Sides = dict[str, Callable[[], object]]


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    for name, sides in (*convolutions(), neurons(), handing_on(), *networks()):
        seconds = in_turn(sides)
        ours = next(iter(seconds))
        rest = ", ".join(f"{side} {seconds[side] / seconds[ours]:.2f}" for side in seconds if side != ours)
        print(f"{name}: {ours} 1 ({seconds[ours] * 1e3:.2f} ms), {rest}", flush=True)


def in_turn(sides: Sides) -> dict[str, float]:
    """Median processor time of each side."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(ROUNDS + 1):
        for name, run in sides.items():
            start = time.process_time()
            run()
            if turn:
                taken[name].append(time.process_time() - start)
    return {name: median(values) for name, values in taken.items()}


def convolutions() -> Iterator[tuple[str, Sides]]:
    """Of 10 maps of 60x80: as many as the executor takes at a time on such a stage."""
    for ins, outs, kernel, groups in ((32, 64, 1, 1), (64, 64, 3, 64), (64, 32, 1, 1), (32, 32, 3, 1)):
        rng = np.random.default_rng(0)
        weight = rng.integers(-128, 128, (outs, ins // groups, kernel, kernel)) * 2
        conv = Conv("c", "x", "y", weight, padding=(kernel // 2, kernel // 2), groups=groups)
        maps = torch.from_numpy((rng.random((2 * STEPS, 60, 80, ins)) < 0.2).astype(np.uint8))
        ends = Population("x", "input", (ins, 60, 80)), Population("y", "lif", (outs, 60, 80), Lif(9, 4096, 0))
        run, floats = prepare(conv, *ends, CPU), deliver._FloatConv(conv, torch.float32, CPU)
        planes, held = maps.permute(0, 3, 1, 2).float().contiguous(), torch.from_numpy(weight).float()
        halves = floats.weight.bfloat16()
        yield (
            f"conv {ins}->{outs} {kernel}x{kernel}, groups {groups}",
            {
                "taken": lambda r=run, m=maps: r(m, None),
                "float32 channels last": lambda r=floats, m=maps: r(m, None),
                "float32 channels first": lambda x=planes, w=held, c=conv: F.conv2d(
                    x, w, None, 1, c.padding, 1, c.groups
                ),
                "bfloat16, rounded": lambda m=maps, w=halves, c=conv: F.conv2d(
                    m.permute(0, 3, 1, 2).bfloat16(), w, None, 1, c.padding, 1, c.groups
                ),
            },
        )


def neurons() -> tuple[str, Sides]:
    """A population of 64 channels, 60x80."""
    total = torch.randint(-300, 400, (SAMPLES, STEPS, 60, 80, 64), dtype=torch.int32)
    tile = torch.zeros(1024, dtype=torch.int32)
    params = Lif(100, 4096, 3072)
    return "LIF", {"taken": lambda: fire(total, params, tile), "torch operations": lambda: lif(total, params)}


def handing_on() -> tuple[str, Sides]:
    """Spikes of a population of 64 channels, 60x80, from channels last to logical order."""
    maps = torch.randint(0, 2, (SAMPLES, STEPS, 60, 80, 64), dtype=torch.uint8)
    out = torch.empty((SAMPLES, STEPS, 64, 60, 80), dtype=torch.uint8)
    return "handing on", {
        "taken": lambda: _write(maps, out),
        "torch's copy": lambda: out.copy_(maps.permute(0, 1, 4, 2, 3)),
    }


def networks() -> Iterator[tuple[str, Sides]]:
    """The executor as it is, with floats for bytes, with kernels as stored, and one projection after another."""
    for name, (model, size) in (("EFS stage", stage()), *((n, network(n)) for n in ("mfs-nano", "mfs-small"))):
        graph = quantize(lower(fold_norm(trace(model, (3, *size)))))[0]
        spikes = random_spikes(graph, SAMPLES)
        with patch.object(deliver, "bytes_are_fast", lambda: False):
            by_floats = _planned(graph)
        with patch.object(deliver, "logical", _as_stored):
            as_stored = _planned(graph)
        runs: Sides = {
            label: lambda g=g, s=spikes: run_integer(g, s, populations=list(g.outputs), batch=SAMPLES)
            for label, g in (("taken", _planned(graph)), ("float32", by_floats), ("kernels as stored", as_stored))
        }
        yield f"{name}, {SAMPLES} samples", {**runs, "each projection, torch": lambda g=graph, s=spikes: naive(g, s)}


def _as_stored(conv: Conv, layouts: tuple[int, int], *_: object) -> Logical | None:
    return Logical(conv, 1) if layouts == (1, 1) else None


def _planned(graph: Graph) -> Graph:
    """A copy of the graph that ran once, so that its plan stands."""
    copy = replace(graph)
    run_integer(copy, random_spikes(copy, 1), populations=list(copy.outputs))
    return copy


def naive(graph: Graph, spikes: dict[str, np.ndarray]) -> None:
    """The graph in physical layouts, nothing shared, torch operations only; layout 1 inputs."""
    fired = {name: torch.from_numpy(values) for name, values in spikes.items()}
    for name, population in graph.populations.items():
        if population.kind == "input":
            continue
        sums = [synaptic_sum(p, fired[p.source].flatten(0, 1)) for p in graph.into(name)]
        total = torch.stack(sums).sum(0).to(torch.int32).unflatten(0, (-1, graph.steps))
        bias = population.physical_bias()
        push = None if bias is None else torch.from_numpy(bias.astype(np.int32)).view(-1, 1, 1)
        assert population.lif is not None
        fired[name] = lif(total, population.lif, push)


if __name__ == "__main__":
    main()
