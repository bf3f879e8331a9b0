"""PSNR against scikit-image, SSIM against torchmetrics, which compute them by other ways; image by image."""

from __future__ import annotations

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torchmetrics.functional.image import structural_similarity_index_measure

from export.errors import DataError
from neuroseg.metrics import ImageScores, psnr, ssim


def pair(
    channels: int, size: tuple[int, int], seed: int = 0, strength: float = 0.1
) -> tuple[torch.Tensor, torch.Tensor]:
    """A noisy image (1, C, H, W), partly out of [0, 1], and the smooth one under it."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    truth = (0.5 + 0.5 * torch.sin(rows / 3 + columns / 5)).repeat(channels, 1, 1)[None]
    return truth + strength * torch.randn(truth.shape, generator=generator), truth


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(24, 40), (11, 11)])
def test_psnr_and_ssim_equal_other_libraries(channels: int, size: tuple[int, int]) -> None:
    noisy, truth = pair(channels, size)
    ours, theirs = truth[0].numpy(), noisy[0].clamp(0, 1).numpy()
    expected = peak_signal_noise_ratio(ours, theirs, data_range=1.0)
    assert float(psnr(noisy, truth)) == pytest.approx(expected, abs=1e-4)
    assert float(ssim(noisy, truth)) == pytest.approx(by_torchmetrics(noisy, truth), abs=1e-9)


def by_torchmetrics(noisy: torch.Tensor, truth: torch.Tensor, dtype: torch.dtype = torch.float64) -> float:
    """Its mean over the places whose window lies in the image."""
    _, places = structural_similarity_index_measure(
        noisy.to(dtype).clamp(0, 1), truth.to(dtype), data_range=1.0, reduction="none", return_full_image=True
    )
    return float(places[..., 5:-5, 5:-5].mean())


def test_the_ssim_of_a_flat_bright_image_keeps_its_digits() -> None:
    """In float32 the variance of such an image is lost to cancellation, and its SSIM is wrong in the fourth digit."""
    truth = torch.full((1, 1, 40, 40), 0.9)
    noisy = truth + 0.001 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    assert float(ssim(noisy, truth)) == pytest.approx(by_torchmetrics(noisy, truth), abs=1e-9)
    assert abs(by_torchmetrics(noisy, truth, torch.float32) - by_torchmetrics(noisy, truth)) > 1e-4


def test_scores_are_the_mean_over_images_of_any_sizes_and_not_of_their_pixels() -> None:
    scores = ImageScores()
    pairs = [pair(1, (16, 16), 1, 0.02), pair(1, (40, 24), 2, 0.2), pair(1, (24, 40), 3, 0.1)]
    for noisy, truth in pairs:
        scores.update(noisy, truth)
    found = scores.compute()
    assert float(found["psnr"]) == pytest.approx(sum(float(psnr(*p)) for p in pairs) / 3)
    assert float(found["ssim"]) == pytest.approx(sum(float(ssim(*p)) for p in pairs) / 3)
    of_all_pixels = torch.cat([(noisy.clamp(0, 1) - truth).flatten() for noisy, truth in pairs]).square().mean()
    assert abs(float(found["psnr"]) + 10 * math.log10(of_all_pixels)) > 1
    scores.reset()
    assert math.isnan(float(scores.compute()["psnr"]))


def test_a_batch_scores_as_its_images_do() -> None:
    noisy, truth = (torch.cat(parts) for parts in zip(pair(3, (20, 20), 1), pair(3, (20, 20), 2), strict=True))
    for score in (psnr, ssim):
        both = score(noisy, truth)
        assert both.shape == (2,) and both.dtype == torch.float64
        assert both.tolist() == pytest.approx([float(score(noisy[i : i + 1], truth[i : i + 1])) for i in range(2)])


def test_equal_images_have_an_infinite_psnr_and_ssim_1() -> None:
    _, truth = pair(1, (16, 16))
    assert float(psnr(truth, truth)) == math.inf
    assert float(ssim(truth, truth)) == pytest.approx(1.0)


def test_a_known_error_has_the_psnr_of_its_definition() -> None:
    truth = torch.full((1, 1, 12, 12), 0.5)
    assert float(psnr(truth + 0.1, truth)) == pytest.approx(20.0, abs=1e-5)
    assert float(psnr(truth + 7.0, truth)) == pytest.approx(10 * math.log10(4), abs=1e-5)  # clamped to 1


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"\(1, 1, 12, 12\), true ones \(1, 3, 12, 12\)"):
        psnr(torch.zeros(1, 1, 12, 12), torch.zeros(1, 3, 12, 12))
    with pytest.raises(DataError, match="windows of 11x11 pixels; images of 10x40 are too small"):
        ssim(torch.zeros(1, 1, 10, 40), torch.zeros(1, 1, 10, 40))
