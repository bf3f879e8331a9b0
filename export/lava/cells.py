"""Synapses and neurons of Lava's stock fixed-point models as data and compiled loops: what all our fast models are made of.

Maps are Lava's: spikes (W, H, C) uint8, sums (X, H, C) int32, for the X columns from x0 on.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from lava.proc.conv.utils import signed_clamp
from numpy.typing import NDArray

from export.graph import DECAY_ONE, STATE_LIMIT, SUM_BITS, V_TH_SHIFT
from export.lava import kernels

Ints: TypeAlias = NDArray[np.int32]
Spikes: TypeAlias = NDArray[np.uint8]
HERE: Any = ((1, 1), (0, 0), (1, 1))  # stride, padding, dilation of a 1 x 1 kernel


class ConvSynapses:
    """Stock `PyConvModelFixed` without its buffer, for binary spikes (`num_message_bits=0`).

    weight   (out, kx, ky, in / groups), a true convolution's, as the process keeps it
    bound    largest |sum| that spikes can make

    Stock's model keeps groups and geometry in 8 bits; here they are wide.
    """

    def __init__(self, weight: NDArray[Any], stride: Any, padding: Any, dilation: Any, groups: int) -> None:
        flipped = weight[:, ::-1, ::-1, :].transpose(1, 2, 3, 0)
        self.weight: Ints = np.ascontiguousarray(flipped, dtype=np.int32)  # (kx, ky, in / groups, out)
        self.geometry: Any = tuple((int(x), int(y)) for x, y in (stride, padding, dilation))
        self.groups = int(groups)
        self.depthwise = self.groups == self.weight.shape[3] and self.weight.shape[2] == 1
        magnitude = np.abs(weight.astype(np.int64)).reshape(len(weight), -1)
        self.bound = int(magnitude.sum(axis=1).max(initial=0))

    def add(self, spikes: Spikes, sums: Ints, x0: int = 0) -> None:
        """Add what the spikes deliver to output columns x0, x0 + 1, ..."""
        if self.bound < 1 << (SUM_BITS - 1):
            self._add(spikes, sums, x0)
            return
        wide = np.zeros_like(sums)
        self._add(spikes, wide, x0)
        sums += signed_clamp(wide, SUM_BITS)

    def _add(self, spikes: Spikes, sums: Ints, x0: int) -> None:
        stride, padding, dilation = self.geometry
        if self.groups == 1:
            kernels.add_conv(spikes, self.weight, sums, x0, stride, padding, dilation)
        elif self.depthwise:
            kernels.add_depthwise(spikes, self.weight, sums, x0, stride, padding, dilation)
        else:
            kernels.add_grouped(spikes, self.weight, sums, x0, stride, padding, dilation, self.groups)


class DenseSynapses:
    """Stock `PyDenseModelBitAcc`, for weights that it uses as they are (`export.lava.build`). weight (out, in)."""

    def __init__(self, weight: NDArray[Any]) -> None:
        self.weight: Ints = np.ascontiguousarray(weight.T, dtype=np.int32)[None, None]
        self.bound = int(np.abs(weight.astype(np.int64)).sum(axis=1).max(initial=0))

    def add(self, spikes: Spikes, sums: Ints, x0: int = 0) -> None:
        """Add what the spikes deliver to all sums; a map that is cut into columns cannot be a target."""
        kernels.add_conv(spikes.reshape(1, 1, -1), self.weight, sums.reshape(1, 1, -1), 0, *HERE)


class SparseSynapses:
    """Stock `PySparseModelBitAcc`, for weights that it uses as they are. matrix: CSR, (target, source), Lava's order."""

    def __init__(self, matrix: Any) -> None:
        self.data: Ints = matrix.data.astype(np.int32)
        self.indices: Ints = matrix.indices.astype(np.int32)
        self.starts: Ints = matrix.indptr.astype(np.int32)
        self.bound = int(abs(matrix).sum(axis=1).max()) if matrix.nnz else 0

    def add(self, spikes: Spikes, sums: Ints, x0: int = 0) -> None:
        """Add what the spikes deliver to output columns x0, x0 + 1, ..."""
        first = x0 * (sums.size // len(sums))
        kernels.add_rows(spikes.reshape(-1), self.data, self.indices, self.starts, sums.reshape(-1), first)


Synapses: TypeAlias = ConvSynapses | DenseSynapses | SparseSynapses


class Neurons:
    """Stock `PyLifModelBitAcc` and `PyLifResetModelBitAcc`: state and one step of it, for columns of a map.

    shape              (W, H, C)
    du, dv, vth        as the process keeps them: the current decays by du + 1
    bias_mant, bias_exp   numbers, or (W, H, C)
    interval, offset   reset before step t integrates when t % interval == offset; interval 0: never
    bound              largest |sum| that can arrive, None: not known. Where nothing can be left for the next step, no
                       state is kept
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        du: int,
        dv: int,
        vth: int,
        bias_mant: Any,
        bias_exp: Any,
        interval: int = 0,
        offset: int = 0,
        bound: int | None = None,
    ) -> None:
        self.shape = shape
        self.keep = DECAY_ONE - (du + 1), DECAY_ONE - dv
        # v stays within the limits: what lies beyond them is never, or always, passed.
        self.threshold = np.int32(np.clip(vth << V_TH_SHIFT, -STATE_LIMIT, STATE_LIMIT))
        self.push = _push(shape, bias_mant, bias_exp)
        self.interval, self.offset = interval, offset % interval if interval else 0
        largest = STATE_LIMIT if bound is None else (bound << V_TH_SHIFT) + int(np.abs(self.push).max())
        remembers = self.keep[0] > 0 or min(largest, STATE_LIMIT) * self.keep[1] >= DECAY_ONE
        self.u: Ints | None = np.zeros(shape, np.int32) if self.keep[0] > 0 else None
        self.v: Ints | None = np.zeros(shape, np.int32) if remembers else None

    def fire(self, sums: Ints, spikes: Spikes, step: int, x0: int = 0) -> None:
        """One Lava step of columns x0, x0 + 1, ...: spikes are overwritten, and sums set to zero.

        step  1-based Lava step
        """
        fresh = self.interval > 0 and step % self.interval == self.offset
        keep_u, keep_v = (np.uint32(0 if fresh else keep) for keep in self.keep)
        a, out = _rows(sums), _rows(spikes)
        push = _rows(self.push if len(self.push) == 1 else self.push[x0 : x0 + len(sums)])
        if self.v is None:
            kernels.fire_memoryless(a, push, out, np.uint32(0), np.uint32(0), self.threshold)
            return
        v = _rows(self.v[x0 : x0 + len(sums)])
        if self.u is None:
            kernels.fire_membrane(a, v, push, out, keep_v, np.uint32(0), self.threshold)
        else:
            kernels.fire(a, _rows(self.u[x0 : x0 + len(sums)]), v, push, out, keep_u, keep_v, self.threshold)


def _rows(values: NDArray[Any]) -> NDArray[Any]:
    """(X, H, C) as (X H, C)."""
    return values.reshape(-1, values.shape[2])


def _push(shape: tuple[int, ...], mantissa: Any, exponent: Any) -> Ints:
    """Stock's bias in state units: (1, 1, C) where it is the same at all pixels, else (W, H, C).

    Mantissa and exponent pass through the 16 bits in which stock's models keep them.
    """
    mant, exp = (np.asarray(values).astype(np.int16) for values in (mantissa, exponent))
    wide = mant.astype(np.int32)
    shifted = np.where(exp >= 0, np.left_shift(wide, np.maximum(exp, 0)), np.right_shift(wide, np.maximum(-exp, 0)))
    push = np.broadcast_to(shifted.astype(np.int32), shape)
    same = bool((push == push[:1, :1]).all())
    return np.array(push[:1, :1] if same else push, order="C")  # a copy: views of a broadcast are read-only
