"""Kernels for a CPU, compiled by numba: float32 and float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.compute.threads import split
from neuroseg.models.kernels import Kernels, Neuron, Terms, loops

TILE = 1024  # values, about: those of all steps fit in a core's cache
CHUNKS = 32
SMALL = 1 << 15  # values; less is not worth a second thread


class CompiledKernels:
    """`Kernels`, each one sweep over memory."""

    def statistics(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """See `Kernels`."""
        tile = _tile(y)
        sums = np.zeros((CHUNKS, 2, tile))
        flat = y.numpy().reshape(-1)
        _split(y, lambda first, last: loops.add_moments(flat, sums, first, last))
        mean, square = _per_channel(sums, y) / (y.numel() / y.shape[-1])
        return torch.from_numpy(mean).to(y.dtype), torch.from_numpy(np.maximum(square - mean * mean, 0)).to(y.dtype)

    def summed(self, terms: Terms) -> Tensor:
        """See `Kernels`."""
        currents = torch.empty_like(terms.values[0])
        given, out = _arguments(terms), _flat(currents)
        _split(currents, lambda first, last: loops.add_up(*given, out, CHUNKS, first, last))
        return currents

    def products(self, terms: Terms, grad: Tensor) -> tuple[Tensor, Tensor]:
        """See `Kernels`."""
        values, flat = tuple(_flat(y) for y in terms.values), _flat(grad)
        sums = np.zeros((CHUNKS, 1 + len(values), _tile(grad)))
        _split(grad, lambda first, last: loops.add_products(values, flat, sums, first, last))
        total = torch.from_numpy(_per_channel(sums, grad))
        return total[0], total[1:]

    def fire(self, terms: Terms, neuron: Neuron, keep: bool) -> tuple[Tensor, Tensor | None]:
        """See `Kernels`."""
        first_value = terms.values[0]
        spikes = torch.empty(_with_steps(first_value, neuron.steps), dtype=first_value.dtype)
        currents = torch.empty_like(first_value) if keep else None
        values, scale, shift = _arguments(terms)
        kept, v_th, state = _neuron(neuron, first_value.dtype)
        space = np.empty((CHUNKS, shift.shape[0]), state)
        out = _flat(spikes), _optional(currents, first_value)
        given = values, scale, shift, kept, v_th, neuron.soft
        _split(spikes, lambda first, last: loops.fire(*given, *out, space, first, last))
        return spikes, currents

    def backward(
        self, terms: Terms, neuron: Neuron, grad_spikes: Tensor, grad_currents: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Kernels`."""
        first_value = terms.values[0]
        grad = torch.empty_like(first_value)
        values, scale, shift = _arguments(terms)
        kept, v_th, state = _neuron(neuron, first_value.dtype)
        sums = np.zeros((CHUNKS, 1 + len(values), shift.shape[0]))
        space = np.empty((CHUNKS, neuron.steps, shift.shape[0]), state)
        kind = scale.dtype.type(neuron.width), neuron.soft, neuron.triangle
        given = kind, _flat(grad_spikes), _optional(grad_currents, first_value)
        out = _flat(grad), sums, space
        _split(
            grad_spikes,
            lambda first, last: loops.backward(values, scale, shift, kept, v_th, *given, *out, first, last),
        )
        total = torch.from_numpy(_per_channel(sums, grad))
        return grad, total[0], total[1:]

    def rescaled(self, grad: Tensor, y: Tensor, factors: Tensor, in_place: bool) -> Tensor:
        """See `Kernels`."""
        out = torch.empty_like(grad) if not in_place else grad.new_empty(0)
        repeated = _repeated(factors, _tile(y))
        parts = -(-y.numel() // repeated.shape[1])
        flat = tuple(x.numpy().reshape(-1) for x in (grad, y))
        result = out.numpy().reshape(-1)
        _split(y, lambda first, last: loops.rescale(*flat, repeated, result, first, last), parts)
        return grad if in_place else out


def _split(values: Tensor, work: Any, parts: int = CHUNKS) -> None:
    if values.numel() < SMALL:
        work(0, parts)
    else:
        split(work, parts)


def _tile(y: Tensor) -> int:
    """Length of a tile: whole positions."""
    channels = y.shape[-1]
    return channels * max(1, min(TILE // channels, y.shape[-2]))


def _flat(y: Tensor) -> NDArray[Any]:
    """(N, T, P, C) -> (N, T, P C)."""
    array: NDArray[Any] = y.flatten(2).numpy()
    return array


def _optional(y: Tensor | None, like: Tensor) -> NDArray[Any]:
    return _flat(y) if y is not None else np.empty((0, 0, 0), like.numpy().dtype)


def _with_steps(y: Tensor, steps: int) -> tuple[int, int, int, int]:
    return y.shape[0], steps, y.shape[2], y.shape[3]


def _repeated(per_channel: Tensor, tile: int) -> NDArray[Any]:
    """(..., C) -> (..., tile): the values of every position of a tile."""
    array: NDArray[Any] = per_channel.numpy()
    return np.tile(array, tile // array.shape[-1])


def _arguments(terms: Terms) -> tuple[tuple[NDArray[Any], ...], NDArray[Any], NDArray[Any]]:
    tile = _tile(terms.values[0])
    return tuple(_flat(y) for y in terms.values), _repeated(terms.scale, tile), _repeated(terms.shift, tile)


def _neuron(neuron: Neuron, dtype: torch.dtype) -> tuple[Any, Any, Any]:
    """kept and v_th as scalars of the membrane's type, and that type."""
    state = np.float32 if neuron.state_dtype(dtype) == torch.float32 else np.float64
    return state(neuron.kept), state(neuron.v_th), state


def _per_channel(sums: NDArray[Any], y: Tensor) -> NDArray[Any]:
    """(chunks, K, tile) -> (K, C)."""
    channels = y.shape[-1]
    total: NDArray[Any] = sums.reshape(sums.shape[0], sums.shape[1], -1, channels).sum((0, 2))
    return total


KERNELS: Kernels = CompiledKernels()
