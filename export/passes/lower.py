"""Pass 4: everything becomes populations and projections that Lava's stock Conv, Sparse and LIF run.

Each rewrite is exact:
    residual shortcut    the membrane stream is unrolled: every LIF on it gets all its convolutions as fan-in
    concatenation        the kernel is split by input channels; the parts add at the dendrite (`views`)
    channel shuffle      the input channels of the next kernel are permuted (`views`)
    max pool of spikes   OR population
    product of spikes    AND population
    nearest resizing     composed into the next kernel (down: strided; up: phases of the target's layout)
    transposed conv      polyphase: a plain convolution into a space-to-depth layout (`taps`, `layout`)
    average pool         already composed into the next kernel (`compose_pools`)
    linear read-out      the host's, on the counts of the populations that it reads
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

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
    Shuffle,
    SpikeSource,
    TransposedConvolution,
    reads_pixels,
)
from export.errors import QuantizeError, TraceError
from export.graph import MEMORYLESS, Array, Conv, Graph, Kind, Lif, LinearReadOut, Population, Projection, Shape, Sparse
from export.passes.check_spikes import threshold_ratios
from export.passes.layout import Link, Plan, plan_layouts
from export.passes.taps import Axis, axis_kernel
from export.passes.views import Part, PartKernel, View, concatenated, in_parts_order, part_kernels, shuffled

UNIT_WEIGHT = 32  # OR, AND, interleave and relay synapses; contract: 2 to 62, so nothing is left on the membrane
OR_THRESHOLD = 16  # any spike fires
AND_THRESHOLD = 48  # one spike does not, two do
MEMORYLESS_OR = Lif(OR_THRESHOLD, **MEMORYLESS)
MEMORYLESS_AND = Lif(AND_THRESHOLD, **MEMORYLESS)
GRADED_THRESHOLD = UNIT_WEIGHT - 1  # of a neuron that repeats graded spikes: r of them reach r thresholds, r - 1 do not


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

    needs    a flow with folded norms and composed pools that `check_spikes` accepted
    layout   "auto", "nested" or "interleave": see `export.passes.layout`
    ensures  grammar "lowered" of `export.spec`; weights real, logical values unchanged
    raises   TraceError for a combination that has no exact rewrite, with the way out
    """
    lowering = _Lowering(flow)
    shapes = lowering.shapes
    plan = plan_layouts(shapes, lowering.links, layout)
    populations: dict[str, Population] = {}
    projections: list[Projection] = []
    for name, population in lowering.populations.items():
        r = plan.layouts[name]
        populations[name] = replace(population, layout=r)
        projections += [_projection(s, name, shapes, plan) for s in lowering.synapses.get(name, ())]
        if name in plan.interleaved:
            again, permutation = interleave(populations[name])
            populations[again.name] = again
            projections.append(permutation)
    outputs = tuple(part.population for part in lowering.output.parts)
    return Graph(populations, tuple(projections), outputs, flow.steps, readout=lowering.readout())


