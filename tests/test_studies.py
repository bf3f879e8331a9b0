"""Studies: points against other ways to compute them, resuming, pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lively import lively_model, make_run
from PIL import Image

from export.errors import UsageError
from neuroseg.commands import study_timesteps
from neuroseg.commands.spike_counts import accumulations, counting, synops_per_sample
from neuroseg.commands.study_noise import clipping, noise, relative_drop
from neuroseg.commands.study_rates import edge_correlation, rates
from neuroseg.commands.study_timesteps import refit, timesteps, with_steps
from neuroseg.commands.training import evaluate_run
from neuroseg.config import load_config
from neuroseg.data.noisy import Noisy
from neuroseg.models import build, lifs, record_spikes
from neuroseg.models.synapse import SynapseConv, SynapseConvT
from neuroseg.train import dataset, load_run
from neuroseg.train.run_folder import save_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("studies") / "snn")


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_inference_at_another_t_is_the_same_network_built_with_it(run: Path, tmp_path: Path) -> None:
    result = timesteps(str(run), (), [3, 1, 6], [], tmp_path / "study")
    assert [(p["kind"], p["trained_steps"], p["steps"]) for p in result["points"]] == [
        ("inference", 3, 1),
        ("inference", 3, 3),
        ("inference", 3, 6),
    ]
    config, model = load_run(run)
    longer = with_steps(config, 6)
    other = build(longer)
    other.load_state_dict(model.state_dict())
    save_run(tmp_path / "longer", longer, other, {"miou": 0.0})
    scores = {3: evaluate_run(run, "test"), 6: evaluate_run(tmp_path / "longer", "test")}
    for point in result["points"][1:]:
        for name in ("miou", "pixel_accuracy", "firing_rate", "foreground"):
            assert point[name] == scores[point["steps"]][name]
    assert result["points"][0]["firing_rate"] != result["points"][1]["firing_rate"]
    written = json.loads((tmp_path / "study" / "timesteps.json").read_text())
    assert written == result and written["schema_version"] == 1 and written["config"]["model"]["steps"] == 3
    assert min(size_of(tmp_path / "study" / "timesteps.png")) > 300


def test_a_config_is_trained_at_each_t_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ["train.epochs=1", "data.train_samples=8", "model.steps=2", "model.blocks=0"]
    first = timesteps("mfs-tiny", changes, [1], [1, 2], tmp_path)
    assert [(p["kind"], p["steps"]) for p in first["points"]] == [("inference", 1), ("training", 1), ("training", 2)]
    of_training = json.loads((tmp_path / "trained" / "T1" / "metrics.json").read_text())
    assert first["points"][1]["miou"] == of_training["miou"] and of_training["steps"] == 1
    monkeypatch.setattr(study_timesteps, "train_config", lambda *_, **__: pytest.fail("it was trained already"))
    more = timesteps("mfs-tiny", changes, [1, 2], [1, 2], tmp_path)
    assert [p for p in more["points"] if (p["kind"], p["steps"]) != ("inference", 2)] == first["points"]
    with pytest.raises(UsageError, match="holds a study with another config.*--restart"):
        timesteps("mfs-tiny", [*changes, "train.lr=1e-4"], [1], [], tmp_path)


def test_points_survive_an_interruption(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = study_timesteps._at

    def interrupted(folder: Path, steps: int, split: str) -> Any:
        if steps == 2:
            raise KeyboardInterrupt
        return at(folder, steps, split)

    monkeypatch.setattr(study_timesteps, "_at", interrupted)
    with pytest.raises(KeyboardInterrupt):
        timesteps(str(run), (), [1, 2], [], tmp_path)
    kept = json.loads((tmp_path / "timesteps.json").read_text())["points"]
    assert [point["steps"] for point in kept] == [1]
    monkeypatch.setattr(
        study_timesteps, "_at", lambda folder, steps, split: at(folder, steps, split) if steps > 1 else 1 / 0
    )
    assert [point["steps"] for point in timesteps(str(run), (), [1, 2], [], tmp_path)["points"]] == [1, 2]


def test_tensors_with_a_row_per_step_are_cut_or_go_on_with_their_last_row() -> None:
    rows = torch.arange(6.0).view(3, 2)
    weights = {"norm.gain": rows, "conv.weight": torch.ones(3, 4)}
    shorter, count = refit(weights, {"norm.gain": rows[:2], "conv.weight": torch.ones(3, 4)}, 3, 2)
    assert (
        torch.equal(shorter["norm.gain"], rows[:2])
        and count == 1
        and torch.equal(shorter["conv.weight"], torch.ones(3, 4))
    )
    longer, _ = refit(weights, {"norm.gain": torch.zeros(5, 2)}, 3, 5)
    assert torch.equal(longer["norm.gain"], rows[[0, 1, 2, 2, 2]])
    with pytest.raises(UsageError, match=r"'norm.gain' has shape \(3, 2\), at T = 5 it needs \(5, 4\)"):
        refit(weights, {"norm.gain": torch.zeros(5, 4)}, 3, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mfs-tiny", (), [], []), "nothing to do: name numbers of time steps"),
        (("mfs-tiny", (), [0], []), "T = 0 is below 1"),
        (("no-such", (), [1], []), "neither a file nor a shipped config"),
    ],
)
def test_a_study_of_nothing_is_refused(arguments: tuple[Any, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        timesteps(*arguments, tmp_path / "out")
    assert not (tmp_path / "out" / "timesteps.json").exists()


def test_noise_is_of_its_deviation_repeats_and_leaves_the_masks_alone() -> None:
    items = dataset(load_config("mfs-tiny"), "test")
    clean, mask = items[3]
    noisy, same_mask = Noisy(items, 0.2, seed=1)[3]
    assert torch.equal(mask, same_mask) and torch.equal(noisy, Noisy(items, 0.2, seed=1)[3][0])
    added = torch.stack([Noisy(items, 0.2, seed=1)[i][0] - items[i][0] for i in range(8)])
    assert float(added.std()) == pytest.approx(0.2, rel=0.03) and abs(float(added.mean())) < 0.01
    stronger = Noisy(items, 0.4, seed=1)[3][0] - clean
    torch.testing.assert_close(stronger, 2 * (noisy - clean), atol=1e-6, rtol=1e-5)
    assert not torch.equal(noisy, Noisy(items, 0.2, seed=2)[3][0])
    assert torch.equal(Noisy(items, 0.0)[3][0], clean)


def test_the_noise_study_has_a_curve_per_run_and_drops_against_the_clean_score(
    cli: Any, run: Path, tmp_path: Path
) -> None:
    other = make_run(tmp_path / "other", steps=2)
    arguments = ("--sigma", "0.3", "--seed", "4", "--out", tmp_path / "study", "--json")
    code, out, err = cli("study", "noise", run, other, *arguments)
    assert code == 0, err
    result = json.loads(out)
    assert [(Path(p["run"]).name, p["sigma"]) for p in result["points"]] == [
        ("snn", 0.0),
        ("snn", 0.3),
        ("other", 0.0),
        ("other", 0.3),
    ]
    for clean, noisy in (result["points"][:2], result["points"][2:]):
        assert clean["relative_drop"] == 0.0
        assert noisy["relative_drop"] == pytest.approx((clean["miou"] - noisy["miou"]) / clean["miou"])
    assert result["points"][0]["miou"] == evaluate_run(run, "test")["miou"]
    assert result["points"][1]["firing_rate"] != result["points"][0]["firing_rate"]
    assert result["note"] == "no run clips the noisy pixels to [0, 1]"
    assert relative_drop(0.0, 0.0) is None
    assert min(size_of(tmp_path / "study" / "noise.png")) > 300


@pytest.mark.parametrize(
    ("config", "overrides", "clips"),
    [
        ("spiking-deeplab", (), True),
        ("spiking-fcn", ("model.coding=direct",), False),
        ("spiking-deeplab", ("model.neuron=relu", "model.steps=1"), False),
        ("mfs-tiny", (), False),
    ],
)
def test_the_noise_study_names_the_runs_whose_coding_clips(
    config: str, overrides: tuple[str, ...], clips: bool
) -> None:
    note = clipping({Path("runs/a"): load_config(config, overrides)})
    assert note.startswith("Poisson coding clips the noisy pixels to [0, 1] in 'runs/a'") == clips


def test_what_noise_means_nothing_for_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--sigma -0.1 is no standard deviation"):
        noise([run], [-0.1], tmp_path)
    noise([run], [0.1], tmp_path, seed=1)
    with pytest.raises(UsageError, match="holds a study with another seed"):
        noise([run], [0.1], tmp_path, seed=2)


@pytest.mark.parametrize(
    "synapse",
    [
        SynapseConv(4, 6, 3, padding=1),
        SynapseConv(4, 6, 3, stride=2, padding=2, dilation=2, groups=2),
        SynapseConv(4, 4, 3, padding=1, groups=4),
        SynapseConvT(4, 6, 2, stride=2),
        SynapseConvT(4, 6, 3, stride=2, padding=1, groups=2),
    ],
)
def test_synops_are_the_non_zero_weights_that_spikes_meet(synapse: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = synapse.weight.data
    weight.mul_((torch.rand(weight.shape, generator=generator) < 0.6).to(weight))
    spikes = (torch.rand(2, 3, 4, 7, 6, generator=generator) < 0.3).float()
    there = (synapse.weight.detach() != 0).to(weight)
    expected = float(synapse.currents(spikes, there).sum())  # all weights 1: a sum is the number of its terms
    assert float(accumulations(synapse, spikes, weight)) == pytest.approx(expected)


def test_counts_are_those_of_the_recorded_spikes() -> None:
    model = lively_model()
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), counting(model, 2) as counts:
        for image in images:
            model(image[None])
            counts.samples += 1
    _, spikes = record_spikes(model, images)
    assert set(counts.populations) == set(lifs(model))
    for name, count in counts.populations.items():
        assert count.spikes == int(spikes[name].sum()) and count.neurons == spikes[name][0, 0].size
        np.testing.assert_allclose(np.stack(count.maps), spikes[name][:2].mean(axis=(1, 2)), atol=1e-6)
    assert 0 < synops_per_sample(counts) < sum(c.dense for c in counts.synapses.values()) / 3
    assert "encoder0.image.conv" not in counts.synapses  # pixels


def test_the_rates_study_tells_both_definitions_and_draws(cli: Any, run: Path, tmp_path: Path) -> None:
    code, out, err = cli("study", "rates", run, "--samples", "4", "--pictures", "2", "--out", tmp_path, "--json")
    assert code == 0, err
    result = json.loads(out)
    config, model = load_run(run)
    items = dataset(config, "test")
    _, spikes = record_spikes(model, torch.stack([items[i][0] for i in range(4)]))
    for row in result["populations"]:
        assert row["rate_per_step"] == pytest.approx(float(spikes[row["name"]].mean()), abs=1e-9)
        assert row["rate_per_neuron"] == pytest.approx(config.model.steps * row["rate_per_step"])
        assert row["edge_correlation"] is None or -1 <= row["edge_correlation"] <= 1
    neurons = sum(row["neurons"] for row in result["populations"])
    total = sum(row["spikes_per_sample"] for row in result["populations"])
    assert result["firing_rate"] == pytest.approx(total / neurons / config.model.steps)
    assert json.loads((tmp_path / "rates.json").read_text()) == result
    assert all(min(size_of(tmp_path / name)) > 150 for name in result["png"].values())
    with pytest.raises(UsageError, match="no population is called 'nobody'"):
        rates(run, tmp_path, samples=1, pictures=1, populations=["nobody"])
    with pytest.raises(UsageError, match="--samples 999 is out of range: the test split has"):
        rates(run, tmp_path, samples=999)


def test_spikes_along_edges_correlate_and_flat_maps_say_nothing() -> None:
    image = np.zeros((16, 16), np.float32)
    image[:, 8:] = 1
    edge = torch.zeros(16, 16)
    edge[:, 7:9] = 1
    along, away = (edge_correlation([m], [image]) for m in (edge, 1 - edge))
    assert along is not None and along > 0.9 and away == pytest.approx(-along)
    assert edge_correlation([torch.ones(16, 16)], [image]) is None
    small = F.avg_pool2d(edge[None], 2)[0]
    assert edge_correlation([small], [np.repeat(image[..., None], 3, axis=2)]) > 0.8


def test_studies_tell_what_they_found_and_what_is_wrong(cli: Any, run: Path, tmp_path: Path) -> None:
    code, _, err = cli("study", "timesteps", run, "--inference", "1", "--out", tmp_path / "t")
    assert code == 0 and "score against T, test split" in err and "timesteps.png" in " ".join(err.split())
    for arguments, message in (
        (("timesteps", run, "train.epochs=1", "--inference", "1"), "its config is settled"),
        (("timesteps", run, "--inference", "1,x"), "is no list of numbers"),
        (("timesteps", run, "--inference", "1.5"), "is no list of whole numbers"),
        (("rates", run, "--split", "all"), "unknown split 'all'"),
    ):
        code, _, err = cli("study", *arguments, "--out", tmp_path / "refused")
        assert code == 2 and message in " ".join(err.split())
