"""Why a population differs although everything before it agrees.

Its inputs are known and equal on both sides, so candidate faults can simply be played through: the population is
simulated once more as one unbroken stream (as Lava runs it) with a wrong delay on one projection, with a wrong or
missing reset, with another threshold or without its bias. A candidate that reproduces the right-hand spikes exactly is
the cause; else the pattern of the mismatches says what it can be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.execute.neuron import STATE_LIMIT, lif
from export.execute.synapse import synaptic_sum
from export.graph import V_TH_SHIFT, Graph, Lif, Population, to_physical

Spikes = Mapping[str, NDArray[np.uint8]]
FEW_CHANNELS = 0.25
LARGEST_BIAS_FAULT = 64


def diagnose(graph: Graph, name: str, left: Spikes, right: Spikes) -> str:
    """One plain sentence on the likely cause."""
    population = graph.populations[name]
    if population.kind == "input":
        return "the two sides were given different inputs"
    sums = _sums(graph, population, left)
    if sums is not None and population.lif is not None:
        given, wanted = (to_physical(side[name], population.layout) for side in (left, right))
        for cause, spikes, unknown in _candidates(graph, population, sums):
            differs = not np.array_equal(_after(given, unknown), _after(wanted, unknown))
            if differs and np.array_equal(_after(spikes, unknown), _after(wanted, unknown)):
                return cause  # it explains differences, in what can be known
        bias = _bias_fault(population, sums, left[name], right[name], graph.steps)
        if bias:
            return bias
        if max(int(s.abs().max()) for s in sums) << V_TH_SHIFT >= STATE_LIMIT:
            return "overflow: a synaptic current leaves the chip's 24 bits"
    return _pattern(left[name], right[name])


def _sums(graph: Graph, population: Population, spikes: Spikes) -> list[Tensor] | None:
    """What each projection delivers: (N T, C', H', W') physical, samples one after the other."""
    sums = []
    for projection in graph.into(population.name):
        source = projection.source
        while graph.populations[source].kind == "relay":
            source = graph.into(source)[0].source
        if source not in spikes:
            return None
        given = torch.from_numpy(to_physical(spikes[source], graph.populations[source].layout))
        sums.append(synaptic_sum(projection, given.flatten(0, 1)))
    return sums


def _after(spikes: NDArray[np.uint8], unknown: int) -> NDArray[np.uint8]:
    """(N T - unknown, C', H', W'): the stream without its first steps."""
    flat: NDArray[np.uint8] = spikes.reshape(-1, *spikes.shape[2:])[unknown:]
    return flat


def _candidates(
    graph: Graph, population: Population, sums: list[Tensor]
) -> Iterator[tuple[str, NDArray[np.uint8], int]]:
    """(cause, spikes that it gives, leading steps that cannot be known).

    Before its first reset a neuron carries what its bias, and stray spikes before the first sample, left on it.
    """
    steps, params = graph.steps, population.lif
    assert params is not None
    total = torch.stack(sums).sum(dim=0).to(torch.int32)
    if population.kind == "lif" and len(total) > steps:  # one sample alone says nothing about resets
        for late in range(1, steps):
            cause = f"reset: the membrane is reset {late} step(s) after a sample starts, not when it starts"
            yield cause, _stream(population, params, total, steps, late), late
        yield "reset: the membrane is not reset between samples", _stream(population, params, total, steps, None), steps
    for lag in (1, -1, 2, -2, 3, -3, 4, -4):
        when = f"{abs(lag)} step(s) {'late' if lag > 0 else 'early'}"
        for projection, part in zip(graph.into(population.name), sums, strict=True):
            shifted = total - part + _shifted(part, lag)
            yield (
                f"lag: projection '{projection.name}' arrives {when}",
                _stream(population, params, shifted, steps, 0),
                abs(lag),
            )
    for change in (1, -1):
        other = replace(params, v_th=params.v_th + change)
        yield f"rounding: the threshold differs by {change}", _stream(population, other, total, steps, 0), 0
    if population.bias is not None:
        silent = replace(population, bias=None)
        yield "bias: the bias is missing", _stream(silent, params, total, steps, 0), 0


def _bias_fault(
    population: Population, sums: list[Tensor], left: NDArray[np.uint8], right: NDArray[np.uint8], steps: int
) -> str | None:
    """A bias of one channel that is off by a constant, if that explains all differences."""
    channels = np.flatnonzero((left != right).any(axis=(0, 1, 3, 4)))
    if len(channels) != 1 or population.kind != "lif" or population.lif is None:
        return None
    channel, r = int(channels[0]), population.layout
    phases = slice(channel * r * r, (channel + 1) * r * r)
    total = torch.stack(sums).sum(dim=0).to(torch.int32)[:, phases]
    wanted = to_physical(right, r)[:, :, phases]
    whole = population.bias if population.bias is not None else np.zeros(population.shape[0], dtype=np.int32)
    for change in sorted((c for c in range(-LARGEST_BIAS_FAULT, LARGEST_BIAS_FAULT + 1) if c), key=abs):
        one = Population("one", "lif", (1, *population.shape[1:]), None, whole[[channel]] + change, r)
        if np.array_equal(_stream(one, population.lif, total, steps, 0), wanted):
            return f"bias: that of channel {channel} seems to differ by {change:+d}"
    return None


def _shifted(part: Tensor, lag: int) -> Tensor:
    """A stream that arrives `lag` steps late (negative: early)."""
    moved = torch.zeros_like(part)
    if lag > 0:
        moved[lag:] = part[:-lag]
    else:
        moved[:lag] = part[-lag:]
    return moved


def _stream(population: Population, params: Lif, total: Tensor, steps: int, late: int | None) -> NDArray[np.uint8]:
    """Spikes (N, T, C', H', W') of one unbroken run with a reset `late` steps into each sample (None: no reset).

    A reset leaves nothing behind, so every stretch between two of them is a run of its own.
    """
    bias = population.physical_bias()
    push = None
    if bias is not None:
        push = torch.from_numpy(bias.astype(np.int32))
        push = push if push.ndim == 3 else push[:, None, None]
    cuts = [] if late is None else list(range(late or steps, len(total), steps))
    stretches = torch.tensor_split(total, cuts)
    spikes = torch.cat([lif(stretch[None], params, push)[0] for stretch in stretches])
    result: NDArray[np.uint8] = spikes.unflatten(0, (-1, steps)).numpy()
    return result


def _pattern(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> str:
    wrong = left != right
    samples = wrong.any(axis=(1, 2, 3, 4))
    channels = np.flatnonzero(wrong.any(axis=(0, 1, 3, 4)))
    if not samples[0]:
        return "reset: the first sample agrees and later ones do not: state is left over from the sample before"
    if len(channels) <= max(1, FEW_CHANNELS * wrong.shape[2]):
        listed = ", ".join(map(str, channels[:8]))
        return f"rounding: only channel(s) {listed} differ: a weight or bias of these is not the same"
    return "rounding: weights, biases or the threshold of this population are not the same on both sides"
