"""Resuming gives what an uninterrupted training would have given, bit for bit; several processes train as one."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from camvid_folder import write_camvid
from interruptible import heed_interrupts
from PIL import Image

from export.errors import FileFormatError, UsageError
from neuroseg.commands.training import evaluate_run, train_config
from neuroseg.config import load_config
from neuroseg.train.checkpoints import read_state
from neuroseg.train.data import EpochSampler

ROOT = Path(__file__).parents[1]
# Augmentation, a schedule that moves, and a quantisation-aware end: all that a resumed training could get wrong.
CHANGES = (
    *("data={name: camvid, size: [16, 16], augment: {flip: 0.5, scale: [0.8, 1.4], brightness: 0.3}}",),
    *("train.epochs=8", "train.batch_size=4", "train.qat_epochs=3", "train.warmup_epochs=1"),
)


def command(out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "neuroseg.cli", "train", "mfs-tiny", *CHANGES, *more, "--out", str(out), "--json"]


def environment(data: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NEUROSEG_DATA": str(data)}


def epochs_done(out: Path) -> int:
    return int(read_state(out / "checkpoints" / "last.ckpt")["epoch"]) + 1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The folder that NEUROSEG_DATA names."""
    folder = tmp_path_factory.mktemp("data")
    write_camvid(folder / "camvid", count=40)
    return folder


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUROSEG_DATA", str(data))
        train_config(load_config("mfs-tiny", CHANGES), out)
    return out


def kill_after(epochs: int, out: Path, data: Path) -> None:
    """Start the training as a user would, and kill it (no clean stop) once some epochs are done and more are to come."""
    child = subprocess.Popen(
        command(out),
        env=environment(data),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=heed_interrupts,
    )
    deadline = time.monotonic() + 240
    last = out / "checkpoints" / "last.ckpt"
    while not (last.exists() and epochs_done(out) >= epochs):
        assert time.monotonic() < deadline and child.poll() is None, child.stderr.read().decode()
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (out / "weights.safetensors").exists(), "it was killed too late to show anything"


