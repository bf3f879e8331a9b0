"""Augmentation: image and mask move together, draws repeat, void only where nothing is known."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from export.errors import DataError
from neuroseg.data import VOID, Augment

JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
STEP = 20  # grey levels between two labels painted as an image


def labels(seed: int = 0, rows: int = 4, columns: int = 6, block: int = 12) -> torch.Tensor:
    """Mask uint8 (rows * block, columns * block) of flat blocks with labels 0 to 10."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, 11, (rows, columns), generator=generator, dtype=torch.uint8)
    return blocks.repeat_interleave(block, 0).repeat_interleave(block, 1)


def painted(mask: torch.Tensor) -> torch.Tensor:
    """The mask as an image uint8 (3, H, W)."""
    return (mask * STEP).expand(3, *mask.shape).contiguous()


def noise(size: tuple[int, int] = (18, 24)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)


def inside(mask: torch.Tensor, margin: int = 2) -> torch.Tensor:
    """Pixels all of whose neighbours up to `margin` have their label; none at the border, whose neighbours were cut off."""
    side = 2 * margin + 1
    grown = F.pad(mask.float()[None, None], [margin] * 4, value=-1)
    highest, lowest = F.max_pool2d(grown, side, 1), -F.max_pool2d(-grown, side, 1)
    return (highest == lowest)[0, 0]


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 0.8), (1.3, 2.0), (0.5, 2.0)])
@pytest.mark.parametrize("seed", range(6))
def test_image_and_mask_move_together(scale, seed):
    mask = labels(seed, block=20)
    image, moved = Augment(flip=0.5, scale=scale)(painted(mask), mask, (seed,))
    assert image.shape == (3, *mask.shape) and moved.shape == mask.shape
    assert image.dtype == moved.dtype == torch.uint8
    sure = inside(moved) & (moved != VOID)
    assert sure.float().mean() > 0.05
    assert torch.equal(image[0][sure], (moved * STEP)[sure])


def test_every_kind_of_change_happens():
    mask = labels()
    for augment in (Augment(flip=1), Augment(flip=0, scale=(0.6, 0.7)), Augment(flip=0, scale=(1.4, 1.5))):
        image, moved = augment(painted(mask), mask, (0,))
        assert (moved != mask).float().mean() > 0.2 and (image != painted(mask)).float().mean() > 0.2


@pytest.mark.parametrize("probability", [0, 1])
def test_a_flip_is_exact(probability):
    image, mask = noise((48, 72)), labels()
    flipped = Augment(flip=probability)(image, mask, (5,))
    expected = (image.flip(-1), mask.flip(-1)) if probability else (image, mask)
    assert torch.equal(flipped[0], expected[0]) and torch.equal(flipped[1], expected[1])


def test_half_of_the_pictures_are_flipped():
    image, mask = noise((48, 72)), labels()
    flips = [torch.equal(Augment(flip=0.5)(image, mask, (0, i))[1], mask.flip(-1)) for i in range(200)]
    assert 70 < sum(flips) < 130


@pytest.mark.parametrize("seed", range(4))
def test_padding_is_void_and_the_mean_colour_and_the_rest_is_the_whole_picture(seed):
    mask = labels()  # 48 x 72, no void
    image, moved = Augment(flip=0, scale=(0.5, 0.5))(painted(mask), mask, (seed,))
    known = moved != VOID
    rows, columns = known.any(1).nonzero().flatten(), known.any(0).nonzero().flatten()
    assert (len(rows), len(columns)) == (24, 36)
    assert known[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert known.sum() == 24 * 36
    mean = painted(mask).float().mean(dim=(1, 2)).round().to(torch.uint8)
    assert (image[:, ~known] == mean[:, None]).all()


@pytest.mark.parametrize("seed", range(4))
def test_no_void_appears_without_padding(seed):
    mask = labels()
    assert not (Augment(scale=(1.0, 2.0))(painted(mask), mask, (seed,))[1] == VOID).any()


@pytest.mark.parametrize("seed", range(10))
def test_no_label_is_invented(seed):
    mask = torch.full((18, 24), 2, dtype=torch.uint8)
    mask[::3, ::2] = 9
    moved = Augment(scale=(0.5, 2.0), **JITTER)(noise(), mask, (seed,))[1]
    assert set(moved.unique().tolist()) <= {2, 9, VOID}


def test_colour_jitter_leaves_the_mask_alone():
    image, mask = noise((48, 72)), labels()
    changed, same = Augment(flip=0, **JITTER)(image, mask, (3,))
    assert torch.equal(same, mask)
    assert (changed != image).float().mean() > 0.5


def test_the_same_seed_gives_the_same_picture_whatever_the_global_generators():
    augment, image, mask = Augment(scale=(0.5, 2.0), **JITTER), noise((48, 72)), labels()
    torch.manual_seed(1)
    first = augment(image, mask, (0, 4, 7))
    for generator in (torch.manual_seed, random.seed, np.random.seed):
        generator(99)
    again = augment(image, mask, (0, 4, 7))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])


