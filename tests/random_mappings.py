"""Random integer graphs and chips of small cores, for tests of mapping."""

import numpy as np
from hypothesis import strategies as st
from scipy.sparse import random as random_sparse

import hw_configs
from export.graph import Conv, Dense, Graph, Lif, Population, Sparse

CHIP = hw_configs.load("loihi2")
UNIT = Lif(16, 4096, 4095)


def chip_with(**core_values):
    """loihi2 with other values of some leaves of a core; None for unknown."""
    core = CHIP.core
    changed = {}
    for key, value in core_values.items():
        leaf = getattr(core, key)
        known = {"value": None if value is None else float(value), "evidence": None if value is None else leaf.evidence}
        changed[key] = leaf.model_copy(update={**known, "range": None})
    return CHIP.model_copy(update={"core": core.model_copy(update=changed)})


def chain(*projections, inputs, driven=False, outputs=None):
    """Populations 'p1', 'p2', ... behind 'p0' of shape `inputs`; each projection is given without its ends."""
    populations = {"p0": Population("p0", "input", inputs, UNIT if driven else None)}
    made = []
    for i, make in enumerate(projections):
        projection = make(f"s{i}", f"p{i}", f"p{i + 1}")
        shape = projection.output_shape(populations[f"p{i}"].shape)
        populations[f"p{i + 1}"] = Population(f"p{i + 1}", "lif", shape, UNIT)
        made.append(projection)
    last = f"p{len(projections)}"
    arrivals = {name: i for i, name in enumerate(populations, start=1)}
    return Graph(populations, tuple(made), outputs or (last,), 1, arrivals)


def conv(out, ins, kernel, value=100, **geometry):
    """A convolution without its ends; all weights alike."""
    return lambda *ends: Conv(*ends, np.full((out, ins, kernel, kernel), value, np.int32), **geometry)


def dense(out, ins, value=100):
    """Full connections without their ends."""
    return lambda *ends: Dense(*ends, np.full((out, ins), value, np.int32))


@st.composite
def convolutions(draw, source, name, ends):
    """A convolution of any stride, padding, dilation and groups from a shape; None where it leaves no output."""
    groups = draw(st.sampled_from([g for g in (1, 2, 3) if source[0] % g == 0]))
    out = groups * draw(st.integers(1, 6))
    kernel = draw(st.sampled_from([(1, 1), (2, 2), (3, 3), (3, 1)]))
    stride, dilation = draw(st.sampled_from([(1, 1), (2, 2), (2, 1)])), draw(st.sampled_from([(1, 1), (2, 1)]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    weight = rng.integers(-100, 100, (out, source[0] // groups, *kernel)).astype(np.int32)
    made = Conv(name, *ends, weight, stride, draw(st.sampled_from([(0, 0), (1, 1)])), dilation, groups)
    return made if min(made.output_shape(source)) >= 1 else None


@st.composite
def graphs(draw):
    """Up to five populations: convolutions, dense and single synapses, fan-in and fan-out of several."""
    shape = (draw(st.sampled_from([1, 2, 3, 6])), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    populations = {"p0": Population("p0", "input", shape, UNIT if draw(st.booleans()) else None)}
    projections = []
    for i in range(1, draw(st.integers(2, 6))):
        source, target = draw(st.sampled_from(sorted(populations))), f"p{i}"
        from_shape = populations[source].shape
        count = int(np.prod(from_shape))
        kind = draw(st.sampled_from(["conv", "conv", "conv", "dense", "sparse"]))
        made = draw(convolutions(from_shape, f"s{i}", (source, target))) if kind == "conv" else None
        if made is None and kind != "sparse":
            weight = np.full((draw(st.integers(1, 12)), count), draw(st.integers(1, 200)), np.int32)
            made = Dense(f"s{i}", source, target, weight)
        if made is None:
            made = _single(draw, f"s{i}", source, target, count, from_shape)
        populations[target] = Population(target, "lif", made.output_shape(from_shape), UNIT)
        projections.append(made)
        if draw(st.booleans()):  # more synapses into the same neurons
            other = draw(st.sampled_from(sorted(n for n in populations if n != target)))
            ins = int(np.prod(populations[other].shape))
            projections.append(_single(draw, f"t{i}", other, target, ins, populations[target].shape))
    fed = {p.source for p in projections}
    outputs = tuple(n for n in populations if n not in fed and n != "p0")
    return Graph(populations, tuple(projections), outputs or (f"p{len(populations) - 1}",), 1)


def _single(draw, name, source, target, ins, shape):
    matrix = random_sparse(int(np.prod(shape)), ins, 0.2, "csr", random_state=draw(st.integers(0, 9)))
    matrix.data = np.full(matrix.nnz, 32)
    return Sparse(name, source, target, matrix.astype(np.int32), shape)


@st.composite
def chips(draw):
    """Cores small enough that every limit is met, now and then one that is not known."""
    values = {
        "neurons": draw(st.integers(2, 80)),
        "synaptic_words": draw(st.integers(10, 400)),
        "synaptic_word": draw(st.sampled_from([16, 64, 64])),
        "axon_in": draw(st.integers(3, 400)),
        "axon_map": draw(st.integers(3, 150)),
        "axon_mem": draw(st.integers(1, 80)),
        "pool_limit": draw(st.sampled_from([0.5, 1, 1, 4])),
    }
    unknown = draw(st.sampled_from([None, None, None, "axon_in", "axon_mem", "pool_limit", "synaptic_words"]))
    return chip_with(**(values | ({unknown: None} if unknown else {})))
