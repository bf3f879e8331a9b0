"""Pass 4: everything becomes populations and projections that Lava's stock Conv, Sparse and LIF run.

Each rewrite is exact:
    residual shortcut    the membrane stream is unrolled: every LIF on it gets all its convolutions as fan-in
    concatenation        the kernel is split by input channels; the parts add at the dendrite
    max pool of spikes   OR population
    product of spikes    AND population
    nearest resizing     composed into the next kernel (down: strided; up: phases of the target's layout)
    transposed conv      polyphase: a plain convolution into a space-to-depth layout (`taps`, `layout`)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from export.dataflow import (
    Add,
    Concat,
    Convolution,
    Dataflow,
    Fire,
    MaxPool,
    Nearest,
    Node,
    Product,
    ReadOut,
    TransposedConvolution,
)
from export.errors import TraceError
from export.graph import MEMORYLESS, Array, Conv, Graph, Kind, Lif, Population, Projection, Shape, Sparse
from export.passes.layout import Link, Plan, plan_layouts
from export.passes.taps import Axis, axis_kernel

UNIT_WEIGHT = 32  # OR, AND, interleave and relay synapses; contract: 2 to 62, so nothing is left on the membrane
OR_THRESHOLD = 16  # any spike fires
AND_THRESHOLD = 48  # one spike does not, two do
MEMORYLESS_OR = Lif(OR_THRESHOLD, **MEMORYLESS)
MEMORYLESS_AND = Lif(AND_THRESHOLD, **MEMORYLESS)


@dataclass(frozen=True)
class Part:
    """A range of channels of a spike value: a whole population, resized by up / down."""

    population: str
    channels: int
    up: int = 1
    down: int = 1


@dataclass(frozen=True, eq=False)
class Synapse:
    """A planned projection in logical terms. weight (out, channels / groups, kH, kW); transposed: as in Node."""

    name: str
    part: Part
    weight: Array
    node: Convolution | TransposedConvolution | MaxPool | Product
    groups: int
    bias: Array | None
    origin: str


def lower(flow: Dataflow, layout: str = "auto") -> Graph:
    """Turn operations into populations and projections.

    needs    a flow with folded norms that `check_spikes` accepted
    layout   "auto", "nested" or "interleave": see `export.passes.layout`
    ensures  grammar "lowered" of `export.spec`; weights real, logical values unchanged
    raises   TraceError for a combination that has no exact rewrite, with the way out
    """
    lowering = _Lowering(flow)
    readout = flow.nodes[flow.output]
    outputs = lowering.views[readout.inputs[0]]
    for part in outputs:
        if part.up * part.down != 1:
            raise TraceError(
                f"'{readout.name}' reads '{part.population}' resized; resize on the host behind the read-out, or put a 1x1 "
                "convolution and a LIF behind the resizing."
            )
    shapes = lowering.shapes
    plan = plan_layouts(shapes, lowering.links, layout)
    populations: dict[str, Population] = {}
    projections: list[Projection] = []
    for name, population in lowering.populations.items():
        r = plan.layouts[name]
        populations[name] = Population(name, population.kind, population.shape, population.lif, None, r)
        projections += [_projection(s, name, shapes, plan) for s in lowering.synapses.get(name, ())]
        if name in plan.interleaved:
            again, permutation = interleave(populations[name])
            populations[again.name] = again
            projections.append(permutation)
    return Graph(populations, tuple(projections), tuple(part.population for part in outputs), flow.steps)


class _Lowering:
    """Collects populations and synapses in logical terms while walking the flow."""

    def __init__(self, flow: Dataflow) -> None:
        self.flow = flow
        self.views: dict[str, tuple[Part, ...]] = {}
        self.terms: dict[str, tuple[str, ...]] = {}
        self.populations: dict[str, Population] = {}
        self.synapses: dict[str, list[Synapse]] = {}
        self.links: dict[str, list[Link]] = {}
        self.host: set[str] = set()
        for node in flow.nodes.values():
            self._visit(node)

    @property
    def shapes(self) -> dict[str, Shape]:
        return {name: p.shape for name, p in self.populations.items()}

    def _visit(self, node: Node) -> None:
        if isinstance(node, (Convolution, TransposedConvolution)):
            if node.inputs[0] not in self.views:
                self.host.add(node.name)
            self.terms[node.name] = (node.name,)
        elif isinstance(node, Add):
            self.terms[node.name] = tuple(t for i in node.inputs for t in self.terms[i])
        elif isinstance(node, Fire):
            self._fire(node)
        elif isinstance(node, Concat):
            self.views[node.name] = tuple(part for i in node.inputs for part in self.views[i])
        elif isinstance(node, Nearest):
            self.views[node.name] = tuple(_resized(node, part, self.flow) for part in self.views[node.inputs[0]])
        elif isinstance(node, MaxPool):
            self._gate(node, "or", MEMORYLESS_OR, np.full((node.shape[0], 1, *node.kernel), float(UNIT_WEIGHT)))
        elif isinstance(node, Product):
            self._gate(node, "and", MEMORYLESS_AND, np.full((node.shape[0], 1, 1, 1), float(UNIT_WEIGHT)))
        elif isinstance(node, ReadOut):
            self.views[node.name] = self.views[node.inputs[0]]

    def _fire(self, node: Fire) -> None:
        self.views[node.name] = (Part(node.name, node.shape[0]),)
        terms = self.terms[node.inputs[0]]
        if all(term in self.host for term in terms):
            self.populations[node.name] = Population(node.name, "input", node.shape)
            return
        self.populations[node.name] = Population(node.name, "lif", node.shape, node.lif)
        self.synapses[node.name] = []
        for count, term in enumerate(terms):
            conv = self.flow.nodes[term]
            assert isinstance(conv, (Convolution, TransposedConvolution))
            repeat = f"#{terms[:count].count(term)}" if term in terms[:count] else ""
            self._connect(node.name, _split(conv, self.views[conv.inputs[0]], f"{term}->{node.name}{repeat}"))

    def _gate(self, node: MaxPool | Product, kind: Kind, lif: Lif, weight: Array) -> None:
        self.views[node.name] = (Part(node.name, node.shape[0]),)
        self.populations[node.name] = Population(node.name, kind, node.shape, lif)
        self.synapses[node.name] = []
        for index, source in enumerate(node.inputs):
            parts = self.views[source]
            if len(parts) != 1:
                raise TraceError(
                    f"'{node.name}' reads a concatenation ('{source}'); {kind.upper()} each part first, then concatenate."
                )
            name = f"{parts[0].population}->{node.name}" + (f"#{index}" if index else "")
            self._connect(node.name, [Synapse(name, parts[0], weight, node, node.shape[0], None, node.name)])

    def _connect(self, target: str, synapses: list[Synapse]) -> None:
        shapes = self.shapes
        for synapse in synapses:
            self.synapses[target].append(synapse)
            axes = _axes(synapse, shapes[synapse.part.population], shapes[target])
            link = Link(synapse.part.population, axes, synapse.part.channels, synapse.groups)
            self.links.setdefault(target, []).append(link)


def _resized(node: Nearest, part: Part, flow: Dataflow) -> Part:
    if part.up * node.up > 1 and part.down * node.down > 1:
        raise TraceError(f"'{node.name}' resizes up and down in turn; use one factor.")
    height, width = flow.nodes[node.inputs[0]].shape[1:]
    if height % node.down or width % node.down:
        raise TraceError(f"'{node.name}' shrinks {height}x{width} by {node.down}, which does not divide it.")
    return Part(part.population, part.channels, part.up * node.up, part.down * node.down)


def _split(conv: Convolution | TransposedConvolution, parts: tuple[Part, ...], name: str) -> list[Synapse]:
    """One synapse per concatenated part; the bias goes with the first."""
    if len(parts) == 1:
        return [Synapse(name, parts[0], conv.weight, conv, conv.groups, conv.bias, conv.name)]
    if conv.groups != 1:
        raise TraceError(f"'{conv.name}' is a grouped convolution of a concatenation; convolve each part by itself.")
    synapses, first = [], 0
    axis = 0 if isinstance(conv, TransposedConvolution) else 1
    for index, part in enumerate(parts):
        weight = np.take(conv.weight, range(first, first + part.channels), axis=axis)
        bias = conv.bias if index == 0 else None
        synapses.append(Synapse(f"{name}[{index}]", part, weight, conv, 1, bias, conv.name))
        first += part.channels
    return synapses


def _axes(synapse: Synapse, source: Shape, target: Shape) -> tuple[Axis, Axis]:
    node = synapse.node
    one = (1, 1)
    stride = one if isinstance(node, Product) else node.stride
    padding = (0, 0) if isinstance(node, Product) else node.padding
    dilation = node.dilation if isinstance(node, (Convolution, TransposedConvolution)) else one
    kernel = synapse.weight.shape[2:]
    y, x = (
        Axis(
            kernel[i],
            stride[i],
            padding[i],
            dilation[i],
            isinstance(node, TransposedConvolution),
            synapse.part.up,
            synapse.part.down,
            source[1 + i],
            target[1 + i],
        )
        for i in (0, 1)
    )
    return y, x


def _projection(synapse: Synapse, target: str, shapes: Mapping[str, Shape], plan: Plan) -> Conv:
    """The physical convolution between the chosen layouts."""
    source = synapse.part.population
    interleaved = source in plan.interleaved
    r_source, r_target = (1 if interleaved else plan.layouts[source]), plan.layouts[target]
    axes = _axes(synapse, shapes[source], shapes[target])
    if r_source == r_target == 1 and synapse.part.up == 1 and not axes[0].transposed:
        return _plain(synapse, _interleaved_name(source) if interleaved else source, target, axes)
    y, x = (axis_kernel(axis, r_source, r_target) for axis in axes)
    weight = _out_first(synapse)
    if synapse.part.up > 1 and max(axes[0].kernel, axes[1].kernel) > 1:
        raise TraceError(
            f"'{synapse.origin}' is a {axes[0].kernel}x{axes[1].kernel} kernel behind up-sampling by {synapse.part.up}: "
            "its weights would add before they are rounded. Use a 1x1 kernel there, or up-sample by transposed convolution."
        )
    # o,i: logical channels; a,c: target phases; b,d: source phases; q,r: physical positions; k,l: taps
    physical = np.einsum("oikl,akqb,clrd->oacibdqr", weight, y.taps, x.taps, optimize=True)
    out, ins = weight.shape[0] * r_target**2, weight.shape[1] * r_source**2
    return Conv(
        synapse.name,
        _interleaved_name(source) if interleaved else source,
        target,
        np.ascontiguousarray(physical.reshape(out, ins, *physical.shape[6:])),
        (y.stride, x.stride),
        (y.padding, x.padding),
        (1, 1),
        synapse.groups,
        origin=synapse.origin,
        bias=synapse.bias,
    )


def _plain(synapse: Synapse, source: str, target: str, axes: tuple[Axis, Axis]) -> Conv:
    """No layout is involved: the convolution as it is, with the shrinking before it in its stride."""
    y, x = axes
    return Conv(
        synapse.name,
        source,
        target,
        synapse.weight,
        (y.stride * y.down, x.stride * x.down),
        (y.padding * y.down, x.padding * x.down),
        (y.dilation * y.down, x.dilation * x.down),
        synapse.groups,
        origin=synapse.origin,
        bias=synapse.bias,
    )


def _out_first(synapse: Synapse) -> Array:
    """Weights as (out, in / groups, kH, kW)."""
    if not isinstance(synapse.node, TransposedConvolution):
        return synapse.weight
    ins, outs, height, width = synapse.weight.shape
    groups = synapse.groups
    split = synapse.weight.reshape(groups, ins // groups, outs, height, width)
    return np.ascontiguousarray(split.transpose(0, 2, 1, 3, 4).reshape(groups * outs, ins // groups, height, width))


def _interleaved_name(name: str) -> str:
    return f"{name}.interleave"


def interleave(population: Population) -> tuple[Population, Sparse]:
    """A memoryless population at full resolution, fed pixel by pixel from a space-to-depth one."""
    name = _interleaved_name(population.name)
    again = Population(name, "interleave", population.shape, MEMORYLESS_OR)
    channels, height, width = population.shape
    r = population.layout
    c, y, x = np.meshgrid(np.arange(channels), np.arange(height), np.arange(width), indexing="ij")
    physical = c * r * r + (y % r) * r + x % r
    source = (physical * (height // r) + y // r) * (width // r) + x // r
    count = population.neurons
    weights = np.full(count, float(UNIT_WEIGHT))
    matrix = csr_matrix((weights, source.ravel(), np.arange(count + 1)), shape=(count, count))
    return again, Sparse(f"{population.name}->{name}", population.name, name, matrix, population.shape, origin=name)
