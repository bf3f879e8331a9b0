"""A network of the zoo is exported where its data set is not: photographs take its place, and nobody can miss it."""

import json
import shutil

import numpy as np
import pytest
import torch
from camvid_folder import write_camvid
from lively import enliven

from export.errors import DataError, MissingData
from neuroseg.commands.reference import load_samples
from neuroseg.config import load_config
from neuroseg.data import VOID
from neuroseg.data.ask import DATA_FOLDER
from neuroseg.data.stand_ins import stand_ins
from neuroseg.models import build_model
from neuroseg.train.run_folder import save_run
from neuroseg.zoo import NETWORKS, network_folder, network_names
from neuroseg.zoo.card import CARD, read_card

SMALL = ("model.widths=[3,4,4]", "model.steps=3", "model.blocks=1", "model.residual_gain=0.6", "data.augment=null")
SIZE = (32, 32)
TOLD = "data set 'camvid' is not here"


def make_camvid_run(folder, data="camvid"):
    """A RUN of an untrained network on CamVid that fires."""
    config = load_config("mfs-nano", [*SMALL, f"data.size={list(SIZE)}", f"data.root={data}"])
    folder.mkdir(parents=True)
    network = enliven(build_model(config.model, config.data.classes, 0), SIZE, 0)
    save_run(folder, config, network, {"miou": 0.25, "split": "test"})
    return folder


