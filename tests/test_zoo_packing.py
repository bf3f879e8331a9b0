"""Packing a network into the zoo: the plan, what is refused, and a card that is measured."""

import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image
from pydantic import ValidationError
from test_zoo_offline import make_camvid_run

from benchmarks.zoo import __main__ as program
from benchmarks.zoo import packing
from benchmarks.zoo.cards import Measured, card_of, changes_of, score_of
from benchmarks.zoo.packing import MOST_WEIGHTS, check_relatives, check_run, check_size, missing_runs, pack, shrink
from benchmarks.zoo.plan import PLAN, Entry, read_plan
from neuroseg.config import dump_config, load_config
from neuroseg.zoo import NETWORKS, network_names
from neuroseg.zoo.card import Picture, read_card
from neuroseg.zoo.page import card_page

DIGITS = NETWORKS / "mfs-digits"
WORDS = {"summary": "s", "licence": "l", "limits": ["none is known"], "system": "oheo_gulch"}


@pytest.fixture
def runs(tmp_path):
    """A folder with a finished RUN `first`."""
    shutil.copytree(DIGITS, tmp_path / "first")
    return tmp_path


def test_every_network_of_the_zoo_stands_in_the_plan():
    plan = read_plan()
    assert set(network_names()) <= set(plan)
    for name in network_names():
        card, entry = read_card(NETWORKS / name), plan[name]
        assert (card.summary, card.data.licence, card.limits) == (
            entry.summary.strip(),
            entry.licence.strip(),
            entry.limits,
        )
        assert card.deployment.system == entry.system and card.ladder.samples == entry.ladder
        assert len(card.other_seeds) == len(entry.seeds) and (card.ann is None) == (entry.ann is None)


@pytest.mark.parametrize(
    "change",
    [{"run": "/home/me/run"}, {"limits": []}, {"runn": "first"}, {"ladder": 0}],
    ids=lambda change: next(iter(change)),
)
def test_a_wrong_plan_is_refused_by_its_key(change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        Entry.model_validate({"run": "first", **WORDS} | change)


def test_a_recipe_is_the_shipped_config_and_what_was_changed():
    asked = ["data.protocol=paper", "train.epochs=7", "train.seed=2", "model.widths=[4,16,48]"]
    config = load_config("mfs-nano", asked)
    assert set(changes_of(config)) <= set(asked) and "train.seed=2" in changes_of(config)
    assert changes_of(load_config("demo")) == ()


def test_scores_are_those_of_the_metrics():
    score = score_of(DIGITS)
    assert score.miou == json.loads((DIGITS / "metrics.json").read_text())["miou"]
    assert not score.chosen_on_it and score.protocol is None


def test_weights_that_are_too_large_or_not_those_of_the_metrics_are_refused(runs, monkeypatch):
    check_run(runs / "first")
    monkeypatch.setattr(packing, "MOST_WEIGHTS", 100)
    with pytest.raises(SystemExit, match="has 164,732 bytes; the zoo takes 100 at most"):
        check_run(runs / "first")
    monkeypatch.setattr(packing, "MOST_WEIGHTS", MOST_WEIGHTS)
    with (runs / "first" / "config.yaml").open("a") as file:
        file.write("# changed\n")
    with pytest.raises(SystemExit, match="is not the file that metrics.json was written with"):
        check_run(runs / "first")


def test_a_config_with_a_path_of_one_machine_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="names '/somewhere/camvid', which is on this machine only"):
        check_run(make_camvid_run(tmp_path / "run", data="/somewhere/camvid"))


@pytest.mark.parametrize(
    ("words", "change", "says"),
    [
        ({"seeds": ["other"]}, ["train.seed=1"], None),
        ({"seeds": ["other"]}, ["train.seed=1", "train.lr=0.1"], "its config differs in more than train.seed"),
        ({"seeds": ["other"]}, ["train.seed=1", "model.expansion=3"], "its config differs in more than train.seed"),
        ({"seeds": ["other"]}, [], "do not all have another train.seed"),
        ({"other_splits": ["other"]}, ["data.seed=4"], None),
        ({"other_splits": ["other"]}, ["data.seed=4", "model.expansion=3"], "its model, train or data section says so"),
        ({"other_splits": ["other"]}, ["data.seed=4", "train.lr=0.1"], "its model, train or data section says so"),
        ({"other_splits": ["other"]}, [], "its model, train or data section says so"),
        ({"ann": "other"}, ["model.neuron=relu", "model.steps=1"], None),
        ({"ann": "other"}, [], "is no ANN twin"),
        ({"ann": "other"}, ["model.neuron=relu", "model.steps=1", "train.seed=1"], "is no ANN twin"),
        ({"ann_seeds": ["other"]}, ["model.neuron=relu", "model.steps=1", "train.seed=1"], None),
        (
            {"ann_seeds": ["other", "other"]},
            ["model.neuron=relu", "model.steps=1"],
            "do not all have another train.seed",
        ),
        ({"ann": "other"}, ["model.neuron=relu", "model.steps=1", "data.seed=4"], "is no ANN twin"),
        ({"ann": "other"}, ["model.neuron=relu", "model.steps=1", "model.expansion=3"], "is no ANN twin"),
        ({"ann": "other"}, ["model.neuron=relu", "model.steps=1", "train.lr=0.1"], "is no ANN twin"),
    ],
)
def test_other_runs_must_be_what_the_plan_calls_them(runs, words, change, says):
    (runs / "other").mkdir()
    (runs / "other" / "config.yaml").write_text(dump_config(load_config(runs / "first" / "config.yaml", change)))
    entry = Entry.model_validate({"run": "first", **WORDS, **words})
    if says is None:
        check_relatives(entry, runs)
    else:
        with pytest.raises(SystemExit, match=says):
            check_relatives(entry, runs)


