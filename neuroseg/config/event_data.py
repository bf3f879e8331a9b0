"""Data sections whose samples come from event cameras: (T, 2, H, W), channel 0 for OFF and 1 for ON events."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from neuroseg.config.data_section import DataSection, Inputs
from neuroseg.config.section import Count, Seed, Share, Side

Milliseconds = Annotated[float, Field(ge=0.001, le=10_000)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class EventSection(DataSection):
    """Events, binned into the T time steps of the network; the last step ends when the label was taken.

    frames  binary: 1 where a step saw an event of that polarity; spikes, so the first convolution is the chip's
            histogram: numbers of events, over the sample's mean of those that are not 0; real, so it is the host's
    bin_ms  duration of a time step in milliseconds
    """

    frames: Literal["histogram", "binary"] = "binary"
    bin_ms: Milliseconds = 20.0

    @property
    def inputs(self) -> Inputs:
        """OFF and ON."""
        return Inputs(2, "spikes" if self.frames == "binary" else "frames")


class SyntheticEventsConfig(EventSection):
    """Digits that move over photographs, seen by a model of an event camera; embedded: nothing is read from a disk.

    size          (height, width) of frames and masks in pixels
    classes       2 (background, digit) or 11 (background, 0 to 9)
    speed         (slowest, fastest) mean speed of a digit along its path in pixels per second
    pan           fastest motion of the photograph behind it in pixels per second; 0: it stands still
    c_on, c_off   contrast thresholds: change of log intensity (natural logarithm) that makes an event
    mismatch      standard deviation of the thresholds over the pixels, as a share of them
    refractory_ms time after an event in which a pixel is silent
    noise_hz      background activity: events per pixel and second that mean nothing
    train_samples, val_samples, test_samples   recordings of each split; they share neither digits nor photographs' pixels
    seed          of what is drawn
    """

    name: Literal["synthetic-events"]
    size: tuple[Side, Side] = (32, 32)
    classes: Literal[2, 11] = 2
    speed: tuple[Positive, Positive] = (40.0, 100.0)
    pan: NotNegative = 20.0
    c_on: Positive = 0.2
    c_off: Positive = 0.2
    mismatch: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    refractory_ms: NotNegative = 1.0
    noise_hz: NotNegative = 1.0
    train_samples: Count = 1000
    val_samples: Count = 100
    test_samples: Count = 200
    seed: Seed = 0

    @model_validator(mode="after")
    def _ordered(self) -> SyntheticEventsConfig:
        if self.speed[0] > self.speed[1]:
            raise ValueError(f"speed {list(self.speed)} is in the wrong order; write the slower one first")
        return self


class NMnistConfig(EventSection):
    """N-MNIST recordings with masks made from the MNIST digits that they were recorded from.

    root        folder that holds Train and Test; a relative one is looked up in $NEUROSEG_DATA, then in the current folder
    mnist_root  folder of MNIST's four idx files, gzipped or not
    size        (height, width), at least 34: the sensor's 34x34 pixels lie in the middle, none is scaled
    classes     2 (background, digit) or 11 (background, 0 to 9)
    bin_ms      duration of a time step; the T steps end when the camera stands still after a saccade, 80, 185 and 290 ms after
                the start
    saccades    samples per recording: 1, the first saccade, or 3, one for each
    """

    name: Literal["n-mnist"]
    root: str = "events/nmnist"
    mnist_root: str = "mnist"
    size: tuple[Annotated[int, Field(ge=34)], Annotated[int, Field(ge=34)]] = (36, 36)
    classes: Literal[2, 11] = 2
    bin_ms: Milliseconds = 15.0
    saccades: Literal[1, 3] = 3


class DrivingSection(EventSection):
    """Recordings of a driving car with labels.

    root            its folder; a relative one is looked up in $NEUROSEG_DATA, then in the current folder
    size            (height, width) that events are scaled to; scores are against the labels as they are
    events_per_bin  number of events that a time step holds, in place of a duration; null: bin_ms decides
    flip            probability of a flip from left to right, in training
    """

    root: str
    frames: Literal["histogram", "binary"] = "histogram"
    bin_ms: Milliseconds = 50.0
    events_per_bin: Count | None = None
    flip: Share = 0.5


class Ddd17Config(DrivingSection):
    """DDD17 with the labels of Ev-SegNet, 6 classes and void; in Ev-SegNet's own layout, or that of ESS with raw events."""

    name: Literal["ddd17"]
    root: str = "ddd17"
    size: tuple[Side, Side] = (200, 352)

    @property
    def classes(self) -> int:
        """Void is not one of them."""
        return 6


class DsecConfig(DrivingSection):
    """DSEC-Semantic in the layout of ESS, 11 classes and void.

    protocol      paper: trained on all eight training sequences, val is test; held-out: val is the training sequence
                  zurich_city_08_a
    label_stride  every how many-th label is used; ESS takes every second
    """

    name: Literal["dsec-semantic"]
    root: str = "DSEC_Semantic"
    size: tuple[Side, Side] = (440, 640)
    protocol: Literal["paper", "held-out"] = "held-out"
    label_stride: Count = 2

    @property
    def classes(self) -> int:
        """Void is not one of them."""
        return 11
