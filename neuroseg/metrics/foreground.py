"""Measures of one foreground class against the background: vessels, membranes, digits."""

from __future__ import annotations

from torch import Tensor

from export.errors import DataError

FOREGROUND = ("f1", "jaccard", "accuracy", "precision", "sensitivity", "specificity")


def foreground_scores(confusion: Tensor) -> dict[str, Tensor]:
    """Scores of class 1 against class 0 from pixels (2, 2) [true class, predicted class]; float64, NaN for 0 / 0.

        f1           2 TP / (2 TP + FP + FN), the Dice coefficient;   jaccard      TP / (TP + FP + FN), the IoU of class 1
        sensitivity  TP / (TP + FN), the recall;                      specificity  TN / (TN + FP)
        precision    TP / (TP + FP);                                  accuracy     (TP + TN) / all pixels

    Void stands in no confusion matrix: where pixels beyond the field of view are void (DRIVE), scores are of the field of view.
    Over a data set the pixels of all images are counted together. Equal to torchmetrics' binary scores but for 0 / 0.
    """
    if tuple(confusion.shape) != (2, 2):
        raise DataError(
            f"foreground scores are of 2 classes, background and one other; there are {confusion.shape[0]}: use mIoU."
        )
    (tn, fp), (fn, tp) = confusion.double()
    return {
        "f1": 2 * tp / (2 * tp + fp + fn),
        "jaccard": tp / (tp + fp + fn),
        "accuracy": (tp + tn) / confusion.sum(),
        "precision": tp / (tp + fp),
        "sensitivity": tp / (tp + fn),
        "specificity": tn / (tn + fp),
    }
