"""The compiler's graph: populations of neurons joined by projections (synapses).

Two ideas carry the whole product. Several projections into one population add at the dendrite: that alone expresses
residual shortcuts, concatenation and multi-branch blocks. And a population may live in *space-to-depth layout* with
factor r: its logical shape (C, H, W) is stored as (C r^2, H/r, W/r), physical channel c r^2 + r dy + dx holding the
pixels (r Y + dy, r X + dx) of logical channel c (torch's `pixel_unshuffle`). Projections always act between physical
shapes. Graphs are immutable; a pass returns a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Shape: TypeAlias = tuple[int, int, int]
Pair: TypeAlias = tuple[int, int]
Array: TypeAlias = NDArray[Any]
Kind = Literal["input", "lif", "or", "and", "relay", "delay", "interleave"]
LINES: tuple[Kind, ...] = ("relay", "delay")  # they repeat their source's spikes later, and stand in no trained module

DECAY_BITS = 12
DECAY_ONE = 1 << DECAY_BITS  # decays are integers in units of 1/4096
STATE_LIMIT = 1 << 23  # a current wraps and a membrane saturates at +-2^23 (24-bit state)
SUM_BITS = 24  # stock Lava's Conv wraps its sums to signed numbers of so many bits; Dense and Sparse do not
V_TH_SHIFT = 6  # thresholds, biases and synaptic sums are compared 6 bits up


@dataclass(frozen=True)
class Lif:
    """Parameters of a leaky integrate-and-fire neuron (Loihi CUBA compartment), reset to 0.

    v_th     firing threshold: a real number before quantisation, a 17-bit mantissa after
    u_decay  synaptic current decay in 1/4096 (4096: the current lives one step)
    v_decay  membrane decay in 1/4096 (3072: a quarter of the membrane stays)

        u[t] = trunc(u[t-1] (4096 - u_decay) / 4096) + (a[t] << 6)
        v[t] = trunc(v[t-1] (4096 - v_decay) / 4096) + u[t] + (bias << 6)
        spike when v[t] > v_th << 6; then v[t] = 0

    Source: lava-nc 0.10.0, `PyLifModelBitAcc`; before quantisation the same equations without shift and truncation.
    """

    v_th: float
    u_decay: int
    v_decay: int


MEMORYLESS = {"u_decay": 4096, "v_decay": 4095}  # stock LIF with du = dv = 4095: nothing is left for the next step


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons of one kind.

    Spikes are 0 or 1, but for a population with `thresholds`: neurons of several thresholds, whose spikes are graded. Such a
    neuron has no counterpart among Loihi's stock neurons: it needs a programmable one.

        v[t] as in `Lif`; then for each r of `thresholds`, from the largest:
        if v[t] > r v_th << 6:  s[t] = s[t] + r,  v[t] = v[t] - (r v_th << 6)

    Source: Li et al. 2024 (Spiking-UNet), multi-threshold neurons, whose spikes are in units of the current; here they are in
    units of v_th, the smallest threshold, and what reads them has that factor in its weights.

    name    dotted path of the neuron in the model; relays, OR and AND are named after what they serve
    kind    `input` is a source of spikes (computed by the host); the others are neurons on the chip: LIF, or `delay`,
            which repeats its source one step later and keeps its spikes for projections that ask for them later still
    shape   logical (C, H, W)
    lif     None for an input of spikes. An input *with* a Lif is driven by a constant bias (foreign NetX files)
    bias    (C,) in logical channels, or (C, H, W); units of weights; added to the membrane every step. None: zero
    layout  space-to-depth factor r; H and W are multiples of r
    thresholds   of a graded population: in units of lif.v_th, the smallest; whole numbers, from the largest, such as
                 (8, 4, 2, 1). Empty: binary
    """

    name: str
    kind: Kind
    shape: Shape
    lif: Lif | None = None
    bias: Array | None = None
    layout: int = 1
    thresholds: tuple[int, ...] = ()

    @property
    def largest_spike(self) -> int:
        """1 where spikes are binary; else the sum of the thresholds: all of them reached at one step."""
        return sum(self.thresholds) or 1

    @property
    def physical_shape(self) -> Shape:
        """(C r^2, H/r, W/r): the shape in which the neurons are stored and connected."""
        channels, height, width = self.shape
        r = self.layout
        return channels * r * r, height // r, width // r

    @property
    def neurons(self) -> int:
        """Number of neurons, whatever the layout."""
        return int(np.prod(self.shape))

    def physical_bias(self) -> Array | None:
        """The bias in physical channels: (C r^2,), or (C r^2, H/r, W/r) where it differs from pixel to pixel."""
        if self.bias is None:
            return None
        if self.bias.ndim == 3:
            return to_physical(self.bias, self.layout)
        return np.repeat(self.bias, self.layout * self.layout)


@dataclass(frozen=True, eq=False)
class Conv:
    """Convolution synapses, torch's cross-correlation convention, between physical shapes.

    weight   (out, in / groups, kH, kW): real before quantisation; even integers in [-256, 254] after
    stride, padding, dilation   (y, x)
    delay    extra steps that a spike waits before the synapse (0: it arrives one step after it was fired): in the
             register of a delay neuron, or on the host where the source is an input
    origin   name of the module that owns the weights: equal for all copies of a shared convolution
    bias     (C,) logical channels of the target; real, and only before quantisation, which moves it into the population
    """

    name: str
    source: str
    target: str
    weight: Array
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    delay: int = 0
    origin: str = ""
    bias: Array | None = None

    def output_shape(self, source: Shape) -> Shape:
        """Physical shape (C, H, W) of what this projection delivers."""
        size = [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(
                source[1:], self.padding, self.dilation, self.weight.shape[2:], self.stride, strict=True
            )
        ]
        return self.weight.shape[0], size[0], size[1]


