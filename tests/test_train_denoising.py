"""Denoising: the network learns the noise; PSNR and SSIM of what is left, whole images of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor, nn
from torch.utils.data import DataLoader

from export.errors import DataError
from neuroseg.config import TrainConfig
from neuroseg.data.sources import photos
from neuroseg.train import DenoisingTask
from neuroseg.train.checkpoints import LatestBest
from neuroseg.train.lines import EpochLines

SIGMA = 0.1


class Denoiser(nn.Module):
    """An ANN of two convolutions; its images must be multiples of 4, as a network with two pools asks."""

    classes, steps = 1, 1

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        assert all(side % 4 == 0 for side in images.shape[-2:]), "the task must pad"
        return (self.last(torch.relu(self.first(images))),)


def pictures(count: int, size: tuple[int, int], seed: int) -> list[tuple[Tensor, Tensor]]:
    """(noisy, clean) grey crops of the embedded photographs."""
    rng = np.random.default_rng(seed)
    photo = next(iter(photos().values())).mean(axis=2) / 255
    found = []
    for _ in range(count):
        top, left = (int(rng.integers(side - most)) for side, most in zip(photo.shape, size, strict=True))
        clean = torch.from_numpy(photo[top : top + size[0], left : left + size[1]]).float()[None]
        noise = torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32))
        found.append((clean + SIGMA * noise, clean))
    return found


def task(**settings: Any) -> DenoisingTask:
    torch.manual_seed(0)
    return DenoisingTask(Denoiser(), TrainConfig(lr=1e-2, schedule="constant", **settings), multiple=4)


def trained(found: DenoisingTask, folder: Path, epochs: int) -> LatestBest:
    """Trained on patches, validated on whole images of two sizes."""
    best = LatestBest(folder, found.best_by, 0, 1)
    whole = [*pictures(2, (30, 41), 1), *pictures(1, (25, 18), 2)]
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[best, EpochLines(found.best_by)],
    )
    trainer.fit(found, DataLoader(pictures(96, (24, 24), 0), 4), DataLoader(whole, 1))
    trainer.test(found, DataLoader(whole, 1), verbose=False)
    return best


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_a_denoiser_learns_and_its_best_epoch_is_that_of_the_best_psnr(
    optimizer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = task(optimizer=optimizer, epochs=8)
    best = trained(found, tmp_path, 8)
    measures = found.measures(None)
    assert measures["psnr_db"] > measures["input_psnr_db"] + 1.5
    assert measures["ssim"] > measures["input_ssim"]
    assert best.best_model_score is not None and float(best.best_model_score) >= measures["psnr_db"] - 1e-4
    assert "val PSNR" in capsys.readouterr().err


def test_scores_are_of_whole_images_without_what_was_padded() -> None:
    found = task()
    found.model.first.weight.data.zero_()  # the output is a constant: nothing depends on the padding
    found.model.first.bias.data.zero_()
    found.model.last.bias.data.fill_(0.05)
    pairs = [*pictures(1, (30, 41), 1), *pictures(1, (24, 24), 2)]
    for noisy, clean in pairs:
        found.test_step((noisy[None], clean[None]), 0)
    measures = found.measures(None)
    expected = [
        peak_signal_noise_ratio(clean.numpy(), (noisy - 0.05).clamp(0, 1).numpy(), data_range=1.0)
        for noisy, clean in pairs
    ]
    before = [
        peak_signal_noise_ratio(clean.numpy(), noisy.clamp(0, 1).numpy(), data_range=1.0) for noisy, clean in pairs
    ]
    assert measures["psnr_db"] == pytest.approx(np.mean(expected), abs=1e-3)
    assert measures["input_psnr_db"] == pytest.approx(np.mean(before), abs=1e-3)
    assert found.padded_images == 1


@pytest.mark.parametrize(("loss", "expected"), [("l1", 0.25), ("mse", 0.0625)])
def test_the_loss_is_the_distance_of_the_output_from_the_noise(loss: str, expected: float) -> None:
    clean = torch.rand(2, 1, 8, 8)
    noise = torch.randn(2, 1, 8, 8) * SIGMA
    found = task(denoising_loss=loss)
    assert float(found.loss((noise + 0.25,), (clean + noise, clean))) == pytest.approx(expected, rel=1e-4)
    assert float(found.loss((noise,), (clean + noise, clean))) == pytest.approx(0.0, abs=1e-6)


def test_images_without_noise_have_no_psnr_of_their_own_in_json() -> None:
    found = task()
    clean = torch.rand(1, 1, 16, 16)
    found.test_step((clean, clean), 0)
    assert found.measures(None)["input_psnr_db"] is None and found.measures(None)["psnr_db"] is not None


def test_an_output_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match=r"output has shape \(1, 2, 8, 8\), the clean images \(1, 1, 8, 8\)"):
        task().loss((torch.zeros(1, 2, 8, 8),), (torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)))
