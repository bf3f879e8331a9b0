"""The same network in other frameworks: its leaves, built from what the compiler's tracer reads.

A kit makes a module of each node of a `Dataflow`. Values on pixels are (N, C, H, W); in `Folded` kits spikes and currents
are (T, N, C, H, W), in `Slayer` (N, C, H, W, T), SLAYER's own axes: no side pays for another's order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.dataflow import (
    Add,
    Bias,
    Concat,
    Convolution,
    Dataflow,
    Fire,
    Host,
    Image,
    MaxPool,
    Nearest,
    Node,
    Norm,
    Product,
    ReadOut,
    TransposedConvolution,
)
from export.graph import DECAY_ONE, Lif
from export.passes.trace import trace
from neuroseg.models.slayer import Conv, ConvTranspose, CubaNeuron

MOMENTUM = 0.1


class Flow(nn.Module):
    """A traced network, computed by the parts of a kit.

    starts   nodes whose values are given; what leads to them is left out
    outputs  nodes whose values are returned
    """

    def __init__(self, nodes: Mapping[str, Node], starts: Sequence[str], outputs: Sequence[str], kit: Kit) -> None:
        super().__init__()
        self.starts, self.outputs = tuple(starts), tuple(outputs)
        self.nodes = [n for n in nodes.values() if n.name in _needed(nodes, starts, outputs)]
        self.parts = nn.ModuleDict({_key(n.name): kit.part(n, [nodes[i] for i in n.inputs]) for n in self.nodes})
        self.forget = kit.forget

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Values of `starts`, in the kit's axes -> values of `outputs`."""
        values = dict(zip(self.starts, given, strict=True))
        left = {name: sum(name in n.inputs for n in self.nodes) for name in [*values, *(n.name for n in self.nodes)]}
        for node in self.nodes:
            values[node.name] = self.parts[_key(node.name)](*(values[name] for name in node.inputs))
            for name in set(node.inputs):
                left[name] -= 1
                if not left[name] and name not in self.outputs:
                    del values[name]
        self.forget(self)
        return tuple(values[name] for name in self.outputs)


def _needed(nodes: Mapping[str, Node], starts: Sequence[str], outputs: Sequence[str]) -> set[str]:
    found: set[str] = set()
    queue = list(outputs)
    while queue:
        name = queue.pop()
        if name not in found and name not in starts:
            found.add(name)
            queue.extend(nodes[name].inputs)
    return found


def _key(name: str) -> str:
    return name.replace(".", "/")


class Kit(ABC):
    """What makes the parts. Subclasses know the axes."""

    def part(self, node: Node, inputs: Sequence[Node]) -> nn.Module:
        """The module of a node."""
        if isinstance(node, Convolution | TransposedConvolution):
            synapse = self.conv(node, inputs[0])
            synapse.weight.data.copy_(torch.as_tensor(node.weight).view_as(synapse.weight))
            made: nn.Module = synapse
            return made
        if isinstance(node, Norm):
            return _with_statistics(self.norm(node, inputs[0].shape[0]), node)
        if isinstance(node, Fire):
            return self.lif(node.lif)
        return self.simple(node, inputs)

    def simple(self, node: Node, inputs: Sequence[Node]) -> nn.Module:
        """The module of a node without parameters."""
        channels = self.channel_axis
        makers: dict[type[Node], Callable[[], Callable[..., Tensor]]] = {
            Image: lambda: lambda x: x,
            Host: lambda: lambda x: F.avg_pool2d(x, inputs[0].shape[1] // node.shape[1]),
            Add: lambda: lambda a, b: a + b,
            Product: lambda: lambda a, b: a * b,
            Bias: lambda: self.bias(torch.as_tensor(node.bias).float()),  # type: ignore[attr-defined]
            Concat: lambda: lambda *xs: torch.cat(xs, dim=channels),
            MaxPool: lambda: self.pool(node.kernel),  # type: ignore[attr-defined]
            Nearest: lambda: lambda x: self.nearest(x, node.up, node.down),  # type: ignore[attr-defined]
            ReadOut: lambda: lambda x: x.mean(dim=self.time_axis),
        }
        return Call(makers[type(node)]())

    channel_axis, time_axis, first_space_axis = -3, 0, -2

    def nearest(self, x: Tensor, up: int, down: int) -> Tensor:
        """Nearest-neighbour resize of spikes."""
        for axis in (self.first_space_axis, self.first_space_axis + 1):
            x = x.repeat_interleave(up, dim=axis) if up > 1 else x
            kept = torch.arange(0, x.shape[axis], down, device=x.device)
            x = x.index_select(axis, kept) if down > 1 else x
        return x

    @abstractmethod
    def conv(self, node: Convolution | TransposedConvolution, source: Node) -> Any:
        """Synapses, their weights not yet set."""

    @abstractmethod
    def norm(self, node: Norm, channels: int) -> Any:
        """A batch norm over all axes but the channels, its statistics not yet set."""

    @abstractmethod
    def lif(self, lif: Lif) -> nn.Module:
        """Neurons."""

    @abstractmethod
    def pool(self, kernel: tuple[int, int]) -> Callable[[Tensor], Tensor]:
        """OR of windows."""

    @abstractmethod
    def bias(self, bias: Tensor) -> Callable[[Tensor], Tensor]:
        """Adds a constant per channel."""

    @staticmethod
    def forget(flow: nn.Module) -> None:
        """After every pass: neurons forget."""
        del flow  # ours start every pass from rest


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *x: Tensor) -> Tensor:
        """The function's value."""
        return self.function(*x)


