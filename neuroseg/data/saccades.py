"""Where a digit is in an N-MNIST recording: its mask at any time, from the MNIST picture that was recorded.

N-MNIST was recorded by a camera that moved before a still picture, in three saccades of 105 ms each, the same for all digits
(Orchard, Jayawant, Cohen, Thakor, "Converting static image datasets to spiking neuromorphic datasets using saccades", 2015).
Their stabilisation (`stabilize` in their MATLAB code, ported in tonic) takes the saccades for straight lines at constant
speed, which is up to 1.4 pixels off, since the camera starts and stops. The path below was measured: on 250 training
recordings, the shift in each tenth of a saccade at which the events of all recordings lie best on their digits' edges.
`scripts/measure_saccades.py` repeats it, and prints what is left on recordings that it did not see: 0.02 pixels on average,
0.17 at most. What is left to find for each recording is where its digit began, two numbers, from all of its events together.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from neuroseg.data.event_camera import Reals
from neuroseg.data.event_files import Events, Size
from neuroseg.data.mnist import DIGIT

Start: TypeAlias = tuple[float, float]  # row, column

SACCADE_US = 105_000
STILL_US = 80_000  # into each saccade the camera stands still again
SENSOR: Size = (34, 34)  # a pixel of an MNIST picture is a pixel here
_KNOTS_PER_SACCADE = 10
# Rows and columns of the digit in the middle of each tenth of a saccade, relative to the first, in pixels.
_ROWS = (
    *(0.00, 0.14, 0.81, 1.71, 3.12, 4.39, 5.18, 5.33, 5.00, 5.32),
    *(5.22, 5.31, 4.93, 4.01, 2.78, 1.53, 0.53, 0.14, 0.16, 0.30),
    *(0.05, 0.27, 0.14, 0.23, 0.22, 0.15, 0.03, -0.08, 0.05, 0.05),
)
_COLUMNS = (
    *(0.00, -0.12, -0.17, -0.12, -0.08, 0.12, 0.99, 1.10, 1.00, 1.38),
    *(1.87, 1.90, 2.44, 3.22, 3.85, 4.03, 4.42, 4.84, 4.98, 5.07),
    *(5.07, 5.14, 4.89, 3.76, 2.64, 1.53, 0.78, 0.17, -0.03, -0.03),
)
PATH = np.array([_ROWS, _COLUMNS]).T
REACH = 4  # pixels from the sensor's corner, that a picture's corner may lie at the start
_INK_AT = 0.5


def path(t_us: NDArray[np.int64] | float, knots: Reals = PATH) -> Reals:
    """How far the digit has moved since the start at each time: (..., 2) rows and columns, in pixels; straight between knots."""
    t = np.asarray(t_us, dtype=np.float64)
    times = (np.arange(len(knots)) + 0.5) * (SACCADE_US / _KNOTS_PER_SACCADE)
    moved: Reals = np.stack([np.interp(t, times, knots[:, axis]) for axis in range(2)], axis=-1)
    return moved


def start_of(events: Events, digit: NDArray[np.uint8]) -> Start:
    """(row, column) of the upper left corner of the MNIST picture (28, 28) on the sensor at the start, in pixels."""
    return best_shift(fit_of_shifts(positions(events) - path(events["t"]), digit))


def positions(events: Events) -> Reals:
    """Middles of the events' pixels (N, 2): row, column."""
    middles: Reals = np.stack([events["y"], events["x"]], axis=-1) + 0.5
    return middles


def fit_of_shifts(seen: Reals, digit: NDArray[np.uint8]) -> Reals:
    """How well positions (N, 2) lie on a digit's edges, for each shift by -4 to 4 pixels in steps of one half: (17, 17).

    The correlation of their histogram, in bins of half a pixel, with the size of the gradient of the picture.
    """
    side = DIGIT + 2 * REACH
    reach = (-REACH, side - REACH)
    histogram, _, _ = np.histogram2d(seen[:, 0], seen[:, 1], bins=2 * side, range=(reach, reach))
    edges = ndimage.gaussian_gradient_magnitude(np.kron(digit, np.ones((2, 2))) / 255, 1.0)
    fit: Reals = signal.correlate(histogram, edges - edges.mean(), mode="valid")
    return fit


def best_shift(fit: Reals) -> Start:
    """The shift of the best fit in pixels, (row, column), by parabolas through the largest value and its neighbours."""
    row, column = (int(i) for i in np.unravel_index(int(np.argmax(fit)), fit.shape))
    return (row + _beside(fit[:, column], row)) / 2 - REACH, (column + _beside(fit[row], column)) / 2 - REACH


def _beside(values: Reals, at: int) -> float:
    """Where the parabola through a largest value and its two neighbours has its top, -1/2 to 1/2; 0 at the border."""
    if not 0 < at < len(values) - 1:
        return 0.0
    before, top, after = values[at - 1 : at + 2]
    bend = before - 2 * top + after
    return 0.0 if bend == 0 else float((before - after) / (2 * bend))


def ink_at(digit: NDArray[np.uint8], start: Start, t_us: float) -> NDArray[np.bool_]:
    """Which pixels (34, 34) of the sensor the digit's ink covers at a time: bilinear, more than half of full ink."""
    canvas = np.zeros(SENSOR)
    canvas[:DIGIT, :DIGIT] = digit / 255
    inked: NDArray[np.bool_] = ndimage.shift(canvas, np.array(start) + path(t_us), order=1) > _INK_AT
    return inked