def test_pictures_get_few_colours_and_an_entry_must_stay_small(tmp_path, monkeypatch):
    values = np.random.default_rng(0).integers(0, 256, (60, 80, 4), np.uint8)
    values[..., 3] = 255
    Image.fromarray(values).save(tmp_path / "large.png")
    shrink(tmp_path / "large.png", tmp_path / "small.png")
    with Image.open(tmp_path / "small.png") as small:
        assert small.size == (80, 60) and len(small.getcolors()) <= packing.COLOURS
    assert (tmp_path / "small.png").stat().st_size < (tmp_path / "large.png").stat().st_size
    check_size(tmp_path)
    monkeypatch.setattr(packing, "MOST_REST", 1000)
    with pytest.raises(SystemExit, match="the zoo takes 1,000 at most"):
        check_size(tmp_path)


def test_a_run_that_is_missing_is_told_and_left_out(runs, capsys, monkeypatch):
    plan = runs / "plan.yaml"
    plan.write_text(yaml.safe_dump({"one": {"run": "none", **WORDS}}))
    assert missing_runs(read_plan(plan)["one"], runs) == [runs / "none"]
    monkeypatch.setattr("sys.argv", ["zoo", "--plan", str(plan), "--runs", str(runs), "--to", str(runs / "zoo")])
    program.main()
    assert f"one: left out, '{runs / 'none'}' is no finished RUN" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="is no finished RUN"):
        pack("one", read_plan(plan)["one"], runs, runs / "zoo")
    assert not (runs / "zoo").exists()


def test_a_failing_command_packs_nothing(runs, monkeypatch):
    entry = Entry.model_validate({"run": "first", **WORDS, "system": "unknown"})
    with pytest.raises(SystemExit, match="failed with exit code 2; nothing was written"):
        pack("one", entry, runs, runs / "zoo")
    assert not (runs / "zoo").exists()


def test_the_page_tells_seeds_twin_and_other_protocol():
    card = read_card(DIGITS)
    other = card.score.model_copy(update={"seed": 1, "miou": card.score.miou - 0.1})
    optimistic = card.score.model_copy(update={"protocol": "paper", "chosen_on_it": True})
    page = card_page(card.model_copy(update={"other_seeds": (other,), "ann": other, "other_splits": (optimistic,)}))
    assert f"Over 2 seeds: mIoU {card.score.miou - 0.05:.4f} ± 0.0707" in page
    share = (card.score.miou - 0.05) / (card.score.miou - 0.1)
    assert f"Their mean is {share:.3f} of the ANN twin's (one seed)." in page
    assert page.count("neuroseg train demo\n") == 4, "the commands of all four"
    assert "| test (protocol `paper`), on which the best epoch was chosen |" in page


@pytest.mark.slow
def test_a_network_is_packed_measured_and_packed_again_from_what_was_kept(runs, monkeypatch):
    entry = Entry.model_validate(
        {"run": "first", **WORDS, "system": "kapoho_point", "vectors": 2, "ladder": 2, "stock": 1}
    )
    folder = pack("one", entry, runs, runs / "zoo")
    card = read_card(folder)
    assert card.name == "one" and card.ladder.samples == 2 and card.deployment.test_vectors == 2
    assert card.score == read_card(DIGITS).score and card.ladder.stock_mismatches == 0
    kept = json.loads((runs / "zoo-work" / "one" / packing.MEASURED).read_text())
    measured = Measured(kept["report"], kept["ladder"], kept["stock"])
    pictures = tuple(Picture.model_validate(picture.model_dump()) for picture in card.pictures)
    assert card_of("one", entry, runs, measured, pictures) == card
    monkeypatch.setattr(packing, "neuroseg", None)
    assert read_card(pack("one", entry, runs, runs / "zoo", keep=True)) == card
    assert PLAN.is_file()
