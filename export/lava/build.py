"""The graph as stock Lava processes.

Every projection is one synapse process (`Conv`, `Dense`, `Sparse`), every population one `LIFReset`, or a plain `LIF`
when it has no memory; several synapses add at the neuron's `a_in`. Lava's maps are (W, H, C). A synapse adds exactly
one step, a neuron none: a source that first sends at step a reaches the next population at step a + 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from lava.proc.conv.process import Conv as LavaConv
from lava.proc.dense.process import Dense as LavaDense
from lava.proc.lif.process import LIF, LIFReset
from lava.proc.sparse.process import Sparse as LavaSparse
from lava.utils.weightutils import SignMode
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from export.errors import GrammarError
from export.graph import Array, Conv, Dense, Graph, Lif, Population, Projection, Shape, Sparse
from export.lava.processes.delay_neuron import DelayNeuron
from export.lava.processes.graded_neuron import GradedNeuron
from export.lava.processes.spike_delay import SpikeDelay
from export.lava.processes.spike_file import SpikeSink, SpikeSource

STOCK_LIMIT = 127  # stock's Conv model keeps groups, stride, padding and dilation in int8: 128 groups give silence
MEMORYLESS_KINDS = ("or", "and", "relay", "interleave")


@dataclass(frozen=True)
class LavaNetwork:
    """Lava processes, connected, not yet compiled.

    neurons   population -> its LIF process, or the SpikeSource of an input
    head      any process: running it runs all
    """

    neurons: Mapping[str, Any]

    @property
    def head(self) -> Any:
        """The process on which `run` and `stop` are called."""
        return next(iter(self.neurons.values()))


@dataclass(frozen=True)
class Bridge:
    """How spikes cross between the host, which holds the spike files, and a chip.

    to_conv, to_flat  shape -> adapter process (ports `inp`, `out`) from host to chip, in front of a Conv or another synapse
    to_host           shape -> adapter process from chip to host
    input_steps       Lava steps that a spike needs to reach the chip, beyond those of the simulator
    output_steps      the same on its way back
    """

    to_conv: Callable[..., Any]
    to_flat: Callable[..., Any]
    to_host: Callable[..., Any]
    input_steps: int = 0
    output_steps: int = 0


def build(
    graph: Graph,
    sources: Mapping[str, Path],
    sinks: Mapping[str, Path],
    *,
    wide_groups: bool = False,
    bridge: Bridge | None = None,
) -> LavaNetwork:
    """Processes for a whole graph.

    sources      input population -> .npy of its spikes (N*T, W, H, C), see `spike_file`
    sinks        population -> existing .npy (N*T, W, H, C) that receives its spikes
    wide_groups  the Conv model takes any number of groups (ours does, stock's takes 127)
    bridge       None: all on the CPU; else neurons and synapses are on a chip
    raises       GrammarError, with the projection's name, where no stock process can hold its integers
    """
    first = dict(graph.arrivals)
    if bridge is not None:  # the chip lives `input_steps` later than the host that feeds it: so do its resets
        graph = replace(graph, arrivals={name: step + bridge.input_steps for name, step in first.items()})
    neurons: dict[str, Any] = {}
    for name, population in graph.populations.items():
        shape = lava_shape(population.physical_shape)
        if population.kind == "input":
            neurons[name] = SpikeSource(shape=shape, path=str(sources[name]), first_step=first[name])
        elif population.kind == "delay":
            neurons[name] = _delay_neuron(population, graph)
        elif population.thresholds:
            neurons[name] = _graded_neuron(population, graph)
        else:
            neurons[name] = _neuron(population, graph)
    ports = _Ports(graph, neurons, sources, first, bridge)
    for projection in graph.projections:
        _connect(projection, graph, neurons, ports, wide_groups)
    for name, path in sinks.items():
        _record(graph.populations[name], path, first[name], neurons[name], bridge)
    return LavaNetwork(neurons)


class _Ports:
    """Where projections take their spikes: a neuron's port, its tap, or a source that plays an input again, later."""

    def __init__(
        self,
        graph: Graph,
        neurons: Mapping[str, Any],
        sources: Mapping[str, Path],
        first: Mapping[str, int],
        bridge: Bridge | None,
    ) -> None:
        self.graph, self.neurons, self.sources, self.first, self.bridge = graph, neurons, sources, first, bridge
        self.made: dict[tuple[str, int, bool], Any] = {}

    def of(self, projection: Projection) -> Any:
        """The out-port for a projection, made once for all that share it."""
        population = self.graph.populations[projection.source]
        neuron = self.neurons[population.name]
        if population.kind == "delay":
            return neuron.tap_out(taps_of(self.graph, population.name).index(projection.delay))
        if population.kind != "input" or (self.bridge is None and not projection.delay):
            return self._waited(projection, neuron.s_out, population)
        key = (population.name, projection.delay, self.bridge is not None and isinstance(projection, Conv))
        if key not in self.made:
            self.made[key] = self._input(population, projection.delay, key[2])
        return self.made[key]

    def _waited(self, projection: Projection, spikes: Any, population: Population) -> Any:
        if not projection.delay:
            return spikes
        delay = SpikeDelay(shape=lava_shape(population.physical_shape), delay=projection.delay)
        spikes.connect(delay.s_in)
        return delay.s_out

    def _input(self, population: Population, delay: int, into_conv: bool) -> Any:
        """Spikes of an input, `delay` steps late; on a board, behind an adapter."""
        shape, name = lava_shape(population.physical_shape), population.name
        source = self.neurons[name]
        if delay:
            source = SpikeSource(shape=shape, path=str(self.sources[name]), first_step=self.first[name] + delay)
        if self.bridge is None:
            return source.s_out
        adapter = (self.bridge.to_conv if into_conv else self.bridge.to_flat)(shape=shape)
        source.s_out.connect(adapter.inp)
        return adapter.out


def taps_of(graph: Graph, name: str) -> tuple[int, ...]:
    """Steps at which a delay population is read, ascending; the first tap, 0, gives its spikes as they are fired."""
    return tuple(sorted({0, *(p.delay for p in graph.out_of(name))}))


def _record(population: Population, path: Path, first_step: int, neuron: Any, bridge: Bridge | None) -> None:
    shape = lava_shape(population.physical_shape)
    spikes = neuron.s_out
    if bridge is not None and population.kind != "input":
        adapter = bridge.to_host(shape=shape)
        spikes.connect(adapter.inp)
        spikes, first_step = adapter.out, first_step + bridge.input_steps + bridge.output_steps
    spikes.connect(SpikeSink(shape=shape, path=str(path), first_step=first_step).a_in)


def lava_shape(shape: Shape) -> Shape:
    """(C, H, W) -> Lava's (W, H, C)."""
    channels, height, width = shape
    return width, height, channels


def total_steps(graph: Graph, samples: int, bridge: Bridge | None = None) -> int:
    """Lava steps until the last step of the last sample has left the last population, and has crossed the bridge."""
    crossing = bridge.input_steps + bridge.output_steps if bridge is not None else 0
    return max(graph.arrivals.values()) + samples * graph.steps - 1 + crossing


def _neuron(population: Population, graph: Graph) -> Any:
    assert population.lif is not None  # the reader checked it
    shape = lava_shape(population.physical_shape)
    parameters = {**_lif_parameters(population.lif), "bias_mant": _bias(population, shape), "bias_exp": 6}
    if population.kind in MEMORYLESS_KINDS:
        return LIF(shape=shape, **parameters)
    offset = graph.arrivals[population.name] % graph.steps
    return LIFReset(shape=shape, reset_interval=graph.steps, reset_offset=offset, **parameters)


def _graded_neuron(population: Population, graph: Graph) -> GradedNeuron:
    assert population.lif is not None
    shape, lif = lava_shape(population.physical_shape), population.lif
    keeps = population.kind not in MEMORYLESS_KINDS
    return GradedNeuron(
        shape=shape,
        vth=int(lif.v_th),
        ratios=population.thresholds,
        u_decay=lif.u_decay,
        v_decay=lif.v_decay,
        bias=np.broadcast_to(_bias(population, shape), shape),
        interval=graph.steps if keeps else 0,
        offset=graph.arrivals[population.name] % graph.steps if keeps else 0,
    )


def _delay_neuron(population: Population, graph: Graph) -> DelayNeuron:
    assert population.lif is not None  # the reader checked it
    shape = lava_shape(population.physical_shape)
    return DelayNeuron(shape=shape, vth=int(population.lif.v_th), taps=taps_of(graph, population.name))


def _lif_parameters(lif: Lif) -> dict[str, int]:
    """Stock's `du` counts from 1: its model decays the current by du + 1."""
    return {"vth": int(lif.v_th), "du": lif.u_decay - 1, "dv": lif.v_decay}


def _bias(population: Population, shape: Shape) -> Array | int:
    bias = population.physical_bias()
    if bias is None:
        return 0
    spread = bias if bias.ndim == 1 else bias.transpose(2, 1, 0)
    return np.ascontiguousarray(np.broadcast_to(spread, shape)).astype(np.int32)


def _connect(
    projection: Projection,
    graph: Graph,
    neurons: Mapping[str, Any],
    ports: _Ports,
    wide_groups: bool,
) -> None:
    source, target = graph.populations[projection.source], graph.populations[projection.target]
    shape, spikes = lava_shape(source.physical_shape), ports.of(projection)
    bits = message_bits(source)
    if isinstance(projection, Conv):
        synapse = _conv(projection, shape, wide_groups, bits)
        spikes.connect(synapse.s_in)
        synapse.a_out.connect(neurons[target.name].a_in)
        return
    synapse = (
        _dense(projection, source, bits) if isinstance(projection, Dense) else _sparse(projection, source, target, bits)
    )
    spikes.flatten().connect(synapse.s_in)
    synapse.a_out.reshape(lava_shape(target.physical_shape)).connect(neurons[target.name].a_in)


def message_bits(source: Population) -> int:
    """Bits of a spike's message for stock synapses: 0 means binary, whatever arrives is taken for 1."""
    return source.largest_spike.bit_length() if source.thresholds else 0


def _conv(conv: Conv, input_shape: Shape, wide_groups: bool, bits: int) -> Any:
    """Stock's Conv is a true convolution on (W, H, C): flipped and transposed, the net effect is torch's."""
    weight, groups = conv.weight, conv.groups
    if not wide_groups:
        weight, groups = merged_groups(weight, groups)
        largest = max(*conv.stride, *conv.padding, *conv.dilation, *weight.shape[2:])
        if largest > STOCK_LIMIT:
            raise GrammarError(
                f"projection '{conv.name}' has a kernel, stride, padding or dilation of {largest}; Lava's stock Conv "
                f"model keeps them in 8 bits ({STOCK_LIMIT} at most). Use the fast model, or a smaller one."
            )
    return LavaConv(
        weight=np.ascontiguousarray(weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)).astype(np.int32),
        input_shape=input_shape,
        stride=conv.stride[::-1],
        padding=conv.padding[::-1],
        dilation=conv.dilation[::-1],
        groups=groups,
        num_message_bits=bits,
        name=conv.name,
    )


