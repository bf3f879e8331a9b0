"""The command line as a user meets it: results, exit codes, and what is said when something is wrong."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from interruptible import heed_interrupts
from lively import SIZE, make_run
from safetensors.torch import load_file, save_file

from export.bundle import NETWORK
from export.netx.read import read_netx
from export.netx.write import write_netx

MODEL = {"widths": [4, 6, 8], "steps": 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A RUN folder."""
    return make_run(tmp_path_factory.mktemp("run") / "run", **MODEL)


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory):
    """Its bundle, made by the real command in a process of its own."""
    out = tmp_path_factory.mktemp("bundle") / "bundle"
    subprocess.run(
        [sys.executable, "-m", "neuroseg.cli", "export", str(run), "--out", str(out)], check=True, timeout=300
    )
    return out


def test_train_then_export_then_parity_in_three_commands(cli, tmp_path):
    code, out, err = cli("train", "mfs-tiny", "train.epochs=1", "--out", tmp_path / "run", "--json")
    assert code == 0, err
    metrics = json.loads(out.splitlines()[-1])
    assert 0 <= metrics["miou"] <= 1
    assert (tmp_path / "run" / "weights.safetensors").exists()
    code, out, err = cli("export", tmp_path / "run", "--target", "loihi2", "--out", tmp_path / "bundle", "--json")
    assert code == 0, err
    assert json.loads(out)["neurons_deployed"] > json.loads(out)["neurons"] > 0
    code, out, err = cli("parity", tmp_path / "bundle", "--left", "slayer", "--right", "int", "--samples", 3, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert set(result) == {
        "schema_version",
        "left",
        "right",
        "samples",
        "compared",
        "mismatches",
        "populations",
        "first_divergence",
        "miou_left",
        "miou_right",
        "pixel_agreement",
    }
    assert (result["left"], result["right"], result["samples"], result["mismatches"]) == ("slayer", "int", 3, 0)


@pytest.mark.slow
def test_parity_with_the_lava_runtime(cli, bundle):
    code, out, err = cli("parity", bundle, "--right", "lava-fast", "--samples", 1, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["mismatches"] == 0
    assert result["compared"] > 50_000
    assert result["miou_left"] == result["miou_right"]
    assert np.mean([row["rate_right"] > 0.01 for row in result["populations"]]) > 0.9


def test_simulate_checks_the_recorded_spikes_and_keeps_the_new_ones(cli, bundle, tmp_path):
    code, out, err = cli("simulate", bundle, "--samples", 2, "--out", tmp_path / "spikes.npz", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (result["backend"], result["samples"], result["mismatches"]) == ("int", 2, 0)
    with np.load(tmp_path / "spikes.npz") as file:
        assert file["spikes/head0.output"].shape == (2, 4, 2, *SIZE)
        np.testing.assert_array_equal(file["readout"], file["spikes/head0.output"].sum(axis=1))


def test_a_tampered_network_is_refused_and_without_verification_its_divergence_is_named(cli, bundle, tmp_path):
    import shutil
    from dataclasses import replace

    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    graph = read_netx(copy / NETWORK)
    name = "encoder1.block0.lif_wide"
    population = graph.populations[name]
    other = replace(population, lif=replace(population.lif, v_th=population.lif.v_th // 2))
    write_netx(replace(graph, populations={**graph.populations, name: other}), copy / NETWORK)
    code, _, err = cli("parity", copy, "--right", "int", "--samples", 1)
    assert code == 1
    assert "'network.net' was changed after the export" in err
    code, _, err = cli("parity", copy, "--right", "int", "--samples", 1, "--no-verify")
    assert code == 1
    assert "NOT checked" in err
    assert f"first divergence: {name}, sample 0" in " ".join(err.split())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("train", "nothing", "--out", "x"), 2, "neither a file nor a shipped config"),
        (("train", "mfs-tiny", "model.blokcs=2", "--out", "x"), 2, "did you mean 'model.blocks'"),
        (("train", "mfs-tiny", "data.size=[18,16]", "--out", "x"), 2, "18 is not a multiple of 4"),
        (("train", "mfs-tiny", "train.accelerator=gpu", "--out", "."), 2, "accelerator = gpu is not to be had"),
        (("train", "mfs-tiny", "data.size=[8,8]", "--out", "x"), 2, "data.size"),
        (("train", "mfs-tiny", "data.digits_per_image=50", "--out", "x"), 2, "config section data"),
        (("train", "mfs-tiny", "train.seed=99999999999999999999", "--out", "x"), 2, "train.seed"),
        (("export", "x" * 300, "--out", "y"), 2, "File name too long"),
        (("train", "mfs-tiny", "train.lr", "--out", "x"), 2, "not of the form key.sub=value"),
        (("export", "nowhere", "--out", "x"), 2, "does not exist"),
        (("simulate", "nowhere"), 2, "is no bundle"),
        (("parity", "nowhere", "--left", "gpu"), 2, "unknown side 'gpu'"),
        (("nonsense",), 2, "No such command"),
        (("export", "nowhere"), 2, "Missing option"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_to_do(cli, arguments, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    got, _, err = cli(*arguments)
    assert got == code
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_the_demo_goes_the_whole_way_and_ends_with_its_json(cli, monkeypatch, tmp_path):
    from neuroseg.commands import demo

    small = ["train.epochs=1", "train.class_weight_power=0.5"]
    whole = demo.demo
    monkeypatch.setattr(demo, "demo", lambda out: whole(out, "mfs-tiny", small, images=(1, 2, 5)))
    code, out, err = cli("demo", "--out", tmp_path / "demo", "--json")
    assert code == 0, err
    result = json.loads(out.splitlines()[-1])
    assert set(result) == {
        "miou_torch",
        "miou_lava",
        "compared",
        "mismatches",
        "neurons",
        "neurons_deployed",
        "seconds",
        "png",
    }
    assert result["mismatches"] == 0
    assert result["miou_torch"] == result["miou_lava"]
    assert result["neurons_deployed"] > result["neurons"] > 20_000
    assert Path(result["png"]).read_bytes().startswith(b"\x89PNG")
    assert "0 mismatches in" in err


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_real_demo_reaches_its_bars(tmp_path):
    """Section 6 of the README's promise: mIoU, equality, memory. Time is measured by `make demo`, not asserted."""
    command = [sys.executable, "-m", "neuroseg.cli", "demo", "--out", str(tmp_path / "demo"), "--json"]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=1100)
    result = json.loads(ended.stdout.splitlines()[-1])
    assert result["mismatches"] == 0
    assert result["miou_torch"] == result["miou_lava"] >= 0.75
    assert result["compared"] > 100_000_000
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 8 * 1024 * 1024  # kilobytes, largest process


def test_unknown_targets_layouts_backends_and_sample_counts_are_refused(cli, run, bundle, tmp_path):
    for arguments, message in (
        (("export", run, "--out", tmp_path / "b", "--vectors", "999"), "--vectors 999 is out of range"),
        (("export", run, "--out", tmp_path / "b", "--target", "loihi9"), "unknown target 'loihi9'"),
        (("export", run, "--out", tmp_path / "b", "--layout", "flat"), "unknown layout 'flat'"),
        (("simulate", bundle, "--backend", "gpu"), "unknown backend 'gpu'"),
        (("simulate", bundle, "--samples", "99"), "holds 4 test vectors"),
        (("parity", bundle, "--samples", "0"), "--samples 0 is out of range"),
        (("parity", bundle, "--samples", "999"), "the test split has 8 images"),
    ):
        code, _, err = cli(*arguments)
        assert code == 2
        assert message in err


def test_outputs_that_cannot_be_written_are_refused_before_any_work(cli, run, bundle, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for work in ("parity.run_side", "exporting.compile_module"):
        monkeypatch.setattr(f"neuroseg.commands.{work}", lambda *_, **__: pytest.fail("work began"))
    monkeypatch.setattr("neuroseg.train.fit.build", lambda *_: pytest.fail("work began"))
    place = tmp_path / "file" / "below"
    for arguments in (("train", "mfs-tiny"), ("export", run), ("simulate", bundle)):
        code, _, err = cli(*arguments, "--out", place)
        assert code == 2, err
        assert "cannot be written" in err or "cannot write" in err


def test_an_export_into_another_bundle_is_refused(cli, run, bundle):
    before = sorted(bundle.rglob("*"))
    code, out, err = cli("export", run, "--out", bundle / "inner")
    assert code == 2 and out == "" and str(bundle) in err
    assert sorted(bundle.rglob("*")) == before


def test_a_network_that_adds_spikes_is_refused_with_the_module_named(cli, tmp_path):
    sew = make_run(tmp_path / "sew", block="sew", **MODEL)
    code, _, err = cli("export", sew, "--out", tmp_path / "bundle")
    assert code == 1
    assert "encoder0.block0.add: adds spikes to spikes" in err
    assert not (tmp_path / "bundle").exists()


def test_an_export_that_would_not_fire_like_the_trained_module_is_refused(cli, run, tmp_path, monkeypatch):
    from neuroseg.commands import exporting

    original, name = exporting.quantized_module, "decoder1.output"

    def other(folder, quantization):
        populations = quantization["populations"]
        changed = {**populations, name: {**populations[name], "v_th": populations[name]["v_th"] + 40}}
        return original(folder, {**quantization, "populations": changed})

    monkeypatch.setattr(exporting, "quantized_module", other)
    code, _, err = cli("export", run, "--out", tmp_path / "bundle")
    assert code == 1
    assert "does not fire as the trained module does: " in err and f"first in '{name}'" in err
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_no_numbers_are_refused_with_the_tensor_named(cli, run, tmp_path):
    import shutil

    broken = tmp_path / "run"
    shutil.copytree(run, broken)
    weights = load_file(broken / "weights.safetensors")
    name = next(n for n in weights if n.endswith("conv.weight"))
    weights[name].view(-1)[0] = float("nan")
    save_file(weights, broken / "weights.safetensors")
    code, _, err = cli("export", broken, "--out", tmp_path / "bundle")
    assert code == 1
    assert f"'{name}' holds NaN" in err
    (broken / "weights.safetensors").write_bytes(b"short")
    code, _, err = cli("export", broken, "--out", tmp_path / "bundle")
    assert code == 1
    assert "not a whole safetensors file" in err
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_training_never_overwrites_files_of_others(cli, tmp_path):
    (tmp_path / "config.yaml").write_text("# mine, with comments\n")
    code, _, err = cli("train", "mfs-tiny", "--out", tmp_path)
    assert code == 2
    assert "holds files that are not of a run" in err
    assert (tmp_path / "config.yaml").read_text() == "# mine, with comments\n"


def test_a_foreign_package_called_export_is_named(cli, monkeypatch):
    import export

    monkeypatch.delattr(export, "NEUROSEG_COMPILER")
    code, _, err = cli("--help")
    assert code == 2
    assert "is not neuroseg's compiler" in err and export.__file__ in err


def descendants(marker):
    """Processes whose command line holds a marker."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if marker in " ".join(process.info["cmdline"] or []):
            found.append(process.pid)
    return found


def interrupt(command, ready, folder):
    """Start a command, press Ctrl-C once `ready()` holds; (exit code, seconds it took to end, standard error)."""
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen(
        [sys.executable, "-m", "neuroseg.cli", *map(str, command)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    ) as process:
        end = time.monotonic() + 120
        while not ready() and time.monotonic() < end and process.poll() is None:
            time.sleep(0.05)
        assert process.poll() is None, process.stderr.read()
        pressed = time.monotonic()
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()  # a test that fails must not hang
            raise
        return process.returncode, time.monotonic() - pressed, err


@pytest.mark.slow  # test_train.py shows the same of the function behind the command
def test_ctrl_c_during_training_keeps_checkpoints_and_writes_no_half_weights(tmp_path):
    out = tmp_path / "run"
    command = ["train", "mfs-tiny", "train.epochs=500", "--out", out]
    code, _, err = interrupt(command, (out / "checkpoints" / "last.ckpt").exists, tmp_path)
    assert code == 1
    assert "interrupted" in err
    assert "Traceback" not in err
    assert not (out / "weights.safetensors").exists()
    assert torch.load(out / "checkpoints" / "last.ckpt", weights_only=False)["state_dict"]


def test_ctrl_c_during_a_lava_run_leaves_no_process(bundle, tmp_path):
    code, seconds, err = interrupt(
        ["simulate", bundle, "--backend", "lava"], lambda: len(descendants(str(tmp_path))) > 1, tmp_path
    )
    assert code == 1
    assert seconds < 20
    assert "interrupted" in err and "Traceback" not in err
    time.sleep(1)
    assert descendants(str(tmp_path)) == []
    assert [p for p in tmp_path.iterdir() if "lava" in p.name] == []
