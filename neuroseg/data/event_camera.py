"""A model of an event camera: changes of log intensity at each pixel -> a stream of events.

A pixel remembers the log intensity of its last event. When the light has since risen by its threshold C+, it sends an ON
event, when it has fallen by C-, an OFF event, and the memory moves by that threshold:

    ON  at the first time t with L(t) - M >= C+, then M = M + C+
    OFF at the first time t with M - L(t) >= C-, then M = M - C-

Sources: Gallego et al., "Event-based vision: a survey", TPAMI 2020, eq. 1-3 (the model); Rebecq et al., "ESIM", CoRL 2018
(L between samples is a straight line, so crossing times are exact; refractory pixels lose events, their memory moves on);
Hu et al., "v2e", CVPRW 2021 (Gaussian mismatch of the thresholds, background activity as a Poisson process).
Not modelled: the finite bandwidth of the photoreceptor, leak events, and latency.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from neuroseg.data.event_files import Events, make_events

Reals: TypeAlias = NDArray[np.float64]
Piece: TypeAlias = tuple[Reals, NDArray[np.int64], NDArray[np.bool_]]  # times, pixels, true for ON

DARK = 1 / 32  # intensity added before the logarithm, of 1 for white: what a dark pixel still sees
_LEAST_SHARE = 0.1  # of the nominal threshold, that no pixel falls below


@dataclass(frozen=True)
class EventCamera:
    """Settings of all pixels.

    c_on, c_off    thresholds in units of the natural logarithm of the intensity
    mismatch       standard deviation of each pixel's thresholds, as a share; a pixel has at least a tenth of the nominal one
    refractory_us  time after an event in which a pixel sends none, in microseconds
    noise_hz       background activity, both polarities together: events per pixel and second
    """

    c_on: float = 0.2
    c_off: float = 0.2
    mismatch: float = 0.0
    refractory_us: float = 0.0
    noise_hz: float = 0.0

    def record(self, times_us: Reals, levels: Reals, rng: np.random.Generator) -> Events:
        """Events of a moving picture, ordered by time, then row, then column.

        times_us  (K,) rising
        levels    (K, H, W) log intensity at these times, a straight line in between; pixels start with the first in memory
        rng       of thresholds and noise
        """
        _, height, width = levels.shape
        c_on, c_off = (self._thresholds(c, height * width, rng) for c in (self.c_on, self.c_off))
        flat = levels.reshape(len(levels), -1)
        pieces = [*_crossings(times_us, flat, c_on, c_off, self.refractory_us)]
        pieces.append(self._noise(times_us[0], times_us[-1], height * width, rng))
        t, pixel, on = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
        stamps = np.floor(t).astype(np.int64)
        order = np.lexsort((pixel, stamps))
        return make_events(stamps[order], pixel[order] % width, pixel[order] // width, on[order])

    def _thresholds(self, nominal: float, pixels: int, rng: np.random.Generator) -> Reals:
        drawn = nominal * (1 + self.mismatch * rng.standard_normal(pixels))
        return np.maximum(drawn, nominal * _LEAST_SHARE)

    def _noise(self, start_us: float, end_us: float, pixels: int, rng: np.random.Generator) -> Piece:
        number = rng.poisson(self.noise_hz * (end_us - start_us) * 1e-6 * pixels)
        return (
            rng.uniform(start_us, end_us, number),
            rng.integers(pixels, size=number),
            rng.integers(2, size=number).astype(np.bool_),
        )


def _crossings(times_us: Reals, levels: Reals, c_on: Reals, c_off: Reals, refractory_us: float) -> Iterator[Piece]:
    """Events of levels (K, pixels), not yet in order of time; each pixel's own are."""
    memory = levels[0].copy()
    last = np.full(memory.shape, -np.inf)
    for start, end, before, after in zip(times_us, times_us[1:], levels, levels[1:], strict=False):
        rises, falls = np.floor((after - memory) / c_on), np.floor((memory - after) / c_off)
        number = np.maximum(np.maximum(rises, falls), 0)  # of one kind: a straight line crosses in one direction
        step = np.where(rises > 0, c_on, -c_off)
        slope = after - before
        for i in range(1, int(number.max()) + 1):
            pixel = np.flatnonzero(number >= i)
            way = memory[pixel] + i * step[pixel] - before[pixel]
            share = np.divide(way, slope[pixel], out=np.zeros_like(way), where=slope[pixel] != 0)
            t = start + np.clip(share, 0, 1) * (end - start)  # rounding alone leaves [0, 1]
            sends = t - last[pixel] >= refractory_us
            pixel, t = pixel[sends], t[sends]
            last[pixel] = t
            yield t, pixel, step[pixel] > 0
        memory += number * step
