"""plan.yaml and camvid.yaml, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from neuroseg.commands.papers import Row, paper_row

PLANS = tuple(Path(__file__).parent / name for name in ("plan.yaml", "camvid.yaml"))
PRIOR = "prior"  # `run.prior`: the score of calling every pixel the class that is most frequent


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Run(_Part):
    """One of train (a config), convert, eval (another run of the study).

    paper_row  id of the row of a paper's table that it is held against (`neuroseg tables --json` lists them)
    """

    train: str | None = None
    convert: str | None = None
    eval: str | None = None
    set: tuple[str, ...] = ()
    flags: tuple[str | int | float, ...] = ()
    paper_row: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Run:
        if sum(kind is not None for kind in (self.train, self.convert, self.eval)) != 1:
            raise ValueError("a run is one of train, convert and eval")
        return self

    @property
    def row(self) -> Row | None:
        """The paper's row; DataError for an id that no table has."""
        return None if self.paper_row is None else paper_row(self.paper_row)

    @property
    def source(self) -> str | None:
        """The run that must be there before."""
        return self.convert or self.eval


class Bar(_Part):
    """score(more) - score(less) is at least `by`; without `less` score(more) is; `by` null: only the difference is told.

    ratio  score(more) / score(less) is meant
    """

    name: str
    more: str
    less: str | None = None
    by: float | None = None
    ratio: bool = False


class Study(_Part):
    """Runs on one data set that are compared.

    reduced      what is smaller here than in the paper: it stands beside each measurement
    also         further scores that the table shows
    shared       changes that every training of the study has, before its own
    seeds        name -> runs that differ in their seed: the table has their mean and spread, a bar that names them their mean
    longest_min  minutes that a training may take at most; null: no bar
    """

    about: str
    reduced: str = ""
    score: Literal["miou", "f1", "psnr_db"]
    also: tuple[Literal["miou_per_image", "pixel_accuracy"], ...] = ()
    shared: tuple[str, ...] = ()
    seeds: Mapping[str, tuple[str, ...]] = {}
    longest_min: float | None = 30
    runs: Mapping[str, Run]
    bars: Annotated[tuple[Bar, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _share(cls, study: Any) -> Any:
        """What is shared becomes a part of each training."""
        if not isinstance(study, dict) or not study.get("shared"):
            return study
        shared, runs = list(study["shared"]), study["runs"]
        trained = {
            name: {**run, "set": [*shared, *run.get("set", ())]} if "train" in run else run
            for name, run in runs.items()
        }
        return {**study, "runs": trained}

    @model_validator(mode="after")
    def _known(self) -> Study:
        named = [run.source for run in self.runs.values()] + [b for bar in self.bars for b in (bar.more, bar.less)]
        named += [name for group in self.seeds.values() for name in group]
        for name in named:
            if name is not None and name.partition(".")[0] not in {*self.runs, *self.seeds}:
                raise ValueError(f"'{name}' is no run of this study")
        return self


def read_plan(paths: tuple[Path, ...] = PLANS) -> dict[str, Study]:
    """Studies by name."""
    trees: list[dict[str, Any]] = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths]
    return {name: Study.model_validate(study) for tree in trees for name, study in tree.items()}
