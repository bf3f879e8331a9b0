"""Data sections of a config: where images or events come from, and what one sample is."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Discriminator, Tag

from neuroseg.config.data_section import AugmentConfig, DataSection
from neuroseg.config.event_data import Ddd17Config, DsecConfig, NMnistConfig, SyntheticEventsConfig
from neuroseg.config.image_data import (
    CamSeqConfig,
    DenoiseConfig,
    DriveConfig,
    IsbiEmConfig,
    MnistCifarConfig,
    VocConfig,
)
from neuroseg.config.section import Count, Seed, Side


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


class CamVidConfig(DataSection):
    """CamVid in SegNet's layout, 11 classes and void.

    root      its folder; a relative one is looked up in $NEUROSEG_DATA, then in the current folder
    protocol  segnet: the three lists as they are; paper: trains on train + test, evaluates on val (MFS-Seg)
    size      (height, width) of the images that the network gets
    label_size  (height, width) of the labels that scores are against, MFS-Seg's; null: as in the files
    augment   changes to training images; null: none
    """

    name: Literal["camvid"]
    root: str = "camvid"
    protocol: Literal["segnet", "paper"] = "segnet"
    size: tuple[Side, Side] = (180, 240)
    label_size: tuple[Side, Side] | None = (180, 240)
    augment: AugmentConfig | None = AugmentConfig()

    @property
    def classes(self) -> int:
        """Void is not one of them."""
        return 11


Kind: TypeAlias = (
    DigitsConfig
    | CamVidConfig
    | CamSeqConfig
    | DriveConfig
    | IsbiEmConfig
    | MnistCifarConfig
    | VocConfig
    | DenoiseConfig
    | SyntheticEventsConfig
    | NMnistConfig
    | Ddd17Config
    | DsecConfig
)
KINDS: tuple[type[DataSection], ...] = get_args(Kind)


def data_name(kind: type[DataSection]) -> str:
    """The value of `data.name` that means this section."""
    name: str = get_args(kind.model_fields["name"].annotation)[0]
    return name


def _name_of(section: Any) -> Any:
    """`digits` when a data section does not say what it is."""
    return section.get("name", "digits") if isinstance(section, dict) else getattr(section, "name", None)


DataConfig: TypeAlias = Annotated[
    Annotated[DigitsConfig, Tag("digits")]
    | Annotated[CamVidConfig, Tag("camvid")]
    | Annotated[CamSeqConfig, Tag("camseq01")]
    | Annotated[DriveConfig, Tag("drive")]
    | Annotated[IsbiEmConfig, Tag("isbi-em")]
    | Annotated[MnistCifarConfig, Tag("mnist-cifar10")]
    | Annotated[VocConfig, Tag("voc2012")]
    | Annotated[DenoiseConfig, Tag("denoise")]
    | Annotated[SyntheticEventsConfig, Tag("synthetic-events")]
    | Annotated[NMnistConfig, Tag("n-mnist")]
    | Annotated[Ddd17Config, Tag("ddd17")]
    | Annotated[DsecConfig, Tag("dsec-semantic")],
    Discriminator(
        _name_of,
        custom_error_type="section_kind",
        custom_error_message=f"data.name is one of {', '.join(map(data_name, KINDS))}",
    ),
]
