"""Projections made ready to run: weights as tensors, packed once per graph, the fastest exact arithmetic chosen.

Whatever the layouts of the populations, tensors are full-resolution maps, channels last: spikes (M, H, W, C) uint8, sums
(M, H', W', C'); M is samples x steps. A sum of integers is exact in float32 while its absolute value stays below 2^24, in
any order of addition:

    8 bit     spikes x weights in bytes, added in 32 bit integers and handed out as float32 (oneDNN, processors with VNNI).
              Our weights are even and in [-256, 254]: half of one is a byte, and the output scale is 2
    bfloat16  spikes x weights on a GPU's matrix units, added in and handed out as float32. An even integer in [-256, 254] has
              at most 8 significant bits, as many as bfloat16 holds
    float32   everywhere else, with TF32 and bfloat16 shortcuts switched off
    float64   where the weights alone cannot rule out sums that leave 24 bits: these are then brought to int32 as on Lava,
              where a Conv wraps its sums to 24 bits, while Dense and Sparse do not (`whole`)
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from export.execute.logical import logical
from export.execute.synapse import largest_sum, wrapped
from export.graph import SUM_BITS, Array, Conv, Dense, Population, Projection, Shape, Sparse, to_logical

SUMS = torch.float32
WRAPS = 1 << (SUM_BITS - 1)
BYTE = 127


class Delivery(Protocol):
    """What a projection adds at its target, ready to run."""

    def __call__(self, spikes: Tensor, total: Tensor | None) -> Tensor:
        """Sums (M, H', W', C'), or `total` with them added, in place. Both `SUMS`, or float64 where the projection is wide."""


def prepare(projection: Projection, source: Population, target: Population, device: torch.device) -> Delivery:
    """The fastest exact way to run a projection between two populations on a device.

    Graded spikes take the plain way, in float32 or float64: how fast ways add is known for binary ones only.
    """
    dtype = torch.float64 if wide(projection, source.largest_spike) else SUMS
    if isinstance(projection, Sparse):
        return _sparse(projection, source, target, dtype, device)
    if isinstance(projection, Dense):
        return _FloatDense(projection, source, dtype, device)
    layouts = source.layout, target.layout
    if source.thresholds:
        return _Layered(_FloatConv(projection, dtype, device), *layouts)
    found = logical(projection, layouts, source.shape[1:], target.shape[1:])
    if found is not None:
        run = _convolution(found.conv, dtype, device)
        return run if found.factor == 1 else _Layered(run, 1, found.factor)
    return _Layered(_convolution(projection, dtype, device), *layouts)


def wide(projection: Projection, largest_spike: int = 1) -> bool:
    """Whether a sum of this projection alone could leave 24 bits: it is made in float64, for `whole`.

    largest_spike  of its source: more than 1 for a graded one
    """
    return largest_sum(projection) * largest_spike >= WRAPS


def whole(sums: Tensor, projection: Projection) -> Tensor:
    """What a wide projection delivered, in any float type, as int32: wrapped at 24 bits where Lava does, else at 32."""
    exact = sums.to(torch.int64)
    return (wrapped(exact) if isinstance(projection, Conv) else exact).to(torch.int32)


def byte_scale(weight: Array) -> int:
    """2 or 1 where all weights divided by it are whole and fit a signed byte, and this processor multiplies bytes; else 0."""
    if not bytes_are_fast():
        return 0
    for scale in (2, 1):
        if not (weight % scale).any() and weight.min() >= -(BYTE + 1) * scale and weight.max() <= BYTE * scale:
            return scale
    return 0


@cache
def bytes_are_fast() -> bool:
    """Whether oneDNN multiplies bytes here without rounding or saturation; tried once per process on extreme sums."""
    supported = getattr(torch.cpu, "_is_vnni_supported", lambda: False)  # not part of torch's stable interface
    if not (hasattr(torch.ops.onednn, "qconv2d_pointwise") and supported()):
        return False
    return all(_bytes_are_exact(size, groups) for size in (1, 3) for groups in (1, 16, 64))


def _bytes_are_exact(size: int, groups: int) -> bool:
    """Whether a trial kernel gives the sums of float64, handed out and added in place."""
    spikes = torch.ones((2, 6, 6, 64), dtype=torch.uint8)
    weight = np.full((64, 64 // groups, size, size), -256)
    weight[::2] = 254
    conv = Conv("trial", "a", "b", weight, padding=(size // 2, size // 2), groups=groups)
    exact = _FloatConv(conv, torch.float64, torch.device("cpu"))(spikes, None)
    before = torch.arange(exact.numel(), dtype=SUMS).view_as(exact) * 401 - (1 << 22)  # odd and even, of either sign
    try:
        run = _ByteConv(conv, 2)
        sums, total = run(spikes, None), run(spikes, before.clone())
    except (RuntimeError, TypeError, NotImplementedError) as error:  # another torch, another signature
        return _slower("products of bytes are not to be had from this torch", error)
    return torch.equal(sums.double(), exact) and torch.equal(total.double(), before.double() + exact)


def _slower(what: str, error: Exception) -> bool:
    reason = " ".join(str(error).split())[:300]
    warnings.warn(
        f"{what} ({type(error).__name__}: {reason}): float32 is taken, which is slower", RuntimeWarning, stacklevel=2
    )
    return False


def fits_half(weight: Array) -> bool:
    """Whether bfloat16 holds all weights without rounding."""
    exact = torch.from_numpy(np.ascontiguousarray(weight)).double()
    return torch.equal(exact.to(torch.bfloat16).double(), exact)


@cache
def halves_are_exact(device: torch.device) -> bool:
    """Whether matrix units add bfloat16 products without rounding up to 2^24; tried once per process on a large odd sum."""
    weight = torch.full((60_000, 16), 254.0, dtype=torch.bfloat16, device=device)
    weight[1::2] = 253.0
    weight[-1] = 252.0
    spikes = torch.ones((16, 60_000), dtype=torch.bfloat16, device=device)
    try:
        sums = _half_product(spikes, weight)
    except (RuntimeError, TypeError) as error:  # a card or a torch without such a product
        return _slower(f"bfloat16 products with float32 sums are not to be had on {device}", error)
    return torch.equal(sums.double(), weight.double().sum(0).expand(16, 16))


def _half_product(spikes: Tensor, weight: Tensor) -> Tensor:
    """bfloat16 matrices -> float32; a CPU computes the same in float32, as a reference."""
    if spikes.is_cuda:
        return torch.mm(spikes, weight, out_dtype=torch.float32)
    return spikes.float() @ weight.float()


def _convolution(conv: Conv, dtype: torch.dtype, device: torch.device) -> Delivery:
    if dtype is SUMS and device.type == "cpu" and (scale := byte_scale(conv.weight)):
        return _ByteConv(conv, scale)
    if (
        dtype is SUMS
        and device.type == "cuda"
        and conv.groups == 1
        and fits_half(conv.weight)
        and halves_are_exact(device)
    ):
        return HalfConv(conv, device)
    return _FloatConv(conv, dtype, device)


def _added(sums: Tensor, total: Tensor | None) -> Tensor:
    return sums if total is None else total.add_(sums)


class _ByteConv:
    def __init__(self, conv: Conv, scale: int) -> None:
        outputs = conv.weight.shape[0]
        self.scale = torch.full((outputs,), float(scale))
        self.zero = torch.zeros(outputs, dtype=torch.int64)
        self.geometry = (list(conv.stride), list(conv.padding), list(conv.dilation), conv.groups)
        weight = torch.from_numpy(np.ascontiguousarray(conv.weight // scale).astype(np.int8))
        self.weight = torch.ops.onednn.qconv_prepack(weight, self.scale, 1.0, 0, *self.geometry, None)

    def __call__(self, spikes: Tensor, total: Tensor | None) -> Tensor:
        given = (spikes.permute(0, 3, 1, 2), 1.0, 0, self.weight, self.scale, self.zero)
        form = (None, *self.geometry, 1.0, 0, torch.float32)
        run = torch.ops.onednn.qconv2d_pointwise
        if total is None:
            sums: Tensor = run(*given, *form, "none", [], "")
            return sums.permute(0, 2, 3, 1).contiguous()
        run.binary(*given, total.permute(0, 3, 1, 2), *form, 1.0, 0, "sum", 1.0, "none", [], "")
        return total


class _FloatConv:
    def __init__(self, conv: Conv, dtype: torch.dtype, device: torch.device) -> None:
        self.conv = (conv.stride, conv.padding, conv.dilation, conv.groups)
        weight = torch.from_numpy(np.ascontiguousarray(conv.weight)).to(device, dtype)
        self.weight = weight.contiguous(memory_format=torch.channels_last)

    def __call__(self, spikes: Tensor, total: Tensor | None) -> Tensor:
        x = spikes.to(self.weight.dtype).permute(0, 3, 1, 2)
        return _added(F.conv2d(x, self.weight, None, *self.conv).permute(0, 2, 3, 1).contiguous(), total)


class HalfConv:
    """Patches of the spikes times weights, in bfloat16 with float32 sums (a convolution would round what it hands out)."""

    def __init__(self, conv: Conv, device: torch.device) -> None:
        self.conv = conv
        weight = torch.from_numpy(np.ascontiguousarray(conv.weight)).to(device, torch.bfloat16)
        self.weight = weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous()  # (kH kW in, out)

    def __call__(self, spikes: Tensor, total: Tensor | None) -> Tensor:
        """As in `Delivery`."""
        (pad_y, pad_x), kernel = self.conv.padding, self.conv.weight.shape[2:]
        x = F.pad(spikes.to(torch.bfloat16), (0, 0, pad_x, pad_x, pad_y, pad_y))
        channels, height, width = self.conv.output_shape((spikes.shape[3], spikes.shape[1], spikes.shape[2]))
        m, y, across, c = x.stride()
        steps = (self.conv.stride[0] * y, self.conv.stride[1] * across)
        taps = (self.conv.dilation[0] * y, self.conv.dilation[1] * across)
        patches = x.as_strided((len(x), height, width, *kernel, x.shape[3]), (m, *steps, *taps, c))
        sums = _half_product(patches.reshape(-1, len(self.weight)), self.weight)
        return _added(sums.view(-1, height, width, channels), total)


def patch_bytes(run: Delivery, shape: Shape) -> int:
    """Bytes that a delivery needs for the patches of one map of a logical shape (C, H, W); 0 where it makes none."""
    if isinstance(run, _Layered):
        channels, height, width = shape
        return patch_bytes(run.run, (channels * run.source**2, height // run.source, width // run.source))
    if not isinstance(run, HalfConv):
        return 0
    _, height, width = run.conv.output_shape(shape)
    return 2 * height * width * len(run.weight)


class _Layered:
    """A convolution between space-to-depth layouts: spikes are brought there, sums are brought back."""

    def __init__(self, run: Delivery, source: int, target: int) -> None:
        self.run, self.source, self.target = run, source, target

    def __call__(self, spikes: Tensor, total: Tensor | None) -> Tensor:
        sums = self.run(_folded(spikes, self.source), None)
        return _added(_unfolded(sums, self.target), total)


def _folded(x: Tensor, r: int) -> Tensor:
    """(M, H, W, C) -> (M, H/r, W/r, C r^2), channel c r^2 + r dy + dx."""
    if r == 1:
        return x
    m, height, width, channels = x.shape
    split = x.view(m, height // r, r, width // r, r, channels).permute(0, 1, 3, 5, 2, 4)
    return split.reshape(m, height // r, width // r, channels * r * r)


def _unfolded(x: Tensor, r: int) -> Tensor:
    """The inverse of `_folded`."""
    if r == 1:
        return x
    m, height, width, channels = x.shape
    split = x.view(m, height, width, channels // (r * r), r, r).permute(0, 1, 4, 2, 5, 3)
    return split.reshape(m, height * r, width * r, channels // (r * r))


class _FloatDense:
    def __init__(self, dense: Dense, source: Population, dtype: torch.dtype, device: torch.device) -> None:
        outputs = dense.weight.shape[0]
        weight = to_logical(dense.weight.reshape(outputs, *source.physical_shape), source.layout)
        inputs_first = np.ascontiguousarray(weight.transpose(2, 3, 1, 0)).reshape(-1, outputs)  # (H W C, out)
        self.weight = torch.from_numpy(inputs_first).to(device, dtype)

    def __call__(self, spikes: Tensor, total: Tensor | None) -> Tensor:
        return _added((spikes.flatten(1).to(self.weight.dtype) @ self.weight)[:, None, None], total)


def _sparse(
    projection: Sparse, source: Population, target: Population, dtype: torch.dtype, device: torch.device
) -> Delivery:
    """Rows and columns in the order of the maps; a permutation (one synapse per neuron) is a gather."""
    rows, columns = _order(target), _order(source)
    matrix = projection.matrix.astype(np.float64).tocoo()
    matrix.sum_duplicates()
    row, column = np.argsort(rows)[matrix.row], np.argsort(columns)[matrix.col]
    order = np.argsort(row, kind="stable")
    row, column = row[order], column[order]
    channels, height, width = target.shape
    weight = torch.from_numpy(matrix.data[order]).to(device, dtype)
    if np.array_equal(row, np.arange(len(rows))):
        kept = np.array_equal(column, np.arange(len(columns)))  # what `interleave` is, seen at full resolution
        index = None if kept else torch.from_numpy(column).to(device)
        return _Gather(index, weight, (height, width, channels))
    places = torch.from_numpy(np.stack((row, column))).to(device)
    table = torch.sparse_coo_tensor(places, weight, (len(rows), len(columns)))
    return _SparseProduct(table, (height, width, channels))


def _order(population: Population) -> NDArray[np.int64]:
    """(H W C,): where the neurons of a map, channels last, stand in physical (C, H, W) order."""
    physical = np.arange(population.neurons).reshape(population.physical_shape)
    return np.asarray(to_logical(physical, population.layout).transpose(1, 2, 0).ravel())


class _Gather:
    """index (H W C,): the source of each neuron; None: the neuron at its own place."""

    def __init__(self, index: Tensor | None, weight: Tensor, shape: Shape) -> None:
        self.index, self.weight, self.shape = index, weight, shape

    def __call__(self, spikes: Tensor, total: Tensor | None) -> Tensor:
        flat = spikes.flatten(1)
        picked = flat if self.index is None else flat.index_select(1, self.index)
        return _added((picked * self.weight).view(-1, *self.shape), total)


class _SparseProduct:
    def __init__(self, table: Tensor, shape: Shape) -> None:
        self.table, self.shape = table, shape

    def __call__(self, spikes: Tensor, total: Tensor | None) -> Tensor:
        sums = torch.sparse.mm(self.table, spikes.flatten(1).to(self.table.dtype).T).T
        return _added(sums.contiguous().view(-1, *self.shape), total)
