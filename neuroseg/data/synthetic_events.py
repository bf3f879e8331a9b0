"""Embedded event recordings: a handwritten digit moves over a photograph that moves, too, before a model of an event camera.

Nothing is stored on a disk. As in `digits`, a *scene* (which digit, which piece of which photograph, along which path) is a
pure function of (seed, split, index), and its recording one of the scene. The mask is exact at any time: it is the digit's
own, where the path has it at that time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor, from_numpy
from torch.utils.data import Dataset

from neuroseg.config import SyntheticEventsConfig
from neuroseg.data import sources
from neuroseg.data.digits import INK_AT, ink_level, ink_opacity, random_crop
from neuroseg.data.event_camera import DARK, EventCamera, Reals
from neuroseg.data.event_files import Events, Size
from neuroseg.data.event_frames import counts, frames, steps_by_time
from neuroseg.data.labelled import Origin, check_split, digest
from neuroseg.data.mnist import digit_classes
from neuroseg.data.pictures import LUMA
from neuroseg.data.sources import SPLITS, Region, Split, split_sources

_SIDE_SHARE = (0.4, 0.65)  # of the frame's shorter side: the digit with its margin
_MOST_PAN_SHARE = 0.5  # of the frame's shorter side, that a photograph moves in a recording
_BEND = 0.5  # how far the middle of a path is pulled aside, of the path's length
_MOST_MOTION = 0.25  # pixels between two samples of the log intensity
_LEAST_CONTRAST = 0.3  # luma between the digit and the mean of the photograph

Point = tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """All random choices of a recording. Points are (row, column) in pixels of the frame.

    crop   piece of a photograph behind the digit, larger than the frame
    pan    first and last corner of the frame on that piece; it moves between them at a constant speed
    digit  index in `load_digits`;  side  of its box in pixels;  ink  its luma
    path   of the upper left corner of its box: a quadratic Bezier curve
    """

    crop: Region
    pan: tuple[Point, Point]
    digit: int
    side: int
    ink: float
    path: tuple[Point, Point, Point]


@dataclass(frozen=True, eq=False)
class Movie:
    """A scene at any share of its recording, 0 to 1.

    behind  luma of the photograph's piece, larger than the frame;  glyph  ink level (H, W), the digit in its upper left corner
    """

    scene: Scene
    behind: Reals
    glyph: Reals

    def ink(self, share: float) -> Reals:
        """The digit's ink level (H, W), bilinear between pixels."""
        start, middle, end = (np.array(point) for point in self.scene.path)
        corner = (1 - share) ** 2 * start + 2 * share * (1 - share) * middle + share**2 * end
        return np.asarray(ndimage.shift(self.glyph, corner, order=1), dtype=np.float64)

    def picture(self, share: float) -> Reals:
        """Luma (H, W) in [0, 1]."""
        height, width = self.glyph.shape
        corner = (1 - share) * np.array(self.scene.pan[0]) + share * np.array(self.scene.pan[1])
        behind = ndimage.shift(self.behind, -corner, order=1, mode="nearest")[:height, :width]
        opacity = ink_opacity(self.ink(share))
        return np.asarray((1 - opacity) * behind + opacity * self.scene.ink, dtype=np.float64)


