"""The integer executor: the quantised graph, layer by layer over all steps and samples, without any delay.

A feed-forward graph needs no time-major loop: every population's T steps are computed at once from its sources' T
steps. Spikes and sums are freed after their last consumer. Samples are independent and start from zero state, which is
what staggered resets give on Lava. What is computed how is worked out once per graph (`export.execute.plan`), with copies
of its weights: an array that is changed in place afterwards is not seen, so change a graph by making a new one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.compute.floats import exact_floats
from export.compute.threads import split
from export.errors import DataError
from export.execute.deliver import SUMS, whole
from export.execute.neuron import Extremes, fire, graded, has_kernel, lif
from export.execute.plan import Plan, Step, Term, plan_of
from export.graph import LINES, Graph, Population

Spikes = dict[str, NDArray[np.uint8]]


@torch.inference_mode()
@exact_floats()
def run_integer(
    graph: Graph,
    inputs: Mapping[str, NDArray[np.generic]],
    *,
    populations: Sequence[str] | None = None,
    batch: int = 8,
    device: str = "cpu",
    extremes: dict[str, Extremes] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Spikes:
    """Run N samples.

    graph        must not be changed in place after its first run: its weights are prepared once
    inputs       input population -> spikes (N, T, C, H, W), 0 or 1, or graded; or the constant bias (N, C, H, W) of a driven one
    populations  whose spikes to return (default: all but relays and delay neurons)
    batch        most samples computed together: bounds memory; fewer are where their sums leave the processor's cache
    device       torch device that computes, "cpu" or "cuda"
    extremes     filled, per population, with the ranges of sums, currents and membranes that were seen
    returns      population -> uint8 (N, T, C, H, W), logical order
    raises       DataError where an input is missing or has another shape
    """
    samples = check_inputs(graph, inputs)
    wanted = set(
        populations if populations is not None else (p.name for p in graph.populations.values() if p.kind not in LINES)
    )
    where = torch.device(device)
    plan = plan_of(graph, where)
    found = {
        name: torch.empty((samples, graph.steps, *population.shape), dtype=torch.uint8)
        for name, population in graph.populations.items()
        if name in wanted
    }
    for first in range(0, samples, batch):
        last = min(first + batch, samples)
        for begin in range(first, last, plan.chunk):
            part = slice(begin, min(begin + plan.chunk, last))
            chunk = {name: values[part] for name, values in inputs.items()}
            for name, maps in _run_chunk(graph, plan, chunk, where, extremes):
                for asked in (a for a in found if plan.origins[a] == name):
                    _write(maps, found[asked][part])
        if on_progress is not None:
            on_progress(last, samples)
    return {name: spikes.numpy() for name, spikes in found.items()}


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
        if population.lif is None and not _whole(values, population.largest_spike):
            most = population.largest_spike
            raise DataError(
                f"input '{population.name}' must hold spikes 0 {'or 1' if most == 1 else f'to {most}'}; found {values.min()} to "
                f"{values.max()}."
            )
    counts = {len(values) for values in inputs.values()}
    if len(counts) != 1:
        raise DataError(f"inputs hold different numbers of samples: {sorted(counts)}.")
    return counts.pop()


def _whole(values: NDArray[np.generic], most: int) -> bool:
    """Whether all values are whole numbers from 0 to `most`."""
    if values.dtype in (np.uint8, np.bool_):
        return values.size == 0 or bool(values.max() <= most)
    return bool(np.isin(values, range(most + 1)).all())


def input_spikes(population: Population, values: NDArray[np.generic], steps: int) -> NDArray[np.uint8]:
    """Spikes (N, T, C, H, W), logical, of an input: as given, or from the constant bias (N, C, H, W) that drives it."""
    if population.lif is None:
        return values.astype(np.uint8)
    bias = torch.from_numpy(values.astype(np.int32))
    silence = torch.zeros((len(values), steps, *population.shape), dtype=torch.int32)
    spikes: NDArray[np.uint8] = lif(silence, population.lif, bias).numpy()
    return spikes


def _run_chunk(
    graph: Graph,
    plan: Plan,
    inputs: Mapping[str, NDArray[np.generic]],
    device: torch.device,
    extremes: dict[str, Extremes] | None,
) -> Iterator[tuple[str, Tensor]]:
    """Yield (population, spikes (N, T, H, W, C) uint8) in topological order."""
    spikes: dict[str, Tensor] = {}
    kept = _Kept(plan.uses)
    for step in plan.steps:
        name = step.population.name
        if step.population.kind == "input":
            out = _maps(input_spikes(step.population, inputs[name], graph.steps)).to(device)
        else:
            total = _summed(step, spikes, kept).unflatten(0, (-1, graph.steps))
            out = _fired(step, total, extremes)
            kept.keep(name, total.flatten(0, 1))
            del total
        for source in step.frees:
            del spikes[source]
        if name in plan.read:
            spikes[name] = out
        yield name, out


class _Kept:
    """Sums that later steps take, each until its last use."""

    def __init__(self, uses: Mapping[str, int]) -> None:
        self.left = dict(uses)
        self.sums: dict[str, Tensor] = {}

    def keep(self, key: str, sums: Tensor) -> None:
        """Keep a sum if somebody takes it later."""
        if self.left.get(key):
            self.sums[key] = sums

    def take(self, key: str) -> tuple[Tensor, bool]:
        """A sum, and whether it may be written to: nobody else takes it."""
        self.left[key] -= 1
        return (self.sums[key], False) if self.left[key] else (self.sums.pop(key), True)


def _summed(step: Step, spikes: Mapping[str, Tensor], kept: _Kept) -> Tensor:
    """What all projections into a population deliver: (M, H, W, C), `step.dtype`."""
    total: Tensor | None = None
    if step.base is not None:
        total = _own(*kept.take(step.base), step.dtype)
    for term in step.terms:
        if term.key in kept.left:
            if term.key not in kept.sums:
                kept.keep(term.key, _delivered(term, spikes))
            part, own = kept.take(term.key)
            total = _own(part, own, step.dtype) if total is None else total.add_(part.to(step.dtype))
        elif step.dtype is SUMS:
            total = term.deliver(spikes[term.source].flatten(0, 1), total)
        else:
            part = _delivered(term, spikes).to(torch.int32)
            total = part if total is None else total.add_(part)
    assert total is not None
    return total


def _delivered(term: Term, spikes: Mapping[str, Tensor]) -> Tensor:
    sums = term.deliver(spikes[term.source].flatten(0, 1), None)
    return whole(sums, term.projection) if term.wide else sums


def _own(sums: Tensor, own: bool, dtype: torch.dtype) -> Tensor:
    """Sums that may be written to, in the wanted type."""
    changed = sums.to(dtype)
    return changed if own or changed is not sums else sums.clone()


def _fired(step: Step, total: Tensor, extremes: dict[str, Extremes] | None) -> Tensor:
    """Spikes (N, T, H, W, C) of a population from its sums."""
    assert step.population.lif is not None
    binary = not step.population.thresholds
    if binary and extremes is None and has_kernel(total.device):
        return fire(total, step.population.lif, step.tile)
    total = total.to(torch.int32)
    seen = None
    if extremes is not None:
        seen = extremes.setdefault(step.population.name, Extremes())
        seen.see("a", total)
    if binary:
        return lif(total, step.population.lif, step.bias, seen)
    return graded(total, step.population.lif, step.population.thresholds, step.bias, seen)


def _write(maps: Tensor, out: Tensor) -> None:
    """Copy spikes (N, T, H, W, C) to (N, T, C, H, W), contiguous and on the CPU."""
    rows, columns = maps.flatten(0, 1).flatten(1, 2), out.flatten(0, 1).flatten(2)
    words = torch.iinfo(torch.int64).bits // 8
    if maps.device.type != "cpu" or sys.byteorder != "little" or any(size % words for size in rows.shape[1:]):
        columns.copy_(rows.transpose(1, 2))
        return
    from export.execute.turn_kernel import turn

    given, taken = (x.contiguous().numpy().view(np.uint64) for x in (rows, columns))
    split(lambda first, last: turn(given, taken, first, last), len(given))


def _maps(spikes: NDArray[np.uint8]) -> Tensor:
    """(N, T, C, H, W) -> (N, T, H, W, C)."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(spikes, 2, -1)))
