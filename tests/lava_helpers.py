"""Small quantised, delay-balanced graphs whose populations all fire, for the tests of NetX files and of Lava."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from export.graph import MEMORYLESS, Conv, Dense, Graph, Lif, Population, Projection, Sparse

RELAY = Lif(v_th=32, **MEMORYLESS)


def even(rng: np.random.Generator, *shape: int, spread: int = 60) -> np.ndarray:
    """Even integers in [-2 spread, 2 spread]."""
    return rng.integers(-spread, spread + 1, shape) * 2


def relay(name: str, source: str, shape: tuple[int, int, int]) -> tuple[Population, Conv]:
    """A population that repeats its source one step later, and its identity synapse."""
    weight = np.full((shape[0], 1, 1, 1), 62)
    return Population(name, "relay", shape, RELAY), Conv(f"{name}<", source, name, weight, groups=shape[0])


def residual_graph(seed: int = 1, steps: int = 4) -> Graph:
    """Stem, two residual blocks with unrolled fan-in over relays, and a head: arrivals up to more than 2 T.

    Maps are wider than high and kernels are not symmetric, so that a swapped or flipped axis cannot pass.
    """
    rng = np.random.default_rng(seed)
    c, shape = 4, (4, 10, 12)
    lif = Lif(60, 4096, 3072)
    populations: dict[str, Population] = {"x": Population("x", "input", shape)}
    projections: list[Projection] = []
    arrivals = {"x": 1}
    terms: list[tuple[str, np.ndarray, int]] = [("x", even(rng, c, c, 3, 3), 1)]  # source, kernel, arrival

    def add(name: str, feeds: list[tuple[str, np.ndarray, int]], groups: int, arrival: int) -> None:
        channels = feeds[0][1].shape[0]
        bias = rng.integers(-20, 20, channels)
        populations[name] = Population(name, "lif", (channels, *shape[1:]), lif, bias)
        arrivals[name] = arrival
        for source, kernel, emitted in feeds:
            source = tap(source, arrival - 1 - emitted)
            padding = (kernel.shape[2] // 2, kernel.shape[3] // 2)
            projections.append(Conv(f"{source}>{name}", source, name, kernel, padding=padding, groups=groups))

    def tap(source: str, delay: int) -> str:
        for k in range(delay):
            name = f"{source}.relay[{k}]"
            before = source if k == 0 else f"{source}.relay[{k - 1}]"
            if name not in populations:
                populations[name], projection = relay(name, before, populations[source].shape)
                projections.append(projection)
                arrivals[name] = arrivals[before] + 1
        return source if delay == 0 else f"{source}.relay[{delay - 1}]"

    for block in range(2):
        first = max(arrival for _, _, arrival in terms) + 1
        add(f"b{block}.a", terms, 1, first)
        add(f"b{block}.b", [(f"b{block}.a", even(rng, 2 * c, c, 1, 1), first)], 1, first + 1)
        add(f"b{block}.c", [(f"b{block}.b", even(rng, 2 * c, 1, 3, 3), first + 1)], 2 * c, first + 2)
        terms = [*terms, (f"b{block}.c", even(rng, c, 2 * c, 1, 1), first + 2)]
    last = max(arrival for _, _, arrival in terms) + 1
    add("out", terms, 1, last)
    add("head", [("out", even(rng, 3, c, 1, 1), last)], 1, last + 1)
    return Graph(_by_arrival(populations, arrivals), tuple(projections), ("head",), steps, arrivals)


def mixed_graph(seed: int = 2, steps: int = 4) -> Graph:
    """Every synapse and kind: strided conv, OR, AND, space-to-depth layout, sparse interleave, dense with a delay."""
    rng = np.random.default_rng(seed)
    lif, tight = Lif(50, 3000, 3072), Lif(40, **MEMORYLESS)
    populations = [
        Population("x", "input", (2, 8, 6)),
        Population("down", "lif", (3, 4, 3), lif, rng.integers(-10, 30, 3)),
        Population("or", "or", (2, 4, 3), Lif(8, **MEMORYLESS)),
        Population("up", "lif", (3, 8, 6), lif, rng.integers(0, 20, (3, 8, 6)), layout=2),
        Population("and", "and", (2, 4, 3), tight),
        Population("full", "interleave", (3, 8, 6), RELAY),
        Population("class", "lif", (5, 1, 1), Lif(120, 4096, 1024), rng.integers(-5, 5, 5)),
    ]
    arrivals = {"x": 1, "down": 2, "or": 2, "up": 3, "and": 3, "full": 4, "class": 5}
    pool = np.full((2, 1, 2, 2), 10)
    identity = np.full((2, 1, 1, 1), 30)
    projections: list[Projection] = [
        Conv("p0", "x", "down", even(rng, 3, 2, 3, 3), (2, 2), (1, 1)),
        Conv("p1", "x", "or", pool, (2, 2), groups=2),
        Conv("p2", "down", "up", even(rng, 12, 3, 3, 3), padding=(1, 1), origin="up.conv"),
        Conv("p3", "x", "up", even(rng, 12, 2, 4, 4), (2, 2), (1, 1), delay=1),
        Conv("p4", "or", "and", identity, groups=2),
        Conv("p5", "down", "and", np.array([[20, 20, 0], [0, 20, 20]])[..., None, None]),
        Sparse("p6", "up", "full", interleave(3, 4, 3), (3, 8, 6)),
        Dense("p7", "full", "class", even(rng, 5, 144, spread=30)),
        Dense("p8", "and", "class", even(rng, 5, 24), delay=1),
    ]
    return Graph({p.name: p for p in populations}, tuple(projections), ("class", "full"), steps, arrivals)


def interleave(channels: int, height: int, width: int) -> csr_matrix:
    """Depth-to-space of factor 2 as weights of 62: rows (C, 2H, 2W), columns (4C, H, W)."""
    places = np.arange(channels * 4 * height * width).reshape(channels, 2, 2, height, width)
    columns = places.transpose(0, 3, 1, 4, 2).reshape(-1)
    return csr_matrix((np.full(columns.size, 62), (np.arange(columns.size), columns)))


def chain_graph(seed: int = 3, steps: int = 6) -> Graph:
    """Input, two convs (stride, groups, dilation), two dense layers: plain NetX."""
    rng = np.random.default_rng(seed)
    lif = Lif(60, 4096, 3072)
    populations = [
        Population("in", "input", (2, 9, 7)),
        Population("net.c1", "lif", (4, 5, 4), lif, rng.integers(-10, 30, 4)),
        Population("net.c2", "lif", (6, 3, 2), lif, rng.integers(-10, 30, (6, 3, 2))),
        Population("net.d1", "lif", (8, 1, 1), Lif(60, 2048, 1024), rng.integers(-10, 30, 8)),
        Population("net.d2", "lif", (3, 1, 1), lif),
    ]
    projections: list[Projection] = [
        Conv("s1", "in", "net.c1", even(rng, 4, 2, 3, 3), (2, 2), (1, 1)),
        Conv("s2", "net.c1", "net.c2", even(rng, 6, 2, 2, 2), dilation=(2, 2), groups=2),
        Dense("s3", "net.c2", "net.d1", even(rng, 8, 36), origin="shared"),
        Dense("s4", "net.d1", "net.d2", even(rng, 3, 8)),
    ]
    arrivals = {p.name: i + 1 for i, p in enumerate(populations)}
    return Graph({p.name: p for p in populations}, tuple(projections), ("net.d2",), steps, arrivals)


def spikes_for(graph: Graph, samples: int, seed: int = 0, rate: float = 0.3) -> dict[str, np.ndarray]:
    """Random spikes (N, T, C, H, W) for every input."""
    rng = np.random.default_rng(seed)
    return {p.name: (rng.random((samples, graph.steps, *p.shape)) < rate).astype(np.uint8) for p in graph.inputs}


def field_differences(left: Graph, right: Graph) -> list[str]:
    """Every field in which two graphs differ, order included."""
    found = [f for f in ("outputs", "steps") if getattr(left, f) != getattr(right, f)]
    readouts = [(g.readout.weight, g.readout.bias) if g.readout else (None, None) for g in (left, right)]
    found += ["readout"] if not all(_equal(a, b) for a, b in zip(*readouts, strict=True)) else []
    found += ["arrivals"] if dict(left.arrivals) != dict(right.arrivals) else []
    found += ["population names"] if list(left.populations) != list(right.populations) else []
    found += ["projection count"] if len(left.projections) != len(right.projections) else []
    mine, theirs = ([*g.populations.values(), *g.projections] for g in (left, right))
    for a, b in zip(mine, theirs, strict=False):
        found += [f"{a.name}: type"] if type(a) is not type(b) else []
        found += [f"{a.name}.{key}" for key, value in vars(a).items() if not _equal(value, vars(b).get(key))]
    return found


def _equal(a: object, b: object) -> bool:
    if isinstance(a, csr_matrix):
        return (
            isinstance(b, csr_matrix)
            and a.shape == b.shape
            and all(_equal(getattr(a, k), getattr(b, k)) for k in ("data", "indices", "indptr"))
        )
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    return bool(a == b)


def _by_arrival(populations: dict[str, Population], arrivals: dict[str, int]) -> dict[str, Population]:
    return {name: populations[name] for name in sorted(populations, key=lambda n: arrivals[n])}


def without(graph: Graph, **changes: object) -> Graph:
    """A graph with some fields replaced."""
    return replace(graph, **changes)  # type: ignore[arg-type]  # any field of Graph


def stock_network(path: Path, x: np.ndarray, graph: Graph, folder: Path) -> list[np.ndarray]:
    """Spikes (N*T, neurons) of every block as lava-dl's loader computes them, cut to the streamed samples."""
    np.save(folder / "x.npy", x.reshape(-1, *x.shape[2:]))
    script = Path(__file__).with_name("lava_stock_network.py")
    command = [sys.executable, str(script), str(path), str(folder / "x.npy"), str(folder / "y.npz"), str(graph.steps)]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    arrivals = list(graph.arrivals.values())[1:]
    with np.load(folder / "y.npz") as stored:
        return [
            stored[f"arr_{i}"][first - 1 : first - 1 + len(x) * graph.steps].astype(np.uint8)
            for i, first in enumerate(arrivals)
        ]
