"""What a card says of a network (`card.json`). Every number comes from a command that measured it."""

from __future__ import annotations

import shlex
from pathlib import Path
from statistics import mean
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from export.errors import FileFormatError

CARD, CARD_PAGE = "card.json", "card.md"
PICTURES = "pictures"


Text = Annotated[str, Field(min_length=1)]
Rate = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Part(BaseModel):
    """A part of a card; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(Part):
    """An estimate: no value without its ends."""

    low: float
    nominal: float
    high: float


class Score(Part):
    """Of a RUN on a split.

    split          train, val or test
    protocol       which lists make the splits, where a data set has several; null: it has one
    changes        key=value that make its config of the recipe's shipped one
    chosen_on_it   whether the best epoch was chosen on the same images: then the score is optimistic
    samples        images
    arithmetic     integer: the chip's; real
    miou           over the data set, one confusion matrix;  miou_per_image  MFS-Seg's definition
    """

    split: Text
    protocol: str | None
    changes: tuple[str, ...]
    chosen_on_it: bool
    samples: Count
    arithmetic: Literal["integer", "real"]
    seed: int
    miou: Rate
    miou_per_image: Rate
    pixel_accuracy: Rate
    parameters: Count


class Data(Part):
    """What it was trained on.

    embedded  it comes with the package: nothing is needed to train and score it anew
    """

    name: Text
    embedded: bool
    size: tuple[int, int]
    class_names: tuple[str, ...]
    licence: Text


class Recipe(Part):
    """How it was trained.

    config      name of the shipped config, which with the changes of its score gives the config.yaml beside the card
    train       the train section, whole
    best_epoch  whose weights these are
    """

    config: Text
    train: dict[str, Any]
    best_epoch: Count
    best_val_miou: Rate
    train_time_s: float

    def command(self, of: Score) -> str:
        """How to train what has this score again, but for --out."""
        return shlex.join(["neuroseg", "train", self.config, *of.changes])


class Deployment(Part):
    """What it takes on the chip (`report.json` of its export); energies are estimates, averages over `test_vectors` images.

    neurons            LIF neurons as trained;  neurons_deployed  with OR, AND and relay neurons
    time_per_sample_s  from one image to the next;  latency_s  from an image's first step to its last output
    energy_j           dynamic, per image;  static_energy_j  per image, of the chips that are switched on
    energy_45nm_j      by the papers' arithmetic: as trained and as deployed
    """

    target: Text
    system: Text
    fits: bool
    chips: Count
    cores: Count
    neurons: Count
    neurons_deployed: Count
    host_neurons: Count
    latency_steps: Count
    steps_per_sample: Count
    test_vectors: Count
    firing_rate: Rate
    synops_per_sample: float
    energy_j: Range
    static_energy_j: Range
    time_per_sample_s: Range
    latency_s: Range
    energy_45nm_j: dict[Literal["as_trained", "as_deployed"], float]


class Rung(Part):
    """One form of the network on the images of the ladder, compared with the rung before.

    compared, mismatches  neuron-steps, and those whose spikes differ
    pixel_agreement       share of pixels with the same class
    """

    name: Text
    exact: bool
    miou: Rate
    compared: Count | None
    mismatches: Count | None
    pixel_agreement: Rate | None


class Ladder(Part):
    """From the trained module to Lava on the first images of the test split.

    drop   mIoU of the first rung minus that of the last
    stock_samples, stock_compared, stock_mismatches   the same network on stock Lava with stock models, against SLAYER
    """

    samples: Count
    rungs: tuple[Rung, ...]
    drop: float
    stock_samples: Count
    stock_compared: Count
    stock_mismatches: Count


class Picture(Part):
    """A picture beside the card."""

    file: Text
    caption: Text


class Card(Part):
    """Everything that a user should know before using a network.

    score         of these weights;  iou_per_class  class -> IoU, null where it does not occur
    other_seeds   the same config with another seed
    ann           the same network with ReLU instead of spikes;  ann_seeds  the same with another seed
    other_splits  the same network trained and scored by another protocol
    """

    schema_version: Literal[1] = 1
    name: Text
    summary: Text
    weights_sha256: Sha256
    weights_size_bytes: Count
    input: tuple[int, ...]
    steps: Count
    data: Data
    recipe: Recipe
    score: Score
    iou_per_class: dict[str, float | None]
    other_seeds: tuple[Score, ...]
    ann: Score | None
    ann_seeds: tuple[Score, ...]
    other_splits: tuple[Score, ...]
    deployment: Deployment
    ladder: Ladder
    limits: tuple[Text, ...]
    pictures: tuple[Picture, ...]
    versions: dict[str, str | None]

    @property
    def seed_scores(self) -> list[float]:
        """mIoU of every seed, this one first."""
        return [self.score.miou, *(score.miou for score in self.other_seeds)]

    @property
    def anns(self) -> tuple[Score, ...]:
        """Every ANN twin's score."""
        return (*([self.ann] if self.ann else []), *self.ann_seeds)

    @property
    def scores(self) -> tuple[tuple[str, Score], ...]:
        """What was trained and scored, in words, and its score; these weights first."""
        return (
            ("these weights", self.score),
            *(("another seed", score) for score in self.other_seeds),
            *(("ANN twin (ReLU, one step)", score) for score in self.anns),
            *(("trained by another protocol", score) for score in self.other_splits),
        )

    @property
    def of_ann(self) -> float | None:
        """mIoU as a share of the ANN twin's: the mean over seeds of both; None without a twin."""
        return mean(self.seed_scores) / mean(score.miou for score in self.anns) if self.anns else None


def read_card(folder: Path) -> Card:
    """The card of a network; FileFormatError naming the file and the key."""
    path = folder / CARD
    try:
        return Card.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        raise FileFormatError(
            f"'{path}' is no card of schema version 1: {where}: {problem['msg']}. Install neuroseg again, or copy "
            "the network again: neuroseg zoo get"
        ) from None
    except (OSError, ValueError) as error:
        raise FileFormatError(f"'{path}' cannot be read: {error}. Copy the network again: neuroseg zoo get") from None


def has_card(run: Path) -> bool:
    """Whether a RUN folder is a network of the zoo, or a copy of one; a RUN of one's own has no card."""
    return (run / CARD).is_file()
