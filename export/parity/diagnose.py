"""Why a population differs although everything before it agrees.

Its inputs are known and equal on both sides, so candidate faults can simply be played through: the population is
simulated once more as one unbroken stream (as Lava runs it), as it stands and with a wrong delay on one projection or a
wrong or missing reset; and its threshold and biases are inferred from the spikes (`infer`). A candidate that reproduces
the deviating spikes exactly is the cause. Where none does, delays and resets are not at fault, and what is left are
weights and biases of the channels that differ.

The side that the graph's own integers do not give is the one that deviates. Mostly that is the right-hand one; it is the
left-hand one where a network was changed and its recorded spikes were not. Then the network is at hand, its delays and
resets are those that were just played, and neither can be the fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.execute.neuron import STATE_LIMIT, Extremes, lif
from export.execute.synapse import synaptic_sum
from export.graph import LINES, V_TH_SHIFT, Graph, Population, to_physical
from export.parity.infer import Evidence, bias_changes, threshold_change
from export.spec import gates

Spikes = Mapping[str, NDArray[np.uint8]]
FEW_CHANNELS = 0.25
MOST_LISTED = 8


def diagnose(graph: Graph, name: str, left: Spikes, right: Spikes) -> str:
    """One plain sentence on the likely cause."""
    population = graph.populations[name]
    if population.kind == "input":
        return "the two sides were given different inputs"
    broken = gates(graph, [name, *_repeaters(graph, name)])
    if broken:
        return f"gate: {broken[0]}"
    sums = delivered(graph, population, left)
    if sums is None or population.lif is None:
        return "unknown: not all spikes that enter this population were recorded, so it cannot be played through"
    given, wanted = (to_physical(side[name], population.layout) for side in (left, right))
    own, overflows = played(population, sums, graph.steps)
    if np.array_equal(own, wanted):
        cause = _overflow(overflows) or _number_fault(population, sums, given, wanted, -1)
    else:
        cause = _timing_fault(graph, population, sums, given, wanted)
        cause = cause or _number_fault(population, sums, wanted, given, 1)
    if cause is None and max(int(s.abs().max()) for s in sums) << V_TH_SHIFT >= STATE_LIMIT:
        return "overflow: a synaptic current leaves the chip's 24 bits"
    return cause or _pattern(left[name], right[name])


def delivered(graph: Graph, population: Population, spikes: Spikes) -> list[Tensor] | None:
    """What each projection delivers, (N T, C', H', W') physical, samples one after the other; None if a source is unknown."""
    sums = []
    for projection in graph.into(population.name):
        heard = _heard(graph, projection.source, spikes)
        if heard is None:
            return None
        sums.append(synaptic_sum(projection, heard))
    return sums


def _heard(graph: Graph, source: str, spikes: Spikes) -> Tensor | None:
    """Spikes (N T, C', H', W') of a source, physical; what only repeats others is not recorded, but follows from these."""
    population = graph.populations[source]
    if source in spikes:
        return torch.from_numpy(to_physical(spikes[source], population.layout)).flatten(0, 1)
    if population.kind in LINES:
        return _heard(graph, graph.into(source)[0].source, spikes)
    if population.kind != "interleave":
        return None
    sums = delivered(graph, population, spikes)
    return None if sums is None else (_total(sums) > 0).to(torch.uint8)


def _repeaters(graph: Graph, name: str) -> list[str]:
    """Relay and interleave populations through which a population listens."""
    sources = [p.source for p in graph.into(name) if graph.populations[p.source].kind in (*LINES, "interleave")]
    return [*sources, *(further for source in sources for further in _repeaters(graph, source))]


def played(population: Population, sums: list[Tensor], steps: int) -> tuple[NDArray[np.uint8], int]:
    """Physical spikes (N, T, C', H', W') of the population as it stands, and the neuron-steps that leave 24 bits."""
    assert population.lif is not None
    total, seen = _total(sums), Extremes()
    spikes = lif(total.unflatten(0, (-1, steps)), population.lif, _push(population), seen)
    result: NDArray[np.uint8] = spikes.numpy()
    return result, seen.saturated


def _overflow(neuron_steps: int) -> str | None:
    if not neuron_steps:
        return None
    return f"overflow: {neuron_steps} current(s) or membrane(s) leave the chip's 24 bits, which one side does not model"


def _timing_fault(
    graph: Graph, population: Population, sums: list[Tensor], given: NDArray[np.uint8], wanted: NDArray[np.uint8]
) -> str | None:
    for cause, spikes, first, last in _candidates(graph, population, sums):
        differs = not np.array_equal(_known(given, first, last), _known(wanted, first, last))
        if differs and np.array_equal(_known(spikes, first, last), _known(wanted, first, last)):
            return cause  # it explains differences, in what can be known
    return None


def _number_fault(
    population: Population, sums: list[Tensor], fired: NDArray[np.uint8], other: NDArray[np.uint8], sign: int
) -> str | None:
    """A threshold or biases with which the population would fire as given.

    fired  physical spikes (N, T, C', H', W') of the side that deviates; other: those of the other side
    sign   -1 where that is the left-hand side: changes are told as right minus left
    """
    assert population.lif is not None
    push = _push(population)
    zero = torch.zeros((), dtype=torch.int32)
    total = _total(sums).unflatten(0, (-1, fired.shape[1]))
    seen = Evidence(total, torch.from_numpy(fired) > 0, zero if push is None else push, population.lif)
    change, differing = threshold_change(seen), _channels(fired, other, population.layout)
    if change is not None and len(differing) == 1 < population.shape[0]:  # a threshold is common to all channels
        return f"{_named(differing)}, or the threshold differs by {sign * change}"
    if change is not None:
        return f"rounding: the threshold differs by {sign * change}"
    if push is not None and sign > 0 and np.array_equal(lif(total, population.lif).numpy(), fired):
        return "bias: the bias is missing"
    changes = bias_changes(seen, population.layout**2) if population.kind == "lif" else None
    if changes is None:
        return None
    channel, by = next(iter(changes.items()))
    if len(changes) == 1:
        return f"bias: that of channel {channel} seems to differ by {sign * by:+d}"
    return f"bias: those of {len(changes)} channels seem to differ, that of channel {channel} by {sign * by:+d}"


def _known(spikes: NDArray[np.uint8], first: int, last: int) -> NDArray[np.uint8]:
    """(N T - first - last, C', H', W'): the stream without its first and its last steps."""
    flat: NDArray[np.uint8] = spikes.reshape(-1, *spikes.shape[2:])
    return flat[first : len(flat) - last]


def _candidates(
    graph: Graph, population: Population, sums: list[Tensor]
) -> Iterator[tuple[str, NDArray[np.uint8], int, int]]:
    """(cause, spikes that it gives, leading and trailing steps that cannot be known).

    Before its first reset a neuron carries what its bias, and stray spikes before the first sample, left on it. What
    comes early has, at the end, spikes from behind the last sample in it, which nobody recorded.
    """
    steps, total = graph.steps, _total(sums)
    if population.kind == "lif" and len(total) > steps:  # one sample alone says nothing about resets
        for late in range(1, steps):
            cause = f"reset: the membrane is reset {late} step(s) after a sample starts, not when it starts"
            yield cause, _stream(population, total, steps, late), late, 0
        yield "reset: the membrane is not reset between samples", _stream(population, total, steps, None), steps, 0
    for lag in (1, -1, 2, -2, 3, -3, 4, -4):
        when = f"{abs(lag)} step(s) {'late' if lag > 0 else 'early'}"
        for projection, part in zip(graph.into(population.name), sums, strict=True):
            shifted = total - part + _shifted(part, lag)
            cause = f"lag: projection '{projection.name}' arrives {when}"
            yield cause, _stream(population, shifted, steps, 0), max(lag, 0), max(-lag, 0)


def _total(sums: list[Tensor]) -> Tensor:
    return torch.stack(sums).sum(dim=0).to(torch.int32)


def _push(population: Population) -> Tensor | None:
    """The bias in weight units, (C', 1, 1) or (C', H', W') int32."""
    bias = population.physical_bias()
    if bias is None:
        return None
    push = torch.from_numpy(bias.astype(np.int32))
    return push if push.ndim == 3 else push[:, None, None]


def _shifted(part: Tensor, lag: int) -> Tensor:
    """A stream that arrives `lag` steps late (negative: early)."""
    moved = torch.zeros_like(part)
    if lag > 0:
        moved[lag:] = part[:-lag]
    else:
        moved[:lag] = part[-lag:]
    return moved


def _stream(population: Population, total: Tensor, steps: int, late: int | None) -> NDArray[np.uint8]:
    """Spikes (N, T, C', H', W') of one unbroken run with a reset `late` steps into each sample (None: no reset).

    A reset leaves nothing behind, so every stretch between two of them is a run of its own.
    """
    assert population.lif is not None
    cuts = [] if late is None else list(range(late or steps, len(total), steps))
    push = _push(population)
    stretches = torch.tensor_split(total, cuts)
    spikes = torch.cat([lif(stretch[None], population.lif, push)[0] for stretch in stretches])
    result: NDArray[np.uint8] = spikes.unflatten(0, (-1, steps)).numpy()
    return result


def _pattern(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> str:
    """What the differing channels say, once nothing that was played through explains them. Spikes: logical."""
    differing = _channels(left, right)
    if len(differing) <= max(1, FEW_CHANNELS * left.shape[2]):
        return _named(differing)
    return "rounding: weights, biases or the threshold of this population are not the same on both sides"


def _channels(left: NDArray[np.uint8], right: NDArray[np.uint8], layout: int = 1) -> list[int]:
    """Logical channels in which two sides, stored in a layout, differ."""
    channels = np.flatnonzero((left != right).any(axis=(0, 1, 3, 4)))
    return sorted({int(channel) // layout**2 for channel in channels})


def _named(channels: list[int]) -> str:
    listed = ", ".join(map(str, channels[:MOST_LISTED]))
    return f"rounding: only channel(s) {listed} differ: a weight or bias of these is not the same"
