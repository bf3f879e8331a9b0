"""What every data section of a config is built from: what a network reads, and changes to training images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field, model_validator

from neuroseg.config.section import Section, Share, Side

InputKind: TypeAlias = Literal["image", "frames", "spikes"]
Zoom = Annotated[float, Field(gt=0, le=4)]


@dataclass(frozen=True)
class Inputs:
    """What a network reads.

    channels  3 for colour, 1 for grey, 2 for the polarities of events
    kind      image: real pixels, the same at every step; the host computes the first convolution
              frames: real pixels, another frame at each step; the host's, too
              spikes: 0 or 1 at each step; the first convolution is the chip's
    """

    channels: int = 3
    kind: InputKind = "image"

    def shape(self, size: tuple[int, int], steps: int) -> tuple[int, ...]:
        """(C, H, W) of one image, (T, C, H, W) of frames or spikes."""
        one = (self.channels, *size)
        return one if self.kind == "image" else (steps, *one)


class DataSection(Section):
    """A data set. Subclasses are told apart by `name`; `size` is (height, width) of what the network gets.

    task    what a network learns from it: `segmentation`, or `denoising`
    inputs  what the network reads
    """

    task: ClassVar[Literal["segmentation", "denoising"]] = "segmentation"
    size: tuple[Side, Side]

    @property
    def train_size(self) -> tuple[int, int]:
        """(height, width) of what the network gets in training: `size`, unless it is trained on patches."""
        return self.size

    @property
    def stackable(self) -> DataSection:
        """The section whose val and test items are all of one size, for comparisons over several at once."""
        return self

    @property
    def inputs(self) -> Inputs:
        """Colour images, unless a data set says otherwise."""
        return Inputs()


class AugmentConfig(Section):
    """Changes to training images; image and mask move together.

    flip        probability of a horizontal flip
    vertical_flip   probability of a flip from top to bottom
    quarter_turns   turn by 0, 90, 180 or 270 degrees, each as likely; pictures must be square
    rotate      largest turn in degrees, either way; the corners are void
    scale       (smallest, largest) zoom; below 1 the frame is void
    brightness, contrast, saturation, hue   strength of the colour jitter (torchvision's ColorShare)
    """

    flip: Share = 0.5
    vertical_flip: Share = 0.0
    quarter_turns: bool = False
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: tuple[Zoom, Zoom] = (1.0, 1.0)
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0

    @model_validator(mode="after")
    def _ordered(self) -> AugmentConfig:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {list(self.scale)} is in the wrong order; write the smaller zoom first")
        return self