class _Lowering:
    """Collects populations and synapses in logical terms while walking the flow."""

    def __init__(self, flow: Dataflow) -> None:
        self.flow = flow
        self.views: dict[str, View] = {}
        self.terms: dict[str, tuple[str, ...]] = {}
        self.populations: dict[str, Population] = {}
        self.synapses: dict[str, list[Synapse]] = {}
        self.links: dict[str, list[Link]] = {}
        self.kernels: dict[str, list[PartKernel]] = {}  # of a convolution, once for all that it feeds
        self.host: set[str] = set()
        for node in flow.nodes.values():
            visit = self._visits.get(type(node))
            if visit is not None:
                visit(self, node)

    @property
    def shapes(self) -> dict[str, Shape]:
        return {name: p.shape for name, p in self.populations.items()}

    @property
    def output(self) -> View:
        """What the read-out reads."""
        return self.views[self.flow.output]

    def readout(self) -> LinearReadOut | None:
        """The host's linear map for the channels of the outputs as they stand."""
        node, view = self.flow.nodes[self.flow.output], self.output
        assert isinstance(node, ReadOut)
        if node.weight is not None:
            return LinearReadOut(in_parts_order(node.weight, view, 1), node.bias)
        if view.order is not None:
            raise TraceError(
                f"'{node.name}' counts spikes whose channels were shuffled; give it a weight (a linear read-out), or put a 1x1 "
                "convolution and a LIF before it."
            )
        return None

    def _synapses(self, node: Convolution | TransposedConvolution) -> None:
        if node.inputs[0] not in self.views:
            assert reads_pixels(self.flow.nodes, node), f"{node.name} reads what no pass has lowered"
            self.host.add(node.name)
        self.terms[node.name] = (node.name,)

    def _add(self, node: Add) -> None:
        self.terms[node.name] = tuple(t for i in node.inputs for t in self.terms[i])

    def _source(self, node: SpikeSource) -> None:
        self.views[node.name] = View((Part(node.name, node.shape[0]),))
        self.populations[node.name] = Population(node.name, "input", node.shape)

    def _concat(self, node: Concat) -> None:
        self.views[node.name] = concatenated([self.views[i] for i in node.inputs])

    def _shuffle(self, node: Shuffle) -> None:
        self.views[node.name] = shuffled(self.views[node.inputs[0]], node.groups)

    def _nearest(self, node: Nearest) -> None:
        view = self.views[node.inputs[0]]
        self.views[node.name] = replace(view, parts=tuple(_resized(node, part, self.flow) for part in view.parts))

    def _readout(self, node: ReadOut) -> None:
        self.views[node.name] = self.views[node.inputs[0]]
        for part in self.views[node.name].parts:
            if part.up * part.down != 1:
                raise TraceError(
                    f"'{node.name}' reads '{part.population}' resized; resize on the host behind the read-out, or put a 1x1 "
                    "convolution and a LIF behind the resizing."
                )

    def _fire(self, node: Fire) -> None:
        self.views[node.name] = View((Part(node.name, node.shape[0]),))
        terms = self.terms[node.inputs[0]]
        ratios = threshold_ratios(node.thresholds) if node.thresholds else ()
        assert ratios is not None  # `check_spikes`
        if all(term in self.host for term in terms):
            self.populations[node.name] = Population(node.name, "input", node.shape, thresholds=ratios)
            return
        self.populations[node.name] = Population(node.name, "lif", node.shape, node.lif, thresholds=ratios)
        self.synapses[node.name] = []
        for count, term in enumerate(terms):
            conv = self.flow.nodes[term]
            assert isinstance(conv, (Convolution, TransposedConvolution))
            repeat = f"#{terms[:count].count(term)}" if term in terms[:count] else ""
            self._connect(node.name, self._split(conv, f"{term}->{node.name}{repeat}"))

    def _split(self, conv: Convolution | TransposedConvolution, name: str) -> list[Synapse]:
        """One synapse per population that a convolution reads; the bias goes with the first."""
        view = self.views[conv.inputs[0]]
        if conv.name not in self.kernels:
            axis = 0 if isinstance(conv, TransposedConvolution) else 1
            self.kernels[conv.name] = part_kernels(conv.weight, conv.groups, view, axis)
        kernels = self.kernels[conv.name]
        return [
            Synapse(
                name if len(kernels) == 1 else f"{name}[{index}]",
                kernel.part,
                kernel.weight,
                conv,
                kernel.groups,
                None if index else conv.bias,
                conv.name,
            )
            for index, kernel in enumerate(kernels)
        ]

    def _pool(self, node: MaxPool) -> None:
        self._gate(node, "or", MEMORYLESS_OR, np.full((node.shape[0], 1, *node.kernel), float(UNIT_WEIGHT)))

    def _product(self, node: Product) -> None:
        self._gate(node, "and", MEMORYLESS_AND, np.full((node.shape[0], 1, 1, 1), float(UNIT_WEIGHT)))

    def _gate(self, node: MaxPool | Product, kind: Kind, lif: Lif, weight: Array) -> None:
        self.views[node.name] = View((Part(node.name, node.shape[0]),))
        self.populations[node.name] = Population(node.name, kind, node.shape, lif)
        self.synapses[node.name] = []
        for index, source in enumerate(node.inputs):
            view = self.views[source]
            if len(view.parts) != 1:
                raise TraceError(
                    f"'{node.name}' reads a concatenation ('{source}'); {kind.upper()} each part first, then concatenate."
                )
            (kernel,) = part_kernels(weight, node.shape[0], view, 1)
            name = f"{kernel.part.population}->{node.name}" + (f"#{index}" if index else "")
            self._connect(node.name, [Synapse(name, kernel.part, kernel.weight, node, kernel.groups, None, node.name)])

    def _connect(self, target: str, synapses: list[Synapse]) -> None:
        shapes = self.shapes
        for synapse in synapses:
            self.synapses[target].append(synapse)
            axes = _axes(synapse, shapes[synapse.part.population], shapes[target])
            link = Link(synapse.part.population, axes, synapse.part.channels, synapse.groups)
            self.links.setdefault(target, []).append(link)

    _visits: ClassVar[Mapping[type[Node], Callable[[Any, Any], None]]] = {
        Convolution: _synapses,
        TransposedConvolution: _synapses,
        Add: _add,
        Fire: _fire,
        SpikeSource: _source,
        Concat: _concat,
        Shuffle: _shuffle,
        Nearest: _nearest,
        MaxPool: _pool,
        Product: _product,
        ReadOut: _readout,
    }


