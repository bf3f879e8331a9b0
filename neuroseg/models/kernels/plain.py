"""Kernels in plain torch: for any device and dtype, and the reference of the others."""

from __future__ import annotations

import torch
from torch import Tensor

from neuroseg.models.kernels import STATE_UNIT, Kernels, Neuron, Terms


class PlainKernels:
    """`Kernels`, one torch operation after the other."""

    def statistics(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """See `Kernels`."""
        wide = y.to(torch.promote_types(y.dtype, torch.float32))
        var, mean = torch.var_mean(wide, dim=(0, 1, 2), correction=0)
        return mean, var

    def summed(self, terms: Terms) -> Tensor:
        """See `Kernels`."""
        return _currents(terms)

    def products(self, terms: Terms, grad: Tensor) -> tuple[Tensor, Tensor]:
        """See `Kernels`."""
        wide = grad.double()
        return wide.sum((0, 1, 2)), torch.stack([(wide * y.double()).sum((0, 1, 2)) for y in terms.values])

    def fire(self, terms: Terms, neuron: Neuron, keep: bool) -> tuple[Tensor, Tensor | None]:
        """See `Kernels`."""
        x = _currents(terms)
        _, spikes = _membrane(x, neuron)
        return spikes.to(terms.values[-1].dtype), x if keep else None

    def backward(
        self, terms: Terms, neuron: Neuron, grad_spikes: Tensor, grad_currents: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Kernels`."""
        x = _currents(terms)
        state, spikes = _membrane(x, neuron)
        v = (state / STATE_UNIT).to(x.dtype)
        slope = _slope((v - neuron.v_th / STATE_UNIT).abs(), neuron)
        grad = grad_spikes.to(x.dtype) * slope
        through_time = neuron.kept * (torch.ones_like(v) if neuron.soft else 1 - spikes.to(x.dtype) - v * slope)
        for t in range(neuron.steps - 2, -1, -1):
            grad[:, t] += grad[:, t + 1] * through_time[:, t]
        if x.shape[1] != neuron.steps:
            grad = grad.sum(1, keepdim=True)
        if grad_currents is not None:
            grad = grad + grad_currents.to(grad.dtype)
        return grad, *self.products(terms, grad)

    def rescaled(self, grad: Tensor, y: Tensor, factors: Tensor, in_place: bool) -> Tensor:
        """See `Kernels`."""
        result = factors[0] * grad + factors[1] * y + factors[2]
        return grad.copy_(result) if in_place else result.to(y.dtype)


def _currents(terms: Terms) -> Tensor:
    x = terms.shift.expand(terms.values[0].shape)
    for y, scale in zip(terms.values, terms.scale, strict=True):
        x = x + scale * y.to(scale.dtype)
    return x


def _membrane(x: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
    """Membrane in 1/4096 before the reset, and spikes as bool; both (N, T, P, C)."""
    arriving = (x.to(neuron.state_dtype(x.dtype)) * STATE_UNIT).trunc()
    v = arriving.expand(-1, neuron.steps, -1, -1).clone()
    for t in range(1, neuron.steps):
        before = v[:, t - 1]
        silent = before <= neuron.v_th
        rest = torch.where(silent, before, before - neuron.v_th) if neuron.soft else before * silent
        v[:, t] += (rest * neuron.kept).trunc()
    return v, v > neuron.v_th


def _slope(distance: Tensor, neuron: Neuron) -> Tensor:
    """The surrogate, from the membrane's distance to the threshold, both in real units."""
    if neuron.triangle:
        return (1 - distance / neuron.width).clamp(min=0) / neuron.width
    return (distance <= neuron.width / 2).to(distance.dtype) / neuron.width


KERNELS: Kernels = PlainKernels()