@dataclass(frozen=True, eq=False)
class Dense:
    """All-to-all synapses. weight (out, C*H*W), input flattened in (C, H, W) order; the target is (out, 1, 1)."""

    name: str
    source: str
    target: str
    weight: Array
    delay: int = 0
    origin: str = ""

    def output_shape(self, source: Shape) -> Shape:
        """(out, 1, 1)."""
        return self.weight.shape[0], 1, 1


@dataclass(frozen=True, eq=False)
class Sparse:
    """Single synapses. matrix (target neurons, source neurons), both flattened in physical (C, H, W) order."""

    name: str
    source: str
    target: str
    matrix: csr_matrix
    shape: Shape  # physical shape of the target
    delay: int = 0
    origin: str = ""

    def output_shape(self, source: Shape) -> Shape:
        """The target's physical shape."""
        return self.shape


Projection: TypeAlias = Conv | Dense | Sparse


@dataclass(frozen=True, eq=False)
class LinearReadOut:
    """Class scores that the host computes from what it counted: a 1x1 linear map, in float64.

        score[k] = sum_c weight[k, c] count[c] + T bias[k]        at every pixel

    weight   (classes, C) real; C: channels of all outputs, one after the other
    bias     (classes,) real, what is added at each step; None: zero
    """

    weight: Array
    bias: Array | None = None

    def scores(self, counts: Array, steps: int) -> NDArray[np.float64]:
        """Sums of spikes (N, C, H, W) over T = `steps` steps -> scores (N, classes, H, W)."""
        samples, channels, height, width = counts.shape
        flat = self.weight.astype(np.float64) @ counts.reshape(samples, channels, -1).astype(np.float64)
        if self.bias is not None:
            flat = flat + steps * self.bias.astype(np.float64)[:, None]
        return flat.reshape(samples, -1, height, width)


@dataclass(frozen=True, eq=False)
class Graph:
    """Populations in topological order and the projections between them.

    outputs   populations whose spikes are counted by the host (the class map is their arg-max over channels)
    steps     T, time steps per sample
    arrivals  population -> Lava step (1-based) at which its sample 0, t = 0 lands; empty before `balance_delays`
    readout   what the host makes of the counts before the arg-max; None: the counts are the class scores
    """

    populations: Mapping[str, Population]
    projections: tuple[Projection, ...]
    outputs: tuple[str, ...]
    steps: int
    arrivals: Mapping[str, int] = field(default_factory=dict)
    readout: LinearReadOut | None = None

    def into(self, name: str) -> list[Projection]:
        """Projections that end at a population."""
        return [p for p in self.projections if p.target == name]

    def out_of(self, name: str) -> list[Projection]:
        """Projections that start at a population."""
        return [p for p in self.projections if p.source == name]

    @property
    def inputs(self) -> list[Population]:
        """The populations that the host drives."""
        return [p for p in self.populations.values() if p.kind == "input"]

    def counted(self, spikes: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.int64]:
        """What the host counts of spikes (N, T, C, H, W) of the outputs: (N, C, H, W), one output after the other."""
        return np.concatenate([spikes[name].sum(axis=1, dtype=np.int64) for name in self.outputs], axis=1)

    def map_projections(self, change: Callable[[Projection], Projection]) -> Graph:
        """A graph with every projection replaced."""
        return replace(self, projections=tuple(change(p) for p in self.projections))

    def map_populations(self, change: Callable[[Population], Population]) -> Graph:
        """A graph with every population replaced (names stay)."""
        return replace(self, populations={name: change(p) for name, p in self.populations.items()})

    def neurons(self, kinds: Iterable[Kind] = ("lif", "input", "or", "and", "relay", "delay", "interleave")) -> int:
        """Number of neurons of the given kinds."""
        wanted = set(kinds)
        return sum(p.neurons for p in self.populations.values() if p.kind in wanted)

    @property
    def is_chain(self) -> bool:
        """True when every population has one projection in (inputs: none) and at most one out: plain NetX can hold it."""
        if len(self.inputs) != 1 or len(self.outputs) != 1:
            return False
        return all(
            len(self.into(p.name)) == (0 if p.kind == "input" else 1) and len(self.out_of(p.name)) <= 1
            for p in self.populations.values()
        )


def to_physical(x: Array, layout: int) -> Array:
    """(..., C, H, W) in logical order -> (..., C r^2, H/r, W/r) (torch's `pixel_unshuffle`)."""
    if layout == 1:
        return x
    *lead, c, h, w = x.shape
    r = layout
    y = x.reshape(*lead, c, h // r, r, w // r, r)
    n = len(lead)
    y = y.transpose(*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return np.ascontiguousarray(y.reshape(*lead, c * r * r, h // r, w // r))


def to_logical(x: Array, layout: int) -> Array:
    """(..., C r^2, H/r, W/r) -> (..., C, H, W) (torch's `pixel_shuffle`); the inverse of `to_physical`."""
    if layout == 1:
        return x
    *lead, c, h, w = x.shape
    r = layout
    n = len(lead)
    y = x.reshape(*lead, c // (r * r), r, r, h, w)
    y = y.transpose(*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return np.ascontiguousarray(y.reshape(*lead, c // (r * r), h * r, w * r))
