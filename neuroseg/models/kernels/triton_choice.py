"""What computes on CUDA: the Triton kernels where they run, the plain ones where they do not."""

from __future__ import annotations

import warnings

import torch

from neuroseg.models.kernels import Kernels, plain


def choose(device: torch.device) -> Kernels:
    """The Triton kernels if one of them compiles and runs on this device; else the plain ones, with a warning.

    Triton may be missing, may find no C compiler for its launchers, or may not know a card as old or as new as this one.
    """
    try:
        from neuroseg.models.kernels.triton_set import TritonKernels

        kernels = TritonKernels()
        one = torch.ones((1, 1, 1, 1), device=device)
        kernels.rescaled(one, one, torch.ones((3, 1), device=device), in_place=False)
    except Exception as error:
        warnings.warn(
            f"the fused CUDA kernels are not to be had ({type(error).__name__}: {' '.join(str(error).split())[:300]}); "
            f"torch's own operations compute the same, slower. They need triton and a C compiler (CC, gcc or clang)",
            RuntimeWarning,
            stacklevel=2,
        )
        return plain.KERNELS
    return kernels


KERNELS: Kernels = choose(torch.device("cuda"))
