"""Model sections of a config: which network, and how large."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Discriminator, Field, Tag, model_validator

from neuroseg.config.section import Count, Section

BlockCount = Annotated[int, Field(ge=0)]


class ModelSection(Section):
    """A network. Subclasses are told apart by `family`.

    steps   T, time steps per image
    """

    steps: Count = 5

    @property
    def multiple(self) -> int:
        """What height and width of an image must be multiples of."""
        return 1

    @property
    def why_multiple(self) -> str:
        """The keys that ask for it, for the error."""
        return f"model.family = {model_family(type(self))}"


class MfsConfig(ModelSection):
    """MFS-Seg.

    block            residual block: `efs` (membrane shortcut), or `sew` (adds spikes; trains, but cannot be exported)
    scales           scales of input and output, 1 to 3; widths holds one number of channels for each
    blocks           residual blocks in each encoder and decoder: one number for all, or one for each scale
    expansion        width of a block's middle, in units of its channels
    stem             stride of the first convolutions, which the host computes: the network's maps, and its class map, are
                     the image's size divided by it
    attention        spikes of the encoder above that gate an encoder: `output`, those of its end, as in the paper; `first`,
                     those of its image, so that the encoders run side by side and their skips wait less
    shortcut_span    blocks over which the membrane shortcut of a block reaches; null: to the end of its stage, as in the
                     paper. A shorter one needs fewer delays (`neuroseg skips`); needs block efs
    steps            T, time steps per image
    v_th, tau        firing threshold, a multiple of 1/64; fraction of the membrane that stays for the next step
                     (rounded to 1/4096, the chip's unit, in training as on the chip)
    surrogate_width  width of the rectangle surrogate gradient, in units of the membrane
    residual_gain    initial gain of the last norm of a residual path
    head_norm        norm in the heads (the paper has none)
    readout_gain     logit of a class neuron that fires at every step
    """

    family: Literal["mfs"] = "mfs"
    block: Literal["efs", "sew"] = "efs"
    scales: Annotated[int, Field(ge=1, le=3)] = 3
    widths: tuple[Count, ...] = (32, 64, 128)
    blocks: BlockCount | tuple[BlockCount, ...] = 4
    expansion: Count = 2
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
        if self.shortcut_span is not None and self.block != "efs":
            raise ValueError(
                f"shortcut_span = {self.shortcut_span} needs block = efs, whose shortcut adds membrane input; block is "
                f"{self.block}. Leave shortcut_span null"
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


class KimConfig(ModelSection):
    """What Spiking-DeepLab and Spiking-FCN share (Kim et al. 2022): a VGG9 backbone of three stages.

    widths      channels of the stages
    classifier  channels of the wide layer before the class scores
    neuron      lif, or relu: the ANN twin, T = 1
    norm        bntt: a gain per time step, as in the paper; tdbn: one for all steps. Only tdbn deploys
    reset       soft: the threshold is subtracted, as in the paper; hard: to zero. Only hard deploys
    coding      poisson: spikes of the pixels, as in the paper; direct: the host computes the first convolution
    pool        side of the average pools, stride 2: 3 as in the paper; 2 deploys
    readout     accumulate: the last layer's input, summed over time by the host; rate: class neurons' spikes
    v_th, tau   firing threshold; fraction of the membrane that stays (0.99: the paper's leak)
    """

    widths: tuple[Count, Count, Count] = (64, 128, 256)
    classifier: Count = 1024
    neuron: Literal["lif", "relu"] = "lif"
    norm: Literal["bntt", "tdbn"] = "bntt"
    reset: Literal["soft", "hard"] = "soft"
    coding: Literal["poisson", "direct"] = "poisson"
    pool: Literal[2, 3] = 3
    readout: Literal["accumulate", "rate"] = "accumulate"
    steps: Count = 20
    v_th: Annotated[float, Field(gt=0)] = 1.0
    tau: Annotated[float, Field(ge=0, lt=1)] = 0.99


class DeepLabConfig(KimConfig):
    """Spiking-DeepLab: dilated convolutions, a class map at a quarter of the image, resized by the host."""

    family: Literal["deeplab"]

    @property
    def multiple(self) -> int:
        """Two pools."""
        return 4


class FcnConfig(KimConfig):
    """Spiking-FCN: transposed convolutions and skip convolutions back to the size of the image."""

    family: Literal["fcn"]

    @property
    def multiple(self) -> int:
        """Three pools."""
        return 8


class UNetConfig(ModelSection):
    """U-Net (Ronneberger et al. 2015): as an ANN for conversion, or directly trained with LIF neurons.

    widths    channels of the levels, from the image down
    neuron    relu: an ANN, T = 1; lif: a spiking network
    pool      average as in Spiking-UNet, or max
    v_th, tau, surrogate_width   as in MFS-Seg
    """

    family: Literal["unet"]
    widths: Annotated[tuple[Count, ...], Field(min_length=2)] = (64, 128, 256, 512, 1024)
    neuron: Literal["lif", "relu"] = "lif"
    pool: Literal["average", "max"] = "average"
    v_th: Annotated[float, Field(gt=0)] = 0.5
    tau: Annotated[float, Field(ge=0, lt=1)] = 0.25
    surrogate_width: Annotated[float, Field(gt=0)] = 1.0

    @property
    def multiple(self) -> int:
        """A pool between levels."""
        return int(2 ** (len(self.widths) - 1))


Family: TypeAlias = MfsConfig | DeepLabConfig | FcnConfig | UNetConfig
FAMILIES: tuple[type[ModelSection], ...] = get_args(Family)


def model_family(kind: type[ModelSection]) -> str:
    """The value of `model.family` that means this section."""
    name: str = get_args(kind.model_fields["family"].annotation)[0]
    return name


def _family_of(section: Any) -> Any:
    """`mfs` when a model section does not say what it is."""
    return section.get("family", "mfs") if isinstance(section, dict) else getattr(section, "family", None)


ModelConfig: TypeAlias = Annotated[
    Annotated[MfsConfig, Tag("mfs")]
    | Annotated[DeepLabConfig, Tag("deeplab")]
    | Annotated[FcnConfig, Tag("fcn")]
    | Annotated[UNetConfig, Tag("unet")],
    Discriminator(
        _family_of,
        custom_error_type="section_kind",
        custom_error_message=f"model.family is one of {', '.join(map(model_family, FAMILIES))}",
    ),
]
