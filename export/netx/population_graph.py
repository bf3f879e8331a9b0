"""Our graph form of NetX: populations with any number of synapse groups (see `export.netx.write`)."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from export.graph import Conv, Dense, Graph, Population, Projection, Sparse
from export.netx.fields import Fields
from export.netx.neuron import read_kind, read_lif
from export.netx.write import GATE


def read_population_graph(root: Fields, steps: int) -> Graph:
    """A file of the graph form as a graph; layer 0 is the gate that keeps the stock loader out."""
    layers = root.child("layer", root.where)
    numbered = [layers.child(str(number), f"{root.where}: layer {number}") for number in layers.children()]
    if not numbered or numbered[0].text("type") != GATE:
        root.fail(f"layer 0 must have type {GATE}")
    populations: dict[str, Population] = {}
    arrivals: dict[str, int] = {}
    for layer in numbered[1:]:
        population = _read_population(layer, root)
        if population.name in populations:
            layer.fail(f"a second population called '{population.name}'")
        populations[population.name] = population
        arrivals[population.name] = int(_attribute(layer, "arrival"))
    names = list(populations)
    projections: dict[int, Projection] = {}
    for layer, name in zip(numbered[1:], names, strict=True):
        _read_projections(layer, name, names, populations, projections)
    outputs = tuple(str(name) for name in np.atleast_1d(root.group.attrs.get("outputs", [])))
    return Graph(populations, tuple(projections[i] for i in sorted(projections)), outputs, steps, arrivals)


def _read_population(layer: Fields, root: Fields) -> Population:
    name = _attribute(layer, "population")
    layout = root.integer(f"layout/{name}") if root.has(f"layout/{name}") else 1
    channels, height, width = layer.shape("shape")
    if layout < 1 or channels % (layout * layout):
        layer.fail(f"layout {layout} does not divide its {channels} physical channels")
    shape = (channels // (layout * layout), height * layout, width * layout)
    bias = layer.integers("bias") if layer.has("bias") else None
    if bias is not None and bias.ndim == 3:
        bias = bias.transpose(2, 1, 0)
    thresholds = tuple(layer.integers("thresholds").reshape(-1).tolist()) if layer.has("thresholds") else ()
    lif = read_lif(layer, graded=bool(thresholds)) if layer.has("neuron") else None
    return Population(name, read_kind(layer, ""), shape, lif, bias, layout, thresholds)


def _read_projections(
    layer: Fields,
    target: str,
    names: list[str],
    populations: dict[str, Population],
    projections: dict[int, Projection],
) -> None:
    if not layer.has("inputs"):
        return
    inputs, delays = layer.integers("inputs").reshape(-1), layer.integers("delay").reshape(-1)
    synapses = layer.child("synapse", layer.where)
    if not len(inputs) == len(delays) == len(synapses.group):
        layer.fail(
            f"{len(inputs)} inputs, {len(delays)} delays and {len(synapses.group)} synapse groups; expected equal"
        )
    for index in synapses.children():
        synapse = synapses.child(str(index), f"{layer.where}: synapse {index}")
        if not 1 <= inputs[index] <= len(names):
            layer.fail(f"key 'inputs' names layer {inputs[index]}, which does not exist")
        order = int(_attribute(synapse, "order"))
        if order in projections:
            synapse.fail(f"attribute 'order' {order} is taken twice")
        source = names[int(inputs[index]) - 1]
        projections[order] = _read_projection(synapse, source, populations[target], int(delays[index]))


def _read_projection(synapse: Fields, source: str, target: Population, delay: int) -> Projection:
    kind, origin = synapse.text("type"), _attribute(synapse, "origin")
    name = _attribute(synapse, "projection")
    if kind == "conv":
        weight = synapse.integers("weight")
        geometry = synapse.pair("stride"), synapse.pair("padding"), synapse.pair("dilation")
        groups = synapse.integer("groups")
        if weight.ndim != 4 or groups < 1 or min(geometry[0] + geometry[2]) < 1:
            synapse.fail(
                f"weight {weight.shape}, stride {geometry[0]}, dilation {geometry[2]}, groups {groups} do not fit"
            )
        return Conv(name, source, target.name, weight, *geometry, groups, delay, origin)
    if kind == "dense":
        return Dense(name, source, target.name, synapse.integers("weight"), delay, origin)
    if kind != "sparse":
        synapse.fail(f"synapse type '{kind}' is unknown; expected conv, dense or sparse")
    return Sparse(name, source, target.name, _read_matrix(synapse), target.physical_shape, delay, origin)


def _read_matrix(synapse: Fields) -> csr_matrix:
    data, indices, indptr = (synapse.integers(key).reshape(-1) for key in ("data", "indices", "indptr"))
    rows, columns = synapse.pair("matrixShape")
    try:
        matrix = csr_matrix((data, indices, indptr), shape=(rows, columns))
        matrix.check_format(full_check=True)
    except ValueError as error:
        synapse.fail(f"keys 'data', 'indices', 'indptr' are no sparse matrix: {error}")
    return matrix


def _attribute(fields: Fields, key: str) -> str:
    if key not in fields.group.attrs:
        fields.fail(f"attribute '{key}' is missing")
    return str(fields.group.attrs[key])
