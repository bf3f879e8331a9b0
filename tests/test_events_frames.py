"""Frames from events: no event is lost, made or moved to another step, whatever the sizes."""

import numpy as np
import pytest
import torch
from event_recordings import random_events
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroseg.data.event_files import make_events
from neuroseg.data.event_frames import counts, frames, scaled, steps_by_count, steps_by_time

sides = st.integers(1, 40)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 200), sides, sides, sides, sides, st.integers(0, 9))
def test_scaling_keeps_every_event_and_its_side(number, height, width, new_height, new_width, seed) -> None:
    events = random_events(number, (height, width), seed)
    moved = scaled(events, (height, width), (new_height, new_width))
    found = counts(moved, np.zeros(number, np.int64), 1, (new_height, new_width))
    assert found.sum() == number
    assert found[0, 1].sum() == events["p"].sum()
    # The middle of a pixel stays within the pixel it goes to.
    middles = (events["x"] + 0.5) / width * new_width
    assert np.all((moved["x"] <= middles + 1e-9) & (middles - 1e-9 <= moved["x"] + 1))


def test_scaling_to_the_same_size_changes_nothing() -> None:
    events = random_events(100, (20, 30))
    assert np.array_equal(scaled(events, (20, 30), (20, 30)), events)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 1000), max_size=50), st.integers(-100, 1200), st.integers(1, 8), st.integers(1, 200))
def test_a_step_holds_the_events_of_its_duration(times, end, steps, bin_us) -> None:
    t = np.sort(np.array(times, dtype=np.int64))
    found = steps_by_time(t, end, steps, bin_us)
    for i in range(steps):
        first = end - (steps - i) * bin_us
        assert np.array_equal(t[found == i], t[(t >= first) & (t < first + bin_us)])


def test_steps_by_count_end_with_the_last_event() -> None:
    assert steps_by_count(7, 2, 3).tolist() == [-1, 0, 0, 0, 1, 1, 1]
    assert steps_by_count(2, 3, 2).tolist() == [2, 2]
    assert steps_by_count(0, 3, 2).tolist() == []


def test_counts_are_what_a_loop_counts() -> None:
    events = random_events(400, (5, 6), until=100)
    step = steps_by_time(events["t"], 90, 3, 20)
    expected = np.zeros((3, 2, 5, 6), np.int64)
    for event, i in zip(events, step, strict=True):
        if 0 <= i < 3:
            expected[i, int(event["p"]), event["y"], event["x"]] += 1
    found = counts(events, step, 3, (5, 6))
    assert np.array_equal(found, expected)
    assert 0 < found.sum() < 400


def test_binary_frames_are_spikes_and_histograms_have_mean_one() -> None:
    events = make_events([0, 0, 0, 1], [1, 1, 1, 2], [0, 0, 0, 0], [1, 1, 1, 0])
    numbers = counts(events, events["t"], 2, (1, 3))
    binary, histogram = frames(numbers, "binary"), frames(numbers, "histogram")
    assert binary.dtype == histogram.dtype == torch.float32
    assert binary.nonzero().tolist() == [[0, 1, 0, 1], [1, 0, 0, 2]]
    assert histogram[histogram > 0].tolist() == [1.5, 0.5]
    assert torch.equal(histogram > 0, binary > 0)


@pytest.mark.parametrize("kind", ["binary", "histogram"])
def test_frames_without_events_are_zero(kind: str) -> None:
    assert not frames(np.zeros((2, 2, 4, 4), np.int64), kind).any()
