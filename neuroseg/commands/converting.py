"""`neuroseg convert`: a trained ANN becomes a spiking network, a RUN like any other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from export.bundle import check_outside
from export.errors import UsageError
from export.files import sha256
from neuroseg.commands.console import say, show
from neuroseg.commands.costs import costs
from neuroseg.commands.study import score_of
from neuroseg.config import Config, changed, load_config
from neuroseg.config.converted import ConvertedConfig, Origin
from neuroseg.convert import Ann, activation_scales, network, normalised, read_module, read_onnx, verify_onnx
from neuroseg.convert.ann import with_classes
from neuroseg.convert.match import rate_matched
from neuroseg.convert.normalise import METHODS
from neuroseg.convert.statistics import Method, Scales
from neuroseg.data import Split
from neuroseg.models.converted import Converted
from neuroseg.train import evaluate, load_run, task_of
from neuroseg.train import train as train_network
from neuroseg.train.data import Drawn, dataset
from neuroseg.train.run_folder import WEIGHTS, prepare_run, save_run

MULTI = (2.0, 1.0, 0.5, 0.25)  # Spiking-UNet, Table 4
NEURONS, RESETS = ("if", "mt"), ("soft", "hard")
PERCENTILE = 99.9  # Rueckauer et al. 2017
FINE_TUNE_LR = 1e-6  # Spiking-UNet, section 4.2.1
BATCH = 4
ONNX = ".onnx"


@dataclass(frozen=True)
class Conversion:
    """What becomes of an ANN.

    neuron      if: one threshold; mt: several, whose output is graded
    normalise   layer, channel or connection (`neuroseg.convert.normalise`)
    reset       soft: the threshold is subtracted; hard: to zero, the chip's
    steps       T
    calibrate   training images on which activations are measured
    percentile  of the activations that a firing rate of 1 stands for
    thresholds  descending; None: 1 for `if`, 2, 1, 0.5, 0.25 for `mt`
    match       take back what rates lose in few steps, or by a hard reset (`neuroseg.convert.match`)
    """

    neuron: str = "if"
    normalise: str = "connection"
    reset: str = "soft"
    steps: int = 20
    calibrate: int = 32
    percentile: float = PERCENTILE
    thresholds: tuple[float, ...] | None = None
    match: bool = True

    def __post_init__(self) -> None:
        for flag, value, known in (
            ("--neuron", self.neuron, NEURONS),
            ("--normalise", self.normalise, METHODS),
            ("--reset", self.reset, RESETS),
        ):
            if value not in known:
                raise UsageError(f"{flag} {value} is unknown; choose one of {', '.join(known)}")
        if self.neuron == "mt" and self.reset == "hard":
            raise UsageError(
                "--reset hard needs --neuron if: neurons of several thresholds subtract what they hand on, and no stock "
                "Loihi neuron does that"
            )
        if self.steps < 1 or self.calibrate < 1 or not 0 < self.percentile <= 100:
            raise UsageError(
                f"--steps {self.steps} and --calibrate {self.calibrate} are 1 or more, --percentile {self.percentile:g} is "
                "above 0 and at most 100"
            )

    @property
    def all_thresholds(self) -> tuple[float, ...]:
        """In units of the current."""
        if self.thresholds is not None:
            return self.thresholds
        return (1.0,) if self.neuron == "if" else MULTI


@dataclass(frozen=True, eq=False)
class Source:
    """An ANN that was read.

    config   of its data, and how it was trained
    """

    ann: Ann
    config: Config
    kind: str
    name: str
    digest: str

    @property
    def plain(self) -> Config:
        """The ANN as a config of the family `converted`: what is evaluated beside the spiking network."""
        model = ConvertedConfig(family="converted", neuron="relu", steps=1, layers=self.ann.layers)
        return _without_integers(self.config, model)


def read_source(path: Path, data: str | None = None, changes: Sequence[str] = ()) -> Source:
    """The ANN of a RUN folder, or of an ONNX file, whose images `data` (a config: file or name) says.

    changes  KEY=VALUE of the config: of its data, and of how it is fine-tuned. UsageError for one of the network
    """
    if path.suffix == ONNX:
        if data is None:
            raise UsageError(
                f"'{path}' does not say what images it reads; name a config whose data section does: --data unet-drive"
            )
        config = _changed(load_config(data), changes)
        ann = read_onnx(path)
        verify_onnx(path, ann, next(iter(calibration_images(config, 1))))
        return _checked(Source(with_classes(ann), config, "onnx", path.name, sha256(path)))
    config, model = load_run(path)
    if data is not None:
        config = config.model_copy(update={"data": load_config(data).data})
    config = _changed(config, changes)
    return _checked(Source(read_module(model), config, "run", config.name, sha256(path / WEIGHTS)))


def _changed(config: Config, changes: Sequence[str]) -> Config:
    found = changed(config, changes)
    if found.model != config.model:
        raise UsageError(
            f"{' '.join(changes)}: the network is trained, its model.* cannot be changed; data.* and train.* can"
        )
    return found


def _checked(source: Source) -> Source:
    channels, classes = source.ann.channels
    data = source.config.data
    if (channels, classes) != (data.inputs.channels, data.classes):
        raise UsageError(
            f"'{source.name}' reads {channels} channels and gives {classes}; the data have {data.inputs.channels} channels and "
            f"{data.classes} classes. Name another config with --data"
        )
    return source


def calibration_images(config: Config, count: int) -> Iterator[Tensor]:
    """Batches of `count` training images in all, spread over the split, as training sees them."""
    items = dataset(config, "train", training=True)
    if count > len(items):
        raise UsageError(f"--calibrate {count} is more than the {len(items)} training images")
    drawn = Drawn(items)
    chosen = [i * len(items) // count for i in range(count)]
    for first in range(0, count, BATCH):
        yield torch.stack([drawn[(0, i)][0] for i in chosen[first : first + BATCH]])


def scales_of(source: Source, ask: Conversion) -> Scales:
    """Activation scales of an ANN on its training images."""
    images = calibration_images(source.config, ask.calibrate)
    method: Method = next(m for m in METHODS if m == ask.normalise)
    return activation_scales(source.ann, images, ask.calibrate, method, ask.percentile)


def converted(source: Source, ask: Conversion, scales: Scales | None = None) -> tuple[Config, Converted]:
    """Config and network, nothing measured yet."""
    method: Method = next(m for m in METHODS if m == ask.normalise)
    scales = scales or scales_of(source, ask)
    scaled = normalised(source.ann, scales, method, ask.all_thresholds[-1])
    origin = Origin.model_validate(
        {
            "kind": source.kind,
            "name": source.name,
            "sha256": source.digest,
            "normalise": ask.normalise,
            "percentile": ask.percentile,
            "samples": ask.calibrate,
            "matched": ask.match,
        }
    )
    model = ConvertedConfig.model_validate(
        {
            "family": "converted",
            "neuron": ask.neuron,
            "reset": ask.reset,
            "thresholds": ask.all_thresholds,
            "steps": ask.steps,
            "layers": scaled.layers,
            "origin": origin,
        }
    )
    if ask.match:
        images = next(iter(calibration_images(source.config, min(ask.calibrate, BATCH))))  # spread over the split
        scaled = rate_matched(source.ann, scaled, scales, model, images)
    config = _without_integers(source.config, model).model_copy(update={"name": f"{source.config.name}-{ask.neuron}"})
    return config, network(scaled, model)


def measured(config: Config, model: Any, split: Split) -> dict[str, Any]:
    """Scores of a network, JSON-ready."""
    scores = evaluate(config, task_of(config, model.eval()), split)
    return {"name": config.name, **scores, **costs(config, scores)}


def convert(
    path: Path,
    out: Path,
    ask: Conversion,
    *,
    data: str | None = None,
    changes: Sequence[str] = (),
    finetune: int = 0,
    lr: float = FINE_TUNE_LR,
    batch_size: int | None = None,
    split: Split = "test",
) -> dict[str, Any]:
    """Convert, measure ANN and spiking network, write the RUN; returns scores of both (JSON-ready).

    data      config whose data section tells the images; needed for ONNX
    changes   KEY=VALUE of data and training, such as data.val_pictures=12
    finetune  epochs on accumulated spiking flow (`neuroseg.models.converted`); the best by validation is kept, and that is the
              converted network itself where no epoch is above it (`finetuned` is then None, and a warning says so)
    lr        Adam's in these epochs, constant
    """
    check_outside(out)
    source = read_source(path, data, changes)
    prepare_run(out)
    config, model = converted(source, ask)
    ann = measured(source.plain, network(source.ann), split)
    before = measured(config, model, split)
    result: dict[str, Any] = {
        "schema_version": 1,
        "out": str(out),
        "source": source.name,
        "ann": ann,
        "converted": before,
        "finetuned": None,
        "warnings": warnings_of(source.ann),
    }
    facts = {"conversion": {"ann": _main(ann), "converted": _main(before), "warnings": warnings_of(source.ann)}}
    save_run(out, config, model, {**before, **facts})
    if finetune:
        result["finetuned"] = finetuned(fine_tuning(config, finetune, lr, batch_size), model, before, facts, out, split)
        if result["finetuned"] is None:
            result["warnings"].append(
                "no epoch of fine-tuning was above the converted network by validation, which stays as it was: lower --lr"
            )
    return result


def finetuned(
    config: Config, model: Converted, before: dict[str, Any], facts: dict[str, Any], out: Path, split: Split
) -> dict[str, Any] | None:
    """Scores of the fine-tuned network; None where no epoch was above the start by validation, which then stays.

    config  of `fine_tuning`
    before  scores of `model` as it was converted
    facts   further entries of the RUN's record; how fine-tuning went is added to its `conversion`
    out     the RUN that is written, with whichever of the two networks is kept
    """
    task = task_of(config, model.eval())
    score, _ = score_of(config)
    start = float(evaluate(config, task, "val")[score])
    metrics = train_network(config, out, account=costs, start=model.state_dict(), restart=True)
    best = float(metrics[f"best_val_{task.best_by}"])
    fine = {"val_score": score, "start": start, "best": best, "kept": best > start}
    fine["train_time_s"] = metrics["train_time_s"]
    facts = {**facts, "conversion": {**facts.get("conversion", {}), "finetuning": fine}}
    if best <= start:
        save_run(out, config, model, {**before, **facts})
        return None
    _, tuned = load_run(out)
    save_run(out, config, tuned, {**metrics, **facts})
    return metrics if split == metrics["split"] else measured(config, tuned, split)


def warnings_of(ann: Ann) -> list[str]:
    """What the spiking network computes otherwise than the ANN, however long it runs."""
    pools = [layer.name for layer in ann.layers if layer.op == "max_pool"]
    if not pools:
        return []
    return [
        f"max pooling ({', '.join(pools)}): the maximum of spikes at each step is an OR, which fires at least as often as the "
        "busiest neuron of the window. Train the ANN with average pooling (model.pool=average)"
    ]


def _without_integers(config: Config, model: ConvertedConfig) -> Config:
    """The config with another network; a converted one has no quantisation-aware epochs of its own."""
    train = config.train.model_copy(update={"qat_epochs": 0})
    return config.model_copy(update={"model": model, "train": train})


def fine_tuning(config: Config, epochs: int, lr: float, batch_size: int | None = None) -> Config:
    """The config of a converted network with the settings of its fine-tuning."""
    changes: dict[str, Any] = {"epochs": epochs, "lr": lr, "schedule": "constant", "warmup_epochs": 0.0, "val_every": 1}
    changes |= {"optimizer": "adam"} if batch_size is None else {"optimizer": "adam", "batch_size": batch_size}
    return config.model_copy(update={"train": config.train.model_copy(update=changes)})


def _main(scores: dict[str, Any]) -> dict[str, Any]:
    """The scores that a run's record keeps of the steps before it."""
    kept = ("miou", "pixel_accuracy", "foreground", "psnr_db", "ssim", "firing_rate", "split", "samples")
    return {key: scores[key] for key in kept if key in scores}


