"""Pass 8: every limit holds on every core, no even cut has fewer cores, and of those with as few none sends less."""

from math import ceil
from pathlib import Path
from sysconfig import get_paths

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lively import SIZE, lively_model
from random_mappings import CHIP, UNIT, chain, chip_with, chips, conv, convolutions, dense, graphs

import hw_configs
from export.errors import DataError, UsageError
from export.graph import Conv, Graph, Population
from export.mapping.check import faults, recount
from export.mapping.partition import place
from export.mapping.resources import core_limits
from export.netx.read import read_netx
from export.pipeline import compile_module

NO_POOL = {"pool_limit": None}


@pytest.fixture(scope="module")
def pilotnet():
    """The trained PilotNet that is installed with the lava-dl wheel."""
    return read_netx(Path(get_paths()["purelib"]) / "tests/lava/lib/dl/netx/gts/pilotnet_lif/network.net")


@settings(max_examples=150, deadline=None)
@given(graphs(), chips(), st.sampled_from([0.0, 0.02, 0.5]))
def test_every_known_limit_holds_on_every_core_by_an_independent_recount(graph, chip, slack):
    placement = place(graph, chip, slack=slack)
    assert faults(graph, placement) == ()
    assert placement.fits == all(cut.fits for cut in placement.cuts.values())
    for cut in placement.cuts.values():
        assert not cut.fits or cut.least <= cut.cores
    assert not placement.fits or placement.shared_least <= placement.least


@st.composite
def one_population(draw):
    """A population behind one convolution, and the caps of a chip; nothing reads it."""
    source = draw(st.sampled_from([1, 2, 4])), draw(st.integers(1, 7)), draw(st.integers(1, 7))
    made = draw(convolutions(source, "s", ("in", "out")))
    if made is None:
        made = Conv("s", "in", "out", np.ones((3, source[0], 1, 1), np.int32))
    shape = made.output_shape(source)
    populations = {"in": Population("in", "input", source), "out": Population("out", "lif", shape, UNIT)}
    values = {"neurons": draw(st.integers(1, 60)), "synaptic_words": draw(st.integers(1, 120)), **NO_POOL}
    return Graph(populations, (made,), ("out",), 1), chip_with(**values, axon_map=draw(st.integers(1, 60)))


