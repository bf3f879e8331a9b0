"""Pass 8: every limit holds on every core, and no even cut has fewer cores."""

from dataclasses import replace
from math import ceil, log2
from pathlib import Path
from sysconfig import get_paths

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lively import SIZE, lively_model
from scipy.sparse import random as random_sparse

import hw_configs
from export.errors import UsageError
from export.graph import Conv, Dense, Graph, Lif, Population, Sparse
from export.mapping.partition import place
from export.mapping.placement import Limits
from export.mapping.resources import core_limits
from export.netx.read import read_netx
from export.pipeline import compile_module

CHIP = hw_configs.load("loihi2")
UNIT = Lif(16, 4096, 4095)


@pytest.fixture(scope="module")
def pilotnet():
    """The trained PilotNet that is installed with the lava-dl wheel."""
    return read_netx(Path(get_paths()["purelib"]) / "tests/lava/lib/dl/netx/gts/pilotnet_lif/network.net")


def small_chip(neurons: int, words: int):
    """loihi2 with smaller cores."""
    core = CHIP.core
    smaller = {
        "neurons": core.neurons.model_copy(update={"value": float(neurons)}),
        "synaptic_words": core.synaptic_words.model_copy(update={"value": float(words)}),
    }
    return CHIP.model_copy(update={"core": core.model_copy(update=smaller)})


