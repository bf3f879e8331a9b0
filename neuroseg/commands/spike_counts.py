"""Counting spikes, and what they set off, while a network runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from neuroseg.models.synapse import SynapseConv, SynapseConvT, per_step
from neuroseg.train.rates import neurons

OPS = ("lif", "spike_source")


@dataclass
class PopulationCount:
    """Spikes of one population. `source`: it is made of pixels by the host (Poisson coding, event frames).

    neurons  of one sample;  steps  T;  spikes  over all samples and steps;  maps  (H, W) of the first samples: spikes per
    neuron and step, the mean over channels and time
    """

    source: bool = False
    neurons: int = 0
    steps: int = 0
    spikes: int = 0
    maps: list[Tensor] = field(default_factory=list)


@dataclass
class SynapseCount:
    """Work of one convolution over all samples and steps.

    synops  accumulations that spikes set off: each spike counts once for every non-zero weight it meets, also where a pool
            summed it with others. A graded spike is one spike; where a network has them, so is a pool's sum
    dense   accumulations if every neuron before it fired at every step and no weight were 0: MACs of all steps
    """

    synops: float = 0.0
    dense: int = 0


@dataclass
class Counts:
    """Of all populations and synapses, in the order in which they compute."""

    samples: int = 0
    populations: dict[str, PopulationCount] = field(default_factory=dict)
    synapses: dict[str, SynapseCount] = field(default_factory=dict)


@contextmanager
def counting(model: nn.Module, pictures: int) -> Iterator[Counts]:
    """Within: what `model` computes is counted. The first `pictures` samples leave maps of their spikes."""
    counts = Counts()
    sources = neurons(model, ("spike_source",))
    populations = neurons(model, OPS)
    graded = any("thresholds" in module.describe() for module in populations.values())  # type: ignore[operator]
    hooks = [
        module.register_forward_hook(partial(_on_spikes, counts, name, name in sources, pictures))
        for name, module in populations.items()
    ]
    synapses = {n: m for n, m in model.named_modules() if isinstance(m, SynapseConv | SynapseConvT)}
    for name, module in synapses.items():
        # In integers the weights are not the module's own: `currents` gets those that are computed with.
        setattr(module, "currents", partial(_on_currents, counts, name, module, graded, module.currents))  # noqa: B010
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()
        for module in synapses.values():
            delattr(module, "currents")  # the class's own shows again


def _on_spikes(
    counts: Counts, name: str, source: bool, pictures: int, _module: nn.Module, _inputs: Any, spikes: Tensor
) -> None:
    count = counts.populations.setdefault(name, PopulationCount(source))
    count.neurons, count.steps = spikes[0, 0].numel(), spikes.shape[1]
    fired = spikes != 0
    count.spikes += int(fired.sum())
    for sample in fired[: max(0, pictures - len(count.maps))]:
        count.maps.append(sample.float().mean(dim=(0, 1)).cpu())


def _on_currents(
    counts: Counts, name: str, module: Any, graded: bool, compute: Any, spikes: Tensor, weight: Tensor
) -> Tensor:
    output: Tensor = compute(spikes, weight)
    if spikes.ndim == 5 and not getattr(module, "host", False):  # else real pixels or frames: the host's work
        count = counts.synapses.setdefault(name, SynapseCount())
        count.synops += float(accumulations(module, (spikes != 0) if graded else spikes, weight))
        reference = spikes if isinstance(module, SynapseConvT) else output
        positions = reference.shape[0] * reference.shape[1] * reference.shape[-2] * reference.shape[-1]
        count.dense += weight.numel() * positions
    return output


def accumulations(module: Any, spikes: Tensor, weight: Tensor) -> Tensor:
    """Sum over spikes (N, T, C, H, W) of the non-zero weights each meets within the output map; scalar float64.

    weight  with the axes of `module.weight`, whose geometry the module has

    The kernel of a group is replaced by the number of its output channels with a weight there, so that one output channel a
    group is enough to count.
    """
    there = (weight.detach()[..., 0] != 0).double()
    x, groups = per_step(spikes).double(), module.groups
    geometry = {"stride": module.stride[:2], "padding": module.padding[:2], "dilation": module.dilation[:2]}
    if isinstance(module, SynapseConvT):
        fan_out = there.sum(1, keepdim=True)  # (in, 1, kH, kW)
        extra = {"output_padding": module.output_padding[:2]}
        return F.conv_transpose2d(x, fan_out, None, groups=groups, **geometry, **extra).sum()
    fan_out = there.unflatten(0, (groups, -1)).sum(1)  # (groups, in / groups, kH, kW)
    return F.conv2d(x, fan_out, None, groups=groups, **geometry).sum()


def synops_per_sample(counts: Counts) -> float:
    """Accumulations that the spikes of one sample set off, mean over samples."""
    return sum(count.synops for count in counts.synapses.values()) / max(1, counts.samples)
