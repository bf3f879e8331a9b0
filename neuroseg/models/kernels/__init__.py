"""Kernels of the training path: the sums, norms and neurons between two convolutions, fused; one set for each device.

    currents  x[t] = sum over k of scale[k] y_k[t] + shift
    neurons   v[t] = trunc(kept r[t-1]) + trunc(4096 x[t]),   s[t] = v[t] > v_th      (membrane in 1/4096)
              r = v (1 - s) with hard reset, v - v_th s with soft reset

`kernels_for` chooses the set: `compiled` (numba) for float32 and float64 on a CPU, Triton's on CUDA where it runs
(`triton_choice`), `plain` (torch) for everything else.
`plain` is also what tests compare the others with. All sets have the functions of `Kernels`; none of them builds autograd
graphs, that is the business of `neuroseg.models.currents`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from math import frexp
from typing import Protocol

import torch
from torch import Tensor

STATE_UNIT = 4096  # membrane states are integers in units of 1/4096


@dataclass(frozen=True)
class Neuron:
    """Constants of a population.

    steps  T, time steps
    kept   fraction of the membrane that stays for the next step, a multiple of 1/4096
    v_th   threshold, an integer in units of 1/4096; a neuron spikes above it, not at it
    width  width of the surrogate, in units of the membrane (not 1/4096): the rectangle's, or half the triangle's
    soft   after a spike the threshold is subtracted from the membrane; else the membrane is set to zero
    triangle   the surrogate is a triangle of area 1 around the threshold; else a rectangle
    """

    steps: int
    kept: float
    v_th: int
    width: float
    soft: bool = False
    triangle: bool = False

    def state_dtype(self, currents: torch.dtype) -> torch.dtype:
        """What holds the membrane exactly, for currents of that dtype.

        With a power of two as `kept`, float32 is exact while |v| < 2^24 (4096 thresholds of 1); any other needs float64,
        exact to 2^40, and so do currents in float64.
        """
        mantissa, _ = frexp(self.kept)
        return torch.float32 if mantissa in (0, 0.5) and currents != torch.float64 else torch.float64


@dataclass(frozen=True)
class Terms:
    """What adds up to the currents of a population; P = H W map positions, channels last.

    values  y_k: contiguous (N, T, P, C), all of one shape, device and (on a CPU) dtype. (N, 1, P, C) with T > 1 is a current
            that is the same at every step
    scale   (K, C) factor of each term; exactly 1 for a term without norm
    shift   (C,) the sum of all terms' shifts; scale and shift have the dtype in which x is computed
    """

    values: tuple[Tensor, ...]
    scale: Tensor
    shift: Tensor


class Kernels(Protocol):
    """One set of kernels. Tensors named (N, T, P, C) are contiguous; Ti is 1 for constant currents, else T."""

    def statistics(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance (C,) over all but the last axis of y (N, Ti, P, C); float32, or float64 for float64."""

    def summed(self, terms: Terms) -> Tensor:
        """The currents x (N, Ti, P, C), in the dtype of scale and shift."""

    def products(self, terms: Terms, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Sums per channel of grad (N, Ti, P, C), the gradient of x, for the norms: of itself (C,), of grad y_k (K, C).

        Both float64 where they are summed so; a norm subtracts large parts of them.
        """

    def fire(self, terms: Terms, neuron: Neuron, keep: bool) -> tuple[Tensor, Tensor | None]:
        """Spikes (N, T, P, C), 0 or 1, in the dtype of the last term; with `keep` also the currents x (N, Ti, P, C)."""

    def backward(
        self, terms: Terms, neuron: Neuron, grad_spikes: Tensor, grad_currents: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient of x and its sums per channel, for the norms.

        The membrane is computed anew from the terms. Back-propagation through time with a surrogate of width a (truncation
        passes the gradient through; v and v_th in real units here):

            h(v) = 1/a (|v - v_th| <= a/2)           the rectangle (MFS-Seg, section 3), or
                   1/a max(0, 1 - |v - v_th| / a)    the triangle (Kim et al. 2022, equation 6, at v_th = 1 = a)
            dL/dv[t] = dL/ds[t] h(v[t]) + dL/dv[t+1] kept k,
                   k = 1 - s[t] - v[t] h(v[t])       hard reset: the gradient also goes through the spike that resets
                   k = 1                             soft reset: what is subtracted counts as a constant (Kim et al.)
            dL/dx[t] = dL/dv[t] + grad_currents[t];   summed over t where x is the same at every step

        grad_spikes (N, T, P, C) and grad_currents (N, Ti, P, C) have the dtype of the spikes and of x.
        Returns dL/dx (N, Ti, P, C) in the dtype of x, and its `products`.
        """

    def rescaled(self, grad: Tensor, y: Tensor, factors: Tensor, in_place: bool) -> Tensor:
        """factors[0] grad + factors[1] y + factors[2], each (C,), of (N, Ti, P, C); `in_place` overwrites `grad`."""


@cache
def _kernel_set(name: str, device: torch.device | None = None) -> Kernels:
    """A module's kernels, loaded on first use only; for a device: those that the module chooses for it."""
    module = import_module(f"neuroseg.models.kernels.{name}")
    kernels: Kernels = module.KERNELS if device is None else module.choose(device)
    return kernels


def kernels_for(*values: Tensor) -> Kernels:
    """The kernels that compute on these tensors."""
    dtypes = {y.dtype for y in values}
    on_cpu = all(y.device.type == "cpu" for y in values)
    if on_cpu and len(dtypes) == 1 and dtypes <= {torch.float32, torch.float64}:
        return _kernel_set("compiled")
    if all(y.device.type == "cuda" for y in values):
        return _kernel_set("triton_choice", values[0].device)
    return _kernel_set("plain")
