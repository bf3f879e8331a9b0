"""From what was measured to a card. Nothing here is typed by hand but the plan's words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.zoo.plan import Entry
from neuroseg.config import Config, DigitsConfig, load_config
from neuroseg.config.event_data import SyntheticEventsConfig
from neuroseg.train.run_folder import scored_list
from neuroseg.zoo.card import Card, Data, Deployment, Ladder, Picture, Range, Recipe, Rung, Score

CONFIG, WEIGHTS, METRICS = "config.yaml", "weights.safetensors", "metrics.json"
EMBEDDED = (DigitsConfig, SyntheticEventsConfig)
LEVELS = ("low", "nominal", "high")


@dataclass(frozen=True)
class Measured:
    """What the commands said: of `export` (report.json), `ladder`, and `parity` on stock Lava."""

    report: Mapping[str, Any]
    ladder: Mapping[str, Any]
    stock: Mapping[str, Any]


def card_of(name: str, entry: Entry, runs: Path, measured: Measured, pictures: tuple[Picture, ...]) -> Card:
    """The card of a network."""
    run = runs / entry.run
    config, metrics = load_config(run / CONFIG), metrics_of(run)
    return Card(
        name=name,
        summary=entry.summary.strip(),
        weights_sha256=metrics["sha256"][WEIGHTS],
        weights_size_bytes=(run / WEIGHTS).stat().st_size,
        input=config.input_shape,
        steps=config.model.steps,
        data=Data(
            name=config.data.name,
            embedded=isinstance(config.data, EMBEDDED),
            size=config.data.size,
            class_names=tuple(metrics["class_names"]),
            licence=entry.licence.strip(),
        ),
        recipe=_recipe(config, metrics),
        score=score_of(run),
        iou_per_class=dict(zip(metrics["class_names"], metrics["iou_per_class"], strict=True)),
        other_seeds=tuple(score_of(runs / seed) for seed in entry.seeds),
        ann=score_of(runs / entry.ann) if entry.ann else None,
        ann_seeds=tuple(score_of(runs / seed) for seed in entry.ann_seeds),
        other_splits=tuple(score_of(runs / other) for other in entry.other_splits),
        deployment=_deployment(measured.report),
        ladder=_ladder(measured.ladder, measured.stock),
        limits=entry.limits,
        pictures=pictures,
        versions=dict(measured.report["versions"]),
    )


def metrics_of(run: Path) -> dict[str, Any]:
    """`metrics.json` of a finished RUN."""
    content: dict[str, Any] = json.loads((run / METRICS).read_text(encoding="utf-8"))
    return content


def score_of(run: Path) -> Score:
    """The scores that a training ends with."""
    metrics = metrics_of(run)
    same = (
        "protocol",
        "samples",
        "arithmetic",
        "seed",
        "miou",
        "miou_per_image",
        "pixel_accuracy",
        "parameters",
    )
    return Score(
        **{key: metrics[key] for key in same},
        split=scored_list(metrics),
        changes=changes_of(load_config(run / CONFIG)),
        chosen_on_it=metrics["protocol"] == "paper",
    )


def changes_of(config: Config) -> tuple[str, ...]:
    """key=value that make this config of the shipped one of its name."""
    shipped, own = load_config(config.name).model_dump(mode="json"), config.model_dump(mode="json")
    found = tuple(f"{key}={_yaml(value)}" for key, value in _differing(shipped, own))
    assert load_config(config.name, found) == config
    return found


def _yaml(value: Any) -> str:
    """A value as short as a command line takes it; words go without quotation marks where YAML reads them so."""
    plain = isinstance(value, str) and yaml.safe_load(value) == value
    return value if plain else json.dumps(value, separators=(",", ":"))


def _differing(shipped: Mapping[str, Any], own: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in own.items():
        before = shipped.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            yield from _differing(before, value, f"{prefix}{key}.")
        elif value != before:
            yield f"{prefix}{key}", value


def _recipe(config: Config, metrics: Mapping[str, Any]) -> Recipe:
    measured = {key: metrics[key] for key in ("best_epoch", "best_val_miou", "train_time_s")}
    return Recipe(config=config.name, train=config.train.model_dump(mode="json"), **measured)


def _deployment(report: Mapping[str, Any]) -> Deployment:
    same = (
        *("system", "fits", "chips", "cores", "neurons", "neurons_deployed", "host_neurons", "latency_steps"),
        *("steps_per_sample", "test_vectors", "firing_rate", "synops_per_sample"),
    )
    chip, energy = report["chip"], report["energy"]
    ranges = {
        "energy_j": energy[chip]["dynamic_energy_j"],
        "static_energy_j": energy[chip]["static_energy_j"],
        "time_per_sample_s": energy[chip]["time_per_sample_s"],
        "latency_s": report["latency"]["latency_time_s"],
    }
    return Deployment(
        target=chip,
        **{key: report[key] for key in same},
        **{name: Range(**{level: values[level] for level in LEVELS}) for name, values in ranges.items()},
        energy_45nm_j={key: energy[f"papers_{key}"]["energy_j"] for key in ("as_trained", "as_deployed")},
    )


def _ladder(ladder: Mapping[str, Any], stock: Mapping[str, Any]) -> Ladder:
    rungs = tuple(
        Rung(**{key: row[key] for key in ("name", "exact", "miou", "compared", "mismatches", "pixel_agreement")})
        for row in ladder["rungs"]
    )
    return Ladder(
        samples=ladder["samples"],
        rungs=rungs,
        drop=rungs[0].miou - rungs[-1].miou,
        **{f"stock_{key}": stock[key] for key in ("samples", "compared", "mismatches")},
    )
