"""Running a network and keeping every spike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.compute.floats import exact_floats
from neuroseg.models.neuron import Lif
from neuroseg.models.synapse import SynapseConv, SynapseConvT

POPULATIONS = ("lif", "and", "max_pool", "spike_source")  # what the compiler makes a population of, by `describe`


def lifs(model: nn.Module) -> dict[str, Lif]:
    """Every neuron population of a model by its dotted name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Lif)}


def spiking(model: nn.Module) -> dict[str, nn.Module]:
    """Everything that the compiler makes a population of: neurons, gates (AND, OR) between them, spikes of the host."""
    return {name: module for name, module in model.named_modules() if _op(module) in POPULATIONS}


def _op(module: nn.Module) -> str | None:
    """What a module says that it does."""
    describe: Any = getattr(module, "describe", None)
    return None if describe is None else str(describe()["op"])


@contextmanager
def stock_slayer(model: nn.Module, enabled: bool = True) -> Iterator[None]:
    """Within: synapses and neurons compute by SLAYER's own `forward`. Pixels stay the host's plain convolutions."""
    switched = [m for m in model.modules() if isinstance(m, SynapseConv | SynapseConvT | Lif)]
    before = [m.stock for m in switched]
    try:
        for module in switched:
            module.stock = enabled
        yield
    finally:
        for module, was in zip(switched, before, strict=True):
            module.stock = was


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within: eval mode and no gradients; each module's mode is restored afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def record_spikes(model: nn.Module, images: Tensor, stock: bool = False) -> tuple[Tensor, dict[str, NDArray[np.uint8]]]:
    """Full-size logits (N, classes, H, W) and the spikes of every population, uint8 (N, T, C, H, W), by dotted name.

    Float32 is exact meanwhile, also on CUDA (`exact_floats`).

    stock  compute by SLAYER's own `forward` (the reference of parity) instead of the fast equivalent
    """
    spikes: dict[str, NDArray[np.uint8]] = {}

    def keep(name: str, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        spikes[name] = output.to(torch.uint8).cpu().numpy()

    hooks = [module.register_forward_hook(partial(keep, name)) for name, module in spiking(model).items()]
    try:
        with evaluating(model), stock_slayer(model, stock), exact_floats():
            outputs = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return (outputs[0] if isinstance(outputs, tuple) else outputs), spikes