def merged_groups(weight: Array, groups: int) -> tuple[Array, int]:
    """The same convolution in at most 127 groups: k neighbours become one with a block-diagonal kernel of zeros.

    weight   (out, in / groups, kH, kW)
    returns  (out, k in / groups, kH, kW) and groups / k, for the smallest k that divides groups
    """
    merge = next(k for k in range(1, groups + 1) if groups % k == 0 and groups // k <= STOCK_LIMIT)
    if merge == 1:
        return weight, groups
    out, inner, height, width = weight.shape
    wide = np.zeros((out, merge, inner, height, width), weight.dtype)
    member = (np.arange(out) // (out // groups)) % merge  # which block of its merged group an output channel reads
    wide[np.arange(out), member] = weight
    return wide.reshape(out, merge * inner, height, width), groups // merge


def _dense(dense: Dense, source: Population, bits: int) -> Any:
    order = _lava_order(source.physical_shape)
    return LavaDense(
        weights=dense.weight.astype(np.int32)[:, order],
        num_message_bits=bits,
        name=dense.name,
        **_exact(dense.name, dense.weight),
    )


def _sparse(sparse: Sparse, source: Population, target: Population, bits: int) -> Any:
    """Rows and columns re-ordered to Lava's flattened (W, H, C), so that no port has to permute anything."""
    rows, columns = _lava_order(target.physical_shape), _lava_order(source.physical_shape)
    matrix = csr_matrix(sparse.matrix, dtype=np.int32)[rows, :][:, columns]
    matrix.sort_indices()
    return LavaSparse(
        weights=matrix, num_message_bits=bits, name=sparse.name, **_exact(sparse.name, sparse.matrix.data)
    )


def _lava_order(shape: Shape) -> NDArray[np.intp]:
    """For each position of a flattened (W, H, C) map, its place in the flattened (C, H, W) one."""
    return np.arange(int(np.prod(shape))).reshape(shape).transpose(2, 1, 0).reshape(-1)


def _exact(name: str, weights: Array) -> dict[str, Any]:
    """Parameters with which stock's Dense and Sparse models use exactly these integers.

    Their models clip to 8 bits (signed ones one bit up: even, -256 to 254), and would clip -256 among negative
    weights if they chose the sign mode themselves.
    """
    weight = weights.astype(np.int64)
    mixed = not weight.size or bool((weight % 2 == 0).all())
    if not mixed and (weight.min() < 0 or weight.max() > 255):
        raise GrammarError(
            f"projection '{name}' has odd weights of both signs, which Lava's stock Dense and Sparse models round. "
            f"Quantise to even weights, or express it as a convolution over the whole map."
        )
    return {"sign_mode": SignMode.MIXED if mixed else SignMode.EXCITATORY, "num_weight_bits": 8, "weight_exp": 0}
