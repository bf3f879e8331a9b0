"""Segmentation measures against hand counts and torchmetrics' own; sums over batches and processes."""

from __future__ import annotations

import multiprocessing as mp
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index
from torchmetrics.segmentation import MeanIoU

from export.errors import DataError
from neuroseg.metrics import (
    VOID,
    MiouPerImage,
    SegmentationScores,
    class_map,
    confusion_matrix,
    confusion_per_image,
    foreground_scores,
    image_mious,
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


def pairs(images: int = 7, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Predicted and true maps (images, 9, 8): a third void, most images without some class, one all void."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, classes, (images, 9, 8), generator=generator)
    truth %= 1 + torch.arange(images).view(-1, 1, 1) % classes
    wrong = torch.randint(0, classes, truth.shape, generator=generator)
    guess = torch.where(torch.rand(truth.shape, generator=generator) < 0.2, wrong, truth)
    truth[torch.rand(truth.shape, generator=generator) < 1 / 3] = VOID
    truth[-1] = VOID
    return guess, truth


def test_iou_and_accuracy_equal_torchmetrics_under_void() -> None:
    guess, truth = pairs()
    confusion = confusion_matrix(guess, truth, 5)  # class 4 never occurs: 0 in torchmetrics, NaN here
    expected = multiclass_jaccard_index(guess, truth, num_classes=5, average="none", ignore_index=VOID)
    assert iou_per_class(confusion).nan_to_num(nan=0.0).tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert iou_per_class(confusion).isnan().tolist() == [False] * 4 + [True]
    macro = multiclass_jaccard_index(guess, truth, num_classes=5, average="macro", ignore_index=VOID)
    assert miou(confusion) == pytest.approx(float(macro), abs=1e-6)
    accuracy = multiclass_accuracy(guess, truth, num_classes=5, average="micro", ignore_index=VOID)
    assert pixel_accuracy(confusion) == pytest.approx(float(accuracy), abs=1e-6)


def test_confusions_of_images_add_up_to_that_of_the_set() -> None:
    guess, truth = pairs()
    each = confusion_per_image(guess, truth, 4)
    assert each.shape == (7, 4, 4)
    assert torch.equal(each.sum(0), confusion_matrix(guess, truth, 4))
    assert torch.equal(each[2], confusion_matrix(guess[2:3], truth[2:3], 4))
    assert confusion_per_image(guess[:0], truth[:0], 4).shape == (0, 4, 4)


def test_per_image_miou_is_torchmetrics_mean_iou_only_where_no_class_is_absent() -> None:
    guess, truth = maps(1), maps(2)
    theirs = MeanIoU(num_classes=4, input_format="index")
    assert miou_per_image(guess, truth, 4) == pytest.approx(float(theirs(guess, truth)), abs=1e-6)
    absent = torch.where(truth == 3, 0, truth), torch.where(guess == 3, 0, guess)
    theirs.reset()
    assert miou_per_image(*absent, 4) > float(theirs(*absent)) + 0.1


def test_an_all_void_image_counts_as_right_per_image_and_not_at_all_in_the_set() -> None:
    guess, truth = pairs()
    assert image_mious(confusion_per_image(guess, truth, 4))[-1] == 1
    assert torch.equal(confusion_matrix(guess, truth, 4), confusion_matrix(guess[:-1], truth[:-1], 4))


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_scores_over_batches_equal_those_of_the_whole_set(batch: int) -> None:
    guess, truth = pairs()
    scores, per_image = SegmentationScores(4), MiouPerImage(4)
    for _ in range(2):  # the second time shows that reset forgets the first
        scores.reset()
        per_image.reset()
        for start in range(0, len(guess), batch):
            scores.update(guess[start : start + batch], truth[start : start + batch])
            per_image.update(guess[start : start + batch], truth[start : start + batch])
    confusion = confusion_matrix(guess, truth, 4)
    found = scores.compute()
    assert torch.equal(scores.confusion, confusion)
    assert float(found["miou"]) == miou(confusion)
    assert torch.equal(found["iou_per_class"], iou_per_class(confusion))
    assert float(found["pixel_accuracy"]) == pytest.approx(pixel_accuracy(confusion), abs=1e-7)
    whole = miou_per_image(guess, truth, 4)
    assert float(found["miou_per_image"]) == pytest.approx(whole, abs=1e-12)
    assert float(per_image.compute()) == pytest.approx(whole, abs=1e-12)


def test_a_batchs_scores_are_its_own_while_the_epochs_go_on() -> None:
    guess, truth = pairs()
    scores = SegmentationScores(4)
    first, second = scores(guess[:3], truth[:3]), scores(guess[3:], truth[3:])
    assert float(first["miou_per_image"]) == pytest.approx(miou_per_image(guess[:3], truth[:3], 4))
    assert float(second["miou_per_image"]) == pytest.approx(miou_per_image(guess[3:], truth[3:], 4))
    assert float(scores.compute()["miou_per_image"]) == pytest.approx(miou_per_image(guess, truth, 4))


def _score_a_share(rank: int, store: str, results: mp.SimpleQueue) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    guess, truth = pairs()
    share = slice(0, 2) if rank == 0 else slice(2, None)  # unequal shares: a mean of means would be wrong
    scores, per_image = SegmentationScores(4), MiouPerImage(4)
    scores.update(guess[share], truth[share])
    per_image.update(guess[share], truth[share])
    found = {name: value.tolist() for name, value in scores.compute().items()}
    binary = SegmentationScores(2)
    binary.update(*(maps[share] for maps in pairs(classes=2)))
    results.put((found, float(per_image.compute()), float(binary.compute()["f1"])))
    distributed.destroy_process_group()


def test_scores_of_two_processes_are_those_of_all_their_images(tmp_path: Path) -> None:
    context = mp.get_context("fork")
    results = context.SimpleQueue()
    workers = [context.Process(target=_score_a_share, args=(r, str(tmp_path / "store"), results)) for r in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    guess, truth = pairs()
    alone = SegmentationScores(4)
    alone.update(guess, truth)
    both = pairs(classes=2)
    f1 = float(foreground_scores(confusion_matrix(*both, 2))["f1"])
    for _ in range(2):
        found, per_image, their_f1 = results.get()
        assert their_f1 == pytest.approx(f1, abs=1e-12)
        for name, value in alone.compute().items():
            assert found[name] == pytest.approx(value.tolist(), abs=1e-12)
        assert per_image == pytest.approx(miou_per_image(guess, truth, 4), abs=1e-12)


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


def test_scores_are_resized_bilinearly_between_pixel_centres_before_the_arg_max() -> None:
    scores = torch.tensor([[[[4, 0]], [[0, 3]]]])  # counts of two classes at two pixels
    assert class_map(scores).tolist() == [[[0, 1]]]
    # at four pixels class 0 has 4, 3, 1, 0 and class 1 has 0, 0.75, 2.25, 3
    assert class_map(scores, (1, 4)).tolist() == [[[0, 0, 1, 1]]]
    # at eight: class 0 4, 4, 3.5, 2.5, 1.5, 0.5, 0, 0; class 1 three quarters of the mirror image
    assert class_map(scores, (2, 8)).tolist() == [[[0, 0, 0, 0, 1, 1, 1, 1]] * 2]
    assert torch.equal(class_map(scores, (1, 2)), class_map(scores))
    assert class_map(np.zeros((2, 3, 4, 5), np.int64), (8, 10)).tolist() == np.zeros((2, 8, 10)).tolist()


def test_resized_ties_go_to_the_lowest_class_and_real_scores_keep_their_type() -> None:
    scores = torch.tensor([[[[1, 3]], [[3, 1]], [[0, 0]]]])
    assert class_map(scores, (1, 4)).tolist() == [[[1, 1, 0, 0]]]
    assert class_map(torch.tensor([[[[2, 2]], [[2, 2]]]]), (3, 7)).sum() == 0
    assert torch.equal(class_map(scores.float(), (3, 4)), class_map(scores, (3, 4)))


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
    for score in (confusion_matrix, confusion_per_image, miou_per_image):
        with pytest.raises(DataError, match=message):
            score(guess, truth, 2)
    with pytest.raises(DataError, match=message):
        SegmentationScores(2).update(guess, truth)
