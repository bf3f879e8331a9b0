"""What is worked out once per graph and device: packed weights, shared sums, and when a tensor is no longer needed.

The sum that enters a population is known by its deliveries (fingerprints, with repetition). A residual stream that was
unrolled into fan-ins hands one population's deliveries on to the next and adds one: so the finished sum of the one before
is taken over and only the new delivery is added, and time and memory of a stream grow linearly. Integers may be added in
any order. A sum is held in float32 while its bound stays below 2^24, else in int32.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from export.execute.deliver import SUMS, Delivery, patch_bytes, prepare, wide
from export.execute.synapse import EXACT_FLOAT32, fingerprint, largest_sum
from export.graph import LINES, V_TH_SHIFT, Graph, Population, Projection

BIAS_TILE = 1024  # neurons; a bias per channel is repeated to about this length, so that kernels read it in long runs

CACHED_BYTES = 16 << 20  # sums of a population that are written and read again from cache, and no page is new each time
PATCH_BYTES = 4 << 30  # of a GPU's memory, for one convolution


@dataclass(frozen=True, eq=False)
class Term:
    """One delivery into a sum.

    key      its fingerprint
    source   population whose spikes it reads; never a relay or delay neuron, but what that repeats
    wide     it can leave 24 bits by itself
    """

    key: str
    source: str
    deliver: Delivery
    projection: Projection
    wide: bool


@dataclass(frozen=True, eq=False)
class Step:
    """One population's turn.

    base      population whose finished sum this one starts from, or None
    terms     what is added to it
    dtype     of the sum: `SUMS` or int32
    bias      int32, weight units, maps with channels last: (C,), (H, W, C) or None
    tile      the same in state units for the compiled kernel: (block,), repeating, or (H W C,)
    frees     populations whose spikes nobody reads after this turn
    """

    population: Population
    base: str | None
    terms: tuple[Term, ...]
    dtype: torch.dtype
    bias: Tensor | None
    tile: Tensor
    frees: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """Steps in topological order; relays and delay neurons have none.

    origins  population -> the one whose spikes it fires: itself, or what a relay or delay neuron repeats
    chunk    samples computed together: on a processor, those whose largest sums fit its cache; on a GPU, those whose largest
             patches (`HalfConv`) take no more than `PATCH_BYTES`
    uses     how often later steps take a finished sum (by population) or a shared delivery (by key); others: never kept
    read     populations whose spikes some step reads
    """

    steps: tuple[Step, ...]
    origins: Mapping[str, str]
    chunk: int
    uses: Mapping[str, int]
    read: frozenset[str]


_PLANS: WeakKeyDictionary[Graph, dict[str, Plan]] = WeakKeyDictionary()


def plan_of(graph: Graph, device: torch.device) -> Plan:
    """The plan of a graph on a device; made at the first call and kept as long as the graph. It holds copies of the weights."""
    plans = _PLANS.setdefault(graph, {})
    if str(device) not in plans:
        plans[str(device)] = _Planner(graph, device).plan()
    return plans[str(device)]


class _Planner:
    """incoming: population -> (delivery, projection) pairs; sums: population -> its deliveries, counted."""

    def __init__(self, graph: Graph, device: torch.device) -> None:
        self.graph = graph
        self.device = device
        self.origins: dict[str, str] = {}
        self.incoming: dict[str, list[tuple[str, Projection]]] = {name: [] for name in graph.populations}
        for population in graph.populations.values():
            self.origins[population.name] = population.name
        for projection in graph.projections:
            if graph.populations[projection.target].kind in LINES:
                self.origins[projection.target] = projection.source
        for projection in graph.projections:
            layouts = tuple(graph.populations[name].layout for name in (projection.source, projection.target))
            key = f"{fingerprint(projection, self._origin(projection.source))} {layouts}"
            self.incoming[projection.target].append((key, projection))
        self.sums = {
            p.name: Counter(key for key, _ in self.incoming[p.name])
            for p in graph.populations.values()
            if p.kind != "input" and p.kind not in LINES
        }

    def plan(self) -> Plan:
        """Steps, and what they keep for one another."""
        bases = self._bases()
        rest = {name: keys - self.sums[base] if (base := bases[name]) else keys for name, keys in self.sums.items()}
        uses = Counter(base for base in bases.values() if base is not None)
        added = Counter(key for keys in rest.values() for key in keys.elements())
        uses.update({key: count for key, count in added.items() if count > 1})
        terms = self._terms(set(added))
        first = {key: name for name, keys in reversed(rest.items()) for key in keys}  # who computes a shared delivery
        last = {terms[key].source: name for name, keys in rest.items() for key in keys if first[key] == name}
        steps = []
        for name, population in self.graph.populations.items():
            if population.kind in LINES:
                continue
            added_here = tuple(terms[key] for key in rest.get(name, Counter()).elements())
            frees = tuple(source for source, reader in last.items() if reader == name)
            bias, tile = _bias(population, self.device)
            steps.append(Step(population, bases.get(name), added_here, self._dtype(name), bias, tile, frees))
        origins = {name: self._origin(name) for name in self.graph.populations}
        return Plan(tuple(steps), origins, self._chunk(terms.values()), uses, frozenset(last))

    def _chunk(self, terms: Iterable[Term]) -> int:
        if self.device.type == "cpu":
            largest = 4 * self.graph.steps * max(p.neurons for p in self.graph.populations.values())
            return max(1, CACHED_BYTES // largest)
        patches = (patch_bytes(t.deliver, self.graph.populations[t.source].shape) for t in terms)
        largest = self.graph.steps * max(patches, default=0)
        return max(1, PATCH_BYTES // largest) if largest else sys.maxsize

    def _origin(self, name: str) -> str:
        """The population whose spikes a relay or delay neuron repeats, so that sums behind different taps are computed once."""
        while self.origins[name] != name:
            name = self.origins[name]
        return name

    def _bases(self) -> dict[str, str | None]:
        """For every population the earlier one whose sum is the largest part of its own."""
        bases: dict[str, str | None] = {}
        holders: dict[str, list[str]] = {}
        for name, keys in self.sums.items():
            near = dict.fromkeys(other for key in keys for other in holders.get(key, ()))
            parts = [other for other in near if self.sums[other] <= keys]
            bases[name] = max(parts, key=lambda other: self.sums[other].total(), default=None)
            for key in keys:
                holders.setdefault(key, []).append(name)
        return bases

    def _terms(self, wanted: set[str]) -> dict[str, Term]:
        terms: dict[str, Term] = {}
        for incoming in self.incoming.values():
            for key, projection in incoming:
                if key in wanted and key not in terms:
                    source, target = (self.graph.populations[name] for name in (projection.source, projection.target))
                    ready = prepare(projection, source, target, self.device)
                    beyond = wide(projection, source.largest_spike)
                    terms[key] = Term(key, self._origin(projection.source), ready, projection, beyond)
        return terms

    def _dtype(self, name: str) -> torch.dtype:
        into = [(p, self.graph.populations[p.source].largest_spike) for _, p in self.incoming[name]]
        largest = sum(largest_sum(projection) * spike for projection, spike in into)
        narrow = largest < EXACT_FLOAT32 and not any(wide(projection, spike) for projection, spike in into)
        return SUMS if narrow else torch.int32


def _bias(population: Population, device: torch.device) -> tuple[Tensor | None, Tensor]:
    if population.bias is None:
        return None, torch.zeros(BIAS_TILE, dtype=torch.int32, device=device)
    values = np.asarray(population.bias, dtype=np.int32)
    if values.ndim == 3:
        bias = torch.from_numpy(np.ascontiguousarray(values.transpose(1, 2, 0))).to(device)
        return bias, bias.flatten() << V_TH_SHIFT
    bias = torch.from_numpy(values).to(device)
    return bias, bias.repeat(max(1, BIAS_TILE // len(values))) << V_TH_SHIFT