def packets_of(graph, tile):
    """(source neuron, core) pairs that some synapse joins, one synapse after the other."""
    made, shape = graph.projections[0], graph.populations["in"].shape
    out, ins, *kernel = made.weight.shape
    target, pairs = graph.populations["out"].shape, set()
    for o, y, x in np.ndindex(*target):
        for i, ky, kx in np.ndindex(ins, *kernel):
            row = y * made.stride[0] - made.padding[0] + ky * made.dilation[0]
            column = x * made.stride[1] - made.padding[1] + kx * made.dilation[1]
            if 0 <= row < shape[1] and 0 <= column < shape[2]:
                channel = o // (out // made.groups) * ins + i
                pairs.add((channel, row, column, o // tile[2], y // tile[1], x // tile[0]))
    return len(pairs)


@settings(max_examples=40, deadline=None)
@given(one_population())
def test_no_even_cut_has_fewer_cores_and_of_those_with_as_few_none_gets_fewer_packets(network):
    graph, chip = network
    placement = place(graph, chip, slack=0)
    cut = placement.cuts["out"]
    caps = {"neurons": chip.core.neurons, "words": chip.core.synaptic_words, "axon_map": chip.core.axon_map}
    fitting = {}
    sides = [sorted({ceil(n / cuts) for cuts in range(1, n + 1)}) for n in cut.shape]
    for c, y, x in ((c, y, x) for c in sides[0] for y in sides[1] for x in sides[2]):
        other = place(graph, chip, tiles={"out": (x, y, c)})
        loads = recount(graph, other, "out")
        if all((loads[name] <= cap.value).all() for name, cap in caps.items()):
            fitting[x, y, c] = other.cores, other.cuts["out"].packets
    assert cut.fits == bool(fitting)
    if cut.fits:
        assert (cut.cores, cut.packets) == min(fitting.values())
        assert cut.packets == packets_of(graph, cut.tile)
        assert cut.least <= cut.cores


def test_pilotnet_with_its_input_takes_few_more_cores_than_its_bound_and_fewer_than_intel_took(pilotnet):
    placement = place(pilotnet, CHIP)
    assert placement.fits and faults(pilotnet, placement) == ()
    assert placement.least <= placement.cores <= 60 < 74
    assert placement.cuts["layer0"].cores == 10  # 39,600 neurons that a bias drives


def test_the_slack_buys_fewer_packets_with_few_cores():
    graph = chain(conv(24, 24, 3, padding=(1, 1)), inputs=(24, 61, 83))
    exact, loose = (place(graph, CHIP, slack=slack).cuts["p1"] for slack in (0.0, 0.2))
    assert exact.cores <= loose.cores <= 1.2 * exact.cores
    assert loose.packets < exact.packets


@pytest.mark.parametrize(
    ("graph", "values", "binding"),
    [
        (chain(conv(8, 2, 3), inputs=(2, 40, 40)), {}, "neurons"),
        (chain(dense(100, 2560), inputs=(2560, 1, 1)), {}, "words"),
        (chain(conv(8, 8, 1), dense(2, 3200), inputs=(8, 20, 20)), {"axon_map": 320}, "axon_map"),
        (chain(conv(8, 8, 1), conv(600, 8, 5), inputs=(8, 20, 20)), {"axon_mem": 200, **NO_POOL}, "axon_mem"),
        (chain(conv(64, 600, 3), inputs=(600, 22, 22)), {"pool_limit": 0.5}, "pool"),
        (chain(conv(2, 2, 1), inputs=(2, 3, 3)), {}, "none"),
    ],
)
def test_the_binding_resource_is_the_one_whose_limit_costs_cores(graph, values, binding):
    cut = place(graph, chip_with(**values)).cuts["p1"]
    assert cut.fits and cut.binding == binding
    if binding in ("axon_map", "axon_mem", "neurons"):
        more = {**values, binding: 1e6}
        assert place(graph, chip_with(**more)).cuts["p1"].cores < cut.cores


def test_cores_are_numbered_without_gaps_in_the_order_of_the_network():
    compiled = compile_module(lively_model(), (3, *SIZE))
    placement, first = compiled.placement, 0
    assert list(placement.cuts) == [p.name for p in compiled.graph.populations.values() if p.kind != "input"]
    for cut in placement.cuts.values():
        assert cut.first == first
        first += cut.cores
    assert placement.cores == first
    assert placement.chips == ceil(first / 120)
    placed = sum(int(cut.neurons().sum()) for cut in placement.cuts.values())
    assert placed == sum(p.neurons for p in compiled.graph.populations.values() if p.kind != "input")


def test_inputs_that_a_bias_drives_get_cores_and_inputs_of_spikes_do_not():
    for driven in (True, False):
        graph = chain(conv(2, 3, 3), inputs=(3, 8, 8), driven=driven)
        assert list(place(graph, CHIP).cuts) == (["p0", "p1"] if driven else ["p1"])


@pytest.mark.parametrize(
    ("graph", "values", "words"),
    [
        (
            chain(conv(2, 1334, 3), inputs=(1334, 4, 4)),
            {},
            "needs 12,006 words of synaptic memory on a core that holds 8",
        ),
        (chain(dense(3, 16001, 1), inputs=(16001, 1, 1)), {"synaptic_words": 20000}, "needs 16,001 input axons"),
        (
            chain(conv(1, 1, 1), conv(40, 1, 1), inputs=(1, 2, 2)),
            {"axon_mem": 1, "neurons": 4},
            "entries of axon memory",
        ),
        (chain(conv(2, 1333, 3), inputs=(1333, 4, 4)), {"pool_limit": 0.79}, "of the pool that a core's memories"),
    ],
)
def test_a_population_that_no_core_holds_is_a_finding_with_number_limit_and_fix_and_not_an_error(graph, values, words):
    placement = place(graph, chip_with(**values))
    assert not placement.fits and placement.cores >= 1
    assert words in placement.findings[0] and "loihi2 has" in placement.findings[0]
    assert faults(graph, placement) == ()


def test_what_just_fits_fits():
    assert place(chain(conv(2, 1333, 3), inputs=(1333, 4, 4)), CHIP).fits


def test_a_population_without_neurons_is_refused_by_name():
    populations = {"in": Population("in", "input", (1, 4, 4)), "out": Population("out", "lif", (0, 4, 4), UNIT)}
    empty = Conv("s", "in", "out", np.zeros((0, 1, 1, 1), np.int32))
    with pytest.raises(DataError, match=r"'out' has shape \(0, 4, 4\): 0 neurons, and at least 1 is needed"):
        place(Graph(populations, (empty,), ("out",), 1), CHIP)


@pytest.mark.parametrize(
    ("tiles", "words"),
    [
        ({"p9": (1, 1, 1)}, "'p9', which is no population that takes cores"),
        ({"p1": (7, 1, 1)}, r"tile \(7, 1, 1\) \(x, y, c\) of 'p1' does not lie within its shape \(2, 6, 6\)"),
        ({"p1": (1, 0, 1)}, "does not lie within"),
    ],
)
def test_a_tile_that_is_none_is_refused(tiles, words):
    with pytest.raises(UsageError, match=words):
        place(chain(conv(2, 3, 3), inputs=(3, 8, 8)), CHIP, tiles=tiles)


def test_convolutions_wider_than_the_chip_handles_are_warned_about():
    for width, warnings in ((256, 0), (257, 1)):
        assert len(place(chain(conv(1, 1, 1), inputs=(1, 1, width)), CHIP).warnings) == warnings


def test_a_limit_that_is_not_known_is_not_checked_and_said_so():
    graph = chain(conv(2, 1334, 3), conv(1, 2, 1), inputs=(1334, 4, 4))
    known = place(graph, CHIP)
    assert known.unchecked == () and not known.fits
    placement = place(graph, chip_with(synaptic_words=None))
    assert placement.fits
    assert [line.split(":")[0] for line in placement.unchecked] == [
        "words of synaptic memory",
        "of the pool that a core's memories and neurons share",
    ]
    assert "core.synaptic_words" in placement.unchecked[0]
    blind = place(graph, chip_with(conv_synapse_overhead=None))
    assert blind.cuts["p1"].load.words is None and blind.cuts["p1"].load.pool is None
    with pytest.raises(UsageError, match="synaptic memory of 'p1' is unknown"):
        _ = blind.cuts["p1"].words


def test_a_chip_without_the_neurons_of_a_core_is_refused_by_the_key():
    with pytest.raises(hw_configs.HardwareConfigError, match=r"core\.neurons is null"):
        core_limits(chip_with(neurons=None))


def test_on_loihi_1_what_is_not_known_of_it_is_said():
    placement = place(chain(conv(2, 3, 3), inputs=(3, 8, 8)), hw_configs.load("loihi1"))
    assert placement.fits and any("conv_synapse_overhead" in line for line in placement.unchecked)
