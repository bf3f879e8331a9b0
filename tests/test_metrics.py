"""Segmentation measures against hand counts and torchmetrics' own mIoU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_jaccard_index

from export.errors import DataError
from neuroseg.metrics import (
    VOID,
    class_map,
    confusion_matrix,
    iou_per_class,
    miou,
    miou_per_image,
    pixel_accuracy,
    pixel_agreement,
)


def maps(seed: int, classes: int = 4) -> torch.Tensor:
    return torch.randint(0, classes, (3, 6, 5), generator=torch.Generator().manual_seed(seed))


def test_hand_counted_confusion_and_iou() -> None:
    truth = torch.tensor([[[0, 0, 1, 1, VOID]]])
    guess = torch.tensor([[[0, 1, 1, 1, 0]]])
    confusion = confusion_matrix(guess, truth, 2)
    assert confusion.tolist() == [[1, 1], [0, 2]]
    assert iou_per_class(confusion).tolist() == pytest.approx([1 / 2, 2 / 3])
    assert miou(confusion) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert pixel_accuracy(confusion) == 0.75


def test_dataset_miou_equals_torchmetrics() -> None:
    expected = multiclass_jaccard_index(maps(1), maps(2), num_classes=4, average="macro")
    assert miou(confusion_matrix(maps(1), maps(2), 4)) == pytest.approx(float(expected), abs=1e-6)


def test_numpy_and_torch_maps_give_the_same_counts() -> None:
    as_numpy = confusion_matrix(maps(1).numpy().astype(np.uint8), maps(2).numpy(), 4)
    assert torch.equal(as_numpy, confusion_matrix(maps(1), maps(2), 4))


def test_a_class_that_never_occurs_does_not_count_in_the_dataset_miou() -> None:
    confusion = confusion_matrix(maps(1), maps(2), 7)
    assert iou_per_class(confusion).isnan().tolist() == [False] * 4 + [True] * 3
    assert miou(confusion) == pytest.approx(miou(confusion_matrix(maps(1), maps(2), 4)))


def test_per_image_miou_counts_an_absent_class_as_right() -> None:
    truth = torch.tensor([[[0, 0]], [[0, 1]]])
    guess = torch.tensor([[[0, 0]], [[0, 0]]])
    assert miou_per_image(guess, truth, 2) == pytest.approx(((1 + 1) / 2 + (1 / 2 + 0) / 2) / 2)
    assert miou(confusion_matrix(guess, truth, 2)) == pytest.approx((3 / 4 + 0) / 2)


def test_a_tie_goes_to_the_lowest_class() -> None:
    scores = torch.tensor([1.0, 3.0, 3.0, 2.0]).view(1, 4, 1, 1)
    assert class_map(scores).item() == 1
    assert class_map(torch.zeros(1, 11, 4, 4)).sum() == 0


def test_agreement_is_the_share_of_equal_pixels() -> None:
    assert pixel_agreement(np.array([1, 2, 3, 4]), torch.tensor([1, 2, 0, 0])) == 0.5


@pytest.mark.parametrize(
    ("guess", "truth", "message"),
    [
        (torch.zeros(1, 2, 2), torch.zeros(1, 2, 3), r"shape \(1, 2, 2\), true maps \(1, 2, 3\)"),
        (torch.full((1, 1, 1), 2), torch.zeros(1, 1, 1), "predicted maps hold class 2; the 2 classes are 0 .. 1"),
        (torch.zeros(1, 1, 1), torch.full((1, 1, 1), -1), "true maps hold class -1"),
    ],
)
def test_maps_that_do_not_fit_are_refused(guess: torch.Tensor, truth: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        confusion_matrix(guess, truth, 2)
