"""Quantisation-aware training: the forward pass computes with the integers that the chip will hold.

The *folded* weights are rounded, so that folding and rounding after training change nothing: a network in this mode fires
exactly as its export does (tests/test_quantize_aware.py). The statistics of the norms stand still meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, inf
from typing import Protocol

import torch
from torch import Tensor, nn

from export.errors import QuantizeError
from neuroseg.models.blocks import ConvNorm
from neuroseg.models.neuron import Lif
from neuroseg.models.norm import Norm
from neuroseg.models.quantized import BIAS_RANGE, V_TH_LIMIT, WEIGHT_RANGE


class FanIn(Protocol):
    """What feeds a population: names of its synapses, and the number of its projections on the chip."""

    @property
    def synapses(self) -> tuple[str, ...]:
        """Dotted names of SynapseConv and SynapseConvT."""

    @property
    def projections(self) -> int:
        """Each rounds its bias by itself."""


Groups = Sequence[Mapping[str, FanIn]]


class QuantizeAware:
    """Switches a network to integers, and keeps their scales up to date.

    groups  populations that share a scale, as the compiler finds them (`export.passes.quantize.scale_groups`)
    """

    def __init__(self, model: nn.Module, groups: Groups) -> None:
        self.model = model
        self.groups = groups
        self.active = False

    def start(self) -> None:
        """From now on the forward pass is in integers."""
        for module in self.model.modules():
            if isinstance(module, Norm):
                module.frozen = True
        self.active = True
        self.update()

    @torch.no_grad()
    def update(self) -> None:
        """The scales that the compiler would choose for the weights as they are now; QuantizeError when there is none."""
        if not self.active:
            return
        for group in self.groups:
            scale = self._scale(group)
            for name, fan_in in group.items():
                self._lif(name).weight_scale = scale
                for synapse in fan_in.synapses:
                    self._container(synapse).weight_scale = scale

    def _scale(self, group: Mapping[str, FanIn]) -> float:
        """Largest scale at which every weight and bias fits and the threshold is whole, as in `export.passes.quantize`."""
        limit = inf
        for name, fan_in in group.items():
            folded = [self._container(synapse).folded() for synapse in fan_in.synapses]
            limit = min(limit, (V_TH_LIMIT - 1) / self._lif(name).threshold)
            for weight, _ in folded:
                limit = min(limit, _within(weight, WEIGHT_RANGE))
            biases = [bias for _, bias in folded if bias is not None]
            if biases:
                slack = 1 + fan_in.projections  # each bias is rounded by itself
                low, high = BIAS_RANGE
                limit = min(limit, _within(torch.stack(biases).sum(0), (low + slack, high - slack)))
        first = next(iter(group))
        v_th = float(self._lif(first).threshold)
        if not floor(v_th * limit) >= 1:
            raise QuantizeError(
                f"quantisation-aware training: beside the largest weight or bias of '{first}' its threshold would be "
                f"{v_th * limit:.2f} steps; at least 1 is needed. Train with weight decay, or a lower train.lr."
            )
        return floor(v_th * limit) / v_th

    def _lif(self, name: str) -> Lif:
        module = self.model.get_submodule(name)
        assert isinstance(module, Lif)
        return module

    def _container(self, synapse: str) -> ConvNorm:
        module = self.model.get_submodule(synapse.rpartition(".")[0])
        assert isinstance(module, ConvNorm)
        return module


def _within(values: Tensor, limits: tuple[int, int]) -> float:
    """Largest factor that keeps all values within the limits."""
    low, high = (float(v) for v in torch.aminmax(values.detach()))
    return min(limits[1] / high if high > 0 else inf, limits[0] / low if low < 0 else inf)
