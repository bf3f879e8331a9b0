"""Which cores a spike reaches: masks and products agree with single synapses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.mapping.axons import Axis, Link, Reader, copies, most_reached, pieces_of, reached, readers_of, slices_of
from export.mapping.placement import edges_of

AXES = st.builds(
    Axis,
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(1, 3),
)


@settings(max_examples=200, deadline=None)
@given(AXES, st.integers(1, 12))
def test_a_tile_reads_the_inputs_that_its_taps_touch(axis, tile):
    found = {
        (o * axis.stride - axis.padding + t * axis.dilation, o // tile)
        for o in range(axis.targets)
        for t in range(axis.kernel)
    }
    assert set(zip(*np.nonzero(readers_of(axis, tile)), strict=True)) == {p for p in found if 0 <= p[0] < axis.sources}


@pytest.mark.parametrize(("ins", "outs", "groups"), [(4, 6, 1), (4, 6, 2), (6, 6, 6), (3, 12, 3)])
@pytest.mark.parametrize("c", [1, 2, 4, 5, 12])
def test_a_slice_reads_the_channels_of_the_groups_that_it_meets(ins, outs, groups, c):
    found = {(i, o // c) for o in range(outs) for i in range(ins) if i // (ins // groups) == o // (outs // groups)}
    assert set(zip(*np.nonzero(slices_of((ins, outs, groups), c)), strict=True)) == found


@settings(max_examples=100, deadline=None)
@given(AXES, st.integers(1, 12), st.integers(1, 12))
def test_the_bound_over_a_cut_is_the_fullest_tile_and_copies_are_all_pairs(axis, own, tile):
    link, shape = Link((1, 1, 1), axis, axis), (1, axis.sources, axis.sources)
    reader = Reader(link, (tile, tile, 1))
    _, rows, columns = reached(reader, shape, (own, own, 1))
    assert rows.tolist() == columns.tolist()
    assert len(rows) == len(edges_of(axis.sources, own)) - 1
    assert most_reached(reader, shape, 2, (own,)).tolist() == [rows.max()]
    assert copies(link, 1, (tile, 1)).tolist() == [readers_of(axis, tile).sum(), readers_of(axis, 1).sum()]


def test_channels_that_are_no_power_of_two_take_two_axons():
    assert [pieces_of(n, False, 2) for n in (1, 3, 16, 24, 64)] == [1, 2, 1, 2, 1]
    assert pieces_of(3, True, 2) == 1
