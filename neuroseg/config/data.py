"""Data sections of a config: where images or events come from, and what one sample is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args

from pydantic import Discriminator, Field, Tag, model_validator

from neuroseg.config.section import Count, Section, Seed, Share, Side

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
    def inputs(self) -> Inputs:
        """Colour images, unless a data set says otherwise."""
        return Inputs()


class DigitsConfig(DataSection):
    """Digits on photographs, embedded: nothing is read from a disk.

    size              (height, width) of images and masks in pixels
    classes           2 (background, digit) or 11 (background, 0 to 9)
    digits_per_image  digits that do not overlap
    train_samples, val_samples, test_samples   images of each split; they share neither digits nor photographs' pixels
    seed              of what is drawn
    """

    name: Literal["digits"] = "digits"
    size: tuple[Side, Side] = (32, 32)
    classes: Literal[2, 11] = 2
    digits_per_image: Count = 1
    train_samples: Count = 1000
    val_samples: Count = 100
    test_samples: Count = 200
    seed: Seed = 0


class AugmentConfig(Section):
    """Changes to training images; image and mask move together.

    flip        probability of a horizontal flip
    scale       (smallest, largest) zoom; below 1 the frame is void
    brightness, contrast, saturation, hue   strength of the colour jitter (torchvision's ColorShare)
    """

    flip: Share = 0.5
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


class CamVidConfig(DataSection):
    """CamVid in SegNet's layout, 11 classes and void.

    root      its folder; a relative one is looked up in $NEUROSEG_DATA, then in the current folder
    protocol  segnet: the three lists as they are; paper: trains on train + test, evaluates on val (MFS-Seg)
    size      (height, width) of the images that the network gets; scores are against the labels as they are
    augment   changes to training images; null: none
    """

    name: Literal["camvid"]
    root: str = "camvid"
    protocol: Literal["segnet", "paper"] = "segnet"
    size: tuple[Side, Side] = (180, 240)
    augment: AugmentConfig | None = AugmentConfig()

    @property
    def classes(self) -> int:
        """Void is not one of them."""
        return 11


Kind: TypeAlias = DigitsConfig | CamVidConfig
KINDS: tuple[type[DataSection], ...] = get_args(Kind)


def data_name(kind: type[DataSection]) -> str:
    """The value of `data.name` that means this section."""
    name: str = get_args(kind.model_fields["name"].annotation)[0]
    return name


def _name_of(section: Any) -> Any:
    """`digits` when a data section does not say what it is."""
    return section.get("name", "digits") if isinstance(section, dict) else getattr(section, "name", None)


DataConfig: TypeAlias = Annotated[
    Annotated[DigitsConfig, Tag("digits")] | Annotated[CamVidConfig, Tag("camvid")],
    Discriminator(
        _name_of,
        custom_error_type="section_kind",
        custom_error_message=f"data.name is one of {', '.join(map(data_name, KINDS))}",
    ),
]
