"""Currents that are not computed before somebody reads them: convolutions' outputs with the norms still to be applied.

Synapse, norm, shortcut and neuron are modules of their own, but on their way from one to the next the numbers stay where the
convolution wrote them. `Currents` carries them, with what is still to be done, to the neurons (`Lif`), where one fused
kernel does all of it (`neuroseg.models.kernels`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neuroseg.models.kernels import Neuron, Terms, kernels_for


@dataclass(frozen=True, eq=False)
class Statistics:
    """What a norm subtracts and divides by: mean and biased variance (C,), constants, and its epsilon.

    of_batch  they are those of the very values that are normed, so that the gradient goes through them, too
    """

    mean: Tensor
    var: Tensor
    eps: float
    of_batch: bool

    def inverse(self) -> Tensor:
        """1 / sqrt(var + eps)."""
        return torch.rsqrt(self.var + self.eps)


@dataclass(frozen=True, eq=False)
class Term:
    """One addend of the currents: gain (raw - mean) / sqrt(var + eps) + shift.

    raw    (N, T, C, H, W), or (N, C, H, W) for a current that is the same at every step
    gain   (C,) with gradient, None with `norm` None;  shift (C,) with gradient, None: zero
    """

    raw: Tensor
    gain: Tensor | None = None
    shift: Tensor | None = None
    norm: Statistics | None = None

    @property
    def is_sum(self) -> bool:
        """Whether nothing is left to be done."""
        return self.gain is None and self.shift is None


class Currents:
    """A sum of terms, (N, T, C, H, W) or (N, C, H, W). `+` with other currents or a tensor; `tensor()` computes it."""

    def __init__(self, terms: tuple[Term, ...]) -> None:
        self._terms = terms

    @property
    def terms(self) -> tuple[Term, ...]:
        """What is to be added; one finished term once the sum is known."""
        return self._terms

    @property
    def shape(self) -> torch.Size:
        """Shape of the sum."""
        return self._terms[0].raw.shape

    def __add__(self, other: Tensor | Currents) -> Currents:
        return Currents(self._terms + currents_of(other).terms)

    def __radd__(self, other: Tensor) -> Currents:
        first: Currents = currents_of(other)
        return first + self

    def tensor(self) -> Tensor:
        """The sum as numbers; computed once."""
        if len(self._terms) > 1 or not self._terms[0].is_sum:
            total: Tensor = _Sum.apply(*self._inputs())  # type: ignore[no-untyped-call]
            self._terms = (Term(total),)
        return self._terms[0].raw

    def spikes(self, neuron: Neuron, shared: bool) -> Tensor:
        """Spikes (N, T, C, H, W) of neurons that these currents drive; `shared`: others read the currents, too."""
        keep = shared and not (len(self._terms) == 1 and self._terms[0].is_sum)
        spikes, *total = _Fire.apply(neuron, keep, *self._inputs())  # type: ignore[no-untyped-call]
        if keep:
            self._terms = (Term(total[0]),)
        result: Tensor = spikes
        return result

    def _inputs(self) -> Iterator[Any]:
        """For autograd: the terms' norms, then raw values, gain and shift of one term after the other."""
        yield tuple(term.norm for term in self._terms)
        for term in self._terms:
            yield from (term.raw, term.gain, term.shift)


Norms = tuple[Statistics | None, ...]


def currents_of(x: Any) -> Any:
    """A tensor as `Currents`; what is not a tensor (currents, or the proxy of a tracer) as it is."""
    return Currents((Term(x),)) if isinstance(x, Tensor) else x


def tensor_of(x: Tensor | Currents) -> Tensor:
    """The numbers."""
    return x.tensor() if isinstance(x, Currents) else x


def statistics_of(raw: Tensor, eps: float) -> Statistics:
    """Mean and variance of a tensor's channels over everything else."""
    rows = _rows(raw.detach())
    mean, var = kernels_for(rows).statistics(rows)
    return Statistics(mean, var, eps, of_batch=True)


