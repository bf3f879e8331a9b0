"""What is recorded and scored is computed in exact float32."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from export.compute.floats import exact_floats
from neuroseg.config import MfsConfig, TrainConfig
from neuroseg.models import build_model, record_spikes
from neuroseg.train.task import SegmentationTask

State = tuple[str, bool, bool, bool]


def precision() -> State:
    """What decides how float32 is computed, and which convolutions are chosen."""
    cudnn = torch.backends.cudnn
    return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark, cudnn.enabled


@pytest.fixture
def shortcuts() -> Iterator[State]:
    """A training that allows TF32 and tries convolutions out."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True):
        yield precision()
    torch.set_float32_matmul_precision(before)


def test_exact_floats_ends_even_where_the_work_fails(shortcuts):
    with exact_floats():
        assert precision() == ("highest", False, True, True)
    assert precision() == shortcuts
    with pytest.raises(ZeroDivisionError), exact_floats():
        1 / 0  # noqa: B018
    assert precision() == shortcuts == ("medium", True, True, True)


@pytest.mark.parametrize("scored", [False, True])
def test_spikes_are_recorded_and_scores_counted_in_exact_float32(shortcuts, scored):
    model = build_model(MfsConfig(scales=1, widths=(3,), blocks=1, steps=2), 2)
    seen: list[State] = []
    model.encoder0.register_forward_hook(lambda *_: seen.append(precision()))
    images = torch.rand(1, 3, 8, 8)
    if scored:
        SegmentationTask(model, TrainConfig()).validation_step((images, torch.zeros(1, 8, 8, dtype=torch.long)), 0)
    else:
        record_spikes(model, images)
    assert seen == [("highest", False, True, True)]
    assert precision() == shortcuts
