"""The trained network with the chip's integers: folded, rounded, and still a SLAYER module.

This is the reference that parity compares the compiler's graph with, so it folds and rounds on its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from export.errors import QuantizeError
from neuroseg.models.blocks import ConvNorm
from neuroseg.models.integrate_fire import IntegrateFire
from neuroseg.models.neuron import WEIGHT_UNIT, Lif
from neuroseg.models.norm import ChannelBias
from neuroseg.models.synapse import SynapseConv, SynapseConvT

WEIGHT_RANGE = (-256, 254)  # even 8-bit weights
BIAS_RANGE = (-4096, 4095)  # 13 bits
V_TH_LIMIT = (
    4096  # from here on float32 loses SLAYER's threshold epsilon, and it fires at v == v_th where the chip does not
)


def quantized(model: nn.Module, weight_scale: Mapping[str, float], v_th: Mapping[str, int]) -> nn.Module:
    """A copy in eval mode whose synapses and neurons hold integers in units of 1/64, exact in float32.

    weight_scale  dotted name of a SynapseConv or SynapseConvT -> integers per real weight: w_int = 2 round(w s / 2),
                  b_int = round(b s), where w, b are the weights and bias after folding the norm (see `folded`)
    v_th          dotted name of a Lif -> threshold mantissa

    Synapses and neurons without an entry (the host's image path) stay as trained.
    Raises QuantizeError for unknown names, and for integers outside the chip's formats.
    """
    copy = deepcopy(model).eval()
    _check_names(copy, weight_scale, (SynapseConv, SynapseConvT), "synapse")
    _check_names(copy, v_th, (Lif, IntegrateFire), "neuron")
    for name, scale in weight_scale.items():
        _quantize_synapse(copy, name, scale)
    for name, mantissa in v_th.items():
        _quantize_neuron(copy, name, mantissa)
    return copy


def folded_module(model: nn.Module, synapses: Iterable[str] | None = None) -> nn.Module:
    """A copy in eval mode whose norms are folded into real weights, in float32; nothing is rounded to the chip's integers.

    synapses  dotted names of those to fold, such as the keys of `weight_scale` in `quantized`; None: all that have a norm.
              The others (the host's image path, in a bundle) stay as trained

    Raises QuantizeError for unknown names.
    """
    copy = deepcopy(model).eval()
    containers = {f"{name}.conv": module for name, module in copy.named_modules() if isinstance(module, ConvNorm)}
    names = list(containers) if synapses is None else list(synapses)
    _check_names(copy, dict.fromkeys(names), (SynapseConv, SynapseConvT), "synapse")
    for name in names:
        container = _container(copy, name)
        weight, bias = folded(container)
        container.weight_scale = None
        conv = container.conv
        conv.weight = nn.Parameter(weight.to(conv.weight), requires_grad=False)
        if container.norm is not None:
            container.norm = ChannelBias(bias.to(conv.weight))  # type: ignore[assignment]  # same slot
    return copy


def folded(container: ConvNorm) -> tuple[Tensor, Tensor]:
    """Weights (as stored) and bias (out,) after folding the norm, in float64 and without gradient; no norm: no bias."""
    with torch.no_grad():
        weight, bias = container.folded()
    return weight, torch.zeros(container.conv.out_channels, dtype=torch.float64) if bias is None else bias


def _quantize_synapse(model: nn.Module, name: str, scale: float) -> None:
    container = _container(model, name)
    if not scale > 0:
        raise QuantizeError(f"synapse '{name}': weight scale {scale} is not positive")
    weight, bias = folded(container)
    integers = 2 * torch.round(weight * scale / 2)
    biases = torch.round(bias * scale)
    _check_range(f"a weight of synapse '{name}'", integers, WEIGHT_RANGE, scale)
    _check_range(f"a bias of synapse '{name}'", biases, BIAS_RANGE, scale)
    container.weight_scale = None  # a network that was trained quantisation-aware may still be in integer mode
    conv = container.conv
    conv.weight = nn.Parameter((integers / WEIGHT_UNIT).to(conv.weight), requires_grad=False)
    if container.norm is not None:
        container.norm = ChannelBias((biases / WEIGHT_UNIT).to(conv.weight))  # type: ignore[assignment]  # same slot


def _container(model: nn.Module, synapse: str) -> ConvNorm:
    """The ConvNorm around a synapse."""
    container = model.get_submodule(synapse.rpartition(".")[0])
    if not isinstance(container, ConvNorm):
        raise QuantizeError(
            f"synapse '{synapse}' is not inside a ConvNorm, so the norm that follows it is not known; wrap it in one"
        )
    return container


def _quantize_neuron(model: nn.Module, name: str, mantissa: int) -> None:
    old = model.get_submodule(name)
    assert isinstance(old, Lif | IntegrateFire)
    if not 0 < mantissa < V_TH_LIMIT:
        raise QuantizeError(
            f"neuron '{name}': threshold mantissa {mantissa} lies outside [1, {V_TH_LIMIT - 1}], where SLAYER's float32 "
            f"threshold equals the chip's; choose a smaller weight scale for this population"
        )
    new = _with_threshold(old, mantissa / WEIGHT_UNIT).eval()
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, new)


def _with_threshold(old: Lif | IntegrateFire, v_th: float) -> nn.Module:
    if isinstance(old, IntegrateFire):  # what it hands on is whole already
        return IntegrateFire(old.ratios, v_th, old.reset, old.steps)
    kind: dict[str, Any] = {"reset": old.reset, "surrogate": old.surrogate}
    new: nn.Module = Lif(v_th, 1.0 - old.v_decay / 4096, old.width, old.steps, **kind).to(old.device)
    return new


def _check_range(what: str, values: Tensor, limits: tuple[int, int], scale: float) -> None:
    low, high = limits
    if not bool(torch.isfinite(values).all()):
        raise QuantizeError(f"{what} is not a finite number; the training diverged: train again with a lower train.lr")
    worst = values.flatten()[values.abs().argmax()] if values.numel() else torch.zeros(())
    if bool((values < low).any() or (values > high).any()):
        raise QuantizeError(
            f"{what} becomes {int(worst)} at a scale of {scale:g} per unit, outside [{low}, {high}]; "
            f"use a scale of at most {scale * (high - 1) / float(worst.abs()):g}"
        )


def _check_names(model: nn.Module, names: Mapping[str, object], kinds: tuple[type, ...], what: str) -> None:
    known = {name for name, module in model.named_modules() if isinstance(module, kinds)}
    for name in names:
        if name not in known:
            raise QuantizeError(f"the model has no {what} named '{name}'; it has {', '.join(sorted(known)[:5])}, ...")
