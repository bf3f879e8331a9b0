"""Building blocks of MFS-Seg: synapses with their norm, Spike Inception, the full-spike residual block (EFS-Res).

Its other residual blocks stand in `other_blocks`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from neuroseg.models.ann import Relu
from neuroseg.models.currents import Currents, Term, currents_of
from neuroseg.models.neuron import Lif
from neuroseg.models.norm import Norm, Tdbn
from neuroseg.models.rounding import EVEN, WHOLE, rounded
from neuroseg.models.synapse import SynapseConv, SynapseConvT


@dataclass(frozen=True)
class Cell:
    """What all building blocks of one network share.

    v_th           firing threshold
    tau            fraction of the membrane that stays for the next step
    width          width of the rectangle surrogate
    residual_gain  initial gain of the last norm of a residual path
    spiking        False: an ANN, with ReLU for every LIF and norms that know no threshold
    inception      True: Spike Inception; False: a plain 3x3 in its place; "point": a plain 1x1
    grouped        False: the 3x3 of EFS-Res is dense, not depthwise
    """

    v_th: float = 0.5
    tau: float = 0.25
    width: float = 1.0
    residual_gain: float = 0.2
    spiking: bool = True
    inception: bool | Literal["point"] = True
    grouped: bool = True

    def neuron(self, steps: int | None = None, shared: bool = False) -> Lif | Relu:
        """A population.

        steps   it reads an image, whose current is the same at each of so many steps
        shared  others read its currents, too
        """
        if not self.spiking:
            return Relu()
        lif = Lif(self.v_th, self.tau, self.width, steps)
        lif.shared = shared
        return lif

    def norm(self, channels: int, gain: float = 1.0) -> Tdbn:
        """The norm after a synapse of that many output channels."""
        return Tdbn(channels, self.v_th if self.spiking else 1.0, gain=gain)


class ConvNorm(nn.Module):
    """Synapses and the norm that folds into them. `norm` is None for a head without norm.

    weight_scale  set by quantisation-aware training (`QuantizeAware`): the forward pass then computes with the chip's
                  integers, in units of 1/64, and the gradient passes the rounding unchanged (Bengio et al. 2013)
    """

    weight_scale: float | None = None

    def __init__(self, conv: SynapseConv | SynapseConvT, norm: Norm | None) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm

    def forward(self, x: Tensor) -> Currents:
        """Currents of the target population: (N, T, C, H, W), or (N, C, H, W) from pixels."""
        if self.weight_scale is not None:
            return self._integer_forward(x, self.weight_scale)
        y: Currents = currents_of(self.conv(x))
        return y if self.norm is None else self.norm(y)

    def folded(self) -> tuple[Tensor, Tensor | None]:
        """Weights (as stored) and bias (out,) with the norm's running statistics folded in, float64, differentiable.

        w' = w gain / sqrt(var + eps),   b' = shift - mean gain / sqrt(var + eps)
        """
        weight = self.conv.weight.double()
        if self.norm is None:
            return weight, None
        gain, shift, mean, deviation = self.norm.affine()
        return weight * self._per_weight(gain) / self._per_weight(deviation), shift - mean * gain / deviation

    def _integer_forward(self, x: Tensor, scale: float) -> Currents:
        weight, bias = self.folded()
        y = self.conv.currents(x, rounded(weight, scale, EVEN).to(x.dtype))
        return Currents((Term(y, shift=None if bias is None else rounded(bias, scale, WHOLE).to(x.dtype)),))

    def _per_weight(self, channels: Tensor) -> Tensor:
        """A value per output channel, shaped to multiply the stored weights."""
        conv = self.conv
        if isinstance(conv, SynapseConv):
            return channels.view(-1, 1, 1, 1, 1)
        # A transposed convolution stores (in, out / groups, ...): the rows of group g reach outputs g (out / groups) + j.
        rows = channels.view(conv.groups, -1).repeat_interleave(conv.in_channels // conv.groups, dim=0)
        return rows[:, :, None, None, None]


def conv_norm(
    cell: Cell,
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    groups: int = 1,
    gain: float = 1.0,
    stride: int = 1,
    host: bool = False,
) -> ConvNorm:
    """A convolution (odd kernel) with its norm; it divides the map's size by its stride. `host`: of pixels, on the host."""
    conv = SynapseConv(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups)
    conv.host = host
    return ConvNorm(conv, cell.norm(outputs, gain))


class Inception(nn.Module):
    """Spike Inception: a 1x1 and a 3x3 branch into one population (MFS-Seg, Fig. 2b), or one of them as an ablation."""

    def __init__(self, cell: Cell, inputs: int, outputs: int, *, host: bool = False) -> None:
        super().__init__()
        kernels = {"point": 1, "square": 3}
        if cell.inception is not True:
            del kernels["square" if cell.inception == "point" else "point"]
        self.branches = tuple(kernels)
        for name, kernel in kernels.items():
            self.add_module(name, conv_norm(cell, inputs, outputs, kernel, host=host))

    def forward(self, x: Tensor) -> Currents:
        """The sum of the branches' currents."""
        currents: Currents = self.get_submodule(self.branches[0])(x)
        for name in self.branches[1:]:
            currents = currents + self.get_submodule(name)(x)
        return currents


class Residual(nn.Module, ABC):
    """A block on a membrane stream: its shortcut adds membrane input, never spikes.

    x + branch(x), where the branch begins with the population `lif_in`
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.lif_in = cell.neuron(shared=True)  # the shortcut reads the stream, too

    def forward(self, x: Tensor | Currents) -> Currents:
        """The membrane stream (N, T, C, H, W) with this block's currents added."""
        branch = self.branch(x)
        return x + branch

    @abstractmethod
    def branch(self, x: Tensor | Currents) -> Currents:
        """This block's currents alone; a stream whose shortcuts are short adds them itself."""

    def read_once(self) -> None:
        """The stream's sums are not read by the shortcut."""
        if isinstance(self.lif_in, Lif):
            self.lif_in.shared = False


class EfsBlock(Residual):
    """Efficient full-spike residual block (MFS-Seg, Fig. 1c).

        x + project(LIF(depthwise(LIF(expand(LIF(x))))))

    expand 1x1 c -> e c, depthwise 3x3 (dense where the cell is not grouped), project 1x1 e c -> c, each with its norm; e is
    the expansion.
    """

    def __init__(self, cell: Cell, channels: int, expansion: int) -> None:
        super().__init__(cell)
        wide = channels * expansion
        self.expand = conv_norm(cell, channels, wide, 1)
        self.lif_wide = cell.neuron()
        self.depthwise = conv_norm(cell, wide, wide, 3, groups=wide if cell.grouped else 1)
        self.lif_depthwise = cell.neuron()
        self.project = conv_norm(cell, wide, channels, 1, gain=cell.residual_gain)

    def branch(self, x: Tensor | Currents) -> Currents:
        """expand, depthwise, project."""
        wide = self.lif_wide(self.expand(self.lif_in(x)))
        currents: Currents = self.project(self.lif_depthwise(self.depthwise(wide)))
        return currents
