"""Scores of one foreground class against torchmetrics' binary scores, void left out."""

from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.functional.classification import (
    binary_accuracy,
    binary_f1_score,
    binary_jaccard_index,
    binary_precision,
    binary_recall,
    binary_specificity,
)

from export.errors import DataError
from neuroseg.metrics import VOID, confusion_matrix, foreground_scores

THEIRS = {
    "f1": binary_f1_score,
    "jaccard": binary_jaccard_index,
    "accuracy": binary_accuracy,
    "precision": binary_precision,
    "sensitivity": binary_recall,
    "specificity": binary_specificity,
}


@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_torchmetrics_inside_the_field_of_view(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, 2, (3, 9, 8), generator=generator)
    guess = torch.where(torch.rand(truth.shape, generator=generator) < 0.3, 1 - truth, truth)
    truth[torch.rand(truth.shape, generator=generator) < 0.4] = VOID  # beyond the field of view
    found = foreground_scores(confusion_matrix(guess, truth, 2))
    assert set(found) == set(THEIRS)
    for name, theirs in THEIRS.items():
        assert float(found[name]) == pytest.approx(float(theirs(guess, truth, ignore_index=VOID)), abs=1e-6), name


def test_hand_counted_scores() -> None:
    found = foreground_scores(torch.tensor([[70, 10], [5, 15]]))  # [[TN, FP], [FN, TP]]
    assert float(found["f1"]) == pytest.approx(30 / 45)
    assert float(found["jaccard"]) == pytest.approx(15 / 30)
    assert float(found["accuracy"]) == pytest.approx(0.85)
    assert float(found["precision"]) == pytest.approx(0.6)
    assert float(found["sensitivity"]) == pytest.approx(0.75)
    assert float(found["specificity"]) == pytest.approx(0.875)


def test_what_was_never_seen_nor_predicted_has_no_score() -> None:
    found = foreground_scores(torch.tensor([[4, 0], [0, 0]]))
    assert all(math.isnan(float(found[name])) for name in ("f1", "jaccard", "precision", "sensitivity"))
    assert float(found["specificity"]) == float(found["accuracy"]) == 1.0


def test_more_than_two_classes_are_refused() -> None:
    with pytest.raises(DataError, match="there are 3: use mIoU"):
        foreground_scores(torch.zeros(3, 3, dtype=torch.int64))
