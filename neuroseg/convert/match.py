"""Gains that bring firing rates, which are too low on average, back to the activations that they stand for.

In few steps a rate is too low, since a membrane has to fill before the first spike, and each layer waits for the one before it. A
hard reset loses more, however many the steps: a neuron that is driven by a constant x (threshold 1) fires every floor(1 / x) + 1
steps, at 0.9 only every second one. Layers multiply these losses. Part of each is a factor that the next weights can take
back: the one that brings rates nearest to activations (least squares),

    gain = sum of a r / sum of r^2,

over a few training images (four, spread over the split), layer after layer, each measured behind the corrected ones before it.
Ours; it is not in the papers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from neuroseg.config.converted import IMAGE, ConvertedConfig, Layer
from neuroseg.convert.ann import Ann, network, per_input
from neuroseg.convert.statistics import Scales
from neuroseg.models.converted import Converted
from neuroseg.models.currents import tensor_of


def rate_matched(ann: Ann, scaled: Ann, scales: Scales, config: ConvertedConfig, images: Tensor) -> Ann:
    """The normalised ANN with weights that take back what its neurons' rates lose on average.

    ann, scaled  before and after `normalised`, by whose `scales`
    config       of the spiking network
    images       training images (N, C, H, W): the whole run of all steps is held in memory for them
    """
    model = network(scaled, config)
    wanted = network(ann).rates(images)
    tensors, values = dict(scaled.tensors), {IMAGE: model.images(images)}
    gains = {IMAGE: torch.ones(ann.channels[0], dtype=torch.float64)}
    for layer in scaled.layers:
        if layer.channels is not None:
            _take(layer, gains[layer.inputs[0]], tensors, model)
        with torch.no_grad():
            values[layer.name] = _value(model, layer, values)
        gains[layer.name] = _gain(layer, gains, values, wanted, scales, config.unit)
    return replace(scaled, tensors=tensors)


def _take(layer: Layer, gain: Tensor, tensors: dict[str, Tensor], model: Converted) -> None:
    """Multiply a layer's weights by the gains of the channels that it reads, here and in the running network."""
    weight = per_input(tensors[f"{layer.name}.weight"], gain, layer)
    tensors[f"{layer.name}.weight"] = weight
    module: Any = model.get_submodule(layer.name)
    parameter = module.weight if layer.op == "readout" else module.conv.weight
    parameter.data = weight.to(parameter.dtype).reshape(parameter.shape)


def _value(model: Converted, layer: Layer, values: Mapping[str, Any]) -> Any:
    given = [values[name] for name in layer.inputs]
    if layer.op == "add":
        return given[0] + given[1]
    if layer.op == "fire":
        return model.get_submodule(layer.name)(given[0])
    return model.get_submodule(layer.name)(*map(tensor_of, given))


def _gain(
    layer: Layer,
    gains: Mapping[str, Tensor],
    values: Mapping[str, Any],
    wanted: Mapping[str, Tensor],
    scales: Scales,
    unit: float,
) -> Tensor:
    """(C,) factors that are still to be applied to a layer's value."""
    if layer.op == "concat":
        return torch.cat([gains[name] for name in layer.inputs])
    if layer.op in ("sum_pool", "average_pool", "max_pool"):
        return gains[layer.inputs[0]]
    if layer.op != "fire":
        assert layer.channels is not None or layer.op == "add"
        channels = layer.channels[1] if layer.channels is not None else len(gains[layer.inputs[0]])
        return torch.ones(channels, dtype=torch.float64)
    rates = values[layer.name].double().mean(1) * (unit * scales.of[layer.name])[:, None, None]
    power = float(rates.square().sum())
    gain = float((wanted[layer.name].double() * rates).sum()) / power if power else 1.0
    return torch.full((rates.shape[1],), gain, dtype=torch.float64)
