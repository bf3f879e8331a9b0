"""The plan of the accuracy benchmark is sound, and its bars are judged as they read."""

from __future__ import annotations

import argparse
import json

import pytest
from pydantic import ValidationError

from benchmarks.accuracy import results, running
from benchmarks.accuracy.__main__ import chosen
from benchmarks.accuracy.plan import Bar, Run, Study, read_plan
from neuroseg.config import load_config

PLAN = read_plan()
TRAININGS = [(s, n, run) for s, study in PLAN.items() for n, run in study.runs.items() if run.train]


@pytest.mark.parametrize(("study", "name", "run"), TRAININGS, ids=lambda x: x if isinstance(x, str) else "")
def test_every_training_of_the_plan_has_a_config(study, name, run):
    config = load_config(run.train, run.set)
    assert config.data.task == ("denoising" if PLAN[study].score == "psnr_db" else "segmentation")
    assert config.train.epochs > 1, name


def test_what_is_converted_is_an_ann():
    for study in PLAN.values():
        for run in study.runs.values():
            if run.convert is not None:
                source = study.runs[run.convert]
                assert load_config(source.train, source.set).model.neuron == "relu"


def test_runs_bring_what_they_need():
    asked = chosen(PLAN, "drive/layer", argparse.ArgumentParser())
    assert asked == [("drive", "ann"), ("drive", "layer")]
    assert len(chosen(PLAN, "", argparse.ArgumentParser())) == sum(len(study.runs) for study in PLAN.values())
    with pytest.raises(SystemExit):
        chosen(PLAN, "drive/nothing", argparse.ArgumentParser())


@pytest.mark.parametrize(
    ("bar", "value", "met"),
    [
        (Bar(name="x", more="a", less="b", by=0), 0.25, True),
        (Bar(name="x", more="b", less="a", by=0), -0.25, False),
        (Bar(name="x", more="b", less="a", by=-0.25), -0.25, True),
        (Bar(name="x", more="a", less="a", by=0), 0.0, False),
        (Bar(name="x", more="a", by=0.8), 0.75, False),
        (Bar(name="x", more="a", less="a.prior", by=0.2), 0.5, True),
        (Bar(name="x", more="a", less="b"), 0.25, None),
        (Bar(name="x", more="a", less="c", by=0), None, None),
    ],
)
def test_a_bar_compares_two_scores(bar, value, met):
    runs = {"a": Run(train="x"), "b": Run(train="x"), "c": Run(train="x")}
    study = Study(about="", score="miou", runs=runs, bars=(bar,))
    rows = {"a": {"miou": 0.75, "prior": 0.25}, "b": {"miou": 0.5}}
    judged = results.judged(bar, study, rows)
    assert (judged["value"], judged["met"]) == (value, met)


def test_a_training_of_more_than_half_an_hour_misses_its_bar():
    study = Study(about="", score="miou", runs={"a": Run(train="x")}, bars=(Bar(name="x", more="a"),))
    for seconds, met in ((1799.0, True), (1800.0, False)):
        assert results.judgements(study, {"a": {"miou": 0.5, "train_time_s": seconds}})[-1]["met"] is met
    assert results.judgements(study, {})[-1]["met"] is None


def test_every_row_of_a_paper_that_the_plan_names_prints_its_score():
    named = [(study.score, run.row) for study in PLAN.values() for run in study.runs.values() if run.paper_row]
    assert len(named) > 8
    for score, row in named:
        assert getattr(row.printed, score) is not None, row.id


def test_a_run_of_the_plan_that_was_not_better_after_fine_tuning_says_so():
    row = {"miou": 0.5, "steps": 4, "seed": 0, "finetuning": {"kept": False}}
    study = Study(about="", score="miou", runs={"a": Run(convert="a")}, bars=(Bar(name="x", more="a"),))
    assert "no epoch was above it" in results.report({"s": study}, {"studies": {"s": {"runs": {"a": row}}}})


def test_f1_is_that_of_the_foreground():
    assert results.score({"foreground": {"f1": 0.5}, "miou": 0.9}, "f1") == 0.5


@pytest.mark.parametrize("wrong", [{}, {"train": "a", "convert": "b"}])
def test_a_run_is_of_one_kind(wrong):
    with pytest.raises(ValidationError, match="one of train, convert and eval"):
        Run(**wrong)


