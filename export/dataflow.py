"""The traced network: operations on pixels, currents and spikes, before anything is a population.

One frozen node per primitive. `lower` turns a Dataflow into a `Graph`; the passes before it (`fold_norm`,
`check_spikes`) work here. Shapes are logical (C, H, W), per sample and time step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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
    """What the host is given: real pixels in [0, 1], the same at every step, or frames, another at each step."""


@dataclass(frozen=True, eq=False)
class Host(Node):
    """A real-valued operation on pixels that stays on the host (resizing)."""


@dataclass(frozen=True, eq=False)
class SpikeSource(Node):
    """Spikes that the host makes of what it is given, 0 or 1 at each step: Poisson coding, binary event frames."""


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
    """y = gain * (x - mean) / sqrt(var + eps) + shift, per channel; statistics frozen.

    gain, shift, mean, var   (C,), or (T, C): another set at each time step (BNTT, Kim and Panda 2021)
    """

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
class SumPool(Node):
    """y[i, j] = sum of x over a window: an average whose constant factor is left to the norm behind the next convolution.

    kernel, stride, padding  (y, x) each
    fix     how its network gets windows as large as their stride, for the error where they are not: a key of the config, or a
            sentence's end; empty: the module does not say
    """

    kernel: Pair
    stride: Pair
    padding: Pair
    fix: str = ""


@dataclass(frozen=True, eq=False)
class AveragePool(Node):
    """y[i, j] = mean of x over a window: of an ANN, or of pixels on the host. The mean of spikes is no spike."""


@dataclass(frozen=True, eq=False)
class Shuffle(Node):
    """Channel shuffle (ShuffleNet, Zhang et al. 2018): y[a g + b] = x[b C / g + a], for g = `groups` of C / g channels."""

    groups: int


@dataclass(frozen=True, eq=False)
class Nearest(Node):
    """Nearest-neighbour resizing by up / down, integers, one of which is 1: y[i] = x[floor(i * down / up)]."""

    up: int
    down: int


@dataclass(frozen=True, eq=False)
class Fire(Node):
    """LIF neurons: a current becomes spikes.

    reset        hard: to zero, as `Lif` says; soft: v[t] = v[t] - v_th, which no Loihi LIF does
    thresholds   several, from the largest: the spike is their graded sum, in units of the
                 smallest, which is v_th (`Population`); reset soft
    """

    lif: Lif
    reset: Literal["hard", "soft"] = "hard"
    thresholds: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Relu(Node):
    """y = max(0, x): a real activation of an ANN."""


@dataclass(frozen=True, eq=False)
class ReadOut(Node):
    """Spike counts over the T steps, read by the host; the class map is their arg-max, or that of a linear map of them.

    weight   (classes, C), or None: the counts are the scores
    bias     (classes,), added at each step, or None

        score[k] = sum_c weight[k, c] count[c] + T bias[k]
    """

    weight: Array | None = None
    bias: Array | None = None


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one convolution, per image and time step.

    on_host     it reads pixels, so it is never driven by spikes
    deployed    it is part of the exported network; auxiliary heads are not
    by_readout  the linear map of a read-out: deployed, the host computes it once per sample, on the counts
    """

    per_step: int
    on_host: bool
    deployed: bool = True
    by_readout: bool = False


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


def reads_pixels(nodes: Mapping[str, Node], node: Node) -> bool:
    """Whether a convolution reads what the host is given, and is therefore the host's."""
    source = nodes[node.inputs[0]]
    while isinstance(source, (SumPool, AveragePool)):
        source = nodes[source.inputs[0]]
    return isinstance(source, (Image, Host))
