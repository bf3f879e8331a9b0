"""The recount finds what is wrong with a placement, whatever it is."""

from dataclasses import replace

import numpy as np
import pytest
from random_mappings import CHIP, chain, chip_with, conv, dense

from export.mapping.check import faults, recount
from export.mapping.partition import place

GRAPH = chain(conv(6, 3, 3, stride=(2, 2)), conv(8, 6, 3), dense(5, 200), inputs=(3, 15, 15), driven=True)


def with_cut(placement, name, **changes):
    return replace(placement, cuts={**placement.cuts, name: replace(placement.cuts[name], **changes)})


def test_a_sound_placement_has_no_faults():
    assert faults(GRAPH, place(GRAPH, CHIP)) == ()


@pytest.mark.parametrize("resource", ["words", "axon_in", "axon_map", "axon_mem", "neurons", "pool"])
def test_a_single_wrong_number_on_a_single_core_is_found(resource):
    placement = place(GRAPH, chip_with(neurons=64))
    load = placement.cuts["p1"].load
    wrong = np.array(load.of(resource))
    wrong.flat[-1] += 1
    broken = with_cut(placement, "p1", load=replace(load, **{resource: wrong}))
    assert any("'p1'" in fault and resource in fault for fault in faults(GRAPH, broken))


def test_a_broken_limit_is_found_where_the_cut_is_said_to_fit():
    placement = place(GRAPH, CHIP)
    small = replace(placement, chip=chip_with(synaptic_words=20))
    found = [fault for fault in faults(GRAPH, small) if "its limit is 20" in fault]
    assert len(found) == 3 and all("words" in fault for fault in found)


def test_missing_and_shifted_and_wrongly_refused_populations_are_found():
    placement = place(GRAPH, CHIP)
    fewer = replace(placement, cuts={n: c for n, c in placement.cuts.items() if n != "p3"})
    assert "population 'p3' has no cores" in faults(GRAPH, fewer)
    assert faults(GRAPH, with_cut(placement, "p2", first=9))
    assert any("said not to fit" in fault for fault in faults(GRAPH, with_cut(placement, "p2", fits=False)))


def test_a_row_is_what_a_hand_counts():
    """p1 (6, 7, 7) in tiles of 4 x 7 x 6; p2 (8, 5, 5) reads columns 0-4 | 3-6 with tiles of 3 x 5 x 4."""
    placement = place(GRAPH, CHIP, tiles={"p1": (4, 7, 6), "p2": (3, 5, 4)})
    loads = recount(GRAPH, placement, "p1")
    assert loads["neurons"].ravel().tolist() == [168, 126]
    assert loads["words"].ravel().tolist() == [27, 27]  # 3 * 9 lists of 6 synapses of 9 bits
    assert loads["axon_in"].ravel().tolist() == [2, 2]  # 6 channels are 4 + 2
    assert loads["axon_map"].ravel().tolist() == [56, 42]
    assert loads["axon_mem"].ravel().tolist() == [56 * 4 / 4, 42 * 4 / 4]  # columns 0-3 and 4-6 go to both tiles, twice
