"""What computes on CUDA: the Triton kernels where they run, the plain ones where they do not."""

from __future__ import annotations

import warnings

import torch

from neuroseg.models.kernels import Kernels, Neuron, Terms, plain


def choose(device: torch.device) -> Kernels:
    """The Triton kernels if they compile and run on this very device; else the plain ones, with a warning.

    Triton may be missing, may find no C compiler for its launchers, or may not know a card as old or as new as this one.
    """
    try:
        from neuroseg.models.kernels.triton_set import TritonKernels

        kernels = TritonKernels()
        _try(kernels, device)
    except Exception as error:
        warnings.warn(
            f"the fused CUDA kernels are not to be had ({type(error).__name__}: {' '.join(str(error).split())[:300]}); "
            f"torch's own operations compute the same, slower. They need triton and a C compiler (CC, gcc or clang)",
            RuntimeWarning,
            stacklevel=2,
        )
        return plain.KERNELS
    return kernels


def _try(kernels: Kernels, device: torch.device) -> None:
    """Run what training needs: neurons of two terms there and back, and a norm's gradient. Whatever fails raises."""
    y = torch.ones((1, 2, 3, 2), device=device)
    terms = Terms((y, y.clone()), torch.ones((2, 2), device=device), torch.zeros(2, device=device))
    neuron = Neuron(steps=2, kept=0.25, v_th=2048, width=1.0)
    spikes, currents = kernels.fire(terms, neuron, keep=True)
    grad, _, _ = kernels.backward(terms, neuron, spikes, currents)
    kernels.rescaled(grad, y, torch.ones((3, 2), device=device), in_place=False)
