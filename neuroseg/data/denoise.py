"""Denoising: pictures with Gaussian noise added, and the same pictures without.

As in Zhang et al., "Beyond a Gaussian denoiser" (DnCNN), 2017, and Spiking-UNet: noisy = clean + N(0, sigma / 255), levels in
[0, 1] before the noise, neither clipped nor rounded after it. Folders of pictures: BSD68, CBSD68, Set12, Train400, or any.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from export.errors import DataError
from neuroseg.data.labelled import Key, Origin, channels_first, digest, split_key
from neuroseg.data.pictures import COLOUR, GREY, Bytes, Size, header, picture_files, pixels, size_text

CHANNELS = {True: ("red", "green", "blue"), False: ("grey",)}


class CleanPictures:
    """Pictures of one or several folders, read once and kept as bytes; what training and evaluation share.

    colour  three channels: every file must have them. Else one: colour files become their luma (ITU-R BT.601)
    least   (H, W) that every picture must have
    """

    def __init__(self, folders: Sequence[Path], colour: bool, least: Size | None = None) -> None:
        """Check every file but for its pixels."""
        self.colour = colour
        self.files = [path for folder in folders for path in picture_files(folder, "clean pictures")]
        modes = COLOUR if colour else COLOUR + GREY
        self.sizes = [_header(path, modes) for path in self.files]
        for path, size in zip(self.files, self.sizes, strict=True):
            if least is not None and (size[0] < least[0] or size[1] < least[1]):
                raise DataError(
                    f"'{path}' has {size_text(size)} pixels, less than the {size_text(least)} (width x height) that data.size "
                    "asks for. Use a smaller data.size, or leave the picture out."
                )
        self._kept: dict[int, Bytes] = {}

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.files)

    def __getitem__(self, index: int) -> Bytes:
        """uint8 (C, H, W); not to be written to."""
        if index not in self._kept:
            self._kept[index] = channels_first(pixels(self.files[index], "RGB" if self.colour else "L"))
        return self._kept[index]


class Denoising(Dataset[tuple[Tensor, Tensor]]):
    """What all splits share. Items are (noisy, clean), both float32 (C, H, W); clean is in [0, 1].

    classes      channels that the network gives: its output is a picture
    class_names  their names
    """

    pictures: CleanPictures
    colours = None

    @property
    def classes(self) -> int:
        """Channels of a picture."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the channels."""
        return CHANNELS[self.pictures.colour]

    def load(self) -> None:
        """Read every file now."""
        for index in range(len(self.pictures)):
            self.pictures[index]

    def origins(self) -> Iterator[Origin]:
        """The pictures that the items are made of."""
        for index, path in enumerate(self.pictures.files):
            yield Origin(str(path), digest(self.pictures[index]))


class NoisyPatches(Denoising):
    """Patches for training: place, noise and turn are drawn anew in every epoch.

    folders  of clean pictures, each of which gives the same number of patches
    size     (H, W) of a patch
    count    patches in an epoch
    sigma    (least, most) standard deviation of the noise in grey levels of 255, drawn for each patch
    colour   see `CleanPictures`
    turns    turn by right angles and mirror; needs square patches
    seed     0 or more: an item depends on (seed, epoch, index) alone
    """

    per_epoch = True  # another item in every epoch

    def __init__(
        self,
        folders: Sequence[Path],
        size: Size,
        count: int,
        sigma: tuple[float, float],
        *,
        colour: bool = False,
        turns: bool = True,
        seed: int = 0,
    ) -> None:
        """Check that patches fit into every picture."""
        if turns and size[0] != size[1]:
            raise DataError(f"turns needs square patches, not {size_text(size)}; give a square size, or turns=False.")
        self.pictures = CleanPictures(folders, colour, least=size)
        self.size, self.count, self.sigma, self.turns, self.seed = size, count, sigma, turns, seed

    def __len__(self) -> int:
        """Number of patches in an epoch."""
        return self.count

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """Noisy and clean, float32 (C, H, W); `key` is an index, or (epoch, index)."""
        epoch, index = split_key(key, len(self))
        rng = np.random.default_rng([self.seed, epoch, index])
        picture = self.pictures[index % len(self.pictures)]
        room = (have - side for have, side in zip(picture.shape[1:], self.size, strict=True))
        top, left = (int(rng.integers(free + 1)) for free in room)
        patch = picture[:, top : top + self.size[0], left : left + self.size[1]]
        if self.turns:
            patch = np.rot90(patch, int(rng.integers(4)), (1, 2))
            patch = patch[..., ::-1] if rng.integers(2) else patch
        return _with_noise(patch, rng.uniform(*self.sigma), rng)


