"""From events to what a network reads: frames (T, 2, H, W), channel 0 for OFF and 1 for ON events.

tonic's ToFrame bins from the first event to the last of what it is given; labels need windows that end at a given time, and
empty steps that stay empty, so the binning is here: one `bincount`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuroseg.data.event_files import Events, Size

FrameKind: TypeAlias = Literal["histogram", "binary"]


def steps_by_time(t: NDArray[np.int64], end_us: int, steps: int, bin_us: float) -> NDArray[np.int64]:
    """The time step of each event (N,), 0 to T-1: step i covers [end - (T-i) bin, end - (T-i-1) bin).

    Events outside of the window get a number outside of 0 to T-1.
    """
    edges = end_us - bin_us * np.arange(steps, -1, -1)
    return np.searchsorted(edges, t, side="right").astype(np.int64) - 1


def steps_by_count(events: int, steps: int, per_step: int) -> NDArray[np.int64]:
    """The time step of each of N events when each step holds `per_step` of them and the last step ends with the last event.

    Earlier events get negative numbers; where there are too few, the first steps hold fewer or none.
    """
    return steps - 1 - np.arange(events - 1, -1, -1, dtype=np.int64) // per_step


def scaled(events: Events, sensor: Size, size: Size) -> Events:
    """Events of a sensor of (H, W) pixels on a grid of another size: each goes where the middle of its pixel falls.

    x' = floor((x + 1/2) W' / W), y likewise. None is lost, none is made, none is spread: a smaller grid adds up, a larger one
    has rows and columns that no event reaches.
    """
    if sensor == size:
        return events
    moved = events.copy()
    for axis, old, new in (("y", sensor[0], size[0]), ("x", sensor[1], size[1])):
        moved[axis] = (2 * events[axis].astype(np.int64) + 1) * new // (2 * old)
    return moved


def counts(events: Events, step: NDArray[np.int64], steps: int, size: Size) -> NDArray[np.int64]:
    """Numbers of events (T, 2, H, W); `step` (N,) says to which time step each belongs, outside of 0 to T-1: to none."""
    within = (step >= 0) & (step < steps)
    kept, step = events[within], step[within]
    height, width = size
    index = ((step * 2 + kept["p"]) * height + kept["y"]) * width + kept["x"]
    return np.bincount(index, minlength=steps * 2 * height * width).reshape(steps, 2, height, width)


def frames(numbers: NDArray[np.int64], kind: FrameKind) -> Tensor:
    """Numbers of events (T, 2, H, W) as a network reads them, float32.

    binary     1 where there was an event, else 0
    histogram  numbers of events over their mean where they are not 0, over all steps: a pixel that saw events has 1 on average,
               whatever the contrast and the duration of a step; nothing is cut off. A sample without events stays 0.
               Kim et al. (2022) say "accumulated positive and negative events" of 50 ms, and no divisor: with raw numbers the
               scale of the first layer's input would depend on the scene. Shapes and channels are the same
    """
    if kind == "binary":
        return torch.from_numpy((numbers > 0).astype(np.float32))
    seen = numbers[numbers > 0]
    return torch.from_numpy((numbers / (seen.mean() if seen.size else 1.0)).astype(np.float32))
