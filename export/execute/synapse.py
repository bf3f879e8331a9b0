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

from export.graph import SUM_BITS, Conv, Projection, Shape, Sparse

EXACT_FLOAT32 = 1 << 24


def largest_sum(projection: Projection) -> int:
    """Largest |sum| that binary spikes can produce at one target neuron."""
    if isinstance(projection, Sparse):
        return int(abs(projection.matrix).sum(axis=1).max()) if projection.matrix.nnz else 0
    weight = np.abs(projection.weight.astype(np.int64))
    return int(weight.reshape(weight.shape[0], -1).sum(axis=1).max())


def synaptic_sum(projection: Projection, spikes: Tensor) -> Tensor:
    """What a projection delivers.

    spikes  (M, C, H, W) uint8, physical layout of the source; M is samples x steps
    returns (M, C', H', W') int32, physical layout of the target; sums of a Conv wrap at 24 bits, others at 32, as on Lava
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
    total = y.round().to(torch.int64).view(spikes.shape[0], *projection.output_shape(_shape(spikes)))
    return (wrapped(total) if wraps(projection) else total).to(torch.int32)


def wraps(projection: Projection) -> bool:
    """Whether a sum of this projection alone could be wrapped at 24 bits.

    Source: lava-nc 0.10.0, `PyConvModelFixed.clamp_precision`; the models of Dense and Sparse have no such limit.
    """
    return isinstance(projection, Conv) and largest_sum(projection) >= 1 << (SUM_BITS - 1)


def wrapped(sums: Tensor) -> Tensor:
    """Integers wrapped to signed 24 bits."""
    half = 1 << (SUM_BITS - 1)
    return (sums + half) % (2 * half) - half


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