class NoisyPictures(Denoising):
    """Pictures for scores: the noise of a picture depends on `seed` and its file's name alone.

    folders  of clean pictures
    sigma   standard deviation of the noise in grey levels of 255
    tiles   None: whole pictures, of whatever size. (H, W): all tiles of this size that fit, in reading order, one item each; a
            rest at the right and at the bottom is left out. Noise is that of the whole picture
    most    so many pictures, spread over their names; None: all. DataError if there are fewer
    """

    def __init__(
        self,
        folders: Sequence[Path],
        sigma: float,
        *,
        colour: bool = False,
        tiles: Size | None = None,
        most: int | None = None,
        seed: int = 0,
    ) -> None:
        """Check every file but for its pixels."""
        self.pictures = CleanPictures(folders, colour, least=tiles)
        self.sigma, self.size, self.seed = sigma, tiles, seed
        count = len(self.pictures.sizes)
        if most is not None and most > count:
            raise DataError(
                f"val_pictures = {most}, but there are {count} pictures in '{folders[0]}'; write {count} or less"
            )
        chosen = range(count) if most is None else [i * count // most for i in range(most)]
        self.chosen_sizes = [self.pictures.sizes[i] for i in chosen]
        self.places = [place for i in chosen for place in _places(i, self.pictures.sizes[i], tiles)]

    @property
    def sizes_vary(self) -> bool:
        """Whether pictures are of several sizes, so that items cannot be stacked."""
        return self.size is None and len(set(self.chosen_sizes)) > 1

    def __len__(self) -> int:
        """Number of pictures, or of tiles."""
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Noisy and clean, float32 (C, H, W)."""
        _, index = split_key(index, len(self))
        number, top, left = self.places[index]
        name = self.pictures.files[number].name
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        noisy, clean = _with_noise(self.pictures[number], self.sigma, rng)
        if self.size is None:
            return noisy, clean
        part = (..., slice(top, top + self.size[0]), slice(left, left + self.size[1]))
        return noisy[part].contiguous(), clean[part].contiguous()


def _with_noise(picture: Bytes, sigma: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Noisy and clean float32 (C, H, W) of levels 0 to 255."""
    clean: NDArray[np.float32] = np.ascontiguousarray(picture, dtype=np.float32) / 255
    noise = rng.standard_normal(clean.shape, dtype=np.float32)
    return torch.from_numpy(clean + np.float32(sigma / 255) * noise), torch.from_numpy(clean)


def _places(number: int, size: Size, tiles: Size | None) -> Iterator[tuple[int, int, int]]:
    """(picture, top, left) of its items."""
    if tiles is None:
        yield number, 0, 0
        return
    for top in range(0, size[0] - tiles[0] + 1, tiles[0]):
        for left in range(0, size[1] - tiles[1] + 1, tiles[1]):
            yield number, top, left


def _header(path: Path, modes: tuple[str, ...]) -> Size:
    try:
        return header(path, modes)
    except DataError as error:
        if modes == COLOUR and header(path, COLOUR + GREY):
            raise DataError(
                f"'{path}' is grey, and colour pictures are asked for. Give colour ones, or colour=false."
            ) from error
        raise
