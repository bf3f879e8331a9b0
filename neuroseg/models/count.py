"""Sizes of a network as the papers count them: trained parameters, multiply-accumulates per time step, neurons."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neuroseg.models.neuron import Lif
from neuroseg.models.record import evaluating
from neuroseg.models.synapse import SynapseConv, SynapseConvT


def parameter_count(model: nn.Module) -> int:
    """Trained parameters: weights and the affine pair of every norm; SLAYER's constant decays are not counted."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@dataclass(frozen=True)
class NetworkSize:
    """Per time step and image. `macs_per_step` covers all convolutions, of which `host_macs` read pixels."""

    macs_per_step: int
    host_macs: int
    neurons: int


def network_size(model: nn.Module, height: int, width: int) -> NetworkSize:
    """Count by one pass over shapes alone (torch's meta device): no weight is touched, nothing is computed."""
    counted = deepcopy(model).to("meta")
    total = {"macs": 0, "host": 0, "neurons": 0}

    def on_synapse(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        weight: Any = module.weight
        # Every weight of a convolution meets each output pixel once, of a transposed one each input pixel.
        reference = inputs[0] if isinstance(module, SynapseConvT) else output
        macs = weight.numel() * reference.shape[-2] * reference.shape[-1]
        total["macs"] += macs
        total["host"] += macs if inputs[0].ndim == 4 else 0

    def on_neuron(_module: nn.Module, _inputs: tuple[Tensor], output: Tensor) -> None:
        total["neurons"] += output[0, 0].numel()

    for module in counted.modules():
        if isinstance(module, SynapseConv | SynapseConvT):
            module.register_forward_hook(on_synapse)
        elif isinstance(module, Lif):
            module.register_forward_hook(on_neuron)
    with evaluating(counted):
        counted(torch.empty(1, 3, height, width, device="meta"))
    return NetworkSize(total["macs"], total["host"], total["neurons"])
