"""Images of any size through networks that want multiples: pad, compute, crop."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def padded(images: Tensor, multiple: int) -> Tensor:
    """Images (..., H, W), reflected at the bottom and on the right up to multiples of `multiple`; the same if they are.

    Where an image is too small to be reflected that far, its border is repeated.
    """
    down, right = (-side % multiple for side in images.shape[-2:])
    if not down and not right:
        return images
    reflects = down < images.shape[-2] and right < images.shape[-1]
    flat = images.flatten(0, -4)  # (N, C, H, W), with a time axis (N T, C, H, W)
    return F.pad(flat, (0, right, 0, down), "reflect" if reflects else "replicate").reshape(
        *images.shape[:-2], images.shape[-2] + down, images.shape[-1] + right
    )


def cropped(scores: Tensor, size: tuple[int, int], multiple: int) -> Tensor:
    """What a network made of `padded` images of (H, W) pixels -> (N, classes, H, W) of the image alone.

    A smaller map (a network with a stem) is resized to the padded image first, bilinearly between the centres of pixels.
    Nothing is done where the image was not padded.
    """
    whole = tuple(side + -side % multiple for side in size)
    if whole == tuple(size):
        return scores
    if tuple(scores.shape[-2:]) != whole:
        real = scores if scores.is_floating_point() else scores.double()
        scores = F.interpolate(real, size=whole, mode="bilinear", align_corners=False)
    return scores[..., : size[0], : size[1]]