@pytest.mark.parametrize(
    "epochs", [pytest.param(2, marks=pytest.mark.slow), 6]
)  # before, and within, the integer epochs
def test_a_killed_training_resumes_to_the_same_weights_bit_for_bit(epochs, whole, data, tmp_path, monkeypatch):
    out = tmp_path / "run"
    kill_after(epochs, out, data)
    assert epochs <= epochs_done(out) < 8
    seconds_before = read_state(out / "checkpoints" / "last.ckpt")["train_time_s"]
    monkeypatch.setenv("NEUROSEG_DATA", str(data))
    metrics = train_config(load_config("mfs-tiny", CHANGES), out, resume=True)
    assert (out / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    wanted = json.loads((whole / "metrics.json").read_text())
    same = {key: value for key, value in metrics.items() if key != "train_time_s"}
    assert same == {key: wanted[key] for key in same}
    at_last_epoch = read_state(out / "checkpoints" / "last.ckpt")["train_time_s"]
    assert metrics["train_time_s"] >= at_last_epoch > seconds_before > 0  # of both parts
    assert metrics["best_epoch"] > 5  # chosen among the quantisation-aware epochs


def without_time(run: Path) -> dict:
    return {k: v for k, v in json.loads((run / "metrics.json").read_text()).items() if k != "train_time_s"}


def test_resuming_a_finished_run_changes_nothing_not_even_its_measures(whole, data, tmp_path, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    (out / "metrics.json").unlink()  # as if it had been killed while it measured the test split ...
    (out / "weights.safetensors").unlink()
    (out / "config.yaml").unlink()
    (out / ".weights.safetensors.a1b2c3d4").write_text("half")  # ... or while it saved
    monkeypatch.setenv("NEUROSEG_DATA", str(data))
    train_config(load_config("mfs-tiny", CHANGES), out, resume=True)
    assert (out / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert without_time(out) == without_time(whole)
    assert without_time(whole)["arithmetic"] == "integer"
    assert not (out / ".weights.safetensors.a1b2c3d4").exists()


def test_an_interrupted_training_is_not_started_over_by_accident(whole, data, tmp_path, monkeypatch):
    out = tmp_path / "run"
    (out / "checkpoints").mkdir(parents=True)
    shutil.copy(whole / "checkpoints" / "last.ckpt", out / "checkpoints")
    longer = (whole / "checkpoints" / "config.yaml").read_text().replace("epochs: 8", "epochs: 9")
    (out / "checkpoints" / "config.yaml").write_text(longer)
    before = (out / "checkpoints" / "last.ckpt").read_bytes()
    monkeypatch.setenv("NEUROSEG_DATA", str(data))
    with pytest.raises(
        UsageError, match="interrupted after epoch 8 of 9. Go on with --resume, start over with --restart"
    ):
        train_config(load_config("mfs-tiny", CHANGES), out)
    with pytest.raises(UsageError, match="not to be had here"):  # nothing is lost when the restart cannot begin
        train_config(load_config("mfs-tiny", [*CHANGES, "train.accelerator=gpu"]), out, restart=True)
    assert (out / "checkpoints" / "last.ckpt").read_bytes() == before
    train_config(load_config("mfs-tiny", [*CHANGES, "train.epochs=1", "train.qat_epochs=0"]), out, restart=True)
    assert without_time(out)["epochs"] == 1


def test_labels_are_checked_before_anything_is_trained(data, tmp_path, monkeypatch):
    broken = tmp_path / "data"
    shutil.copytree(data, broken)
    label = broken / "camvid" / "testannot" / "test_7.png"
    Image.fromarray(np.full((24, 32), 12, np.uint8)).save(label)
    monkeypatch.setenv("NEUROSEG_DATA", str(broken))
    with pytest.raises(UsageError, match=r"config section data: .*test_7.png.*12"):
        train_config(load_config("mfs-tiny", CHANGES), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_resuming_needs_a_checkpoint_of_the_same_config(whole, data, tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROSEG_DATA", str(data))
    with pytest.raises(UsageError, match="nothing to resume.*last.ckpt"):
        train_config(load_config("mfs-tiny", CHANGES), tmp_path / "new", resume=True)
    assert not (tmp_path / "new").exists()
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    with pytest.raises(UsageError, match=r"train.lr = 0.005, this config has 0.1"):
        train_config(load_config("mfs-tiny", [*CHANGES, "train.lr=0.1"]), out, resume=True)
    with pytest.raises(UsageError, match=r"train.devices = 1, this config has 2"):  # the schedule counts steps
        train_config(load_config("mfs-tiny", [*CHANGES, "train.devices=2"]), out, resume=True)


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_checkpoint_that_would_execute_something_is_refused(whole, data, tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROSEG_DATA", str(data))
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    torch.save({"state_dict": Payload(tmp_path / "executed")}, out / "checkpoints" / "last.ckpt")
    with pytest.raises(FileFormatError, match="last.ckpt' cannot be read"):
        train_config(load_config("mfs-tiny", CHANGES), out, resume=True)
    assert not (tmp_path / "executed").exists()


def test_eval_scores_a_run_on_any_split(whole, data, monkeypatch):
    monkeypatch.setenv("NEUROSEG_DATA", str(data))
    scores = {split: evaluate_run(whole, split) for split in ("train", "val", "test")}
    assert all(0 <= s["miou"] <= 1 and len(s["iou_per_class"]) == 11 and s["samples"] == 40 for s in scores.values())
    assert len({s["miou"] for s in scores.values()}) == 3
    assert scores["test"]["miou"] == without_time(whole)["miou"], "eval and training measure the same network"
    real = evaluate_run(whole, "test", real=True)
    assert (scores["test"]["arithmetic"], real["arithmetic"]) == ("integer", "real")
    assert real["miou"] != scores["test"]["miou"]
    with pytest.raises(UsageError, match="unknown split 'all'"):
        evaluate_run(whole, "all")


@pytest.mark.slow
def test_two_processes_train_as_one(data, tmp_path, monkeypatch):
    out = tmp_path / "run"
    more = ("train.devices=2", "train.epochs=2", "train.qat_epochs=1", "train.accelerator=cpu")
    done = subprocess.run(command(out, *more), env=environment(data), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 1, "only the first process prints"
    metrics = json.loads(lines[0])
    assert metrics["samples"] == 40
    written = json.loads((out / "metrics.json").read_text())
    assert written["miou"] == metrics["miou"]
    # Both processes counted: the whole test split stands behind the score, none of it twice.
    assert read_state(out / "checkpoints" / "last.ckpt")["global_step"] == 2 * 5  # 40 images, 2 processes, batches of 4
    monkeypatch.setenv("NEUROSEG_DATA", str(data))
    assert evaluate_run(out, "test")["miou"] == metrics["miou"]  # one process counts the same


@pytest.mark.slow
def test_two_nodes_train_as_one(data, tmp_path):
    """Two 'nodes' on this machine, as a cluster's scheduler would start them: one command each, told apart by NODE_RANK."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    out = tmp_path / "run"
    more = ("train.nodes=2", "train.epochs=2", "train.qat_epochs=1", "train.accelerator=cpu")
    rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    nodes = [
        subprocess.Popen(
            command(out, *more),
            env={**environment(data), **rendezvous, "NODE_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    printed = [node.communicate(timeout=400) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], printed
    assert printed[1][0].strip() == "", "only the first node's process prints"
    assert json.loads(printed[0][0])["samples"] == 40
    assert read_state(out / "checkpoints" / "last.ckpt")["global_step"] == 2 * 5


@pytest.mark.parametrize("shuffle", [True, False])
def test_processes_share_the_items_without_overlap(shuffle):
    shares = []
    for rank in range(3):
        sampler = EpochSampler(10, seed=5, shuffle=shuffle, rank=rank, processes=3)
        sampler.set_epoch(4)
        keys = list(sampler)
        assert len(keys) == len(sampler) and all(epoch == 4 for epoch, _ in keys)
        shares.append([index for _, index in keys])
    together = sorted(index for share in shares for index in share)
    assert len(set(together)) == len(together) == (9 if shuffle else 10)
    if shuffle:
        assert {len(share) for share in shares} == {3}  # equal shares: no process waits for another's gradient for ever
        other = EpochSampler(10, seed=5, shuffle=True)
        assert [i for _, i in other] != together
