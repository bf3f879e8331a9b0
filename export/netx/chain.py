"""Plain NetX: layers in a row, ours or lava-dl's.

Our own chains carry names, kinds and arrivals in HDF5 attributes. In foreign files populations are called `layer<i>`,
and arrivals follow the chain: the input at step 1, every layer one step later.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from export.graph import Array, Conv, Dense, Graph, Lif, Population, Projection, Shape
from export.netx.fields import Fields
from export.netx.neuron import STOCK_DEFAULT, placeholder, read_kind, read_lif

WAYS_OUT = {
    "dense_rec": "unroll or train without recurrence",
    "dense_comp": "train with real weights",
    "pool": "lower pooling before export (max pooling of spikes is an OR population)",
    "unpool": "lower nearest resizing before export",
    "convT": "lower the transposed convolution before export (polyphase)",
    "average": "average the output spikes on the host",
    "concat": "lower the concatenation before export (split kernels)",
}


Reasons: TypeAlias = dict[str, list[str]]  # a reason -> the layers that it holds for


@dataclass
class Reading:
    """State while walking along the layers.

    cannot_run   None: what cannot be run is an error. For mapping: the reasons, of which none is an error
    """

    populations: dict[str, Population] = field(default_factory=dict)
    projections: list[Projection] = field(default_factory=list)
    orders: list[int] = field(default_factory=list)  # place of each projection in the graph that was written
    arrivals: dict[str, int] = field(default_factory=dict)
    last: Population | None = None
    flat: bool = False  # a flatten layer, or a dense layer, came just before
    cannot_run: Reasons | None = None


def read_chain(root: Fields, steps: int, cannot_run: Reasons | None = None) -> Graph:
    """A chain as a graph; FileFormatError names the layer that cannot be read.

    cannot_run   takes the reasons why neuroseg cannot run the file, for those who only want its shapes and weights;
                 None: each is an error
    """
    layers = root.child("layer", root.where)
    reading = Reading(cannot_run=cannot_run)
    for number in layers.children():
        bare = layers.child(str(number), f"{root.where}: layer {number}")
        kind = bare.text("type")
        _read_layer(replace(bare, where=f"{bare.where} ({kind})"), number, kind, reading)
    if reading.last is None:
        root.fail("group 'layer' is empty")
    outputs = tuple(str(name) for name in root.group.attrs.get("outputs", [reading.last.name]))
    projections = tuple(reading.projections[i] for i in np.argsort(reading.orders, kind="stable"))
    return Graph(reading.populations, projections, outputs, steps, reading.arrivals)


def _read_layer(layer: Fields, number: int, kind: str, reading: Reading) -> None:
    if kind == "input":
        if reading.last is not None:
            layer.fail("a second input in a chain")
        _append(layer, number, _read_input(layer, number, reading), reading)
    elif kind == "flatten":
        reading.flat = True
    elif kind in ("conv", "dense"):
        source = _source(layer, number, kind, reading)
        projection = (
            _read_conv(layer, source, number, reading)
            if kind == "conv"
            else _read_dense(layer, source, number, reading)
        )
        reading.orders.append(int(layer.group.attrs.get("order", len(reading.projections))))
        reading.projections.append(projection)
        _append(layer, number, _read_population(layer, projection, source, reading), reading)
        reading.flat = kind == "dense"
    elif kind == "average" and reading.cannot_run is not None:
        _cannot_run(layer, reading, WAYS_OUT[kind])  # it takes no core
    else:
        layer.fail(
            f"layer type '{kind}' is not supported: {WAYS_OUT.get(kind, 'export conv, dense and flatten layers')}"
        )


def _append(layer: Fields, number: int, population: Population, reading: Reading) -> None:
    if population.name in reading.populations:
        layer.fail(f"a second population called '{population.name}'")
    default = 1 if reading.last is None else reading.arrivals[reading.last.name] + 1
    reading.populations[population.name] = population
    reading.arrivals[population.name] = int(layer.group.attrs.get("arrival", default))
    reading.last = population


def _source(layer: Fields, number: int, kind: str, reading: Reading) -> Population:
    """The population before a layer. A file may begin with a synapse: then its input is made up from the weights."""
    if reading.last is None:
        if kind == "conv":
            layer.fail("there is no input layer before it, so the input's shape is unknown: add layer 0 of type input")
        weight = _dense_matrix(layer)
        population = Population("input", "input", (weight.shape[1], 1, 1))
        reading.populations["input"], reading.arrivals["input"], reading.last = population, 1, population
    return reading.last


def _read_input(layer: Fields, number: int, reading: Reading) -> Population:
    lif = _neuron(layer, reading) if layer.has("neuron") else None
    return Population(_name(layer, number), "input", layer.shape("shape"), lif)


def _neuron(layer: Fields, reading: Reading) -> Lif:
    """The neuron of a layer; for mapping a stand-in will do."""
    if reading.cannot_run is None:
        return read_lif(layer)
    lif, reason = placeholder(layer)
    if reason is not None:
        reading.cannot_run.setdefault(reason, []).append(layer.where)
    return lif


def _read_population(layer: Fields, projection: Projection, source: Population, reading: Reading) -> Population:
    lif = _neuron(layer, reading) if layer.has("neuron") else None
    if lif is None and isinstance(projection, Conv):
        layer.fail("group 'neuron' is missing")
    shape = projection.output_shape(source.shape)
    stored = layer.shape("shape")
    if stored != shape and not (isinstance(projection, Dense) and np.prod(stored) == np.prod(shape)):
        layer.fail(f"key 'shape' is {stored}, but its synapses deliver {shape}")
    return Population(projection.target, read_kind(layer, "lif"), shape, lif or STOCK_DEFAULT, _read_bias(layer, shape))


def _read_bias(layer: Fields, shape: Shape) -> Array | None:
    """(C,), or stock's (W, H, C) turned to (C, H, W); a single number stands for all neurons."""
    if not layer.has("bias"):
        return None
    bias = layer.integers("bias")
    if bias.ndim == 3:
        bias = bias.transpose(2, 1, 0)
    elif bias.size == 1:
        bias = np.repeat(bias.reshape(-1), shape[0])
    if bias.shape not in ((shape[0],), shape):
        layer.fail(f"key 'bias' has shape {bias.shape}; expected {(shape[0],)} or one per neuron")
    return bias