def show_conversion(result: dict[str, Any], ask: Conversion) -> None:
    """ANN, converted, fine-tuned: one row each."""
    rows = []
    for label, key in (("ANN", "ann"), (f"converted, T = {ask.steps}", "converted"), ("fine-tuned", "finetuned")):
        scores = result[key]
        if scores is not None:
            rate = scores["firing_rate"]
            rows.append((label, *figures(scores), "-" if rate is None else f"{rate:.3f}"))
    first = result["ann"]
    show(
        f"{result['source']} -> {result['out']} ({ask.neuron}, {ask.normalise}, {ask.reset} reset)",
        ("network", *headings(first), "firing rate"),
        rows,
    )
    for warning in result["warnings"]:
        say(f"  warning: {warning}")


def headings(scores: dict[str, Any]) -> tuple[str, ...]:
    """Names of the scores of a task."""
    if "psnr_db" in scores:
        return ("PSNR in dB", "SSIM")
    return ("mIoU", "pixel accuracy", *(["F1"] if "foreground" in scores else []))


def figures(scores: dict[str, Any]) -> tuple[str, ...]:
    """Their values."""
    if "psnr_db" in scores:
        return f"{scores['psnr_db']:.2f}", f"{scores['ssim']:.4f}"
    f1 = [f"{scores['foreground']['f1']:.4f}"] if "foreground" in scores else []
    return (f"{scores['miou']:.4f}", f"{scores['pixel_accuracy']:.4f}", *f1)


def with_thresholds(ask: Conversion, thresholds: tuple[float, ...]) -> Conversion:
    """The same conversion with other thresholds: `if` for one, `mt` for several."""
    return replace(ask, neuron="if" if len(thresholds) == 1 else "mt", reset="soft", thresholds=thresholds)
