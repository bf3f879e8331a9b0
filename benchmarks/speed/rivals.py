"""Kits of frameworks that fold time into the batch: plain torch, SpikingJelly and snnTorch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.kits import MOMENTUM, Kit, channels_of, geometry_of, kept, kernel_of
from export.dataflow import Convolution, Node, Norm, TransposedConvolution
from export.graph import Lif

STATE_UNIT = 4096  # membranes are integers in units of its reciprocal, in SLAYER and here
FOLDER = Path(__file__).parents[2] / ".tools" / "bench"


class Folded(Kit):
    """Spikes and currents are (T, N, C, H, W).

    channels_last  how maps are stored, on the whole way: neurons are elementwise and keep it
    """

    def __init__(self, steps: int, channels_last: bool) -> None:
        self.steps, self.channels_last = steps, channels_last

    def conv(self, node: Convolution | TransposedConvolution, source: Node) -> Any:
        """torch's convolution over T N images."""
        out, inner = channels_of(node)
        kind = _Conv if isinstance(node, Convolution) else _ConvT
        made: Any = kind(inner, out, kernel_of(node), **geometry_of(node))
        return made.to(memory_format=torch.channels_last) if self.channels_last else made

    def norm(self, node: Norm, channels: int) -> Any:
        """torch's batch norm over T N images."""
        return _Norm(channels, eps=node.eps, momentum=MOMENTUM)

    def lif(self, lif: Lif) -> nn.Module:
        """Neurons that loop over T, on maps as they are stored."""
        return _Stored(self.neuron(lif), self.steps, self.channels_last)

    def neuron(self, lif: Lif) -> nn.Module:
        """(T, ...) currents -> spikes."""
        return TorchLif(lif)

    def pool(self, kernel: tuple[int, int]) -> Callable[[Tensor], Tensor]:
        """Over T N images."""
        return lambda x: F.max_pool2d(x.flatten(0, 1), kernel).unflatten(0, x.shape[:2])

    def bias(self, bias: Tensor) -> Callable[[Tensor], Tensor]:
        """Channels are third from the end."""
        return lambda x: x + bias.view(-1, 1, 1)


class _Fold:
    """Calls a module of torch on (T N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        of_torch: Any = super()
        y: Tensor = of_torch.forward(x.flatten(0, 1) if x.ndim == 5 else x)
        return y.unflatten(0, x.shape[:2]) if x.ndim == 5 else y


class _Conv(_Fold, nn.Conv2d):
    pass


class _ConvT(_Fold, nn.ConvTranspose2d):  # type: ignore[misc]  # its forward takes a size, which nobody gives
    pass


class _Norm(_Fold, nn.BatchNorm2d):
    pass


class _Stored(nn.Module):
    """Gives neurons maps in the order in which they lie in memory, so that nothing is copied."""

    def __init__(self, neuron: nn.Module, steps: int, channels_last: bool) -> None:
        super().__init__()
        self.neuron, self.steps, self.channels_last = neuron, steps, channels_last

    def forward(self, x: Tensor) -> Tensor:
        x = x.expand(self.steps, *x.shape) if x.ndim == 4 else x
        if not self.channels_last:
            return self.neuron(x)  # type: ignore[no-any-return]
        return self.neuron(x.permute(0, 1, 3, 4, 2)).permute(0, 1, 4, 2, 3)  # type: ignore[no-any-return]


class TorchLif(nn.Module):
    """v[t] = tau v[t-1] (1 - s[t-1]) + x[t],  s[t] = v[t] > v_th, in plain operations; forward only."""

    def __init__(self, lif: Lif) -> None:
        super().__init__()
        self.v_th, self.tau = lif.v_th, kept(lif)

    def forward(self, x: Tensor) -> Tensor:
        """(T, ...) currents -> spikes."""
        v = x[0]
        spikes = torch.empty_like(x)
        for t in range(len(x)):
            if t:
                v = torch.where(spikes[t - 1] > 0, x[t], torch.add(x[t], v, alpha=self.tau))
            torch.gt(v, self.v_th, out=spikes[t])
        return spikes


class Rounded(Folded):
    """Plain torch with SLAYER's rounding to 1/4096: proves that a folded network is the same network; never timed."""

    def neuron(self, lif: Lif) -> nn.Module:
        """The same neurons on the grid of the chip's states."""
        return _RoundedLif(lif)