def _read_conv(layer: Fields, source: Population, number: int, reading: Reading) -> Projection:
    weight = layer.integers("weight")
    if weight.ndim == 5 and weight.shape[4] == 1:  # SLAYER's kernels have a time axis of length 1
        weight = weight[..., 0]
    if weight.ndim != 4:
        layer.fail(f"key 'weight' has shape {weight.shape}; expected (out, in / groups, kH, kW)")
    if not weight.size:
        layer.fail(
            f"key 'weight' has shape {weight.shape}, no synapse at all: at least one channel and one tap are needed"
        )
    if layer.has("delay") and layer.integers("delay").any():
        _cannot_run(layer, reading, "key 'delay' is not zero, which lava-dl's loader ignores: train with delay=False")
    groups = layer.integer("groups")
    if groups < 1 or weight.shape[1] * groups != source.shape[0] or weight.shape[0] % groups:
        layer.fail(f"key 'weight' {weight.shape} in {groups} groups does not fit {source.shape[0]} input channels")
    common = (_projection_name(layer, number), source.name, _name(layer, number))
    if layer.group.attrs.get("stands_for") == "dense":
        return Dense(*common, weight.reshape(weight.shape[0], -1), origin=_origin(layer))
    stride, padding, dilation = layer.pair("stride"), layer.pair("padding"), layer.pair("dilation")
    conv = Conv(*common, weight, stride, padding, dilation, groups, origin=_origin(layer))
    if min(stride + dilation) < 1 or min(padding) < 0 or min(conv.output_shape(source.shape)) < 1:
        layer.fail(f"stride {stride}, padding {padding}, dilation {dilation} leave no output of {source.shape}")
    return conv


def _read_dense(layer: Fields, source: Population, number: int, reading: Reading) -> Dense:
    weight = _dense_matrix(layer)
    if weight.shape[1] != source.neurons:
        layer.fail(f"key 'weight' has {weight.shape[1]} inputs, but '{source.name}' has {source.neurons} neurons")
    if not reading.flat and source.shape[1:] != (1, 1):
        layer.fail(
            f"a dense layer follows a map {source.shape} without a flatten layer, so the order of inputs is unknown"
        )
    _check_no_delay(layer, reading)
    names = _projection_name(layer, number), source.name, _name(layer, number)
    return Dense(*names, weight, origin=_origin(layer))


def _dense_matrix(layer: Fields) -> Array:
    weight = layer.integers("weight")
    if weight.ndim == 1:  # lava-dl writes a single output neuron as a vector
        rows = int(np.prod(layer.shape("shape")))
        if weight.size % rows:
            layer.fail(f"key 'weight' has {weight.size} values, not a multiple of {rows} neurons")
        weight = weight.reshape(rows, -1)
    if weight.ndim != 2:
        layer.fail(f"key 'weight' has shape {weight.shape}; expected (out, in)")
    return weight


def _check_no_delay(layer: Fields, reading: Reading) -> None:
    delay = layer.integers("delay") if layer.has("delay") else np.zeros(1, dtype=np.int32)
    if delay.any():
        how = "is not zero" if (delay == delay.flat[0]).all() else "differs from neuron to neuron"
        _cannot_run(layer, reading, f"key 'delay' {how}: train with delay=False")


def _cannot_run(layer: Fields, reading: Reading, problem: str) -> None:
    if reading.cannot_run is None:
        layer.fail(problem)
    reading.cannot_run.setdefault(problem, []).append(layer.where)


def _name(layer: Fields, number: int) -> str:
    return str(layer.group.attrs.get("population", f"layer{number}"))


def _projection_name(layer: Fields, number: int) -> str:
    return str(layer.group.attrs.get("projection", f"layer{number}.synapse"))


def _origin(layer: Fields) -> str:
    return str(layer.group.attrs.get("origin", ""))
