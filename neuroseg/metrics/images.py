"""How near an image comes to another: peak signal-to-noise ratio by torchmetrics, structural similarity by scikit-image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import peak_signal_noise_ratio

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
    whose window lies in the image: scikit-image's with gaussian_weights and without use_sample_covariance, on the host.
    """
    _check(images, truth)
    if min(images.shape[-2:]) < SMALLEST:
        raise DataError(
            f"SSIM looks through windows of {SMALLEST}x{SMALLEST} pixels; images of {images.shape[-2]}x{images.shape[-1]} are "
            "too small: use larger ones."
        )
    # scikit-image's: torchmetrics' is slow in float64 on a CPU, and loses digits on flat areas in float32.
    pairs = zip(_host(images.clamp(0, 1)), _host(truth), strict=True)
    settings = {"data_range": 1.0, "channel_axis": 0, "gaussian_weights": True, "use_sample_covariance": False}
    each = [structural_similarity(image, true, **settings) for image, true in pairs]
    return torch.tensor(each, dtype=torch.float64, device=images.device)


def _host(images: Tensor) -> NDArray[np.float64]:
    found: NDArray[np.float64] = images.detach().double().cpu().numpy()
    return found


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
