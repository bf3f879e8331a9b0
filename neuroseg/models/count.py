"""Sizes of a network as the papers count them: trained parameters, multiply-accumulates per time step, neurons."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from neuroseg.models.record import evaluating


def parameter_count(model: nn.Module) -> int:
    """Trained parameters: weights and the affine pair of every norm; SLAYER's constant decays are not counted."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@dataclass(frozen=True)
class NetworkSize:
    """Per time step and image.

    macs_per_step    multiply-accumulates of all convolutions and linear read-outs, auxiliary heads included
    host_macs        those of them that read what the host is given, real numbers
    transposed_macs  those of them in transposed convolutions
    normed_values    values that norms compute, where they are not folded
    neurons          of all populations; an ANN has none
    """

    macs_per_step: int
    host_macs: int
    transposed_macs: int
    normed_values: int
    neurons: int


def network_size(model: nn.Module, input_shape: Sequence[int]) -> NetworkSize:
    """Count by one pass over shapes alone (torch's meta device): no weight is touched, nothing is computed.

    model        its leaves describe themselves, as for the compiler (`export.passes.trace`)
    input_shape  (C, H, W) of one image, or (T, C, H, W) of frames or spikes
    """
    given = torch.empty(1, *input_shape, device="meta")
    counter = _Counter(given)
    counted = _on_meta(model)
    for module, copy in zip(model.modules(), counted.modules(), strict=True):
        counter.listen(module, copy)
    with evaluating(counted):
        counted(given)
    total = counter.total
    return NetworkSize(total["macs"], total["host"], total["transposed"], total["normed"], total["neurons"])


def _on_meta(model: nn.Module) -> nn.Module:
    """A copy on torch's meta device; weights are not copied on the way."""
    tensors = [*model.parameters(), *model.buffers()]
    shapes = {id(x): torch.empty_like(x, device="meta", requires_grad=False) for x in tensors}
    return deepcopy(model, {key: nn.Parameter(x, False) for key, x in shapes.items()}).to("meta")


class _Counter:
    """Hooks that add up; `real` are the values that the host has: what it is given, and what it makes of that."""

    def __init__(self, given: Tensor) -> None:
        self.real = [given]
        self.total = {"macs": 0, "host": 0, "transposed": 0, "normed": 0, "neurons": 0}
        self.hooks = {
            "conv": self._conv,
            "conv_transpose": self._transposed,
            "readout": self._readout,
            "host": self._host,
            "norm": self._norm,
            "lif": self._neurons,
        }

    def listen(self, module: nn.Module, copy: nn.Module) -> None:
        """Count what `copy` does, if its original describes itself as something that counts."""
        op = module.describe()["op"] if hasattr(module, "describe") else None  # type: ignore[operator]  # a method
        if op in self.hooks:
            copy.register_forward_hook(self.hooks[op])

    def _conv(self, module: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        self._add(module.weight, inputs[0], output)  # every weight meets each output pixel once

    def _transposed(self, module: Any, inputs: tuple[Tensor], _output: Tensor) -> None:
        self.total["transposed"] += self._add(module.weight, inputs[0], inputs[0])  # each input pixel

    def _readout(self, module: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        weight = getattr(module, "weight", None)
        if weight is not None:
            self._add(weight, inputs[0], output)

    def _host(self, _module: Any, _inputs: tuple[Tensor], output: Tensor) -> None:
        self.real.append(output)

    def _norm(self, _module: Any, _inputs: Any, output: Any) -> None:
        self.total["normed"] += prod(output.shape[-3:])

    def _neurons(self, _module: Any, _inputs: Any, output: Tensor) -> None:
        self.total["neurons"] += prod(output.shape[-3:])

    def _add(self, weight: Tensor, source: Tensor, reference: Tensor) -> int:
        macs = weight.numel() * reference.shape[-2] * reference.shape[-1]
        self.total["macs"] += macs
        self.total["host"] += macs if any(source is x for x in self.real) else 0
        return macs
