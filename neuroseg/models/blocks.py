"""Building blocks of MFS-Seg: Spike Inception, the full-spike residual block (EFS-Res) and its SEW counterpart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from neuroseg.models.currents import Currents, Term, currents_of
from neuroseg.models.neuron import Lif
from neuroseg.models.norm import Tdbn
from neuroseg.models.rounding import EVEN, WHOLE, rounded
from neuroseg.models.synapse import SynapseConv, SynapseConvT


@dataclass(frozen=True)
class Cell:
    """What all neurons and norms of one network share.

    v_th           firing threshold
    tau            fraction of the membrane that stays for the next step
    width          width of the rectangle surrogate
    residual_gain  initial gain of the last norm of a residual path
    """

    v_th: float = 0.5
    tau: float = 0.25
    width: float = 1.0
    residual_gain: float = 0.2

    def lif(self, steps: int | None = None) -> Lif:
        """A population; with `steps` it reads an image, whose current is the same at every step."""
        return Lif(self.v_th, self.tau, self.width, steps)

    def norm(self, channels: int, gain: float = 1.0) -> Tdbn:
        """The norm after a synapse of that many output channels."""
        return Tdbn(channels, self.v_th, gain=gain)


class ConvNorm(nn.Module):
    """Synapses and the norm that folds into them. `norm` is None for a head without norm.

    weight_scale  set by quantisation-aware training (`QuantizeAware`): the forward pass then computes with the chip's
                  integers, in units of 1/64, and the gradient passes the rounding unchanged (Bengio et al. 2013)
    """

    weight_scale: float | None = None

    def __init__(self, conv: SynapseConv | SynapseConvT, norm: Tdbn | None) -> None:
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
    cell: Cell, inputs: int, outputs: int, kernel: int, *, groups: int = 1, gain: float = 1.0, stride: int = 1
) -> ConvNorm:
    """A convolution (odd kernel) with its norm; it divides the map's size by its stride."""
    conv = SynapseConv(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups)
    return ConvNorm(conv, cell.norm(outputs, gain))


class Inception(nn.Module):
    """Spike Inception: a 1x1 and a 3x3 branch into one population (MFS-Seg, Fig. 2b)."""

    def __init__(self, cell: Cell, inputs: int, outputs: int) -> None:
        super().__init__()
        self.point = conv_norm(cell, inputs, outputs, 1)
        self.square = conv_norm(cell, inputs, outputs, 3)

    def forward(self, x: Tensor) -> Currents:
        """The sum of both branches' currents."""
        currents: Currents = self.point(x) + self.square(x)
        return currents


class EfsBlock(nn.Module):
    """Efficient full-spike residual block (MFS-Seg, Fig. 1c): the shortcut adds membrane input, never spikes.

        x + project(LIF(depthwise(LIF(expand(LIF(x))))))

    expand 1x1 c -> e c, depthwise 3x3, project 1x1 e c -> c, each with its norm; e is the expansion.
    """

    def __init__(self, cell: Cell, channels: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.lif_in = cell.lif()
        self.lif_in.shared = True  # the shortcut reads the stream, too
        self.expand = conv_norm(cell, channels, wide, 1)
        self.lif_wide = cell.lif()
        self.depthwise = conv_norm(cell, wide, wide, 3, groups=wide)
        self.lif_depthwise = cell.lif()
        self.project = conv_norm(cell, wide, channels, 1, gain=cell.residual_gain)

    def forward(self, x: Tensor | Currents) -> Currents:
        """The membrane stream (N, T, C, H, W) with this block's currents added."""
        branch = self.branch(x)
        return x + branch

    def branch(self, x: Tensor | Currents) -> Currents:
        """This block's currents alone; a stream whose shortcuts are short adds them itself."""
        wide = self.lif_wide(self.expand(self.lif_in(x)))
        currents: Currents = self.project(self.lif_depthwise(self.depthwise(wide)))
        return currents


class SewBlock(nn.Module):
    """Residual block that adds *spikes* (SEW-ResNet): its sums reach 2, so it is not spike-only and the compiler refuses it.

    s = LIF(x);  project(s + LIF(square(s)))
    """

    def __init__(self, cell: Cell, channels: int, expansion: int) -> None:
        super().__init__()
        del expansion  # part of the block protocol; this block keeps its width
        self.lif_in = cell.lif()
        self.square = conv_norm(cell, channels, channels, 3)
        self.lif_square = cell.lif()
        self.project = conv_norm(cell, channels, channels, 1)

    def forward(self, x: Tensor | Currents) -> Currents:
        """Currents (N, T, C, H, W) -> currents."""
        spikes = self.lif_in(x)
        currents: Currents = self.project(spikes + self.lif_square(self.square(spikes)))
        return currents


BLOCKS: dict[str, Callable[[Cell, int, int], nn.Module]] = {"efs": EfsBlock, "sew": SewBlock}
