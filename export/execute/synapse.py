"""Exact integer synaptic sums by floating-point matrix hardware.

A sum of integers is exact in float32 while its absolute value stays below 2^24, and in float64 below 2^53; the wider
type is taken whenever the weights alone cannot rule the narrower one out.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from export.graph import Conv, Projection, Shape, Sparse

EXACT_FLOAT32 = 1 << 24
SUM_BITS = 24  # a Lava Conv sum is a signed 24-bit number


def largest_sum(projection: Projection) -> int:
    """Largest |sum| that binary spikes can produce at one target neuron."""
    if isinstance(projection, Sparse):
        return int(abs(projection.matrix).sum(axis=1).max()) if projection.matrix.nnz else 0
    weight = np.abs(projection.weight.astype(np.int64))
    return int(weight.reshape(weight.shape[0], -1).sum(axis=1).max())


def synaptic_sum(projection: Projection, spikes: Tensor) -> Tensor:
    """What a projection delivers.

    spikes  (M, C, H, W) uint8, physical layout of the source; M is samples x steps
    returns (M, C', H', W') int32, physical layout of the target
    """
    bound = largest_sum(projection)
    dtype = torch.float32 if bound < EXACT_FLOAT32 else torch.float64
    x = spikes.to(dtype)
    if isinstance(projection, Sparse):
        y = _sparse(projection, spikes)
    elif isinstance(projection, Conv):
        weight = torch.from_numpy(np.ascontiguousarray(projection.weight)).to(dtype)
        y = F.conv2d(
            x,
            weight,
            stride=projection.stride,
            padding=projection.padding,
            dilation=projection.dilation,
            groups=projection.groups,
        )
    else:
        y = x.flatten(1) @ torch.from_numpy(projection.weight).to(dtype).T
    total = y.round().to(torch.int32).view(spikes.shape[0], *projection.output_shape(_shape(spikes)))
    if bound >= 1 << (SUM_BITS - 1):
        total = (total + (1 << (SUM_BITS - 1))) % (1 << SUM_BITS) - (1 << (SUM_BITS - 1))
    return total


def fingerprint(projection: Projection, source: str) -> str:
    """Equal for projections that deliver the same sums: same source spikes, integers and geometry."""
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(projection, Sparse):
        for part in (projection.matrix.data, projection.matrix.indices, projection.matrix.indptr):
            digest.update(np.ascontiguousarray(part).tobytes())
        geometry: object = projection.shape
    else:
        digest.update(np.ascontiguousarray(projection.weight).tobytes())
        geometry = projection.weight.shape
    if isinstance(projection, Conv):
        geometry = (geometry, projection.stride, projection.padding, projection.dilation, projection.groups)
    digest.update(repr((type(projection).__name__, source, geometry)).encode())
    return digest.hexdigest()


def _sparse(projection: Sparse, spikes: Tensor) -> Tensor:
    """Integer product with scipy: exact, and these matrices are permutations."""
    flat = spikes.flatten(1).numpy().astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray((projection.matrix.astype(np.int64) @ flat.T).T))


def _shape(spikes: Tensor) -> Shape:
    return spikes.shape[1], spikes.shape[2], spikes.shape[3]
