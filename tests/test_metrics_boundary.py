"""Boundary F against a count pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from export.errors import DataError, UsageError
from neuroseg.metrics import VOID, BoundaryF, boundary_f


def outline(mask: np.ndarray, label: int, known: np.ndarray) -> list[tuple[int, int]]:
    """Pixels of a class beside another one, found by looking at every pixel's four neighbours."""
    height, width = mask.shape
    found = []
    for y in range(height):
        for x in range(width):
            if mask[y, x] != label or not known[y, x]:
                continue
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            there = [(j, i) for j, i in around if 0 <= j < height and 0 <= i < width and known[j, i]]
            if any(mask[j, i] != label for j, i in there):
                found.append((y, x))
    return found


def share_near(points: list[tuple[int, int]], others: list[tuple[int, int]], tolerance: float) -> float:
    near = [min(math.hypot(y - j, x - i) for j, i in others) <= tolerance for y, x in points]
    return sum(near) / len(near)


def brute_force(guess: np.ndarray, truth: np.ndarray, label: int, tolerance: float) -> float:
    known = truth != VOID
    ours, theirs = bool(((guess == label) & known).any()), bool((truth == label).any())
    if not ours and not theirs:
        return math.nan
    if ours != theirs:
        return 0.0
    left, right = outline(guess, label, known), outline(truth, label, known)
    if not left or not right:
        return float(not left and not right)
    precision, recall = share_near(left, right, tolerance), share_near(right, left, tolerance)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), tolerance=st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0]), void=st.booleans())
def test_boundary_f_equals_brute_force(seed: int, tolerance: float, void: bool) -> None:
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, 3, (2, 3, 3)), np.ones((1, 3, 3), int))[:, : rng.integers(4, 10)]
    guess = np.where(rng.random(truth.shape) < 0.15, rng.integers(0, 3, truth.shape), truth)
    if void:
        truth[rng.random(truth.shape) < 0.2] = VOID
    found = boundary_f(guess, truth, 3, tolerance).numpy()
    expected = [[brute_force(g, t, label, tolerance) for label in range(3)] for g, t in zip(guess, truth, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_shifted_square_is_right_within_its_shift_only() -> None:
    truth = torch.zeros(1, 20, 20, dtype=torch.int64)
    truth[0, 5:12, 5:12] = 1
    guess = truth.roll(2, dims=2)
    assert boundary_f(guess, truth, 2, 2)[0, 1] == 1.0
    assert boundary_f(guess, truth, 2, 1)[0, 1] < 0.8
    assert boundary_f(truth, truth, 2, 0).tolist() == [[1.0, 1.0]]


def test_what_stands_in_the_void_counts_nowhere() -> None:
    truth = torch.zeros(1, 8, 8, dtype=torch.int64)
    truth[0, :, 4:] = VOID
    guess = truth.clone()
    guess[0, :, 4:] = 1
    found = boundary_f(guess, truth, 2, 1)
    assert found[0, 0] == 1.0 and bool(found[0, 1].isnan())


def test_the_data_sets_score_is_the_mean_over_classes_of_their_images_mean() -> None:
    truth = torch.zeros(3, 12, 12, dtype=torch.int64)
    truth[0, 3:8, 3:8] = 1
    truth[1, 2:9, 4:9] = 1  # the third image has class 0 alone
    guess = truth.roll(1, dims=1)
    whole, parts = BoundaryF(3, 0), BoundaryF(3, 0)
    whole.update(guess, truth)
    parts.update(guess[:1], truth[:1])
    parts.update(guess[1:], truth[1:])
    each = boundary_f(guess, truth, 3, 0)
    expected = torch.stack([each[:, 0].mean(), each[:2, 1].mean()])
    for scores in (whole.compute(), parts.compute()):
        assert scores["f_per_class"][:2].tolist() == pytest.approx(expected.tolist())
        assert bool(scores["f_per_class"][2].isnan())
        assert float(scores["f"]) == pytest.approx(float(expected.mean()))


def test_maps_and_tolerances_that_do_not_fit_are_refused() -> None:
    maps = torch.zeros(1, 4, 4, dtype=torch.int64)
    with pytest.raises(UsageError, match="tolerance -1 is below 0"):
        boundary_f(maps, maps, 2, -1)
    with pytest.raises(DataError, match="predicted maps hold class 5"):
        boundary_f(maps + 5, maps, 2, 1)