def _with_statistics(norm: Any, node: Norm) -> nn.Module:
    for parameter, values in (
        (norm.weight, node.gain),
        (norm.bias, node.shift),
        (norm.running_mean, node.mean),
        (norm.running_var, node.var),
    ):
        parameter.data.copy_(torch.as_tensor(values))
    made: nn.Module = norm
    return made


def geometry_of(node: Convolution | TransposedConvolution) -> dict[str, Any]:
    """Arguments of a convolution without bias."""
    pairs = {"stride": node.stride, "padding": node.padding, "dilation": node.dilation, "groups": node.groups}
    if isinstance(node, TransposedConvolution):
        pairs["output_padding"] = node.output_padding
    return {"bias": False, **pairs}


class Slayer(Kit):
    """Stock SLAYER: synapse and neuron of `slayer.block.cuba.Conv`, and a batch norm over (N, H, W, T) in SLAYER's axes.

    The block has its norm behind the current's filter, which rounds to 1/4096 first. Here it stands before, as in our
    networks: the same operations, and the same spikes.
    """

    channel_axis, time_axis, first_space_axis = 1, -1, 2

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def conv(self, node: Convolution | TransposedConvolution, source: Node) -> Any:
        """SLAYER's own synapse on spikes; what reads pixels is the host's, a plain convolution."""
        out, inner = channels_of(node)
        kernel, options = kernel_of(node), geometry_of(node)
        if isinstance(source, Image | Host):
            return nn.Conv2d(inner, out, kernel, **options)
        for unknown in ("bias", "output_padding"):
            options.pop(unknown, None)
        return (Conv if isinstance(node, Convolution) else ConvTranspose)(inner, out, kernel, **options)

    def norm(self, node: Norm, channels: int) -> Any:
        """Also on pixels' currents, which are the same at every step."""
        return _Norm3d(channels, eps=node.eps, momentum=MOMENTUM)

    def lif(self, lif: Lif) -> nn.Module:
        """SLAYER's CUBA neuron with full current decay."""
        return SlayerLif(lif, self.steps)

    def pool(self, kernel: tuple[int, int]) -> Callable[[Tensor], Tensor]:
        """Windows of one step."""
        return lambda x: F.max_pool3d(x, (*kernel, 1))

    def bias(self, bias: Tensor) -> Callable[[Tensor], Tensor]:
        """Channels are axis 1."""
        return lambda x: x + bias.view(-1, *(1,) * (x.ndim - 2))


class _Norm3d(nn.BatchNorm3d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.unsqueeze(-1)).squeeze(-1) if x.ndim == 4 else super().forward(x)


class SlayerLif(CubaNeuron):  # type: ignore[misc]  # SLAYER has no types
    """SLAYER's neuron; a current from pixels (N, C, H, W) is the same at each of T steps."""

    def __init__(self, lif: Lif, steps: int) -> None:
        super().__init__(**slayer_neuron(lif))
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (N, C, H, W, T)."""
        if x.ndim == 4:
            x = x.unsqueeze(-1).expand(*x.shape, self.steps).contiguous()
        spikes: Tensor = super().forward(x)
        return spikes


def slayer_neuron(lif: Lif) -> dict[str, Any]:
    """Parameters of SLAYER's CUBA neuron."""
    return {
        "threshold": lif.v_th,
        "current_decay": lif.u_decay / DECAY_ONE,
        "voltage_decay": lif.v_decay / DECAY_ONE,
        "requires_grad": False,
    }


def channels_of(node: Convolution | TransposedConvolution) -> tuple[int, int]:
    """(out, in)."""
    first, second = node.weight.shape[:2]
    return (first, second * node.groups) if isinstance(node, Convolution) else (second * node.groups, first)


def kernel_of(node: Convolution | TransposedConvolution) -> tuple[int, int]:
    """(height, width)."""
    return node.weight.shape[2], node.weight.shape[3]


def kept(lif: Lif) -> float:
    """Fraction of the membrane that stays for the next step."""
    return (DECAY_ONE - lif.v_decay) / DECAY_ONE


def flow_of(module: nn.Module, image_shape: tuple[int, int, int], outputs: int = 1) -> Dataflow:
    """The traced network `net` with its first `outputs` outputs: auxiliary heads are trained, too."""
    flows = [trace(_Output(module, index), image_shape) for index in range(outputs)]
    nodes: dict[str, Node] = {}
    for flow in flows:
        nodes |= {name: node for name, node in flow.nodes.items() if name not in nodes}
    return Dataflow(nodes, flows[0].output, flows[0].steps)


class _Output(nn.Module):
    def __init__(self, net: nn.Module, index: int) -> None:
        super().__init__()
        self.net, self.index = net, index
        self.train(net.training)  # tracing leaves a module in the mode in which it was

    def forward(self, images: Tensor) -> Any:
        return self.net(images)[self.index]
