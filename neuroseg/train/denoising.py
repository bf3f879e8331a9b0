"""Training a denoiser: the network tells the noise, which is subtracted; PSNR and SSIM."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from export.errors import DataError
from neuroseg.config import TrainConfig
from neuroseg.metrics import ImageScores
from neuroseg.models.quantize_aware import Groups
from neuroseg.train.base import Batch, Task, number
from neuroseg.train.padding import cropped


class DenoisingTask(Task):
    """Learns the noise of (noisy, clean) images (N, C, H, W) in [0, 1]; the best epoch is that of the best `val/psnr`.

    The network's output is the noise (residual learning, Zhang et al. 2017; Spiking-UNet, eq. 12):

        denoised = noisy - output,   loss = mean |output - (noisy - clean)|   (train.denoising_loss = l1, the paper's)
                                     or its square                            (mse)

    Scores are of the denoised image, clamped to [0, 1]; `input_psnr` and `input_ssim` are those of the noisy image.
    """

    best_by: ClassVar[str] = "psnr"

    def __init__(self, model: Any, config: TrainConfig, groups: Groups | None = None, *, multiple: int = 1) -> None:
        super().__init__(model, config, groups, multiple)
        self.scores = ImageScores()
        self.inputs = ImageScores()

    def loss(self, outputs: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """Distance between the network's first output and the noise."""
        noisy, clean = batch
        _check_shape(outputs[0], clean)
        distance = F.l1_loss if self.settings.denoising_loss == "l1" else F.mse_loss
        return distance(outputs[0], noisy - clean)

    def count(self, output: Tensor, batch: Batch) -> None:
        """Score a batch of denoised images."""
        noisy, clean = batch
        noise = cropped(output, (noisy.shape[-2], noisy.shape[-1]), self.multiple)
        _check_shape(noise, clean)
        self.scores.update(noisy - noise, clean)
        self.inputs.update(noisy, clean)

    def logged(self) -> dict[str, Tensor]:
        """Scores over the data set."""
        found: dict[str, Tensor] = self.scores.compute()
        return found

    def measures(self, items: Any) -> dict[str, Any]:
        """PSNR in dB and SSIM, means over images, of the denoised and of the noisy ones."""
        found, before = self.scores.compute(), self.inputs.compute()
        return {
            "psnr_db": number(found["psnr"]),
            "ssim": number(found["ssim"]),
            "input_psnr_db": number(before["psnr"]),
            "input_ssim": number(before["ssim"]),
        }

    def forget(self) -> None:
        """Drop the counts of the last evaluation."""
        super().forget()
        self.inputs.reset()


def _check_shape(output: Tensor, clean: Tensor) -> None:
    if output.shape != clean.shape:
        raise DataError(
            f"the network's output has shape {tuple(output.shape)}, the clean images {tuple(clean.shape)}: a denoiser needs "
            "an output of the image's size and channels. Use a model without a stem, such as model.family=unet."
        )
