"""`neuroseg convert` and `neuroseg study thresholds`: a RUN goes in, a RUN comes out, and nothing is half-written."""

import json

import pytest
import torch
from typer.testing import CliRunner

from export.errors import UsageError
from neuroseg.cli import app
from neuroseg.commands.converting import Conversion, calibration_images, convert, converted, read_source
from neuroseg.commands.study_thresholds import table_of
from neuroseg.commands.study_thresholds import thresholds as study
from neuroseg.config import load_config
from neuroseg.models import build
from neuroseg.models.converted import Converted
from neuroseg.train import load_run
from neuroseg.train.run_folder import save_run

TINY = """
name: tiny
data: {name: digits, size: [16, 16], train_samples: 8, val_samples: 2, test_samples: 3}
model: {family: unet, neuron: relu, steps: 1, widths: [3, 4]}
train: {epochs: 1, batch_size: 4, accelerator: cpu}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory, config):
    """A network that has seen some images, and its RUN folder."""
    folder, settings = tmp_path_factory.mktemp("runs") / "ann", load_config(config)
    folder.mkdir()
    model = build(settings, 0).train()
    for images in calibration_images(settings, 8):
        model(images)
    save_run(folder, settings, model, {"miou": 0.5, "split": "test"})
    return folder


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "mt"
    result = CliRunner().invoke(
        app, ["convert", str(run), "--neuron", "mt", "--steps", "3", "--calibrate", "4", "--out", str(out), "--json"]
    )
    assert result.exit_code == 0, result.output
    return out, json.loads(result.stdout.strip().splitlines()[-1])


def test_what_was_converted_is_a_run_with_the_scores_that_were_told(made, run):
    out, told = made
    config, model = load_run(out)
    assert isinstance(model, Converted)
    assert (config.model.steps, config.model.neuron, config.model.thresholds) == (3, "mt", (2.0, 1.0, 0.5, 0.25))
    origin = config.model.origin
    assert (origin.kind, origin.normalise, origin.samples) == ("run", "connection", 4)
    kept = json.loads((out / "metrics.json").read_text())
    assert kept["miou"] == told["converted"]["miou"]
    assert kept["conversion"]["ann"]["miou"] == told["ann"]["miou"]
    again = read_source(run)
    images = next(iter(calibration_images(again.config, 2)))
    _, fresh = converted(again, Conversion("mt", steps=3, calibrate=4))
    with torch.no_grad():
        assert torch.equal(model(images)[0], fresh(images)[0])


def test_eval_scores_it_like_any_other_run(made):
    out, told = made
    result = CliRunner().invoke(app, ["eval", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.strip().splitlines()[-1])["miou"] == told["converted"]["miou"]


@pytest.fixture(scope="module")
def wrong(run, tmp_path_factory):
    """The same with its read-out turned round: it has something to learn."""
    folder = tmp_path_factory.mktemp("runs") / "wrong"
    folder.mkdir()
    settings, model = load_run(run)
    names = list(model.state_dict())
    weight = next(name for name in reversed(names) if name.endswith("weight"))
    with torch.no_grad():
        for name, values in model.state_dict().items():
            if name.rpartition(".")[0] == weight.rpartition(".")[0]:
                values.neg_()
    save_run(folder, settings, model, {"miou": 0.1, "split": "test"})
    return folder


def test_fine_tuning_writes_the_best_epoch_and_keeps_what_was_before(wrong, tmp_path):
    out = tmp_path / "tuned"
    told = convert(wrong, out, Conversion(steps=2, calibrate=4), finetune=4, lr=5e-2)
    config, model = load_run(out)
    assert (config.train.epochs, config.train.lr, config.train.schedule) == (4, 5e-2, "constant")
    _, before = converted(read_source(wrong), Conversion(steps=2, calibrate=4))
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True))
    kept = json.loads((out / "metrics.json").read_text())
    assert kept["miou"] == told["finetuned"]["miou"]
    assert kept["conversion"]["converted"]["miou"] == told["converted"]["miou"]


def test_fine_tuning_that_is_worse_in_every_epoch_keeps_the_converted_network(run, tmp_path):
    out = tmp_path / "spoiled"
    ask = Conversion(steps=4, calibrate=4)
    told = convert(run, out, ask, finetune=1, lr=100.0)
    assert told["finetuned"] is None
    assert "lower --lr" in told["warnings"][-1]
    _, kept = load_run(out)
    _, before = converted(read_source(run), ask)
    assert all(torch.equal(a, b) for a, b in zip(kept.parameters(), before.parameters(), strict=True))
    record = json.loads((out / "metrics.json").read_text())
    assert record["miou"] == told["converted"]["miou"]
    fine = record["conversion"]["finetuning"]
    assert fine["kept"] is False and fine["best"] <= fine["start"]


def test_the_study_of_thresholds_fine_tunes_each_list(run, tmp_path):
    ask = Conversion(steps=2, calibrate=4, match=False)
    point = study(run, ask, tmp_path, table=[(1.0, 0.5)], finetune=1, lr=1e-3)["points"][1]
    before = study(run, ask, tmp_path / "plain", table=[(1.0, 0.5)])["points"][1]
    assert point["as_converted"]["miou"] == before["miou"]
    record = json.loads((tmp_path / "runs" / "1,0.5" / "metrics.json").read_text())
    assert record["miou"] == point["miou"]
    assert record["conversion"]["finetuning"]["kept"] in (True, False)


def test_the_study_of_thresholds_goes_on_where_it_stopped(run, tmp_path):
    ask = Conversion(steps=2, calibrate=4)
    first = study(run, ask, tmp_path, table=[(1.0,)])
    more = study(run, ask, tmp_path, table=[(1.0,), (2.0, 1.0)])
    assert more["points"][:2] == first["points"]
    assert [point["thresholds"] for point in more["points"]] == [[], [1.0], [2.0, 1.0]]
    assert json.loads((tmp_path / "thresholds.json").read_text()) == more
    assert (tmp_path / "thresholds.png").read_bytes().startswith(b"\x89PNG")


def test_data_and_training_can_be_changed_and_the_network_cannot(run, tmp_path):
    told = convert(run, tmp_path / "out", Conversion(steps=2, calibrate=4), changes=("data.test_samples=2",))
    assert told["converted"]["samples"] == 2
    with pytest.raises(UsageError, match=r"model.neuron=lif: the network is trained.*data\.\* and train\.\* can"):
        read_source(run, changes=("model.steps=2", "model.neuron=lif"))
    with pytest.raises(UsageError, match="config 'tiny': unknown key 'data.test_sample'"):
        read_source(run, changes=("data.test_sample=2",))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"neuron": "lif"}, "--neuron lif is unknown; choose one of if, mt"),
        ({"normalise": "row"}, "--normalise row is unknown; choose one of layer, channel, connection"),
        ({"neuron": "mt", "reset": "hard"}, "--reset hard needs --neuron if"),
        ({"steps": 0}, "--steps 0"),
        ({"calibrate": 9}, "--calibrate 9 is more than the 8 training images"),
    ],
)
def test_a_wrong_option_is_told_by_its_name(run, tmp_path, how, says):
    with pytest.raises(UsageError, match=says):
        convert(run, tmp_path / "out", Conversion(**how))


def test_an_onnx_file_needs_a_config_for_its_images(tmp_path):
    with pytest.raises(UsageError, match=r"net.onnx' does not say what images it reads.*--data"):
        read_source(tmp_path / "net.onnx")


def test_an_onnx_file_of_other_channels_is_refused(config, tmp_path):
    path = tmp_path / "net.onnx"
    torch.onnx.export(torch.nn.Conv2d(3, 5, 1), (torch.rand(1, 3, 16, 16),), str(path), dynamo=False)
    with pytest.raises(UsageError, match="reads 3 channels and gives 5; the data have 3 channels and 2 classes"):
        read_source(path, str(config))


def test_lists_of_thresholds_are_read():
    assert table_of("1;2,1;2,1,0.5") == ((1.0,), (2.0, 1.0), (2.0, 1.0, 0.5))
    with pytest.raises(UsageError, match="--table 'a' is no list"):
        table_of("a")