class SyntheticEvents(Dataset[tuple[Tensor, Tensor]]):
    """Digits that move over photographs, as events.

    config  the data section;  split  train, val or test: disjoint in digits and in photo pixels;  steps  T

    Item: frames float32 (T, 2, H, W), see `event_frames.frames`; mask int64 (H, W) at the end of the last step, 0 background.
    """

    def __init__(self, config: SyntheticEventsConfig, split: Split, steps: int) -> None:
        """Check the split."""
        check_split(split, config.seed)
        self.config, self.split, self.steps = config, split, steps
        self.size: Size = config.size
        self.classes: int = config.classes
        self.duration_us = steps * config.bin_ms * 1000
        self.room = min(config.pan * self.duration_us * 1e-6, _MOST_PAN_SHARE * min(self.size))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in mask order."""
        return digit_classes(self.classes)

    def __len__(self) -> int:
        """Number of recordings."""
        config = self.config
        return {"train": config.train_samples, "val": config.val_samples, "test": config.test_samples}[self.split]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Frames float32 (T, 2, H, W) and mask int64 (H, W)."""
        events = self.events(index)
        step = steps_by_time(events["t"], round(self.duration_us), self.steps, self.config.bin_ms * 1000)
        numbers = counts(events, step, self.steps, self.size)
        return frames(numbers, self.config.frames), from_numpy(self.mask(index, self.duration_us))

    def events(self, index: int) -> Events:
        """The stream of a recording, t from 0 in microseconds."""
        movie = self._movie(index)
        shares = np.linspace(0, 1, _samples(movie.scene))
        levels = np.stack([np.log(movie.picture(share) + DARK) for share in shares])
        config = self.config
        camera = EventCamera(config.c_on, config.c_off, config.mismatch, config.refractory_ms * 1000, config.noise_hz)
        return camera.record(shares * self.duration_us, levels, self._rng(index, 1))

    def mask(self, index: int, t_us: float) -> NDArray[np.int64]:
        """Classes (H, W) at a time, 0 to the recording's duration in microseconds."""
        if not 0 <= t_us <= self.duration_us:
            raise IndexError(f"time {t_us} us of a recording of {self.duration_us:g} us: use 0 to {self.duration_us:g}")
        movie = self._movie(index)
        _, labels = sources.glyphs()
        label = 1 if self.classes == 2 else 1 + int(labels[movie.scene.digit])
        return np.where(movie.ink(t_us / self.duration_us) > INK_AT, label, 0).astype(np.int64)

    def picture(self, index: int, t_us: float) -> Reals:
        """Luma (H, W) in [0, 1] that the camera sees at a time."""
        return self._movie(index).picture(t_us / self.duration_us)

    def origins(self) -> Iterator[Origin]:
        """The digits and pieces of photographs that this split draws from."""
        ink, _ = sources.glyphs()
        home = split_sources(self.split)
        for digit in home.digits:
            yield Origin(f"digit {digit}", digest((ink[digit] * 16).astype(np.uint8)))
        for region in home.regions:
            pixels = sources.photos()[region.photo][region.top : region.bottom, region.left : region.right]
            yield Origin(f"columns {region.left} to {region.right} of {region.photo}", digest(pixels))

    def scene(self, index: int) -> Scene:
        """All choices of a recording: a pure function of (seed, split, index) and the settings."""
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}: use 0 to {len(self) - 1}")
        rng = self._rng(index, 0)
        home = split_sources(self.split)
        crop = random_crop(rng, home.regions[rng.integers(len(home.regions))], self._crop_size)
        side = round(rng.uniform(*_SIDE_SHARE) * min(self.size))
        digit = int(rng.choice(home.digits))
        mean = float(_background(crop, self._crop_size).mean())
        ink = rng.uniform(0, mean - _LEAST_CONTRAST) if mean > 0.5 else rng.uniform(mean + _LEAST_CONTRAST, 1)
        return Scene(crop, self._pan(rng), digit, side, ink, self._path(rng, side))

    @property
    def _crop_size(self) -> Size:
        margin = math.ceil(self.room) + 1
        return self.size[0] + margin, self.size[1] + margin

    def _rng(self, index: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, SPLITS.index(self.split), index, purpose])

    def _pan(self, rng: np.random.Generator) -> tuple[Point, Point]:
        """Any direction, any distance up to the room."""
        angle, distance = rng.uniform(0, 2 * math.pi), rng.uniform(0, self.room)
        way = distance * np.array([math.sin(angle), math.cos(angle)])
        start = np.where(way < 0, -way, 0)
        return _point(start), _point(start + way)

    def _path(self, rng: np.random.Generator, side: int) -> tuple[Point, Point, Point]:
        """Any direction, at the speed asked for, slower where the frame is too small for it; all of it in the frame."""
        box = np.array([self.size[0] - side - 1, self.size[1] - side - 1], dtype=float)
        angle, distance = rng.uniform(0, 2 * math.pi), rng.uniform(*self.config.speed) * self.duration_us * 1e-6
        way = distance * np.array([math.sin(angle), math.cos(angle)])
        way *= min(1.0, *(box / np.maximum(np.abs(way), 1e-9)))
        start = np.where(way < 0, -way, 0) + rng.random(2) * (box - np.abs(way))
        aside = rng.uniform(-_BEND, _BEND) * np.array([way[1], -way[0]])
        return _point(start), _point(np.clip(start + way / 2 + aside, 0, box)), _point(start + way)

    def _movie(self, index: int) -> Movie:
        scene = self.scene(index)
        canvas = np.zeros(self.size)
        canvas[: scene.side, : scene.side] = ink_level(scene.digit, scene.side)
        return Movie(scene, _background(scene.crop, self._crop_size), canvas)


def _samples(scene: Scene) -> int:
    """So many that nothing moves farther than _MOST_MOTION between two."""
    start, middle, end = (np.array(point) for point in scene.path)
    fastest = 2 * max(
        float(np.linalg.norm(middle - start)), float(np.linalg.norm(end - middle))
    )  # of a Bezier curve: its ends
    pan = float(np.linalg.norm(np.subtract(*scene.pan)))
    return 2 + math.ceil((fastest + pan) / _MOST_MOTION)


def _background(crop: Region, size: Size) -> Reals:
    """Luma (H, W) in [0, 1] of a piece of a photograph, cut out first and scaled after."""
    cut = sources.photos()[crop.photo][crop.top : crop.bottom, crop.left : crop.right]
    scaled = Image.fromarray(cut).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    luma: Reals = np.asarray(scaled, dtype=np.float64) / 255 @ LUMA
    return luma


def _point(values: Reals) -> Point:
    return float(values[0]), float(values[1])
