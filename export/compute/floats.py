"""Float arithmetic that must not be cut short."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_floats() -> Iterator[None]:
    """Float32 means float32: TF32 and bfloat16 shortcuts of matrix products and convolutions are off inside."""
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = torch.get_float32_matmul_precision(), products.allow_bf16_reduced_precision_reduction
    torch.set_float32_matmul_precision("highest")
    products.allow_bf16_reduced_precision_reduction = False
    others = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
    try:
        with cudnn.flags(**others, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        products.allow_bf16_reduced_precision_reduction = before[1]
