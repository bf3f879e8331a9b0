"""Model sections of a config: which network, and how large."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Discriminator, Field, Tag, model_validator

from neuroseg.config.converted import ConvertedConfig
from neuroseg.config.kim import DeepLabConfig as DeepLabConfig
from neuroseg.config.kim import FcnConfig as FcnConfig
from neuroseg.config.kim import KimConfig as KimConfig
from neuroseg.config.model_section import ModelSection as ModelSection
from neuroseg.config.model_section import model_family as model_family
from neuroseg.config.section import Count

BlockCount = Annotated[int, Field(ge=0)]
MEMBRANE_SHORTCUT = ("efs", "ms", "shuffle")
NARROWEST = {"fire": 2, "shuffle": 4}  # channels that a block can split


class MfsConfig(ModelSection):
    """MFS-Seg.

    block            residual block: `efs`, `ms`, `shuffle` (membrane shortcuts), `fire` (none), or `sew` (adds spikes; trains,
                     but cannot be exported)
    neuron           lif, or relu: the ANN twin, T = 1, which trains with the same config
    scales           scales of input and output, 1 to 3; widths holds one number of channels for each
    blocks           residual blocks in each encoder and decoder: one number for all, or one for each scale
    expansion        width of the middle of block efs, in units of its channels
    inception        true: 1x1 and 3x3 side by side. Ablations: false, a plain 3x3, as the paper's text says; `point`, a plain
                     1x1, as the sizes in its Table 3 say
    grouped          false: an ablation with dense 3x3 in block efs
    stem             stride of the first convolutions, which the host computes: the network's maps, and its class map, are
                     the image's size divided by it
    attention        spikes of the encoder above that gate an encoder: `output`, those of its end, as in the paper; `first`,
                     those of its image, so that the encoders run side by side and their skips wait less
    shortcut_span    blocks over which the membrane shortcut of a block reaches; null: to the end of its stage, as in the
                     paper. A shorter one needs fewer delays (`neuroseg skips`); needs a block with a membrane shortcut
    steps            T, time steps per image
    v_th, tau        firing threshold, a multiple of 1/64; fraction of the membrane that stays for the next step
                     (rounded to 1/4096, the chip's unit, in training as on the chip)
    surrogate_width  width of the rectangle surrogate gradient, in units of the membrane
    residual_gain    initial gain of the last norm of a residual path
    head_norm        norm in the heads (the paper has none)
    readout_gain     logit of a class neuron that fires at every step
    """

    family: Literal["mfs"] = "mfs"
    block: Literal["efs", "ms", "shuffle", "fire", "sew"] = "efs"
    neuron: Literal["lif", "relu"] = "lif"
    scales: Annotated[int, Field(ge=1, le=3)] = 3
    widths: tuple[Count, ...] = (32, 64, 128)
    blocks: BlockCount | tuple[BlockCount, ...] = 4
    expansion: Count = 2
    inception: bool | Literal["point"] = True
    grouped: bool = True
    stem: Literal[1, 2, 4] = 1
    attention: Literal["output", "first"] = "output"
    shortcut_span: Count | None = None
    v_th: Annotated[float, Field(gt=0)] = 0.5
    tau: Annotated[float, Field(ge=0, lt=1)] = 0.25
    surrogate_width: Annotated[float, Field(gt=0)] = 1.0
    residual_gain: float = 0.2
    head_norm: bool = False
    readout_gain: Annotated[float, Field(gt=0)] = 5.0

    @model_validator(mode="after")
    def _one_width_per_scale(self) -> MfsConfig:
        if len(self.widths) != self.scales:
            raise ValueError(f"widths has {len(self.widths)} entries for {self.scales} scales; give one per scale")
        if len(self.blocks_per_scale) != self.scales:
            given = len(self.blocks_per_scale)
            raise ValueError(f"blocks has {given} entries for {self.scales} scales; give one number, or one per scale")
        if self.shortcut_span is not None and self.block not in MEMBRANE_SHORTCUT:
            raise ValueError(
                f"shortcut_span = {self.shortcut_span} needs block = efs, ms or shuffle, whose shortcut adds membrane input; "
                f"block is {self.block}. Leave shortcut_span null"
            )
        return self

    @model_validator(mode="after")
    def _makes_sense(self) -> MfsConfig:
        if not self.grouped and self.block != "efs":
            raise ValueError(f"grouped = false makes the 3x3 of block efs dense, but block is {self.block}")
        if self.neuron == "relu" and self.steps != 1:
            raise ValueError(f"neuron = relu is an ANN, which has no time, but steps = {self.steps}; set steps = 1")
        narrowest = NARROWEST.get(self.block, 1)
        if min(self.widths) < narrowest:
            raise ValueError(
                f"widths = {list(self.widths)}: block {self.block} splits its channels and needs at least {narrowest}"
            )
        return self

    @property
    def blocks_per_scale(self) -> tuple[int, ...]:
        """Residual blocks of the encoder, and of the decoder, at each scale."""
        return (self.blocks,) * self.scales if isinstance(self.blocks, int) else self.blocks

    @property
    def multiple(self) -> int:
        """What height and width of an image must be multiples of."""
        return int(self.stem * 2 ** (self.scales - 1))

    @property
    def why_multiple(self) -> str:
        """The keys that ask for it, for the error."""
        return f"model.scales = {self.scales} and model.stem = {self.stem}"


class UNetConfig(ModelSection):
    """U-Net (Ronneberger et al. 2015): as an ANN for conversion, or directly trained with LIF neurons.

    widths    channels of the levels, from the image down
    neuron    relu: an ANN, T = 1; lif: a spiking network
    norm      batch: batch norm, threshold-dependent for lif; none: a bias, for relu only (Spiking-UNet's denoisers)
    pool      average as in Spiking-UNet, or max
    v_th, tau, surrogate_width   as in MFS-Seg
    """

    family: Literal["unet"]
    widths: Annotated[tuple[Count, ...], Field(min_length=2)] = (64, 128, 256, 512, 1024)
    neuron: Literal["lif", "relu"] = "lif"
    norm: Literal["batch", "none"] = "batch"
    pool: Literal["average", "max"] = "average"
    v_th: Annotated[float, Field(gt=0)] = 0.5
    tau: Annotated[float, Field(ge=0, lt=1)] = 0.25
    surrogate_width: Annotated[float, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _makes_sense(self) -> UNetConfig:
        if self.neuron == "lif" and self.norm == "none":
            raise ValueError(
                "norm = none needs neuron = relu: without a norm few LIF neurons fire at first; set model.norm=batch"
            )
        if self.neuron == "relu" and self.steps != 1:
            raise ValueError(f"neuron = relu is an ANN, which has no time, but steps = {self.steps}; set steps = 1")
        return self

    @property
    def multiple(self) -> int:
        """A pool between levels."""
        return int(2 ** (len(self.widths) - 1))


Family: TypeAlias = MfsConfig | DeepLabConfig | FcnConfig | UNetConfig | ConvertedConfig
FAMILIES: tuple[type[ModelSection], ...] = get_args(Family)


def _family_of(section: Any) -> Any:
    """`mfs` when a model section does not say what it is."""
    return section.get("family", "mfs") if isinstance(section, dict) else getattr(section, "family", None)


ModelConfig: TypeAlias = Annotated[
    Annotated[MfsConfig, Tag("mfs")]
    | Annotated[DeepLabConfig, Tag("deeplab")]
    | Annotated[FcnConfig, Tag("fcn")]
    | Annotated[UNetConfig, Tag("unet")]
    | Annotated[ConvertedConfig, Tag("converted")],
    Discriminator(
        _family_of,
        custom_error_type="section_kind",
        custom_error_message=f"model.family is one of {', '.join(map(model_family, FAMILIES))}",
    ),
]
