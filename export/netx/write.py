"""Write a quantised, delay-balanced graph as a NetX file.

Two forms, one key vocabulary (lava-dl's):

    chain   `layer/0` is the input, then one layer per population in order. Stock `netx.hdf5.Network` loads and runs it.
            HDF5 attributes, which stock ignores, hold names, kinds, arrivals and outputs.
    graph   `layer/0` has type `concat`, for which stock raises NotImplementedError, and a `message` that says why.
            `layer/1..n` are populations: `shape` (physical), `neuron`, `bias` (logical channels), `inputs` (layer
            numbers), `delay` (steps, one per input), `synapse/<k>` (conv, dense or sparse), and `layout/<population>`
            for space-to-depth factors above 1; `thresholds` of a graded population, in units of vThMant.

Either may hold `readout/weight` (classes, channels) and `readout/bias` (classes,), float64: the host's linear read-out. A
file with that, or with graded populations, has format 2; readers of format 1 refuse it.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from export.errors import GrammarError
from export.files import replacing
from export.graph import Conv, Dense, Graph, Population, Projection, Sparse
from export.netx.check import defects
from export.netx.stock import as_conv, needs_conv, obstacle

FORMAT = 2
PLAIN_FORMAT = 1  # of files that hold neither a linear read-out nor graded populations
GATE = "concat"  # a layer type that the stock loader refuses
NAME = np.dtype("S10")


def write_netx(graph: Graph, path: Path) -> None:
    """Write a file, whole or not at all.

    needs    integer weights, biases and thresholds; arrivals of every population, matching the delays
    raises   GrammarError for a graph that is not ready; UsageError for a folder that cannot be written
    """
    for defect in defects(graph):
        raise GrammarError(f"cannot write {path.name}: {defect}.")
    reason = obstacle(graph)
    with replacing(Path(path)) as temporary, h5py.File(temporary, "w") as file:
        graded = any(population.thresholds for population in graph.populations.values())
        file.attrs["neuroseg_format"] = FORMAT if graded or graph.readout is not None else PLAIN_FORMAT
        file.attrs["form"] = "graph" if reason else "chain"
        file.attrs["outputs"] = list(graph.outputs)
        file["simulation/Ts"] = 1
        file["simulation/tSample"] = graph.steps
        if graph.readout is not None:
            file["readout/weight"] = graph.readout.weight.astype(np.float64)
            if graph.readout.bias is not None:
                file["readout/bias"] = graph.readout.bias.astype(np.float64)
        if reason:
            _write_graph(graph, file, reason)
        else:
            _write_chain(graph, file)


def _write_chain(graph: Graph, file: h5py.File) -> None:
    """Layers in order; `flatten` goes before every dense layer whose source is a map."""
    layers = file.create_group("layer")
    for population in graph.populations.values():
        incoming = graph.into(population.name)
        if not incoming:
            layer = _new_layer(layers, "input", population.physical_shape)
            _write_population(layer, population, graph)
            continue
        synapse = incoming[0]
        source = graph.populations[synapse.source].physical_shape
        stands_in = isinstance(synapse, Dense) and needs_conv(graph, synapse)
        if isinstance(synapse, Dense) and not stands_in and not _is_flat(graph, synapse.source):
            _new_layer(layers, "flatten", (int(np.prod(source)), 1, 1))
        layer = _new_layer(
            layers, "dense" if isinstance(synapse, Dense) and not stands_in else "conv", population.shape
        )
        _write_population(layer, population, graph)
        if isinstance(synapse, Dense) and stands_in:
            layer.attrs["stands_for"] = "dense"
            _write_conv(layer, Conv(synapse.name, synapse.source, synapse.target, as_conv(synapse, source)))
        else:
            _write_synapse(layer, synapse)
        _write_identity(layer, synapse, graph)


def _is_flat(graph: Graph, name: str) -> bool:
    """True when the stock loader gives a population a 1-D shape: it is itself a stock dense layer."""
    return any(isinstance(p, Dense) and not needs_conv(graph, p) for p in graph.into(name))


def _write_graph(graph: Graph, file: h5py.File, reason: str) -> None:
    layers = file.create_group("layer")
    gate = _new_layer(layers, GATE, (0, 0, 0))
    gate["message"] = (
        f"This file holds a graph of populations, not a chain: {reason}. Load it with neuroseg's export.netx.read."
    )
    number = {name: index + 1 for index, name in enumerate(graph.populations)}
    for population in graph.populations.values():
        kind = "input" if population.kind == "input" else "population"
        layer = _new_layer(layers, kind, population.physical_shape)
        _write_population(layer, population, graph)
        if population.layout != 1:
            file[f"layout/{population.name}"] = population.layout
        incoming = graph.into(population.name)
        if not incoming:
            continue
        layer["inputs"] = np.array([number[p.source] for p in incoming])
        layer["delay"] = np.array([p.delay for p in incoming])
        for index, projection in enumerate(incoming):
            synapse = layer.create_group(f"synapse/{index}")
            _write_type(synapse, type(projection).__name__.lower())
            _write_synapse(synapse, projection)
            _write_identity(synapse, projection, graph)


def _new_layer(layers: h5py.Group, kind: str, shape: tuple[int, int, int]) -> h5py.Group:
    layer = layers.create_group(str(len(layers)))
    _write_type(layer, kind)
    layer["shape"] = np.array(shape)
    return layer


def _write_type(group: h5py.Group, kind: str) -> None:
    group.create_dataset("type", data=np.array([kind.encode()], dtype=NAME))


def _write_population(layer: h5py.Group, population: Population, graph: Graph) -> None:
    layer.attrs["population"] = population.name
    layer.attrs["kind"] = population.kind
    layer.attrs["arrival"] = graph.arrivals[population.name]
    if population.lif is not None:
        neuron = layer.create_group("neuron")
        neuron["type"] = "CUBA"
        neuron["iDecay"] = population.lif.u_decay
        neuron["vDecay"] = population.lif.v_decay
        neuron["vThMant"] = int(population.lif.v_th)
        neuron["refDelay"] = 1
        neuron["gradedSpike"] = bool(population.thresholds)
    if population.thresholds:
        layer["thresholds"] = np.array(population.thresholds)
    if population.bias is not None:
        bias = population.bias
        # the stock loader wants a bias per neuron in (W, H, C) order
        layer["bias"] = bias if bias.ndim == 1 else bias.transpose(2, 1, 0)


def _write_identity(group: h5py.Group, projection: Projection, graph: Graph) -> None:
    group.attrs["projection"] = projection.name
    group.attrs["origin"] = projection.origin
    group.attrs["order"] = graph.projections.index(projection)


def _write_synapse(group: h5py.Group, projection: Projection) -> None:
    if isinstance(projection, Conv):
        _write_conv(group, projection)
    elif isinstance(projection, Dense):
        group["weight"] = projection.weight
        group["inFeatures"] = projection.weight.shape[1]
        group["outFeatures"] = projection.weight.shape[0]
    else:
        _write_sparse(group, projection)


def _write_conv(group: h5py.Group, conv: Conv) -> None:
    group["weight"] = conv.weight
    group["stride"] = np.array(conv.stride)
    group["padding"] = np.array(conv.padding)
    group["dilation"] = np.array(conv.dilation)
    group["groups"] = conv.groups
    group["inChannels"] = conv.weight.shape[1] * conv.groups
    group["outChannels"] = conv.weight.shape[0]
    group["kernelSize"] = np.array(conv.weight.shape[2:])


def _write_sparse(group: h5py.Group, sparse: Sparse) -> None:
    """Compressed sparse rows; rows are target neurons and columns source neurons, both in physical (C, H, W) order."""
    group["data"] = sparse.matrix.data
    group["indices"] = sparse.matrix.indices
    group["indptr"] = sparse.matrix.indptr
    group["matrixShape"] = np.array(sparse.matrix.shape)
