"""Firing rates: spikes per neuron and step of every population, over an evaluation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric


def neurons(model: nn.Module, ops: tuple[str, ...] = ("lif",)) -> dict[str, nn.Module]:
    """The neuron populations of a network by dotted name: the modules that describe themselves to the compiler as such."""
    described = {name: module for name, module in model.named_modules() if hasattr(module, "describe")}
    return {name: module for name, module in described.items() if module.describe()["op"] in ops}


class FiringRates(nn.Module):
    """Listens to the neurons of a network. A network without neurons (an ANN) has none: every answer is empty.

    Part of the task that owns it, so that counts of several processes are added up on the right device.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.names = tuple(neurons(model))
        # Names of metrics must not hold dots, names of modules do.
        self.means = nn.ModuleDict({_key(name): MeanMetric() for name in self.names})
        self._sizes: dict[str, int] = {}  # neurons of each population, once it was seen
        self._hooks: list[Any] = []

    def listen(self, model: nn.Module) -> None:
        """From now on count the spikes of `model`."""
        for name, population in neurons(model).items():
            self._hooks.append(population.register_forward_hook(self._counter(name)))

    def stop(self) -> None:
        """Count no more."""
        while self._hooks:
            self._hooks.pop().remove()

    def forget(self) -> None:
        """Count from zero."""
        for mean in self.means.values():
            assert isinstance(mean, MeanMetric)
            mean.reset()

    def of_populations(self) -> dict[str, float]:
        """Mean spikes per neuron and step of every population."""
        return {name: float(self._mean(name).compute()) for name in self.names}

    def of_network(self) -> float | None:
        """The same over all neurons, auxiliary heads included: large populations count more. None without neurons."""
        if not self.names:
            return None
        rates = self.of_populations()
        return sum(rate * self._sizes[name] for name, rate in rates.items()) / sum(self._sizes.values())

    def _mean(self, name: str) -> MeanMetric:
        mean = self.means[_key(name)]
        assert isinstance(mean, MeanMetric)
        return mean

    def _counter(self, name: str) -> Any:
        mean = self._mean(name)

        def count(_module: Any, _inputs: Any, spikes: Tensor) -> None:
            self._sizes[name] = spikes[0, 0].numel()
            # Multi-threshold neurons emit graded spikes: each is one spike. Of 0 and 1 this is the mean.
            mean.update(torch.count_nonzero(spikes) / spikes.numel(), weight=spikes.shape[0])

        return count


def _key(name: str) -> str:
    return name.replace(".", "/")
