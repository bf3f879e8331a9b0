"""A whole config: data, model and training, and what must fit together."""

from __future__ import annotations

from pydantic import model_validator

from neuroseg.config.data import DataConfig, DigitsConfig
from neuroseg.config.models import MfsConfig, ModelConfig
from neuroseg.config.section import Section
from neuroseg.config.train import TrainConfig


class Config(Section):
    """Everything that decides a run."""

    name: str = "run"
    data: DataConfig = DigitsConfig()
    model: ModelConfig = MfsConfig()
    train: TrainConfig = TrainConfig()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(C, H, W) of one image, or (T, C, H, W), as the network reads it."""
        return self.data.inputs.shape(self.data.size, self.model.steps)

    @model_validator(mode="after")
    def _loss_suits(self) -> Config:
        given = {key: getattr(self.train, key) for key in ("focal_gamma", "lovasz_weight", "teacher")}
        for key, value in given.items():
            if value and self.data.task != "segmentation":
                off = "null" if key == "teacher" else 0
                raise ValueError(
                    f"train.{key} = {value} is for class maps, this data set is for denoising; set it to {off}"
                )
        return self

    @model_validator(mode="after")
    def _size_divides(self) -> Config:
        multiple = self.model.multiple
        for key, size in (("size", self.data.size), ("patch", self.data.train_size)):
            for side in size:
                if side % multiple:
                    below = side // multiple * multiple
                    raise ValueError(
                        f"data.{key}: {side} is not a multiple of {multiple}, which {self.model.why_multiple} "
                        f"need{'' if ' and ' in self.model.why_multiple else 's'}; "
                        f"use {f'{below} or ' if below else ''}{below + multiple}"
                    )
        return self