@pytest.mark.parametrize("other", [(1, 4, 7), (0, 5, 7), (0, 4, 8), (0, 7, 4)])
def test_other_seeds_give_other_pictures(other):
    augment, image, mask = Augment(scale=(0.5, 2.0), **JITTER), noise((48, 72)), labels()
    assert not torch.equal(augment(image, mask, (0, 4, 7))[0], augment(image, mask, other)[0])


def test_the_global_generator_and_the_originals_stay_as_they_were():
    image, mask = noise((48, 72)), labels()
    copies, state = (image.clone(), mask.clone()), torch.get_rng_state()
    Augment(flip=1, scale=(0.5, 2.0), **JITTER)(image, mask, (0,))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(image, copies[0]) and torch.equal(mask, copies[1])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"flip": 1.5}, r"flip=1.5 .*use 0 to 1"),
        ({"flip": float("nan")}, "flip=nan"),
        ({"hue": 0.6}, r"hue=0.6 .*use 0 to 0.5"),
        ({"brightness": -0.1}, r"brightness=-0.1 .*use 0 or more"),
        ({"contrast": float("inf")}, "contrast=inf"),
        ({"saturation": -1}, "saturation=-1"),
        ({"scale": (0, 1)}, r"scale=\(0, 1\).*0 < least <= most"),
        ({"scale": (1.5, 0.5)}, r"scale=\(1.5, 0.5\)"),
        ({"scale": (1.5,)}, r"scale=\(1.5,\)"),
    ],
)
def test_wrong_arguments_are_named_with_limit_and_fix(arguments, says):
    with pytest.raises(DataError, match=says):
        Augment(**arguments)


def test_image_and_mask_of_unequal_size_are_refused():
    with pytest.raises(DataError, match=r"image has \(18, 24\) pixels, the mask \(48, 72\)"):
        Augment()(noise(), labels(), (0,))


@pytest.mark.parametrize("probability", [0, 1])
def test_a_vertical_flip_is_exact(probability):
    image, mask = noise((48, 72)), labels()
    flipped = Augment(flip=0, vertical_flip=probability)(image, mask, (5,))
    expected = (image.flip(-2), mask.flip(-2)) if probability else (image, mask)
    assert torch.equal(flipped[0], expected[0]) and torch.equal(flipped[1], expected[1])


def test_quarter_turns_are_exact_and_each_is_as_likely():
    image, mask = noise((24, 24)), labels(rows=2, columns=2)
    turned = [(torch.rot90(image, k, (-2, -1)), torch.rot90(mask, k, (-2, -1))) for k in range(4)]
    counts = [0] * 4
    for seed in range(200):
        found = Augment(flip=0, quarter_turns=True)(image, mask, (seed,))
        hits = [all(torch.equal(a, b) for a, b in zip(found, one, strict=True)) for one in turned]
        assert sum(hits) == 1
        counts[hits.index(True)] += 1
    assert min(counts) > 30


@pytest.mark.parametrize("seed", range(4))
def test_turned_pictures_and_masks_move_together_and_corners_are_void(seed):
    mask = labels(rows=3, columns=3, block=20)
    image, moved = Augment(flip=0, rotate=30)(painted(mask), mask, (seed,))
    sure = inside(moved) & (moved != VOID)
    assert sure.float().mean() > 0.3 and set(moved.unique().tolist()) <= {*mask.unique().tolist(), VOID}
    assert (image[0][sure].int() - moved[sure].int() * STEP).abs().max() <= 1  # bilinear, rounded
    assert (moved == VOID).any() and (moved != mask).any()


def test_what_is_off_leaves_the_draws_of_the_others_as_they_were():
    image, mask = noise((48, 72)), labels()
    plain = Augment(scale=(0.5, 2.0), **JITTER)(image, mask, (3,))
    off = Augment(scale=(0.5, 2.0), vertical_flip=0.0, rotate=0.0, quarter_turns=False, **JITTER)(image, mask, (3,))
    assert all(torch.equal(a, b) for a, b in zip(plain, off, strict=True))


def test_grey_pictures_are_changed_like_coloured_ones():
    mask = labels()
    image, moved = Augment(flip=1, scale=(0.5, 2.0), **JITTER)(painted(mask)[:1], mask, (1,))
    assert image.shape == (1, 48, 72) and (moved != mask).any()


def test_quarter_turns_of_a_picture_that_is_not_square_are_refused():
    with pytest.raises(DataError, match=r"quarter_turns needs square pictures, not \(48, 72\)"):
        Augment(quarter_turns=True)(noise((48, 72)), labels(), (0,))


@pytest.mark.parametrize(
    ("arguments", "says"), [({"vertical_flip": 2}, "use 0 to 1"), ({"rotate": 181}, "use 0 to 180")]
)
def test_wrong_turns_are_named(arguments, says):
    with pytest.raises(DataError, match=says):
        Augment(**arguments)
