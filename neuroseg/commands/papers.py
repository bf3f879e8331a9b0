"""The papers' tables as printed (`neuroseg/papers/*.yaml`): what each row says, and which network of ours it means."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import Field, TypeAdapter, model_validator

from export.errors import DataError
from neuroseg.config import Inputs, ModelConfig, ModelSection
from neuroseg.config.data_section import InputKind
from neuroseg.config.section import Count, Section, Side

Quantity: TypeAlias = Literal["parameters", "macs", "energy"]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Size: TypeAlias = tuple[Side, Side]

MODEL: TypeAdapter[ModelSection] = TypeAdapter(ModelConfig)


class Printed(Section):
    """The numbers of a row, in the units of the paper; what is not printed is null.

    spikes_and_first_layer_g   spikes of all neurons over all steps, and multiply-accumulates of the first layer; in 1e9
    energy_gain                energy of the ANN over that of the network
    miou, f1, jaccard, accuracy, ssim   shares of one; f1, jaccard and accuracy of one foreground class
    psnr_db                    in dB, of images in 0 to 1
    """

    parameters_m: Positive | None = None
    gflops: Positive | None = None
    spikes_and_first_layer_g: Positive | None = None
    firing_rate: Share | None = None
    miou: Share | None = None
    f1: Share | None = None
    jaccard: Share | None = None
    accuracy: Share | None = None
    psnr_db: Positive | None = None
    ssim: Share | None = None
    energy_mj: Positive | None = None
    energy_gain: Positive | None = None


class Setting(Section):
    """What the networks of a data set read, and how many classes they tell apart.

    size     height, width
    classes  null for denoisers, whose outputs are as many as the image's channels
    """

    size: Size
    classes: Count | None = None
    channels: Count
    kind: InputKind

    @property
    def outputs(self) -> int:
        """Maps that the networks put out."""
        return self.channels if self.classes is None else self.classes


class Bars(Section):
    """By how many per cent ours may deviate."""

    parameters: Positive = 15.0
    macs: Positive = 15.0
    energy: Positive = 3.0


class Row(Section):
    """One row of a table.

    kind       ann, snn or hybrid
    steps      T of a spiking network
    halved     the printed GFLOPs are half of the multiply-accumulates
    doubled    they are two for each multiply-accumulate; all_steps: over all T steps. Only `cause` says so, no paper
    model      the `model` section of a config of ours that the row means; null: the network is not one of ours. Of a network
               that was converted (`kind` is snn, `model.neuron` relu) it is the ANN's
    size       of the input, where the paper's does not divide as our network needs
    first_layer      how its energy counts the first layer, which reads real numbers: mac, as multiply-accumulates of the host; or
                     ac, as accumulations at the network's firing rate, as if it read spikes
    up_convolutions  count a 3x3 convolution behind an up-sampling for each of our 2x2 transposed ones
    cause      why ours deviates, as far as it is known
    contradictions   quantity -> why the printed one is not to be met: it contradicts the paper itself, or cannot be computed.
               {macs:+.1f} in it is by how many per cent ours deviates, {macs_bar:.0f} the bar; {parameters...} likewise
    """

    id: str
    data: str
    name: str
    kind: Literal["ann", "snn", "hybrid"]
    steps: Count | None = None
    halved: bool = False
    doubled: bool = False
    all_steps: bool = False
    printed: Printed
    model: dict[str, Any] | None = None
    size: Size | None = None
    first_layer: Literal["mac", "ac"] = "mac"
    up_convolutions: bool = False
    bars: Bars = Bars()
    cause: str | None = None
    contradictions: dict[Quantity, str] = Field(default_factory=dict)

    @property
    def section(self) -> ModelSection | None:
        """The checked `model` section."""
        return None if self.model is None else MODEL.validate_python(self.model)

    @property
    def prints_sizes(self) -> bool:
        """Whether it says how large a network is, or what it takes."""
        printed = self.printed
        return any(x is not None for x in (printed.parameters_m, printed.gflops, printed.energy_mj))

    @property
    def parameters(self) -> float | None:
        """As printed, in units of one."""
        return None if self.printed.parameters_m is None else self.printed.parameters_m * 1e6

    @property
    def counted_as(self) -> tuple[str, ...]:
        """In words, where the row counts otherwise than others: operations, energy, size of the input."""
        ways = {
            "the printed GFLOPs are half of the operations": self.halved,
            "the printed GFLOPs are two for each multiply-accumulate": self.doubled,
            "the printed GFLOPs are over all steps": self.all_steps,
            "energy: the first layer counts as accumulations, though it reads real numbers": self.first_layer == "ac",
            "operations: a 3x3 convolution behind an up-sampling stands for each transposed one of ours": self.up_convolutions,
            "energy: spikes and the first layer's multiply-accumulates, once": self.printed.spikes_and_first_layer_g
            is not None,
        }
        notes = [note for note, holds in ways.items() if holds]
        return (*notes, *([] if self.size is None else [f"ours at {self.size[0]}x{self.size[1]}"]))

    @property
    def by_the_common_rule(self) -> Row | None:
        """The row without the switches that it alone has; None if it has none. The size of the input stays."""
        common = {"first_layer": "mac", "up_convolutions": False, "doubled": False, "all_steps": False}
        if all(getattr(self, key) == value for key, value in common.items()):
            return None
        return self.model_copy(update=common)

    @property
    def macs(self) -> float | None:
        """Multiply-accumulates per image and time step that the printed GFLOPs stand for."""
        if self.printed.gflops is None:
            return None
        per_flop = (2.0 if self.halved else 1.0) * (0.5 if self.doubled else 1.0)
        return self.printed.gflops * 1e9 * per_flop / ((self.steps or 1) if self.all_steps else 1)


class Table(Section):
    """A table of a paper."""

    table: Count
    caption: str
    rows: tuple[Row, ...]


class Paper(Section):
    """A paper's tables.

    counting  what its operations count
    settings  data set -> what its networks read
    """

    schema_version: Literal[1]
    paper: str
    title: str
    source: str
    counting: str
    settings: dict[str, Setting]
    tables: tuple[Table, ...]

    @model_validator(mode="after")
    def _rows_have_a_setting(self) -> Paper:
        for row in self.rows:
            if row.data not in self.settings:
                raise ValueError(f"row {row.id} is of data set {row.data}, for which there is no setting")
        return self

    @property
    def rows(self) -> tuple[Row, ...]:
        """Rows of all tables."""
        return tuple(row for table in self.tables for row in table.rows)

    def inputs(self, row: Row) -> tuple[Inputs, Size]:
        """What the network of a row reads, and (height, width)."""
        setting = self.settings[row.data]
        return Inputs(setting.channels, setting.kind), row.size or setting.size


@cache
def read_papers() -> tuple[Paper, ...]:
    """All papers that come with the package, in the order of their names."""
    folder = resources.files("neuroseg") / "papers"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return tuple(Paper.model_validate(yaml.safe_load(file.read_text(encoding="utf-8"))) for file in files)


def paper_row(name: str) -> Row:
    """A row by its id, such as 'kim/4/deeplab-snn'. Raises DataError for one that no table has."""
    rows = {row.id: row for paper in read_papers() for row in paper.rows}
    if name not in rows:
        raise DataError(f"no table of the papers has a row '{name}'; `neuroseg tables --json` lists the ids")
    return rows[name]