def _resized(node: Nearest, part: Part, flow: Dataflow) -> Part:
    if part.up * node.up > 1 and part.down * node.down > 1:
        raise TraceError(f"'{node.name}' resizes up and down in turn; use one factor.")
    height, width = flow.nodes[node.inputs[0]].shape[1:]
    if height % node.down or width % node.down:
        raise TraceError(f"'{node.name}' shrinks {height}x{width} by {node.down}, which does not divide it.")
    return Part(part.population, part.channels, part.up * node.up, part.down * node.down)


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


def repeater(population: Population, name: str, kind: Kind, layout: int) -> Population:
    """A memoryless population that fires what another fires, one step later, through one synapse of `UNIT_WEIGHT` a neuron.

    raises  QuantizeError for graded spikes that it would not repeat exactly
    """
    if not population.thresholds:
        return Population(name, kind, population.shape, MEMORYLESS_OR, None, layout)
    if population.largest_spike > UNIT_WEIGHT:
        raise QuantizeError(
            f"graded spikes of '{population.name}' reach {population.largest_spike}; what has to wait, or change its layout, is "
            f"repeated exactly up to {UNIT_WEIGHT}. Use five thresholds at most (such as 2, 1, 0.5, 0.25, 0.125)."
        )
    lif = Lif(GRADED_THRESHOLD, **MEMORYLESS)
    return Population(name, kind, population.shape, lif, None, layout, population.thresholds)


def interleave(population: Population) -> tuple[Population, Sparse]:
    """A memoryless population at full resolution, fed pixel by pixel from a space-to-depth one."""
    name = _interleaved_name(population.name)
    again = repeater(population, name, "interleave", layout=1)
    channels, height, width = population.shape
    r = population.layout
    c, y, x = np.meshgrid(np.arange(channels), np.arange(height), np.arange(width), indexing="ij")
    physical = c * r * r + (y % r) * r + x % r
    source = (physical * (height // r) + y // r) * (width // r) + x // r
    count = population.neurons
    weights = np.full(count, float(UNIT_WEIGHT))
    matrix = csr_matrix((weights, source.ravel(), np.arange(count + 1)), shape=(count, count))
    return again, Sparse(f"{population.name}->{name}", population.name, name, matrix, population.shape, origin=name)