@pytest.fixture
def away(tmp_path, monkeypatch):
    """A machine without data sets."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv(DATA_FOLDER, str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def run(away):
    """A RUN on CamVid with a card, as a network of the zoo has one."""
    folder = make_camvid_run(away / "run")
    shutil.copy(NETWORKS / "mfs-digits" / CARD, folder)
    return folder


@pytest.fixture
def bundle(cli, run):
    """Its bundle, and what the export said."""
    out = run.with_name("bundle")
    code, printed, err = cli("export", run, "--out", out, "--vectors", 3, "--json")
    assert code == 0, err
    return out, json.loads(printed), err


def test_an_export_without_the_data_set_takes_photographs_and_says_so(bundle):
    out, report, err = bundle
    assert TOLD in err and "3 photographs that come with scikit-learn (china.jpg, flower.jpg) take its place" in err
    assert report["vectors_stand_in"] is True and report["test_vectors"] == 3
    assert report["vectors_from"].startswith("photographs that come with scikit-learn")
    assert report["warnings"][0].startswith("The test vectors are photographs that come with scikit-learn")
    assert json.loads((out / "report.json").read_text()) == report
    assert "The test vectors are photographs" in (out / "report.html").read_text(encoding="utf-8")


def test_its_bundle_verifies_with_no_difference(cli, bundle):
    code, out, err = cli("verify", bundle[0], "--backend", "int", "--backend", "lava-fast", "--json")
    verdict = json.loads(out)
    assert code == 0 and verdict["holds"], err
    assert [replay["mismatches"] for replay in verdict["replays"]] == [0, 0]
    assert min(replay["compared"] for replay in verdict["replays"]) > 10_000


def test_parity_and_ladder_of_such_a_bundle_take_the_same_photographs_and_give_no_score(cli, bundle, tmp_path):
    code, out, err = cli("parity", bundle[0], "--left", "slayer", "--right", "int", "--samples", 3, "--json")
    result = json.loads(out)
    assert code == 0 and TOLD in err
    assert (result["mismatches"], result["miou_left"], result["miou_right"]) == (0, None, None)
    assert result["pixel_agreement"] == 1.0 and result["compared"] > 0
    ladder = tmp_path / "ladder"
    arguments = ("ladder", bundle[0], "--samples", 2, "--rungs", "float,folded,slayer,int", "--out", ladder)
    code, out, err = cli(*arguments, "--json")
    assert code == 0, err
    assert {row["miou"] for row in json.loads(out)["rungs"]} == {None}
    assert sorted(path.name for path in ladder.iterdir()) == ["disagreement.png", "ladder.json"]
    code, _, err = cli(*arguments)
    assert code == 0 and "none" in err and "ladder.json, disagreement.png\n" in err


def test_a_network_of_ones_own_whose_data_set_is_missing_keeps_its_error(cli, away):
    run = make_camvid_run(away / "mine")
    code, _, err = cli("export", run, "--out", away / "bundle")
    assert code == 1 and "is no folder. Give the folder that holds CamVid" in err
    assert not (away / "bundle").exists()


def test_a_data_set_that_is_there_is_used_and_a_damaged_one_is_no_missing_one(cli, run, away):
    folder = write_camvid(away / "data" / "camvid", size=SIZE)
    code, out, err = cli("export", run, "--out", away / "with", "--json")
    report = json.loads(out)
    assert code == 0 and TOLD not in err
    assert (report["vectors_from"], report["vectors_stand_in"]) == (
        "the first 4 images of the test split of 'camvid'",
        False,
    )
    assert not any("photographs" in warning for warning in report["warnings"])
    next((folder / "test").iterdir()).unlink()
    code, _, err = cli("export", run, "--out", away / "damaged")
    assert code == 1 and "is missing" in err
    shutil.rmtree(folder)
    code, _, err = cli("parity", away / "with", "--right", "int")
    assert code == 1 and "is no folder" in err, "its vectors are CamVid's: photographs would be another comparison"


def test_samples_know_what_they_are(away):
    config = load_config("mfs-nano", [f"data.size={list(SIZE)}"])
    samples = load_samples(config, 2, replaceable=True)
    assert samples.stand_ins and not samples.scored and "'camvid'" in samples.source
    assert samples.masks.shape == (2, *SIZE) and (samples.masks == VOID).all() and samples.compared.all()
    embedded = load_samples(load_config("demo"), 2, replaceable=True)
    assert (
        not embedded.stand_ins
        and embedded.scored
        and embedded.source == "the first 2 images of the test split of 'digits'"
    )
    with pytest.raises(MissingData):
        load_samples(config, 2)


@pytest.mark.parametrize("name", ["mfs-nmnist", "unet-denoise-grey"])
def test_events_and_noisy_pictures_have_no_stand_ins(away, name):
    with pytest.raises(DataError):
        load_samples(load_config(name), 2, replaceable=True)


@pytest.mark.parametrize(("channels", "size"), [(3, (32, 48)), (1, (48, 32)), (3, (480, 640))])
def test_stand_ins_are_whole_photographs_then_crops_and_always_the_same(channels, size):
    images = stand_ins(5, channels, size)
    assert images.shape == (5, channels, *size) and images.dtype == torch.float32
    assert 0 <= float(images.min()) < float(images.max()) <= 1
    assert torch.equal(images[:3], stand_ins(3, channels, size))
    flat = images.flatten(1).numpy()
    assert np.linalg.norm(flat[:, None] - flat[None], axis=-1)[np.triu_indices(5, 1)].min() > 1


@pytest.mark.slow
@pytest.mark.parametrize("name", network_names())
def test_every_network_is_exported_by_its_name_without_its_data_and_verifies(cli, away, monkeypatch, name):
    monkeypatch.chdir(away)
    code, out, err = cli("export", f"zoo:{name}", "--target", "loihi2", "--out", "bundle", "--vectors", 2, "--json")
    report, card = json.loads(out), read_card(network_folder(name))
    assert code == 0, err
    assert report["vectors_stand_in"] != card.data.embedded
    deployment = card.deployment
    for key in ("neurons", "neurons_deployed", "cores", "host_neurons", "latency_steps"):
        assert report[key] == getattr(deployment, key), key
    code, out, err = cli("verify", "bundle", "--backend", "int", "--backend", "lava-fast", "--json")
    assert code == 0, err
    assert sum(replay["mismatches"] for replay in json.loads(out)["replays"]) == 0