def by_hand(projections, channels: range, rows: range, columns: range, shape) -> int:
    """Words that a tile needs, list by list: written once more, for single synapses of single groups."""
    total = 0
    for p in projections:
        if isinstance(p, Conv):
            out, ins, *kernel = p.weight.shape
            bits = ceil(log2(max(1, abs(p.weight).max()))) + 2
            for group in range(p.groups):
                size = out // p.groups
                here = sum(1 for c in channels if c // size == group)
                total += ins * kernel[0] * kernel[1] * ceil(here * bits / 64)
        elif isinstance(p, Dense):
            total += p.weight.shape[1] * ceil(len(channels) * 17 / 64)
        else:
            wanted = [(c * shape[1] + y) * shape[2] + x for c in channels for y in rows for x in columns]
            total += p.matrix[wanted].nnz
    return total


@st.composite
def networks(draw):
    """An input and one population behind a Conv (and perhaps a Sparse), on a chip of small cores."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels, ins = groups * draw(st.integers(1, 7)), groups * draw(st.integers(1, 3))
    height, width, kernel = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.sampled_from([1, 3]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    weight = 2 * rng.integers(-100, 100, (channels, ins // groups, kernel, kernel))
    shape = (channels, height, width)
    projections = [Conv("p", "in", "out", weight.astype(np.int32), padding=(kernel // 2,) * 2, groups=groups)]
    if draw(st.booleans()):
        count = channels * height * width
        matrix = random_sparse(count, ins * height * width, 0.1, "csr", random_state=0)
        matrix.data = np.full(matrix.nnz, 32)
        projections.append(Sparse("s", "in", "out", matrix.astype(np.int32), shape))
    populations = {
        "in": Population("in", "input", (ins, height, width)),
        "out": Population("out", "lif", shape, UNIT),
    }
    graph = Graph(populations, tuple(projections), ("out",), 2, {"in": 1, "out": 2})
    return graph, draw(st.integers(1, 60)), draw(st.integers(1, 120))


def tiles(cut):
    """(index, channels, rows, columns) of every core, counted out by plain loops."""
    channels, height, width = cut.shape
    x, y, c = cut.tile
    index = 0
    for c0 in range(0, channels, c):
        for y0 in range(0, height, y):
            for x0 in range(0, width, x):
                ends = range(c0, min(c0 + c, channels)), range(y0, min(y0 + y, height)), range(x0, min(x0 + x, width))
                yield index, *ends
                index += 1


@settings(max_examples=150, deadline=None)
@given(networks())
def test_every_limit_holds_on_every_core_and_tiles_cover_each_neuron_once(network):
    graph, neurons, words = network
    placement = place(graph, small_chip(neurons, words))
    cut = placement.cuts["out"]
    seen = np.zeros(cut.shape, int)
    held, needed = cut.neurons().ravel(), cut.words.ravel()
    for index, channels, rows, columns in tiles(cut):
        seen[np.ix_(channels, rows, columns)] += 1
        assert held[index] == len(channels) * len(rows) * len(columns)
        assert needed[index] == by_hand(graph.projections, channels, rows, columns, cut.shape)
        if cut.fits:
            assert held[index] <= neurons
            assert needed[index] <= words
    assert (seen == 1).all()
    assert cut.cores == len(held) == placement.cores
    assert placement.fits == cut.fits == (not placement.findings)


@settings(max_examples=100, deadline=None)
@given(networks())
def test_no_even_cut_has_fewer_cores_and_the_lower_bound_is_one(network):
    graph, neurons, words = network
    cut = place(graph, small_chip(neurons, words)).cuts["out"]
    single = [p for p in graph.projections if isinstance(p, Sparse)]
    each = max((int(np.diff(p.matrix.indptr).max()) for p in single), default=0)
    convs = [p for p in graph.projections if isinstance(p, Conv)]
    best = None
    for nc, ny, nx in np.ndindex(*cut.shape):
        c, y, x = (ceil(size / (n + 1)) for size, n in zip(cut.shape, (nc, ny, nx), strict=True))
        most = max(
            by_hand(convs, range(a, min(a + c, cut.shape[0])), range(1), range(1), cut.shape)
            for a in range(0, cut.shape[0], c)
        )
        if c * y * x <= neurons and most + each * c * y * x <= words:
            cores = ceil(cut.shape[0] / c) * ceil(cut.shape[1] / y) * ceil(cut.shape[2] / x)
            best = cores if best is None else min(best, cores)
    assert cut.fits == (best is not None)
    if cut.fits:
        assert cut.cores == best >= cut.least


def test_the_words_are_those_of_intels_own_mapping_of_pilotnet(pilotnet):
    """Rows of the compiler's log in lava-dl's pilotnet_snn notebook; there a core holds all channels of a convolution."""
    graph = pilotnet
    printed = {
        "layer1": (24, 81),
        "layer2": (36, 864),
        "layer3": (48, 1620),
        "layer4": (64, 2160),
        "layer5": (64, 2880),
    }
    for name, (channels, words) in printed.items():
        assert by_hand(graph.into(name), range(channels), range(1), range(1), (channels, 1, 1)) == words
        roomy = place(one_pixel(graph, name), CHIP).cuts[name]
        assert (roomy.tile[2], int(roomy.words.max())) == (channels, words)
    for name, words in {"layer8": 1300, "layer9": 150, "layer10": 10}.items():
        ours = int(place(graph, CHIP).cuts[name].words.max())
        assert words <= ours <= 1.08 * words


def one_pixel(graph: Graph, name: str) -> Graph:
    """The graph with one population a single pixel wide, so that all its channels meet on one core."""
    population = graph.populations[name]
    tiny = replace(population, shape=(population.shape[0], 1, 1))
    return replace(graph, populations={**graph.populations, name: tiny})


def test_pilotnet_needs_fewer_cores_than_intel_took_and_no_fewer_than_its_bound(pilotnet):
    placement = place(pilotnet, CHIP)
    assert placement.fits
    assert placement.least <= placement.cores <= 74 - 13  # Intel's 74, without the 13 of the input


def test_cores_are_numbered_without_gaps_in_the_order_of_the_network():
    compiled = compile_module(lively_model(), (3, *SIZE))
    placement, first = compiled.placement, 0
    assert list(placement.cuts) == [p.name for p in compiled.graph.populations.values() if p.kind != "input"]
    for cut in placement.cuts.values():
        assert cut.first == first
        first += cut.cores
    assert placement.cores == first
    assert placement.chips == ceil(first / 120)
    assert sum(int(cut.neurons().sum()) for cut in placement.cuts.values()) == compiled.graph.neurons(
        ["lif", "or", "and", "relay", "interleave"]
    )


def wide_fan_in(ins: int) -> Graph:
    populations = {"in": Population("in", "input", (ins, 4, 4)), "out": Population("out", "lif", (2, 4, 4), UNIT)}
    conv = Conv("p", "in", "out", np.full((2, ins, 3, 3), 254, np.int32), padding=(1, 1))
    return Graph(populations, (conv,), ("out",), 2, {"in": 1, "out": 2})


def test_a_fan_in_that_no_core_can_hold_is_a_finding_with_the_fix_and_not_an_error():
    assert place(wide_fan_in(1333), CHIP).fits
    placement = place(wide_fan_in(1334), CHIP)
    assert not placement.fits
    assert placement.cores >= 1
    assert placement.findings[0].startswith("population 'out' needs 12,006 words of synaptic memory")
    assert "loihi2 has 12,000" in placement.findings[0] and "smaller fan-in" in placement.findings[0]


def test_convolutions_wider_than_the_chip_handles_are_warned_about():
    for width, warnings in ((256, 0), (257, 1)):
        populations = {
            "in": Population("in", "input", (1, 1, width)),
            "out": Population("out", "lif", (1, 1, width), UNIT),
        }
        conv = Conv("p", "in", "out", np.full((1, 1, 1, 1), 32, np.int32))
        graph = Graph(populations, (conv,), ("out",), 2, {"in": 1, "out": 2})
        assert len(place(graph, CHIP).warnings) == warnings


def test_a_chip_without_the_limits_is_refused_by_the_key():
    with pytest.raises(UsageError, match=r"'loihi1' has no value for core\.conv_synapse_overhead"):
        core_limits(hw_configs.load("loihi1"))
    assert core_limits(CHIP) == Limits("loihi2", 4095, 12000, 64, 2, 17, 120)
