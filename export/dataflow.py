"""The traced network: operations on pixels, currents and spikes, before anything is a population.

One frozen node per primitive. `lower` turns a Dataflow into a `Graph`; the passes before it (`fold_norm`,
`check_spikes`) work here. Shapes are logical (C, H, W), per sample and time step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from export.graph import Array, Lif, Pair, Shape


@dataclass(frozen=True, eq=False)
class Node:
    """Something that computes a value.

    name    unique: the dotted path of the module, or of the module that uses the operator plus the operator
    inputs  names of the nodes whose values it reads
    shape   (C, H, W) of the value
    """

    name: str
    inputs: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True, eq=False)
class Image(Node):
    """Real pixels in [0, 1], constant over time."""


@dataclass(frozen=True, eq=False)
class Host(Node):
    """A real-valued operation on pixels that stays on the host (resizing)."""


@dataclass(frozen=True, eq=False)
class Convolution(Node):
    """y[o] = bias[o] + sum_i w[o, i] * x[i], cross-correlation; weight (out, in / groups, kH, kW)."""

    weight: Array
    bias: Array | None
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


@dataclass(frozen=True, eq=False)
class TransposedConvolution(Node):
    """The transpose of a strided convolution; weight (in, out / groups, kH, kW), as in torch."""

    weight: Array
    bias: Array | None
    stride: Pair
    padding: Pair
    output_padding: Pair
    dilation: Pair
    groups: int


@dataclass(frozen=True, eq=False)
class Norm(Node):
    """y = gain * (x - mean) / sqrt(var + eps) + shift, per channel; statistics frozen."""

    gain: Array
    shift: Array
    mean: Array
    var: Array
    eps: float


@dataclass(frozen=True, eq=False)
class Bias(Node):
    """y = x + bias, per channel."""

    bias: Array


@dataclass(frozen=True, eq=False)
class Add(Node):
    """Sum of two values of equal shape."""


@dataclass(frozen=True, eq=False)
class Product(Node):
    """Product of two values: an AND when both are binary spikes."""


@dataclass(frozen=True, eq=False)
class Concat(Node):
    """Values side by side along the channels."""


@dataclass(frozen=True, eq=False)
class MaxPool(Node):
    """Largest value in each window: an OR when the values are binary spikes."""

    kernel: Pair
    stride: Pair
    padding: Pair


@dataclass(frozen=True, eq=False)
class Nearest(Node):
    """Nearest-neighbour resizing by up / down, integers, one of which is 1: y[i] = x[floor(i * down / up)]."""

    up: int
    down: int


@dataclass(frozen=True, eq=False)
class Fire(Node):
    """LIF neurons: a current becomes binary spikes."""

    lif: Lif


@dataclass(frozen=True, eq=False)
class ReadOut(Node):
    """Spike counts over the T steps, read by the host; the class map is their arg-max."""


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one convolution, per image and time step.

    on_host   it reads pixels, so it is never driven by spikes
    deployed  it is part of the exported network; auxiliary heads are not
    """

    per_step: int
    on_host: bool
    deployed: bool = True


@dataclass(frozen=True)
class Dataflow:
    """Nodes in topological order, the read-out that the compiler keeps, and T.

    left_out  module -> multiply-accumulates of the convolutions that lead to auxiliary outputs only
    """

    nodes: Mapping[str, Node]
    output: str
    steps: int
    left_out: Mapping[str, Macs] = field(default_factory=dict)

    def users(self, name: str) -> list[Node]:
        """Nodes that read a value."""
        return [n for n in self.nodes.values() if name in n.inputs]