class _Sum(torch.autograd.Function):
    """Sum and norms: (raw, gain, shift) of every term -> currents, in the axes of the first term."""

    @staticmethod
    def forward(ctx: Any, norms: Norms, *inputs: Tensor | None) -> Tensor:
        ctx.save_for_backward(*inputs)
        ctx.norms = norms
        terms = _terms(inputs, norms)
        return _like(kernels_for(*terms.values).summed(terms), inputs[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, rows = ctx.saved_tensors, _rows(grad)
        terms = _terms(inputs, ctx.norms)
        sums = kernels_for(*terms.values).products(terms, rows)
        return (None, *_to_terms(inputs, ctx.norms, terms, (rows, *sums), own=False))


class _Fire(torch.autograd.Function):
    """Sum, norms and neurons: (raw, gain, shift) of every term -> spikes, and with `keep` the summed currents."""

    @staticmethod
    def forward(ctx: Any, neuron: Neuron, keep: bool, norms: Norms, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs)
        ctx.neuron, ctx.norms = neuron, norms
        terms, raw = _terms(inputs, norms), inputs[0]
        assert raw is not None
        spikes, total = kernels_for(*terms.values).fire(terms, neuron, keep)
        fired = spikes.unflatten(2, raw.shape[-2:]).permute(0, 1, 4, 2, 3)
        return (fired,) if total is None else (fired, _like(total, raw))

    @staticmethod
    def backward(ctx: Any, to_spikes: Tensor | None, to_total: Tensor | None = None) -> tuple[Tensor | None, ...]:
        inputs, neuron = ctx.saved_tensors, ctx.neuron
        terms = _terms(inputs, ctx.norms)
        first = terms.values[0]
        kernels = kernels_for(*terms.values)
        shape = first.shape[0], neuron.steps, *first.shape[2:]
        to_spikes = first.new_zeros(shape) if to_spikes is None else _rows(to_spikes)
        to_total = None if to_total is None else _rows(to_total)
        gradients = kernels.backward(terms, neuron, to_spikes, to_total)
        return (None, None, None, *_to_terms(inputs, ctx.norms, terms, gradients, own=True))


def _to_terms(
    inputs: tuple[Any, ...], norms: Norms, terms: Terms, gradients: tuple[Tensor, Tensor, Tensor], own: bool
) -> Iterator[Tensor | None]:
    """Gradients of (raw, gain, shift) of every term.

    gradients  of the terms' sum, (N, Ti, P, C), overwritten if it is our `own`; and its `Kernels.products`
    """
    grad, total, products = gradients
    last = len(norms) - 1
    for k, norm in enumerate(norms):
        raw, gain, shift = inputs[3 * k : 3 * k + 3]
        to_raw, to_gain = grad, None
        if norm is not None:
            inverse = norm.inverse().double()
            along = inverse * (products[k] - norm.mean.double() * total)
            count = grad.numel() // grad.shape[-1]
            factors = _through_norm(norm, gain.double() * inverse, total, along, count).to(terms.scale.dtype)
            in_place = own and k == last and None not in norms  # nobody else reads it
            to_raw = kernels_for(*terms.values).rescaled(grad, terms.values[k], factors, in_place)
            to_gain = along.to(gain.dtype)
        yield from (_like(to_raw.to(raw.dtype), raw), to_gain, None if shift is None else total.to(shift.dtype))


def _through_norm(norm: Statistics, scale: Tensor, total: Tensor, to_gain: Tensor, count: int) -> Tensor:
    """Factors (3, C) of the gradient of a norm's output, of its input, and 1, that add up to the gradient of its input.

    With z = (y - mean) / sqrt(var + eps), the normed values, and d = dL/dx (Ioffe and Szegedy 2015):

        dL/dy = scale (d - average of d - z (average of d z)),   average of d z = dL/dgain / count
    """
    if not norm.of_batch:
        return torch.stack([scale, torch.zeros_like(scale), torch.zeros_like(scale)])
    slope = -scale * norm.inverse().double() * to_gain / count
    return torch.stack([scale, slope, -scale * total / count - slope * norm.mean.double()])


def _terms(inputs: tuple[Tensor | None, ...], norms: Norms) -> Terms:
    values, scales, shifts = [], [], []
    for k, norm in enumerate(norms):
        raw, gain, shift = inputs[3 * k : 3 * k + 3]
        assert raw is not None
        rows = _rows(raw)
        channels, dtype = rows.shape[-1], torch.promote_types(rows.dtype, torch.float32)
        scale = torch.ones(channels, dtype=dtype, device=rows.device)
        offset = torch.zeros_like(scale) if shift is None else shift.to(dtype)
        if norm is not None and gain is not None:
            scale = (gain * norm.inverse()).to(dtype)
            offset = offset - (norm.mean * scale).to(dtype)
        values.append(rows)
        scales.append(scale)
        shifts.append(offset)
    return Terms(tuple(values), torch.stack(scales), torch.stack(shifts).sum(0))


def _rows(x: Tensor) -> Tensor:
    """(N, T, C, H, W), or (N, C, H, W) with T = 1, -> contiguous (N, T, H W, C): no copy where it is channels last."""
    x = x if x.ndim == 5 else x.unsqueeze(1)
    return x.permute(0, 1, 3, 4, 2).contiguous().flatten(2, 3)


def _like(rows: Tensor, raw: Tensor | None) -> Tensor:
    """(N, T, H W, C) -> the axes of `raw`, channels last in memory."""
    assert raw is not None
    x: Tensor = rows.unflatten(2, raw.shape[-2:]).permute(0, 1, 4, 2, 3)
    return x if raw.ndim == 5 else x.squeeze(1)
