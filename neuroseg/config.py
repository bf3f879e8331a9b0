"""A run's configuration: YAML into frozen models, with errors that name the key.

name: demo
data:  {name: digits, size: [32, 32], classes: 2, ...}
model: {block: efs, widths: [8, 16, 24], ...}
train: {epochs: 10, ...}
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from export.errors import UsageError

Side = Annotated[int, Field(ge=16)]
Count = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Section):
    """The data set. size is (height, width) in pixels; samples are counted per split."""

    name: Literal["digits"] = "digits"
    size: tuple[Side, Side] = (32, 32)
    classes: Literal[2, 11] = 2
    digits_per_image: Count = 1
    train_samples: Count = 1000
    val_samples: Count = 100
    test_samples: Count = 200
    seed: Seed = 0


class ModelConfig(_Section):
    """MFS-Seg.

    block            residual block: `efs` (membrane shortcut), or `sew` (adds spikes; trains, but cannot be exported)
    scales           scales of input and output, 1 to 3; widths holds one number of channels for each
    blocks           residual blocks in each encoder and decoder
    expansion        width of a block's middle, in units of its channels
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
    blocks: Annotated[int, Field(ge=0)] = 4
    expansion: Count = 2
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
        return self


class TrainConfig(_Section):
    """Adam.

    class_weight_power  loss weight of class c is (median share of pixels / share of c) to this power: 0 weighs all pixels
                alike, 1 all classes. Rare classes need some: their neurons fall silent, and silence is no gradient
    schedule    `cosine` to zero over all steps; `step`: lr times step_factor every step_epochs epochs; `constant`
    accelerator where to train; `auto` takes a GPU when there is one
    """

    epochs: Count = 10
    batch_size: Count = 16
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    class_weight_power: Annotated[float, Field(ge=0, le=1)] = 0.0
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    step_epochs: Count = 200
    step_factor: Annotated[float, Field(gt=0)] = 0.1
    seed: Seed = 0
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"


class Config(_Section):
    """Everything that decides a run."""

    name: str = "run"
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _size_divides(self) -> Config:
        multiple = 2 ** (self.model.scales - 1)
        for side in self.data.size:
            if side % multiple:
                below = side // multiple * multiple
                raise ValueError(
                    f"data.size: {side} is not a multiple of {multiple}, which model.scales = {self.model.scales} needs; "
                    f"use {f'{below} or ' if below else ''}{below + multiple}"
                )
        return self


def shipped_configs() -> list[str]:
    """Names of the configs that come with the package."""
    return sorted(p.name.removesuffix(".yaml") for p in _shipped_folder().iterdir() if p.name.endswith(".yaml"))


def load_config(path_or_name: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, or a shipped config by its name, and apply `key.sub=value` overrides (values are YAML).

    Raises UsageError naming the file, the key and the fix.
    """
    text, source = _text_of(path_or_name)
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from None
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise UsageError(
            f"{source} holds a {type(tree).__name__}; a config is a mapping of {', '.join(Config.model_fields)}"
        )
    for override in overrides:
        _apply(tree, override)
    return validate(tree, source)


def validate(tree: dict[str, Any], source: str) -> Config:
    """A checked Config from plain data; `source` says in errors where the data came from."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(dict(problem)) for problem in error.errors()]
        raise UsageError(f"{source}: " + "; ".join(lines)) from None


def dump_config(config: Config) -> str:
    """YAML text from which `load_config` gives an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _shipped_folder() -> Any:
    return resources.files("neuroseg") / "configs"


def _text_of(path_or_name: str | Path) -> tuple[str, str]:
    path = Path(path_or_name)
    try:
        if path.is_file():
            return path.read_text(encoding="utf-8"), str(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"config '{path}' cannot be read: {error}") from None
    name = str(path_or_name).removesuffix(".yaml")
    if name in shipped_configs():
        return (_shipped_folder() / f"{name}.yaml").read_text(encoding="utf-8"), f"config '{name}'"
    raise UsageError(
        f"config '{path_or_name}' is neither a file nor a shipped config; shipped are: {', '.join(shipped_configs())}"
    )


def _apply(tree: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        raise UsageError(f"override '{override}' is not of the form key.sub=value, for example train.epochs=5")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"override '{override}': the value is not valid YAML") from None
    *parents, key = dotted.strip().split(".")
    for parent in parents:
        child = tree.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UsageError(f"override '{override}': '{parent}' is a value, not a section")
        tree = child
    tree[key] = value


def _explain(problem: dict[str, Any]) -> str:
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        return _explain_unknown(location)
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key} = {problem['input']!r}: {message[:1].lower()}{message[1:]}"


def _explain_unknown(location: list[str]) -> str:
    *parents, key = location
    section: type[BaseModel] = Config
    for parent in parents:
        section = _section_type(section, parent)
    prefix = ".".join([*parents, ""])
    valid = [prefix + name for name in section.model_fields]
    # The right key in the wrong section comes before a similar one in this section.
    moved = [known for known in _all_keys() if known.rpartition(".")[2] == key]
    close = moved or [prefix + name for name in get_close_matches(key, section.model_fields, n=1)]
    hint = f"did you mean '{close[0]}'?" if close else f"valid keys are {', '.join(valid)}"
    return f"unknown key '{prefix}{key}'; {hint}"


def _section_type(section: type[BaseModel], name: str) -> type[BaseModel]:
    annotation = section.model_fields[name].annotation
    candidates = [annotation, *get_args(annotation)]
    return next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))


def _all_keys() -> list[str]:
    keys = []
    for name, field in Config.model_fields.items():
        kind = field.annotation
        nested = kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else {}
        keys += [name, *(f"{name}.{sub}" for sub in nested)]
    return keys
