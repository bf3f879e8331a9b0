"""Weight normalisation: firing rates take the place of activations.

    w' = w scale_in / scale_out,   b' = b / scale_out

A scale is the real activation that one unit of output per step stands for: that of a rate of 1, times the smallest threshold
(`neuroseg.models.integrate_fire`). The three methods differ in what it is:

    layer       one for a layer; a concatenation has its own, taken for all its parts   (Spiking-UNet, equation 7)
    channel     one for each channel of a layer; a concatenation's channels keep theirs  (Kim et al. 2020)
    connection  one for a layer; each part of a concatenation keeps its own              (Spiking-UNet, equation 8)

So `layer` weighs the parts of a concatenation wrongly wherever their scales differ from that of the whole: their neurons
fire at rates of their own scale. That is the loss that Spiking-UNet describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor

from export.errors import UsageError
from neuroseg.config.converted import IMAGE, Layer
from neuroseg.convert.ann import Ann, per_input, per_output
from neuroseg.convert.statistics import Method, Scales

METHODS: tuple[Method, ...] = get_args(Method)


def normalised(ann: Ann, scales: Scales, method: Method, unit: float = 1.0) -> Ann:
    """The ANN with weights for neurons whose smallest threshold is 1; average pools become sums, their factor goes to weights.

    unit    the smallest threshold in units of the scales
    raises  UsageError naming a layer that has no exact counterpart
    """
    if method not in METHODS:
        raise UsageError(f"normalisation '{method}' is unknown; choose one of {', '.join(METHODS)}")
    units = _Units(ann, Scales({name: unit * scale for name, scale in scales.of.items()}), method)
    tensors = dict(ann.tensors)
    for layer in ann.layers:
        if layer.channels is None:
            continue
        given, wanted = units.of[layer.inputs[0]], units.target(layer)
        weight = per_input(ann.tensors[f"{layer.name}.weight"], given, layer)
        tensors[f"{layer.name}.weight"] = per_output(weight, 1 / wanted, layer)
        tensors[f"{layer.name}.bias"] = ann.tensors[f"{layer.name}.bias"] / wanted
    layers = tuple(
        layer.model_copy(update={"op": "sum_pool"}) if layer.op == "average_pool" else layer for layer in ann.layers
    )
    return replace(ann, layers=layers, tensors=tensors)


class _Units:
    """What one unit of every value stands for: (C,) per layer."""

    def __init__(self, ann: Ann, scales: Scales, method: Method) -> None:
        self.ann, self.scales, self.method = ann, scales, method
        self.of: dict[str, Tensor] = {IMAGE: torch.ones(ann.channels[0], dtype=torch.float64)}
        self.pooled: dict[str, float] = {IMAGE: 1.0}  # share of a window's sum that its average is
        for layer in ann.layers:
            self.pooled[layer.name] = self._pooled(layer)
            self.of[layer.name] = self._unit(layer)

    def target(self, layer: Layer) -> Tensor:
        """Unit of a layer's sums: that of the neurons which they drive; 1 where they drive none."""
        assert layer.channels is not None
        found: dict[str, Tensor] = {}
        queue = [layer.name]
        while queue:
            for reader in self.ann.readers(queue.pop()):
                if reader.op == "fire":
                    found[reader.name] = self.scales.of[reader.name]
                elif reader.op == "add":
                    self._check_sum(reader)
                    queue.append(reader.name)
        if len(found) > 1:
            raise UsageError(
                f"the sums of '{layer.name}' drive several neurons ({', '.join(found)}), each with a scale of its own; give each "
                "its own convolution"
            )
        return next(iter(found.values()), torch.ones(layer.channels[1], dtype=torch.float64))

    def _check_sum(self, layer: Layer) -> None:
        ops: Mapping[str, str] = {other.name: other.op for other in self.ann.layers}
        for name in layer.inputs:
            if ops.get(name) not in ("conv", "conv_transpose", "add"):
                raise UsageError(
                    f"'{layer.name}' adds '{name}' ({ops.get(name, 'the image')}), an activation, to a sum of weights; put a 1x1 "
                    "convolution between them"
                )

    def _pooled(self, layer: Layer) -> float:
        before = self.pooled[layer.inputs[0]]
        if layer.op == "average_pool":
            return before / (layer.kernel[0] * layer.kernel[1])
        return before if layer.op in ("sum_pool", "max_pool") else 1.0

    def _unit(self, layer: Layer) -> Tensor:
        if layer.op == "fire":
            return self.scales.of[layer.name]
        if layer.op == "concat":
            if self.method != "layer":
                return torch.cat([self.of[name] for name in layer.inputs])
            whole, first = self.scales.of[layer.name], 0
            parts = []
            for name in layer.inputs:
                count = len(self.of[name])
                parts.append(whole[first : first + count] * self.pooled[name])
                first += count
            return torch.cat(parts)
        if layer.channels is not None:
            return self.target(layer)
        unit = self.of[layer.inputs[0]]
        return unit / (layer.kernel[0] * layer.kernel[1]) if layer.op == "average_pool" else unit
