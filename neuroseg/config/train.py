"""The train section of a config."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from neuroseg.config.section import Count, Section, Seed


class TrainConfig(Section):
    """How a network is trained.

    optimizer    adam, or rmsprop (PyTorch's, without momentum)
    epochs       passes over the training split
    lr, weight_decay   the optimiser's, at the start
    batch_size   images per step and device
    class_weight_power  loss weight of class c is (median share of pixels / share of c) to this power: 0 weighs all pixels
                 alike, 1 all classes. Rare classes need some: their neurons fall silent, and silence is no gradient
    focal_gamma  focal loss (Lin et al. 2017): cross entropy of a pixel times (1 - p) ** focal_gamma, where p is the share given
                 to its class; 0: plain cross entropy
    lovasz_weight   adds so much of the Lovasz-softmax loss (Berman et al. 2018), a surrogate of mIoU, of the largest class map
    multi_scale  false: the loss of the largest class map alone; the others stay, without weight (an ablation of MFS-Seg)
    denoising_loss   of denoising data sets: l1, the mean of |output - noise|, or mse, of its square
    schedule     `cosine` to zero over all steps; `step`: lr times step_factor every step_epochs epochs; `constant`
    warmup_epochs  epochs over which lr rises from zero
    ema_decay    what is validated and kept is an average of the weights of all steps, in which a step counts for this factor
                 less than the next one (0.99: the last hundred steps or so); 0: the weights of the last step
    teacher      folder of a trained RUN (or zoo:NAME), an ANN or a larger network, whose class map is imitated, too; null: none.
                 It gets the same images, resized to its own size
    teacher_weight, teacher_temperature   weight of the imitation in the loss; what both networks' logits are divided by in it
    qat_epochs   the last epochs that train quantisation-aware: the folded weights are rounded to the chip's integers in the
                 forward pass, and the statistics of the norms stand still. 0: never
    val_every    epochs between validations; the weights kept are those of the best one
    accelerator, devices, nodes, precision   Lightning's; several devices train by DDP. `auto` takes a GPU when there is one;
                 16-mixed and bf16-mixed need one
    activation_checkpointing   keep of each residual block only what enters it, and compute the rest again for the gradient:
                 less memory, more time, the same result
    workers      processes that load data
    """

    optimizer: Literal["adam", "rmsprop"] = "adam"
    epochs: Count = 10
    batch_size: Count = 16
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    class_weight_power: Annotated[float, Field(ge=0, le=1)] = 0.0
    focal_gamma: Annotated[float, Field(ge=0, le=10)] = 0.0
    lovasz_weight: Annotated[float, Field(ge=0)] = 0.0
    multi_scale: bool = True
    denoising_loss: Literal["l1", "mse"] = "l1"
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    step_epochs: Count = 200
    step_factor: Annotated[float, Field(gt=0)] = 0.1
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    teacher: str | None = None
    teacher_weight: Annotated[float, Field(gt=0)] = 1.0
    teacher_temperature: Annotated[float, Field(gt=0)] = 1.0
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
