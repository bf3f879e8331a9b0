"""What every graph in a file keeps to, whoever wrote the file: the rules of `export.spec`, and those of the format.

Foreign files may hold odd weights, weights of 255 and thresholds of 0, which stock Lava runs as they are; neuroseg's own
are held to the chip's formats by `spec.check` when they are compiled, and by `neuroseg verify`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from export.graph import Graph, Population, Projection
from export.spec import shapes, structure, timing, weights_of, whole_numbers

W_MIN, W_MAX = -256, 255  # a signed or an unsigned 8-bit mantissa, one bit up


def defects(graph: Graph) -> Iterator[str]:
    """Yield, as plain sentences, what keeps a graph from being run: the caller chooses the error that carries them."""
    for population in graph.populations.values():
        yield from _population_defects(population)
    faults = structure(graph)
    yield from faults
    if faults:
        return  # what follows needs a sound structure
    for projection in graph.projections:
        yield from whole_numbers(projection)
        yield from _range_defects(projection)
        yield from shapes(graph, projection)
    for fault in timing(graph):
        yield f"{fault}: balance the delays first"


def _population_defects(population: Population) -> Iterator[str]:
    name = population.name
    if not name or "/" in name or name == ".":
        yield f"population name '{name}' cannot be a key of an HDF5 file: use a dotted path without '/'"
    v_th = population.lif.v_th if population.lif is not None else 0
    if v_th != int(v_th) or v_th < 0:
        yield f"population '{name}' has threshold {v_th}; a non-negative integer is needed: quantise first"
    bias = population.bias
    if bias is None:
        return
    if not np.issubdtype(bias.dtype, np.integer):
        yield f"the bias of '{name}' is {bias.dtype}; integers are needed: quantise first"
    if bias.shape not in ((population.shape[0],), population.shape):
        yield f"bias of '{name}' has shape {bias.shape}; expected {(population.shape[0],)} or {population.shape}"


def _range_defects(projection: Projection) -> Iterator[str]:
    weight = weights_of(projection)
    if weight.size and (weight.min() < W_MIN or weight.max() > W_MAX):
        yield (
            f"weights of projection '{projection.name}' span {weight.min()} to {weight.max()}; "
            f"synapses hold {W_MIN} to {W_MAX}"
        )
