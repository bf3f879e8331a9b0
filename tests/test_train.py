"""Training: what it writes, that it learns, how it stops, and what loading refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from interruptible import heed_interrupts
from lightning.pytorch import LightningModule
from safetensors.torch import load_file, save_file

from export.errors import FileFormatError, NeurosegError, UsageError
from neuroseg.commands.training import integer_groups, train_config
from neuroseg.config import Config, load_config
from neuroseg.metrics import VOID, class_map, confusion_matrix, miou
from neuroseg.models import build_model, lifs, record_spikes
from neuroseg.train import dataset, evaluate, load_run, train
from neuroseg.train.loss import class_weights, multi_scale_loss, pixel_counts
from neuroseg.train.optimiser import learning_rate_factor
from neuroseg.train.task import SegmentationTask

CHILD = """
import sys
from pathlib import Path
from export.errors import NeurosegError
from neuroseg.config import load_config
from neuroseg.train import train
try:
    train(load_config("mfs-tiny", ["train.epochs=100000"]), Path(sys.argv[1]))
except NeurosegError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Config, dict[str, Any]]:
    """A finished run of the smallest config; tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("run")
    config = load_config("mfs-tiny", ["train.epochs=2"])
    return folder, config, train(config, folder)


def test_a_run_holds_config_weights_metrics_checkpoints_and_logs(run: tuple[Path, Config, dict[str, Any]]) -> None:
    folder, config, metrics = run
    assert load_config(folder / "config.yaml") == config
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["best.ckpt", "config.yaml", "last.ckpt"]
    assert list((folder / "tensorboard").glob("events.*"))
    assert not [p.name for p in folder.iterdir() if p.name.startswith(".")]
    written = json.loads((folder / "metrics.json").read_text())
    assert written["schema_version"] == 1
    assert set(written.pop("sha256")) == {"config.yaml", "weights.safetensors"}
    assert written == metrics


def test_the_metrics_are_those_of_the_weights_that_were_written(run: tuple[Path, Config, dict[str, Any]]) -> None:
    folder, _, metrics = run
    config, model = load_run(folder)
    images, masks = (torch.stack(parts) for parts in zip(*items(config, "test"), strict=True))
    logits, spikes = record_spikes(model, images)
    assert metrics["miou"] == pytest.approx(miou(confusion_matrix(class_map(logits), masks, 2)))
    assert metrics["firing_rates"] == pytest.approx({name: spikes[name].mean() for name in lifs(model)}, abs=1e-5)


def items(config: Config, split: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """All items of a split."""
    data = dataset(config, split)
    return [data[i] for i in range(len(data))]


def test_training_again_gives_the_same_weights(run: tuple[Path, Config, dict[str, Any]], tmp_path: Path) -> None:
    folder, config, _ = run
    train(config, tmp_path)
    first, second = (load_file(f / "weights.safetensors") for f in (folder, tmp_path))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_learns(tmp_path: Path) -> None:
    overrides = ["train.epochs=12", "data.train_samples=64", "data.val_samples=16", "train.lr=1e-2"]
    config = load_config("mfs-tiny", overrides)
    before = build_model(config.model, 2).train()
    images, masks = (torch.stack(parts) for parts in zip(*items(config, "train"), strict=True))
    start = float(multi_scale_loss(before(images), masks))
    train(config, tmp_path)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    task = SegmentationTask(build_model(config.model, 2), config.train)
    task.load_state_dict(last)
    with torch.no_grad():
        assert float(multi_scale_loss(task.model.eval()(images), masks)) < 0.5 * start


def test_the_loss_is_cross_entropy_against_nearest_resized_masks_without_void() -> None:
    generator = torch.Generator().manual_seed(0)
    mask = torch.randint(0, 3, (2, 8, 8), generator=generator)
    mask[:, :2] = VOID
    logits = tuple(torch.randn(2, 3, 8 // s, 8 // s, generator=generator) for s in (1, 2, 4))
    expected = 0.0
    for scores in logits:
        resized = F.interpolate(mask[:, None].float(), size=scores.shape[-2:], mode="nearest")[:, 0].long()
        known = resized != VOID
        log_p = scores.log_softmax(1).permute(0, 2, 3, 1)[known]
        expected -= float(log_p.gather(1, resized[known][:, None]).mean())
    assert float(multi_scale_loss(logits, mask)) == pytest.approx(expected, rel=1e-5)


def test_the_schedule_is_the_configs() -> None:
    def rates(*changes: str) -> list[float]:
        settings = load_config("mfs-tiny", ["train.epochs=8", *changes]).train
        return [learning_rate_factor(settings, step, 5) for step in range(40)]

    assert rates("train.schedule=constant") == [1.0] * 40
    stepped = rates("train.schedule=step", "train.step_epochs=3", "train.step_factor=0.1")
    assert stepped == pytest.approx([1.0] * 15 + [0.1] * 15 + [0.01] * 10)
    cosine = rates("train.schedule=cosine")
    assert cosine[0] == 1.0 and cosine[20] == pytest.approx(0.5) and cosine == sorted(cosine, reverse=True)
    warm = rates("train.schedule=constant", "train.warmup_epochs=2")
    assert warm[:10] == pytest.approx([0.1 * k for k in range(1, 11)]) and warm[10:] == [1.0] * 30


@pytest.mark.parametrize("name", ["paper-camvid", "paper-ddd17", "paper-dsec", "paper-deeplab"])
def test_the_papers_schedules_are_theirs(name: str) -> None:
    epochs, batch, drops = {
        "paper-camvid": (600, 2, {0: 1e-3, 200: 1e-4, 400: 1e-5}),
        "paper-ddd17": (100, 8, {0: 1e-3, 20: 1e-4, 40: 1e-5, 60: 1e-6, 80: 1e-7}),
        "paper-dsec": (100, 4, {0: 2e-3, 60: 1e-3}),
        "paper-deeplab": (60, 16, {0: 3e-3, 30: 3e-4}),
    }[name]
    settings = load_config("mfs-tiny", [f"train={name}"]).train
    assert (settings.epochs, settings.batch_size) == (epochs, batch)
    expected = settings.lr
    for epoch in range(epochs):
        expected = drops.get(epoch, expected)
        assert settings.lr * learning_rate_factor(settings, 7 * epoch + 3, 7) == pytest.approx(expected)


def test_a_diverged_training_says_to_lower_the_learning_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "neuroseg.train.task.multi_scale_loss", lambda *_, **__: torch.tensor(float("nan"), requires_grad=True)
    )
    with pytest.raises(NeurosegError, match="loss became nan in epoch 0, batch 0.*lower train.lr"):
        train(load_config("mfs-tiny"), tmp_path)
    assert not (tmp_path / "weights.safetensors").exists()


def test_an_output_folder_that_cannot_be_written_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("neuroseg.train.fit.build", lambda *_: pytest.fail("training began"))
    with pytest.raises(UsageError, match="output folder .* cannot be written.*--out"):
        train(load_config("mfs-tiny"), tmp_path / "file" / "run")


def test_ctrl_c_keeps_checkpoints_and_an_older_runs_weights(
    run: tuple[Path, Config, dict[str, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder, ignore=shutil.ignore_patterns("checkpoints"))
    weights = (folder / "weights.safetensors").read_bytes()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    deadline = time.monotonic() + 300
    while not (folder / "checkpoints" / "last.ckpt").exists():
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    printed, _ = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "training was interrupted in epoch" in printed and "checkpoints are kept in" in printed
    assert "Traceback" not in printed
    assert (folder / "weights.safetensors").read_bytes() == weights
    assert not [p.name for p in folder.iterdir() if p.name.startswith(".")]
    torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def test_ctrl_c_within_this_process_leaves_the_signal_handler_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SegmentationTask, "on_train_start", interrupt)
    assert SegmentationTask.on_train_start is not LightningModule.on_train_start
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(NeurosegError, match="interrupted in epoch 1 of 2") as caught:
        train(load_config("mfs-tiny"), tmp_path)
    assert caught.value.exit_code == 1
    assert signal.getsignal(signal.SIGINT) is before


def truncate(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def foreign(folder: Path) -> None:
    (folder / "weights.safetensors").write_text("not weights")


def missing_weights(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()


def missing_config(folder: Path) -> None:
    (folder / "config.yaml").unlink()


def edit(folder: Path, change: Any) -> None:
    weights = load_file(folder / "weights.safetensors")
    change(weights)
    save_file(weights, folder / "weights.safetensors")


def nan(folder: Path) -> None:
    edit(folder, lambda w: w["head0.classify.conv.weight"].view(-1)[3:4].fill_(float("nan")))


def lacking(folder: Path) -> None:
    edit(folder, lambda w: w.pop("ffm0.mix.conv.weight"))


def another(folder: Path) -> None:
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("blocks: 1", "blocks: 0"))


def wider(folder: Path) -> None:
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("classes: 2", "classes: 11"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "not a whole safetensors file"),
        (foreign, "not a whole safetensors file"),
        (missing_weights, "has no weights.safetensors"),
        (missing_config, "has no config.yaml"),
        (nan, "tensor 'head0.classify.conv.weight' holds NaN"),
        (lacking, "lacks tensor 'ffm0.mix.conv.weight'"),
        (another, "has an unknown tensor '.*block0"),
        (wider, r"tensor 'head0.classify.conv.weight' has shape \(2, .*needs \(11, "),
    ],
)
def test_a_damaged_run_is_refused_with_file_and_tensor(
    run: tuple[Path, Config, dict[str, Any]], tmp_path: Path, damage: Any, message: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    damage(folder)
    with pytest.raises(FileFormatError, match=message):
        load_run(folder)


def test_a_run_folder_that_does_not_exist_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load_run(tmp_path / "none")


def test_class_weights_balance_by_median_frequency_and_void_counts_nowhere() -> None:
    counts = pixel_counts([torch.tensor([[[0, 0, 0, 0, 1, 1, 2, VOID, VOID]]])], 4)
    assert class_weights(counts, 1.0).tolist() == pytest.approx([0.5, 1.0, 2.0, 1.0])
    assert class_weights(counts, 0.5).tolist() == pytest.approx([0.5**0.5, 1.0, 2.0**0.5, 1.0])
    assert class_weights(counts, 0.0).tolist() == [1.0, 1.0, 1.0, 1.0]


def test_weights_make_mistakes_in_a_rare_class_cost_more() -> None:
    logits = (torch.zeros(1, 2, 2, 2),)
    mask = torch.tensor([[[0, 0], [0, 1]]])
    wrong_in_rare = torch.zeros(1, 2, 2, 2)
    wrong_in_rare[0, 0, 1, 1] = 2.0
    weights = torch.tensor([0.5, 3.0])
    plain = multi_scale_loss((wrong_in_rare,), mask) - multi_scale_loss(logits, mask)
    weighted = multi_scale_loss((wrong_in_rare,), mask, weights) - multi_scale_loss(logits, mask, weights)
    assert weighted > plain > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_mixed_precision_trains_and_its_integer_epochs_stay_exact(precision: str, tmp_path: Path) -> None:
    changes = ["train.accelerator=gpu", f"train.precision={precision}", "train.epochs=3", "train.qat_epochs=1"]
    config = load_config("mfs-tiny", changes)
    metrics = train_config(config, tmp_path)
    _, model = load_run(tmp_path)
    task = SegmentationTask(model, load_config("mfs-tiny").train, groups=integer_groups(config))
    task.compute_in_integers()
    assert evaluate(load_config("mfs-tiny"), task, "test")["miou"] == metrics["miou"]  # on the CPU, in float32


def test_mixed_precision_without_a_gpu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"precision = 16-mixed needs a GPU"):
        load_config("mfs-tiny", ["train.precision=16-mixed"])  # its accelerator is the CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = load_config("mfs-tiny", ["train.precision=bf16-mixed", "train.accelerator=auto"])
    with pytest.raises(UsageError, match=r"train.precision = bf16-mixed needs a GPU, and none is used here"):
        train(config, tmp_path)


@pytest.mark.slow
def test_worker_processes_change_nothing(tmp_path: Path) -> None:
    weights = []
    for workers in (0, 2):
        train(load_config("mfs-tiny", ["train.epochs=2", f"train.workers={workers}"]), tmp_path / str(workers))
        weights.append((tmp_path / str(workers) / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]
