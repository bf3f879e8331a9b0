"""How near an image comes to another: peak signal-to-noise ratio and structural similarity, by torchmetrics."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from export.errors import DataError

SMALLEST = 11  # pixels: side of SSIM's Gaussian window


def psnr(images: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, (N,) float64, of (N, C, H, W) in [0, 1].

        psnr = 10 log10(1 / mean (image - truth)^2),   the mean over channels and pixels; infinite for equal images

    Images are clamped to [0, 1] first, as a file would clamp them; they are not rounded to 8 bits.
    """
    _check(images, truth)
    each = peak_signal_noise_ratio(
        images.double().clamp(0, 1), truth.double(), data_range=1.0, reduction="none", dim=(1, 2, 3)
    )
    assert isinstance(each, Tensor)
    return each.reshape(len(images))


def ssim(images: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of each image, (N,) float64, of (N, C, H, W) in [0, 1] (Wang et al. 2004).

    Gaussian window of deviation 1.5 and 11x11 pixels, K1 = 0.01, K2 = 0.03, range 1, the mean over channels and over pixels
    whose window lies in the image: scikit-image's with gaussian_weights and without use_sample_covariance.
    """
    _check(images, truth)
    if min(images.shape[-2:]) < SMALLEST:
        raise DataError(
            f"SSIM looks through windows of {SMALLEST}x{SMALLEST} pixels; images of {images.shape[-2]}x{images.shape[-1]} are "
            "too small: use larger ones."
        )
    # In float32: torch convolves float64 fifteen times slower on a CPU, for differences in the seventh digit.
    _, places = structural_similarity_index_measure(
        images.float().clamp(0, 1), truth.float(), data_range=1.0, reduction="none", return_full_image=True
    )
    border = SMALLEST // 2  # torchmetrics reflects the image there and counts it; Wang et al. and scikit-image do not
    return places[..., border:-border, border:-border].double().mean(dim=(1, 2, 3))


class ImageScores(Metric):
    """PSNR (dB) and SSIM, each the mean over all images seen, of any sizes; `psnr` and `ssim` say what they are.

    Sums of the images' figures (float64) are kept, so processes of a distributed run add up. Denoising papers give the mean of
    the images' PSNR, which is not the PSNR of the mean error.
    """

    full_state_update = False
    psnr_sum: Tensor
    ssim_sum: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("psnr_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("ssim_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, images: Tensor, truth: Tensor) -> None:
        """Score images (N, C, H, W) against the true ones; DataError where shapes differ."""
        self.psnr_sum += psnr(images, truth).sum()
        self.ssim_sum += ssim(images, truth).sum()
        self.images += len(images)

    def compute(self) -> dict[str, Tensor]:
        """`psnr` in dB and `ssim`; NaN before the first image."""
        return {"psnr": self.psnr_sum / self.images, "ssim": self.ssim_sum / self.images}


def _check(images: Tensor, truth: Tensor) -> None:
    if images.shape != truth.shape or images.ndim != 4:
        raise DataError(
            f"images have shape {tuple(images.shape)}, true ones {tuple(truth.shape)}; both must be (N, C, H, W)"
        )
