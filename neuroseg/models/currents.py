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
from torch.autograd.function import once_differentiable

from export.errors import UsageError
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

    Raises UsageError for any other shape: kernels read memory by these shapes, unchecked.
    """

    raw: Tensor
    gain: Tensor | None = None
    shift: Tensor | None = None
    norm: Statistics | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.raw.shape)
        if len(shape) not in (4, 5):
            raise UsageError(
                f"currents have shape {shape}; they are (N, T, C, H, W), or (N, C, H, W) at every step alike"
            )
        statistics = () if self.norm is None else (self.norm.mean, self.norm.var)
        for per_channel in (self.gain, self.shift, *statistics):
            if per_channel is not None and tuple(per_channel.shape) != shape[-3:-2]:
                raise UsageError(
                    f"currents of shape {shape} have {shape[-3]} channels, but their norm or bias has a parameter of shape "
                    f"{tuple(per_channel.shape)}; build it for {shape[-3]} channels"
                )

    @property
    def is_sum(self) -> bool:
        """Whether nothing is left to be done."""
        return self.gain is None and self.shift is None


class Currents:
    """A sum of terms, (N, T, C, H, W) or (N, C, H, W). `+` with other currents or a tensor; `tensor()` computes it.

    All terms have one shape and device, nothing is broadcast; UsageError otherwise.
    """

    def __init__(self, terms: tuple[Term, ...]) -> None:
        first = terms[0].raw
        for term in terms[1:]:
            if term.raw.shape != first.shape or term.raw.device != first.device:
                raise UsageError(
                    f"currents of shape {tuple(first.shape)} on {first.device} and of shape {tuple(term.raw.shape)} on "
                    f"{term.raw.device} do not add up; expand both to one shape on one device (`Tensor.expand`)"
                )
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
        more = currents_of(other)
        return Currents(self._terms + more.terms) if isinstance(more, Currents) else NotImplemented

    def __radd__(self, other: Tensor) -> Currents:
        first = currents_of(other)
        return first + self if isinstance(first, Currents) else NotImplemented

    def tensor(self) -> Tensor:
        """The sum as numbers; computed once, unless without the gradients that a later reader may need."""
        if self._is_sum():
            return self._terms[0].raw
        total: Tensor = _Sum.apply(*self._inputs())  # type: ignore[no-untyped-call]
        self._remember(total)
        return total

    def spikes(self, neuron: Neuron, shared: bool) -> Tensor:
        """Spikes (N, T, C, H, W) of neurons that these currents drive; `shared`: others read the currents, too."""
        keep = shared and not self._is_sum()
        spikes, *total = _Fire.apply(neuron, keep, *self._inputs())  # type: ignore[no-untyped-call]
        if keep:
            self._remember(total[0])
        result: Tensor = spikes
        return result

    def _is_sum(self) -> bool:
        return len(self._terms) == 1 and self._terms[0].is_sum

    def _remember(self, total: Tensor) -> None:
        """Let `total` stand for the terms, unless it was computed under `no_grad` and would cut off their gradients."""
        trained = any(isinstance(x, Tensor) and x.requires_grad for x in self._inputs())
        if total.requires_grad or not trained:
            self._terms = (Term(total),)

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
    rows = as_rows(raw.detach())
    mean, var = kernels_for(rows).statistics(rows)
    return Statistics(mean, var, eps, of_batch=True)


class _Sum(torch.autograd.Function):
    """Sum and norms: (raw, gain, shift) of every term -> currents, in the axes of the first term."""

    @staticmethod
    def forward(ctx: Any, norms: Norms, *inputs: Tensor | None) -> Tensor:
        ctx.save_for_backward(*inputs)
        ctx.norms = norms
        terms = _terms(inputs, norms)
        return as_maps(kernels_for(*terms.values).summed(terms), inputs[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, rows = ctx.saved_tensors, as_rows(grad)
        terms = _terms(inputs, ctx.norms)
        sums = kernels_for(*terms.values).products(terms, rows)
        own = rows.data_ptr() != grad.data_ptr()  # a copy: nobody else reads it
        needed = ctx.needs_input_grad[-len(inputs) :]
        return (None, *_to_terms(inputs, ctx.norms, terms, (rows, *sums), own, needed))


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
        return (fired,) if total is None else (fired, as_maps(total, raw))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_spikes: Tensor | None, to_total: Tensor | None = None) -> tuple[Tensor | None, ...]:
        inputs, neuron = ctx.saved_tensors, ctx.neuron
        terms = _terms(inputs, ctx.norms)
        first = terms.values[0]
        kernels = kernels_for(*terms.values)
        shape = first.shape[0], neuron.steps, *first.shape[2:]
        to_spikes = first.new_zeros(shape) if to_spikes is None else as_rows(to_spikes)
        to_total = None if to_total is None else as_rows(to_total)
        gradients = kernels.backward(terms, neuron, to_spikes, to_total)
        needed = ctx.needs_input_grad[-len(inputs) :]
        return (None, None, None, *_to_terms(inputs, ctx.norms, terms, gradients, True, needed))


def _to_terms(
    inputs: tuple[Any, ...],
    norms: Norms,
    terms: Terms,
    gradients: tuple[Tensor, Tensor, Tensor],
    own: bool,
    needed: tuple[bool, ...],
) -> Iterator[Tensor | None]:
    """Gradients of (raw, gain, shift) of every term, of which some are `needed`; no two share memory.

    gradients  of the terms' sum, (N, Ti, P, C), overwritten or handed out if it is our `own`; and its `Kernels.products`
    """
    grad, total, products = gradients
    last, given_away = len(norms) - 1, not own
    for k, norm in enumerate(norms):
        raw, gain, shift = inputs[3 * k : 3 * k + 3]
        to_raw, to_gain = None, None
        if norm is not None:
            inverse = norm.inverse().double()
            along = inverse * (products[k] - norm.mean.double() * total)
            count = grad.numel() // grad.shape[-1]
            factors = _through_norm(norm, gain.double() * inverse, total, along, count).to(terms.scale.dtype)
            in_place = own and k == last and None not in norms  # nobody else reads it
            to_raw = kernels_for(*terms.values).rescaled(grad, terms.values[k], factors, in_place).to(raw.dtype)
            to_gain = along.to(gain.dtype)
        elif needed[3 * k]:
            to_raw = grad.to(raw.dtype, copy=given_away)
            given_away = True
        yield None if to_raw is None else as_maps(to_raw, raw)
        yield to_gain
        yield None if shift is None else total.to(shift.dtype, copy=True)


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
        rows = as_rows(raw)
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


def as_rows(x: Tensor) -> Tensor:
    """(N, T, C, H, W), or (N, C, H, W) with T = 1, -> contiguous (N, T, H W, C): no copy where it is channels last."""
    x = x if x.ndim == 5 else x.unsqueeze(1)
    return x.permute(0, 1, 3, 4, 2).contiguous().flatten(2, 3)


def as_maps(rows: Tensor, raw: Tensor | None) -> Tensor:
    """(N, T, H W, C) -> the axes of `raw`, channels last in memory."""
    assert raw is not None
    x: Tensor = rows.unflatten(2, raw.shape[-2:]).permute(0, 1, 4, 2, 3)
    return x if raw.ndim == 5 else x.squeeze(1)