def test_a_bar_names_runs_that_exist():
    with pytest.raises(ValidationError, match="'b' is no run of this study"):
        Study(about="", score="miou", runs={"a": Run(train="x")}, bars=(Bar(name="x", more="b"),))


def test_a_run_is_trained_scored_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(results, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(running, "LOGS", tmp_path / "logs")
    changes = ("train.epochs=1", "data.train_samples=16", "data.test_samples=8")
    run = Run(train="mfs-tiny", set=changes, paper_row="kim/4/deeplab-snn")
    bar = Bar(name="above the prior", more="tiny", less="tiny.prior", by=0)
    plan = {"s": Study(about="a test", reduced="all of it", score="miou", runs={"tiny": run}, bars=(bar,))}
    row = running.run_entry("s", "tiny", run)
    content = results.write(plan, "s", "tiny", row, tmp_path)
    known = json.loads((tmp_path / "accuracy.json").read_text())
    assert known == content
    measured = known["studies"]["s"]["runs"]["tiny"]
    assert measured["samples"] == 8 and measured["seed"] == 0 and 0 < measured["prior"] < 0.5
    assert measured["paper_row"] == "kim/4/deeplab-snn" and measured["note"] == "reduced: all of it"
    figure, longest = known["studies"]["s"]["bars"]
    assert longest["value"] == measured["train_time_s"] / 60 and longest["met"] is True
    assert figure["value"] == pytest.approx(measured["miou"] - measured["prior"])
    text = (tmp_path / "accuracy.md").read_text()
    assert f"| tiny | {measured['miou']:.4g} | 0.6531 |" in text and "above the prior" in text
    log = next(running.LOGS.glob("*.log"))
    before = log.read_text()
    assert before.startswith("$ neuroseg train mfs-tiny") and "epoch 1 of 1" in before
    assert running.run_entry("s", "tiny", run) == row, "what is there is kept"
    assert log.read_text() == before
    other = Run(train="mfs-tiny", set=(*run.set, "train.lr=1e-4"))
    with pytest.raises(SystemExit, match="made by other settings.*delete it"):
        running.run_entry("s", "tiny", other)


CONTENT = results.read()["studies"]
NOT_YET_MEASURED = {
    "converted and fine-tuned within 0.7 dB of the ANN on Set12",
    "converted and fine-tuned within 0.7 dB of the ANN on CBSD68",
    "synthetic events, above calling everything background",
    "N-MNIST, above calling everything background",
}


def test_the_results_are_of_the_plan_as_it_is():
    for study, known in CONTENT.items():
        assert known["runs"].keys() <= PLAN[study].runs.keys()
        for name, row in known["runs"].items():
            run = PLAN[study].runs[name]
            made = (getattr(run, row["kind"]), list(run.set), list(run.flags), run.paper_row)
            assert (row["of"], row["set"], row["flags"], row.get("paper_row")) == made, f"{study}/{name}"
            if run.train:
                now = running.config_of(run.train, run.set)
                assert running.without_new_keys(now, row["config"]) == row["config"], (
                    f"{study}/{name}: its config is another now"
                )


def test_tables_and_logs_are_those_of_the_results():
    report = results.report(PLAN, results.read())
    assert report in results.PAGE.read_text(encoding="utf-8"), "run python -m benchmarks.accuracy"
    assert (results.RESULTS / results.TABLE).read_text() == f"{report}\n"
    for study, known in CONTENT.items():
        assert known["bars"] == results.judgements(PLAN[study], known["runs"])
        for name, row in known["runs"].items():
            log = running.LOGS / f"{study}.{name}.log"
            assert row["kind"] == "eval" or log.read_text().startswith(f"$ neuroseg {row['kind']} "), log


def test_every_bar_is_met_or_named_as_not_yet_measured():
    bars = [
        bar for name, study in PLAN.items() for bar in results.judgements(study, CONTENT.get(name, {}).get("runs", {}))
    ]
    assert len(bars) > 15
    asked = [bar for bar in bars if bar["bar"] is not None and bar["name"] != "longest training, in minutes"]
    assert {bar["name"] for bar in asked if bar["met"] is None} == NOT_YET_MEASURED
    assert [bar["name"] for bar in bars if bar["met"] is False] == []
