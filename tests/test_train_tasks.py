"""Trainings of every kind from a config to metrics.json: a spiking network, its ANN twin, a denoiser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from export.errors import NeurosegError, UsageError
from neuroseg.commands.training import evaluate_run, show_scores, train_config
from neuroseg.config import Config, load_config
from neuroseg.data.sources import photos
from neuroseg.models import build, network_size
from neuroseg.train import Task, load_run

SHORT = ("train.epochs=1", "data.train_samples=16", "model.blocks=0")
# One evaluation reads what a training has written: all that does not depend on when it ran.
OF_TRAINING = ("schema_version", "epochs", "best_epoch", "quantisation_aware", "train_time_s", "sha256")


def without_training(metrics: dict[str, object]) -> dict[str, object]:
    return {k: v for k, v in metrics.items() if k not in OF_TRAINING and not k.startswith("best_val")}


def pictures(folder: Path, sizes: list[tuple[int, int]]) -> str:
    """Grey crops of the embedded photographs, of (height, width)."""
    folder.mkdir()
    photo = next(iter(photos().values()))
    for number, (height, width) in enumerate(sizes):
        Image.fromarray(photo[40 * number : 40 * number + height, :width]).convert("L").save(folder / f"{number}.png")
    return str(folder)


@pytest.fixture
def denoiser(tmp_path: Path) -> Config:
    roots = {
        "train_root": pictures(tmp_path / "train", [(40, 48), (48, 40)]),
        "val_root": pictures(tmp_path / "val", [(34, 29)]),
        "test_root": pictures(tmp_path / "test", [(30, 33), (32, 24)]),
    }
    changes = [f"data.{key}={value}" for key, value in roots.items()]
    changes += [
        "data.patches=8",
        "data.size=[16,16]",
        "data.train_sigma=null",
        "model.widths=[2,3,4]",
        "train.epochs=2",
    ]
    return load_config("unet-denoise-grey", [*changes, "train.batch_size=4", "train.accelerator=cpu"])


def test_the_record_of_a_run_has_what_a_benchmark_needs(tmp_path: Path) -> None:
    config = load_config("mfs-tiny", [*SHORT, "train.seed=3"])
    metrics = train_config(config, tmp_path / "run")
    written = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert {k: v for k, v in written.items() if k != "sha256"} == metrics
    size = network_size(build(config), config.input_shape)
    assert (metrics["seed"], metrics["steps"], metrics["input_shape"]) == (3, 3, [3, 16, 16])
    assert (metrics["macs_per_step"], metrics["host_macs"]) == (size.macs_per_step, size.host_macs)
    expected = 3 * (0.9e-12 * metrics["firing_rate"] * (size.macs_per_step - size.host_macs) + 4.6e-12 * size.host_macs)
    assert metrics["energy"]["energy_j"] == pytest.approx(expected)
    assert set(metrics["foreground"]) >= {"f1", "jaccard", "accuracy", "sensitivity", "specificity"}
    again = evaluate_run(tmp_path / "run", "test", boundary=1.5)
    assert again.pop("boundary")["tolerance_px"] == 1.5
    assert without_training(again) == without_training(metrics)


def test_an_ann_trains_and_says_that_it_has_no_neurons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = train_config(load_config("mfs-tiny", [*SHORT, "model.neuron=relu", "model.steps=1"]), tmp_path / "run")
    assert metrics["firing_rate"] is None and metrics["firing_rates"] == {} and metrics["neurons"] == 0
    assert metrics["energy"]["energy_j"] is None
    assert metrics["energy"]["ann_energy_j"] == pytest.approx(4.6e-12 * metrics["macs_per_step"])
    show_scores("an ANN", metrics)
    assert "no neurons" in capsys.readouterr().err


def test_a_denoiser_trains_on_patches_and_is_scored_on_whole_pictures(
    denoiser: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = train_config(denoiser, tmp_path / "run")
    assert metrics["task"] == "denoising" and metrics["samples"] == 2
    assert metrics["padded_images"] == 1  # 30x33 is no multiple of 4, 32x24 is
    assert metrics["psnr_db"] is not None and 19 < metrics["input_psnr_db"] < 22  # sigma 25 of 255: 20.2 dB
    assert metrics["best_val_psnr"] == pytest.approx(evaluate_run(tmp_path / "run", "val")["psnr_db"], abs=1e-4)
    assert without_training(evaluate_run(tmp_path / "run", "test")) == without_training(metrics)
    assert load_run(tmp_path / "run")[0] == denoiser
    show_scores("a denoiser", metrics)
    assert "PSNR, noisy -> denoised" in capsys.readouterr().err
    with pytest.raises(UsageError, match="data.name = denoise is for denoising: it has no boundaries"):
        evaluate_run(tmp_path / "run", "test", boundary=2)


def test_a_denoiser_resumes_to_the_same_weights(
    denoiser: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Task.on_train_epoch_start

    def interrupted(task: Task) -> None:
        if task.current_epoch == 1:
            raise KeyboardInterrupt
        begin(task)

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_config(denoiser, whole)
    monkeypatch.setattr(Task, "on_train_epoch_start", interrupted)
    with pytest.raises(NeurosegError, match="interrupted in epoch 2 of 2"):
        train_config(denoiser, parts)
    monkeypatch.setattr(Task, "on_train_epoch_start", begin)
    train_config(denoiser, parts, resume=True)
    assert (parts / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
