"""Images of any size through networks that want multiples."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from neuroseg.train.padding import cropped, padded


@pytest.mark.parametrize("shape", [(2, 3, 13, 22), (1, 4, 2, 13, 22), (2, 1, 16, 24)])
def test_images_are_reflected_up_to_the_multiple_and_cropped_back(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape)
    larger = padded(images, 8)
    assert larger.shape == (*shape[:-2], 16, 24)
    assert torch.equal(larger[..., : shape[-2], : shape[-1]], images)
    for row in range(shape[-2], 16):
        assert torch.equal(larger[..., row, : shape[-1]], images[..., 2 * shape[-2] - 2 - row, :])
    maps = larger.flatten(0, -4)
    assert torch.equal(cropped(maps, (shape[-2], shape[-1]), 8), images.flatten(0, -4))


def test_an_image_that_fits_is_the_same_object() -> None:
    images = torch.rand(1, 3, 16, 8)
    assert padded(images, 8) is images and padded(images, 1) is images
    smaller = torch.rand(1, 2, 4, 2)
    assert cropped(smaller, (16, 8), 8) is smaller  # a stem's map of a whole image is left to the scoring


def test_an_image_too_small_to_be_reflected_repeats_its_border() -> None:
    larger = padded(torch.arange(2.0).view(1, 1, 1, 2), 4)
    assert larger.tolist() == [[[[0, 1, 1, 1]] * 4]]


def test_a_stems_map_is_resized_to_the_padded_image_before_it_is_cropped() -> None:
    counts = torch.randint(0, 5, (1, 2, 4, 6))  # of an image of 13 x 22 pixels, padded to 16 x 24, stem 4
    found = cropped(counts, (13, 22), 8)
    expected = F.interpolate(counts.double(), size=(16, 24), mode="bilinear", align_corners=False)[..., :13, :22]
    assert torch.equal(found, expected)
