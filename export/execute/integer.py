"""The integer executor: the quantised graph, layer by layer over all steps and samples, without any delay.

A feed-forward graph needs no time-major loop: every population's T steps are computed at once from its sources' T
steps. Spikes and sums are freed after their last consumer. Samples are independent and start from zero state, which is
what staggered resets give on Lava.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.errors import DataError
from export.execute.neuron import Extremes, lif
from export.execute.synapse import fingerprint, synaptic_sum
from export.graph import LINES, Graph, Population, to_logical, to_physical

Spikes = dict[str, NDArray[np.uint8]]


def run_integer(
    graph: Graph,
    inputs: Mapping[str, NDArray[np.generic]],
    *,
    populations: Sequence[str] | None = None,
    batch: int = 8,
    extremes: dict[str, Extremes] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Spikes:
    """Run N samples.

    inputs       input population -> spikes (N, T, C, H, W) in {0, 1}, or the constant bias (N, C, H, W) of a driven input
    populations  whose spikes to return (default: all but relays and delay neurons)
    batch        samples computed together: bounds memory
    extremes     filled, per population, with the ranges of sums, currents and membranes that were seen
    returns      population -> uint8 (N, T, C, H, W), logical order
    raises       DataError where an input is missing or has another shape
    """
    samples = check_inputs(graph, inputs)
    wanted = set(
        populations if populations is not None else (p.name for p in graph.populations.values() if p.kind not in LINES)
    )
    parts: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in graph.populations if name in wanted}
    for first in range(0, samples, batch):
        chunk = {name: values[first : first + batch] for name, values in inputs.items()}
        for name, spikes in _run_batch(graph, chunk, extremes):
            if name in wanted:
                parts[name].append(to_logical(spikes.numpy(), graph.populations[name].layout))
        if on_progress is not None:
            on_progress(min(first + batch, samples), samples)
    return {name: np.concatenate(part) for name, part in parts.items()}


def check_inputs(graph: Graph, inputs: Mapping[str, NDArray[np.generic]]) -> int:
    """Number of samples; DataError where an input is missing, unknown, of another shape or not binary."""
    names = {p.name for p in graph.inputs}
    if set(inputs) != names:
        raise DataError(f"the network's inputs are {sorted(names)}; given were {sorted(inputs)}.")
    for population in graph.inputs:
        values = inputs[population.name]
        wanted = population.shape if population.lif else (graph.steps, *population.shape)
        if values.shape[1:] != wanted:
            raise DataError(
                f"input '{population.name}' has shape {values.shape}; expected (N, {', '.join(map(str, wanted))})."
            )
        if population.lif is not None and not np.issubdtype(values.dtype, np.integer):
            raise DataError(
                f"input '{population.name}' is driven by a bias of {values.dtype}; integers are needed: round it."
            )
        if population.lif is None and not np.isin(values, (0, 1)).all():
            raise DataError(
                f"input '{population.name}' must hold spikes 0 or 1; found {values.min()} to {values.max()}."
            )
    counts = {len(values) for values in inputs.values()}
    if len(counts) != 1:
        raise DataError(f"inputs hold different numbers of samples: {sorted(counts)}.")
    return counts.pop()


def input_spikes(population: Population, values: NDArray[np.generic], steps: int) -> NDArray[np.uint8]:
    """Spikes (N, T, C, H, W), logical, of an input: as given, or from the constant bias (N, C, H, W) that drives it."""
    if population.lif is None:
        return values.astype(np.uint8)
    bias = torch.from_numpy(values.astype(np.int32))
    silence = torch.zeros((len(values), steps, *population.shape), dtype=torch.int32)
    spikes: NDArray[np.uint8] = lif(silence, population.lif, bias).numpy()
    return spikes


def _run_batch(
    graph: Graph, inputs: Mapping[str, NDArray[np.generic]], extremes: dict[str, Extremes] | None
) -> Iterator[tuple[str, Tensor]]:
    """Yield (population, physical spikes (N, T, C, H, W)) in topological order."""
    prints = {p.name: fingerprint(p, _origin(graph, p.source)) for p in graph.projections}
    uses = Counter(prints.values())
    readers = Counter(p.source for p in graph.projections)
    spikes: dict[str, Tensor] = {}
    sums: dict[str, Tensor] = {}
    for population in graph.populations.values():
        if population.kind == "input":
            given = input_spikes(population, inputs[population.name], graph.steps)
            out = torch.from_numpy(to_physical(given, population.layout))
        elif population.kind in LINES:
            out = spikes[graph.into(population.name)[0].source]
        else:
            out = _fire(graph, population, spikes, sums, prints, uses, extremes)
        for projection in graph.into(population.name):
            readers[projection.source] -= 1
            if not readers[projection.source]:
                del spikes[projection.source]
        if readers[population.name]:
            spikes[population.name] = out
        yield population.name, out


def _origin(graph: Graph, name: str) -> str:
    """The population whose spikes a relay or delay neuron repeats, so that sums behind different taps are computed once."""
    while graph.populations[name].kind in LINES:
        name = graph.into(name)[0].source
    return name


def _fire(
    graph: Graph,
    population: Population,
    spikes: Mapping[str, Tensor],
    sums: dict[str, Tensor],
    prints: Mapping[str, str],
    uses: Counter[str],
    extremes: dict[str, Extremes] | None,
) -> Tensor:
    """One population: the sum of what its projections deliver, then the neuron."""
    total: Tensor | None = None
    for projection in graph.into(population.name):
        key = prints[projection.name]
        if key not in sums:
            source = spikes[projection.source]
            flat = synaptic_sum(projection, source.flatten(0, 1))
            sums[key] = flat.view(source.shape[0], source.shape[1], *flat.shape[1:])
        total = sums[key] if total is None else total + sums[key]
        uses[key] -= 1
        if not uses[key]:
            del sums[key]
    assert total is not None and population.lif is not None
    seen = None
    if extremes is not None:
        seen = extremes.setdefault(population.name, Extremes())
        seen.see("a", total)
    bias = population.physical_bias()
    shaped = None
    if bias is not None:
        shaped = torch.from_numpy(bias.astype(np.int32))
        shaped = shaped if shaped.ndim == 3 else shaped[:, None, None]
    return lif(total, population.lif, shaped, seen)