class _RoundedLif(TorchLif):
    def forward(self, x: Tensor) -> Tensor:
        v, spikes = torch.zeros_like(x[0]), torch.zeros_like(x)
        for t in range(len(x)):
            left = v * (1 - spikes[t - 1]) if t else v
            v = (left * self.tau * STATE_UNIT).trunc() / STATE_UNIT + (x[t] * STATE_UNIT).trunc() / STATE_UNIT
            spikes[t] = v > self.v_th
        return spikes


class Rectangle(torch.autograd.Function):
    """Our surrogate for other frameworks: a step, and backward a rectangle of width and area 1."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor) -> Tensor:
        """1 where the membrane lies above the threshold."""
        ctx.save_for_backward(distance)
        return (distance > 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """The gradient within half a unit of the threshold."""
        (distance,) = ctx.saved_tensors
        slope: Tensor = grad * (distance.abs() <= 0.5)
        return slope


def rectangle(distance: Tensor) -> Tensor:
    """`Rectangle` as a function."""
    spikes: Tensor = Rectangle.apply(distance)  # type: ignore[no-untyped-call]
    return spikes


class SpikingJelly(Folded):
    """Multi-step LIFNode; its torch backend on a CPU, its cupy backend (with its own surrogate) on a GPU."""

    def __init__(self, steps: int, channels_last: bool, backend: str = "torch") -> None:
        super().__init__(steps, channels_last)
        self.backend = backend

    def neuron(self, lif: Lif) -> nn.Module:
        """tau of SpikingJelly is 1 / (1 - what stays)."""
        framework("spikingjelly")
        from spikingjelly.activation_based.neuron import LIFNode  # type: ignore[import-not-found]
        from spikingjelly.activation_based.surrogate import PiecewiseQuadratic  # type: ignore[import-not-found]

        node: nn.Module = LIFNode(
            tau=1 / (1 - kept(lif)),
            decay_input=False,
            v_threshold=lif.v_th,
            v_reset=0.0,
            surrogate_function=rectangle if self.backend == "torch" else PiecewiseQuadratic(),
            step_mode="m",
            backend=self.backend,
        )
        return node

    @staticmethod
    def forget(flow: nn.Module) -> None:
        """SpikingJelly keeps membranes until told otherwise."""
        from spikingjelly.activation_based.functional import reset_net  # type: ignore[import-not-found]

        reset_net(flow)


class SnnTorch(Folded):
    """`snntorch.Leaky` in a loop over T, which is how snnTorch has it."""

    def neuron(self, lif: Lif) -> nn.Module:
        """Reset to zero before the membrane decays: the same equation."""
        return _Leaky(lif)


class _Leaky(nn.Module):
    def __init__(self, lif: Lif) -> None:
        super().__init__()
        framework("snntorch")
        import snntorch  # type: ignore[import-not-found]

        self.leaky = snntorch.Leaky(
            beta=kept(lif), threshold=lif.v_th, spike_grad=rectangle, reset_mechanism="zero", init_hidden=False
        )

    def forward(self, x: Tensor) -> Tensor:
        membrane, spikes = torch.zeros_like(x[0]), []
        for current in x:
            fired, membrane = self.leaky(current, membrane)
            spikes.append(fired)
        return torch.stack(spikes)


def framework(name: str) -> None:
    """Make .tools/bench importable, after everything else; ImportError that says how to get it."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    if not (FOLDER / name).is_dir():
        raise ImportError(f"{name} is not in .tools/bench; get it with: scripts/set_up.sh bench")


FRAMEWORKS: dict[str, Callable[..., Folded]] = {"SpikingJelly": SpikingJelly, "snnTorch": SnnTorch}
