"""What every graph in a file keeps to, whoever wrote the file: one list of rules for the writer and the reader."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from export.graph import Array, Conv, Dense, Graph, Population, Projection

W_MIN, W_MAX = -256, 255  # a signed or an unsigned 8-bit mantissa, one bit up


def defects(graph: Graph) -> Iterator[str]:
    """Yield, as plain sentences, what keeps a graph from being run: the caller chooses the error that carries them."""
    for name, population in graph.populations.items():
        yield from _population_defects(name, population, graph)
    names = [p.name for p in graph.projections]
    for name in sorted({n for n in names if names.count(n) > 1}):
        yield f"two projections are called '{name}'; names must differ"
    for projection in graph.projections:
        yield from _projection_defects(projection, graph)
    for name in graph.outputs:
        if name not in graph.populations:
            yield f"output '{name}' is not a population"
    if graph.steps < 1:
        yield f"{graph.steps} time steps per sample; at least 1 is needed"


def _population_defects(name: str, population: Population, graph: Graph) -> Iterator[str]:
    if not name or "/" in name or name == ".":
        yield f"population name '{name}' cannot be a key of an HDF5 file: use a dotted path without '/'"
    if population.kind == "input":
        if graph.into(name):
            yield f"input '{name}' has incoming projections"
        if population.bias is not None:
            yield f"input '{name}' carries a bias; a driven input gets its bias with each sample"
    elif population.lif is None:
        yield f"population '{name}' has no neuron parameters"
    elif not graph.into(name):
        yield f"population '{name}' has no incoming projection"
    if graph.arrivals.get(name, 0) < 1:
        yield f"population '{name}' has no arrival step of 1 or more: balance the delays first"
    yield from _number_defects(name, population)


def _number_defects(name: str, population: Population) -> Iterator[str]:
    v_th = population.lif.v_th if population.lif is not None else 0
    if v_th != int(v_th) or v_th < 0:
        yield f"population '{name}' has threshold {v_th}; a non-negative integer is needed: quantise first"
    bias = population.bias
    if bias is not None:
        yield from _array_defects(f"bias of '{name}'", bias)
        if bias.shape not in ((population.shape[0],), population.shape):
            yield f"bias of '{name}' has shape {bias.shape}; expected {(population.shape[0],)} or {population.shape}"


def _projection_defects(projection: Projection, graph: Graph) -> Iterator[str]:
    where = f"projection '{projection.name}'"
    known = graph.populations
    if projection.source not in known or projection.target not in known:
        yield f"{where} joins '{projection.source}' to '{projection.target}', of which one does not exist"
        return
    weight: Array = projection.weight if isinstance(projection, (Conv, Dense)) else projection.matrix.data
    yield from _array_defects(f"weight of {where}", weight)
    if weight.size and (weight.min() < W_MIN or weight.max() > W_MAX):
        yield f"weights of {where} span {weight.min()} to {weight.max()}; synapses hold {W_MIN} to {W_MAX}"
    if isinstance(projection, Conv) and projection.bias is not None:
        yield f"{where} still carries a bias: quantise first, which moves it into the population"
    if projection.delay < 0:
        yield f"{where} has delay {projection.delay}; 0 or more is needed"
    yield from _shape_defects(projection, known[projection.source], known[projection.target])
    source, target = graph.arrivals.get(projection.source, 0), graph.arrivals.get(projection.target, 0)
    if source and target and target != source + 1 + projection.delay:
        yield (
            f"{where} delivers at step {source + 1 + projection.delay}, but '{projection.target}' expects its "
            f"first data at step {target}: balance the delays first"
        )


def _shape_defects(projection: Projection, source: Population, target: Population) -> Iterator[str]:
    where = f"projection '{projection.name}'"
    channels, height, width = source.physical_shape
    if isinstance(projection, Conv):
        if projection.weight.ndim != 4 or channels != projection.weight.shape[1] * projection.groups:
            yield (
                f"{where} has weights {projection.weight.shape} in {projection.groups} groups; "
                f"'{source.name}' has {channels} channels"
            )
            return
    else:
        matrix = projection.weight if isinstance(projection, Dense) else projection.matrix
        if len(matrix.shape) != 2 or matrix.shape[1] != channels * height * width:
            yield f"{where} has a matrix {matrix.shape}; '{source.name}' has {channels * height * width} neurons"
            return
        if matrix.shape[0] != target.neurons:
            yield f"{where} has a matrix {matrix.shape}; '{target.name}' has {target.neurons} neurons"
            return
    delivered = projection.output_shape(source.physical_shape)
    if delivered != target.physical_shape:
        yield f"{where} delivers {delivered}; '{target.name}' has physical shape {target.physical_shape}"


def _array_defects(what: str, values: Array) -> Iterator[str]:
    if not np.issubdtype(values.dtype, np.integer):
        yield f"the {what} is {values.dtype}; integers are needed: quantise first"
