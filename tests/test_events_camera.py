"""The model of an event camera: against a pixel-by-pixel loop of its equations, and its limits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroseg.data.event_camera import EventCamera

RNG = np.random.default_rng


def reference(times, levels, c_on, c_off, refractory):
    """(t, polarity) of one pixel, by walking along its straight lines from threshold to threshold."""
    found, memory, last = [], levels[0], -math.inf
    for start, end, before, after in zip(times, times[1:], levels, levels[1:], strict=False):
        while after - memory >= c_on or memory - after >= c_off:
            rising = after > memory
            memory += c_on if rising else -c_off
            t = start + (memory - before) / (after - before) * (end - start)
            if t - last >= refractory:
                found.append((math.floor(t), rising))
                last = t
    return found


# Multiples of 1/64 add without rounding, so that both ways cross at the same times.
level = st.integers(-300, 300).map(lambda n: n / 64)
threshold = st.sampled_from([8 / 64, 12 / 64, 16 / 64, 40 / 64])


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(level, min_size=6, max_size=6), min_size=2, max_size=8),
    threshold,
    threshold,
    st.sampled_from([0.0, 64.0, 700.0]),
    st.sampled_from([256, 1024]),
)
def test_events_are_those_of_the_equations_at_each_pixel(samples, c_on, c_off, refractory, interval) -> None:
    levels = np.array(samples)
    times = np.arange(len(samples)) * float(interval)
    camera = EventCamera(c_on, c_off, refractory_us=refractory)
    events = camera.record(times, levels.reshape(-1, 2, 3), RNG(0))
    assert np.all(np.diff(events["t"]) >= 0)
    for pixel in range(6):
        mine = events[(events["y"] == pixel // 3) & (events["x"] == pixel % 3)]
        expected = reference(times.tolist(), levels[:, pixel].tolist(), c_on, c_off, refractory)
        assert mine["p"].tolist() == [rising for _, rising in expected]
        # Times come from one division each; a whole microsecond may round to either side.
        assert np.abs(mine["t"] - np.array([t for t, _ in expected], dtype=np.int64)).max(initial=0) <= 1


def test_a_rise_of_one_makes_one_event_per_threshold_evenly_in_time() -> None:
    events = EventCamera(0.25, 0.25).record(np.array([0.0, 1000.0]), np.array([[[0.0]], [[1.0]]]), RNG(0))
    assert events["t"].tolist() == [250, 500, 750, 1000]
    assert events["p"].all()


def test_a_still_picture_makes_no_events_but_noise() -> None:
    times, levels = np.array([0.0, 1e6]), np.ones((2, 20, 30))
    assert len(EventCamera(mismatch=0.2).record(times, levels, RNG(0))) == 0
    noise = EventCamera(noise_hz=5.0).record(times, levels, RNG(0))
    assert abs(len(noise) - 5 * 600) < 5 * math.sqrt(5 * 600)
    assert 0.4 < noise["p"].mean() < 0.6
    assert noise["t"].min() >= 0 and noise["t"].max() < 1_000_000
    assert len(np.unique(noise["y"] * 30 + noise["x"])) > 550


def test_a_refractory_pixel_loses_events_and_its_memory_moves_on() -> None:
    times, levels = np.array([0.0, 1000.0, 2000.0]), np.array([0.0, 1.0, 1.25]).reshape(3, 1, 1)
    events = EventCamera(0.25, 0.25, refractory_us=600).record(times, levels, RNG(0))
    assert events["t"].tolist() == [250, 1000, 2000]


def test_mismatch_spreads_the_thresholds() -> None:
    times, levels = np.array([0.0, 1000.0]), np.stack([np.zeros((40, 40)), np.full((40, 40), 0.999)])
    same = EventCamera(0.1, 0.1).record(times, levels, RNG(0))
    spread = EventCamera(0.1, 0.1, mismatch=0.3).record(times, levels, RNG(0))
    assert len(same) == 9 * 1600
    each = np.bincount(spread["y"].astype(int) * 40 + spread["x"], minlength=1600)
    assert each.std() > 1
    assert each.max() <= 99  # a tenth of the threshold is the least
    again = EventCamera(0.1, 0.1, mismatch=0.3).record(times, levels, RNG(0))
    assert np.array_equal(spread, again)
    assert not np.array_equal(spread, EventCamera(0.1, 0.1, mismatch=0.3).record(times, levels, RNG(1)))


@pytest.mark.parametrize("way", [1, -1])
def test_thresholds_of_both_polarities_are_their_own(way: int) -> None:
    levels = np.array([0.0, way * 1.01]).reshape(2, 1, 1)
    events = EventCamera(0.2, 0.5).record(np.array([0.0, 1000.0]), levels, RNG(0))
    assert len(events) == (5 if way > 0 else 2)
    assert set(events["p"].tolist()) == {way > 0}
