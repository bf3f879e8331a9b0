"""What a config may hold, with limits and defaults."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

Side = Annotated[int, Field(ge=16)]
Count = Annotated[int, Field(gt=0)]
BlockCount = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


Zoom = Annotated[float, Field(gt=0, le=4)]
Jitter = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DigitsConfig(_Section):
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


class AugmentConfig(_Section):
    """Changes to training images; image and mask move together.

    flip        probability of a horizontal flip
    scale       (smallest, largest) zoom; below 1 the frame is void
    brightness, contrast, saturation, hue   strength of the colour jitter (torchvision's ColorJitter)
    """

    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    scale: tuple[Zoom, Zoom] = (1.0, 1.0)
    brightness: Jitter = 0.0
    contrast: Jitter = 0.0
    saturation: Jitter = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0

    @model_validator(mode="after")
    def _ordered(self) -> AugmentConfig:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {list(self.scale)} is in the wrong order; write the smaller zoom first")
        return self


class CamVidConfig(_Section):
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


def _data_name(section: Any) -> Any:
    """`digits` when a data section does not say what it is."""
    return section.get("name", "digits") if isinstance(section, dict) else getattr(section, "name", None)


DataConfig: TypeAlias = Annotated[
    Annotated[DigitsConfig, Tag("digits")] | Annotated[CamVidConfig, Tag("camvid")],
    Discriminator(_data_name, custom_error_type="data_name", custom_error_message="data.name is digits or camvid"),
]


class ModelConfig(_Section):
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

    block: Literal["efs", "sew"] = "efs"
    scales: Annotated[int, Field(ge=1, le=3)] = 3
    widths: tuple[Count, ...] = (32, 64, 128)
    blocks: BlockCount | tuple[BlockCount, ...] = 4
    expansion: Count = 2
    stem: Literal[1, 2, 4] = 1
    attention: Literal["output", "first"] = "output"
    shortcut_span: Count | None = None
    steps: Count = 5
    v_th: Annotated[float, Field(gt=0)] = 0.5
    tau: Annotated[float, Field(ge=0, lt=1)] = 0.25
    surrogate_width: Annotated[float, Field(gt=0)] = 1.0
    residual_gain: float = 0.2
    head_norm: bool = False
    readout_gain: Annotated[float, Field(gt=0)] = 5.0

    @model_validator(mode="after")
    def _one_width_per_scale(self) -> ModelConfig:
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


class TrainConfig(_Section):
    """Adam.

    epochs       passes over the training split
    lr, weight_decay   Adam's, at the start
    batch_size   images per step and device
    class_weight_power  loss weight of class c is (median share of pixels / share of c) to this power: 0 weighs all pixels
                 alike, 1 all classes. Rare classes need some: their neurons fall silent, and silence is no gradient
    schedule     `cosine` to zero over all steps; `step`: lr times step_factor every step_epochs epochs; `constant`
    warmup_epochs  epochs over which lr rises from zero
    qat_epochs   the last epochs that train quantisation-aware: the folded weights are rounded to the chip's integers in the
                 forward pass, and the statistics of the norms stand still. 0: never
    val_every    epochs between validations; the weights kept are those of the best one
    accelerator, devices, nodes, precision   Lightning's; several devices train by DDP. `auto` takes a GPU when there is one;
                 16-mixed and bf16-mixed need one
    activation_checkpointing   keep of each residual block only what enters it, and compute the rest again for the gradient:
                 less memory, more time, the same result
    workers      processes that load data
    """

    epochs: Count = 10
    batch_size: Count = 16
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    class_weight_power: Annotated[float, Field(ge=0, le=1)] = 0.0
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    step_epochs: Count = 200
    step_factor: Annotated[float, Field(gt=0)] = 0.1
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    qat_epochs: Annotated[int, Field(ge=0)] = 0
    val_every: Count = 1
    seed: Seed = 0
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Count = 1
    nodes: Count = 1
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    activation_checkpointing: bool = False
    workers: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _fits(self) -> TrainConfig:
        if self.qat_epochs > self.epochs:
            raise ValueError(f"qat_epochs = {self.qat_epochs} is more than epochs = {self.epochs}")
        if self.val_every > self.epochs:
            raise ValueError(
                f"val_every = {self.val_every} is more than epochs = {self.epochs}: nothing would be validated"
            )
        last_validated = self.epochs // self.val_every * self.val_every
        if self.qat_epochs and last_validated <= self.epochs - self.qat_epochs:
            raise ValueError(
                f"no validation falls into the last qat_epochs = {self.qat_epochs} of {self.epochs} epochs with "
                f"val_every = {self.val_every}; use a val_every that divides {self.epochs}"
            )
        if self.accelerator == "cpu" and self.precision != "32-true":
            raise ValueError(f"precision = {self.precision} needs a GPU; use 32-true, or accelerator = gpu")
        return self


class Config(_Section):
    """Everything that decides a run."""

    name: str = "run"
    data: DataConfig = DigitsConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _size_divides(self) -> Config:
        multiple = self.model.multiple
        for side in self.data.size:
            if side % multiple:
                below = side // multiple * multiple
                raise ValueError(
                    f"data.size: {side} is not a multiple of {multiple}, which model.scales = {self.model.scales} and "
                    f"model.stem = {self.model.stem} need; "
                    f"use {f'{below} or ' if below else ''}{below + multiple}"
                )
        return self
