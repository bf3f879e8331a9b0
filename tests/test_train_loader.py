"""How items reach a training: kept or drawn anew, whole images or patches, class statistics in one pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neuroseg.config import load_config
from neuroseg.metrics import VOID
from neuroseg.train import data as loading
from neuroseg.train.data import Drawn, dataset, loader, training_masks
from neuroseg.train.loss import class_weights, pixel_counts


class Items:
    """Six images of a size; every reading is counted. With `per_epoch` an item says in which epoch it was drawn."""

    classes, class_names = 2, ("a", "b")

    def __init__(self, size: tuple[int, int] = (16, 16), *, per_epoch: bool = False) -> None:
        self.size, self.per_epoch, self.read = size, per_epoch, 0

    def __len__(self) -> int:
        return 6

    def __getitem__(self, key: Any) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, index = key if self.per_epoch else (0, key)
        self.read += 1
        return torch.full((3, *self.size), 10.0 * epoch + index), torch.zeros(self.size, dtype=torch.int64)


def images(config: Any, items: Items, *, shuffle: bool, epoch: int = 0) -> list[torch.Tensor]:
    batches = loader(config, items, shuffle=shuffle, rank=0, processes=1)
    batches.sampler.set_epoch(epoch)
    return [batch[0] for batch in batches]


def test_items_that_never_change_are_read_once() -> None:
    items = Items()
    drawn = Drawn(items)
    for epoch in range(3):
        assert [float(drawn[epoch, i][0].mean()) for i in range(6)] == list(range(6))
    assert items.read == 6


def test_what_does_not_fit_into_memory_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    one = sum(part.nbytes for part in Items()[0])
    monkeypatch.setattr(loading, "KEPT_BYTES", 2 * one + 1)
    items = Items()
    drawn = Drawn(items)
    for epoch in range(3):
        assert [float(drawn[epoch, i][0].mean()) for i in range(6)] == list(range(6))
    assert items.read == 2 + 3 * 4


def test_items_that_change_are_asked_for_by_epoch() -> None:
    items = Items(per_epoch=True)
    drawn = Drawn(items)
    assert [float(drawn[epoch, 4][0].mean()) for epoch in (0, 1, 2, 1)] == [4, 14, 24, 14]


def test_patches_train_in_batches_and_whole_images_are_scored_one_by_one() -> None:
    config = load_config("mfs-tiny", ["train.batch_size=4"])  # trains on 16 x 16
    assert [len(batch) for batch in images(config, Items(), shuffle=False)] == [4, 2]
    assert [len(batch) for batch in images(config, Items((24, 40)), shuffle=False)] == [1] * 6
    assert sorted(float(x) for batch in images(config, Items(), shuffle=True) for x in batch[:, 0, 0, 0]) == list(
        range(6)
    )


def test_class_weights_need_one_mask_in_memory_at_a_time() -> None:
    config = load_config("mfs-tiny")
    masks = training_masks(config)
    assert iter(masks) is masks  # a stream, not a list
    items = dataset(config, "train", training=True)
    stacked = torch.stack([items[i][1] for i in range(len(items))])
    assert torch.equal(pixel_counts(masks, 2), torch.bincount(stacked.flatten(), minlength=2))


def test_pixels_are_counted_over_masks_of_any_sizes_and_void_counts_nowhere() -> None:
    masks = [torch.tensor([[0, 0, 1]]), torch.tensor([[2], [VOID]]), torch.tensor([[0, 1]], dtype=torch.uint8)]
    counts = pixel_counts(iter(masks), 4)
    assert counts.tolist() == [3, 2, 1, 0]
    assert class_weights(counts, 1.0).tolist() == pytest.approx([2 / 3, 1.0, 2.0, 1.0])
