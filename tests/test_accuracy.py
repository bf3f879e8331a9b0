"""The plan of the accuracy benchmark is sound, and its bars are judged as they read."""

from __future__ import annotations

import argparse
import json
from math import sqrt
from statistics import mean, stdev

import pytest
from pydantic import ValidationError
from scipy.stats import t as student

from benchmarks.accuracy import results, running
from benchmarks.accuracy.__main__ import chosen
from benchmarks.accuracy.plan import Bar, Run, Study, read_plan
from neuroseg.config import load_config
from neuroseg.models import build, parameter_count

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


def test_a_bar_may_be_a_ratio_and_name_the_mean_of_several_seeds():
    runs = {name: Run(train="x") for name in ("a", "b", "ann")}
    bar = Bar(name="x", more="ab", less="ann", by=0.85, ratio=True)
    study = Study(about="", score="miou", runs=runs, seeds={"ab": ("a", "b")}, longest_min=None, bars=(bar,))
    rows = {name: {"miou": miou} for name, miou in (("a", 0.5), ("b", 0.7), ("ann", 0.8))}
    [judged] = results.judgements(study, rows)
    assert judged["value"] == pytest.approx(0.75) and judged["met"] is False and judged["ratio"] is True
    assert results.judgements(study, {"a": rows["a"], "ann": rows["ann"]})[0]["value"] is None
    known = {name: {**row, "steps": 4, "seed": 0} for name, row in rows.items()}
    told = results.report({"s": study}, {"studies": {"s": {"runs": known}}})
    assert "mean mIoU 0.6000, standard deviation 0.1414, from 0.5000 to 0.7000" in told and "| 0.750 |" in told


def test_what_a_study_shares_comes_before_a_trainings_own_changes():
    runs = {"a": {"train": "x", "set": ["train.seed=1"]}, "b": {"convert": "a"}}
    study = Study.model_validate(
        {"about": "", "score": "miou", "shared": ["train.epochs=2"], "runs": runs, "bars": [{"name": "x", "more": "a"}]}
    )
    assert study.runs["a"].set == ("train.epochs=2", "train.seed=1") and study.runs["b"].set == ()


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


def test_the_results_are_of_the_plan_as_it_is():
    assert CONTENT.keys() == PLAN.keys()
    for study, known in CONTENT.items():
        assert known["runs"].keys() == PLAN[study].runs.keys()
        assert "not yet measured" not in results.report({study: PLAN[study]}, results.read())
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


def test_every_bar_is_met():
    bars = [
        bar for name, study in PLAN.items() for bar in results.judgements(study, CONTENT.get(name, {}).get("runs", {}))
    ]
    assert len(bars) > 15
    asked = [bar for bar in bars if bar["bar"] is not None and bar["name"] != "longest training, in minutes"]
    assert [bar["name"] for bar in asked if not bar["met"]] == []
    assert [bar["name"] for bar in bars if bar["met"] is False] == []


CURVES = {
    name: json.loads((running.LOGS / "curves" / f"{name}.json").read_text())
    for name in ("timesteps", "timesteps-converted", "noise", "thresholds", "rates")
}


def test_curves_are_of_the_runs_in_the_results():
    runs = CONTENT["mnist-cifar10"]["runs"]
    for name, run in (
        ("timesteps", "spiking-deeplab"),
        ("timesteps-converted", "converted-deeplab-layer"),
        ("rates", "spiking-deeplab"),
    ):
        assert CURVES[name]["run"].endswith(f"/{run}")
        assert CURVES[name]["weights_sha256"] == runs[run]["weights_sha256"], name
    noisy = {(point["run"].rpartition("/")[2], point["weights_sha256"]) for point in CURVES["noise"]["points"]}
    assert noisy == {(run, runs[run]["weights_sha256"]) for run in ("spiking-deeplab", "ann-deeplab")}
    assert CURVES["thresholds"]["ann_sha256"] == CONTENT["drive"]["runs"]["ann"]["weights_sha256"]
    pictures = {path.stem for path in (running.ROOT / "docs" / "images" / "accuracy").glob("*.png")}
    assert pictures == {*CURVES, "maps"}


def test_what_the_page_says_of_the_curves_is_in_them():
    page = (running.ROOT / "docs" / "explanation" / "accuracy.md").read_text(encoding="utf-8")
    drops = {p["run"].rpartition("/")[2]: p["relative_drop"] for p in CURVES["noise"]["points"] if p["sigma"] == 0.3}
    assert (
        f"its mIoU falls by {drops['spiking-deeplab']:.1%}, its ANN's by {drops['ann-deeplab']:.1%}".replace("%", " %")
        in page
    )
    direct, converted = (
        {p["steps"]: p["miou"] for p in CURVES[name]["points"]} for name in ("timesteps", "timesteps-converted")
    )
    assert max(direct, key=direct.__getitem__) == 8 and direct[16] < direct[8] and direct[4] < direct[8] - 0.1
    background = CONTENT["mnist-cifar10"]["runs"]["spiking-deeplab"]["prior"]
    assert abs(direct[4] - background) < 0.01 and direct[16] < direct[12] < direct[8]
    assert converted[8] < direct[8] < converted[16] < converted[32] and abs(converted[64] - converted[32]) < 0.002
    rates = {p["name"]: p["rate_per_step"] for p in CURVES["rates"]["populations"]}
    hidden = [rate for name, rate in rates.items() if name not in ("source", "classifier.neurons")]
    assert f"{min(hidden):.0%} to {max(hidden):.0%}".replace("%", "", 1).replace("%", " %") in page
    assert f"in the classifier {rates['classifier.neurons']:.0%}".replace("%", " %") in page


def test_the_table_of_thresholds_is_that_of_the_study():
    best: dict[int, float] = {}
    for point in CURVES["thresholds"]["points"]:
        count, f1 = len(point["thresholds"]), point["foreground"]["f1"]
        best[count] = max(f1, best.get(count, 0.0))
    row = " | ".join(f"{best[count]:.3f}" for count in range(1, 6))
    page = (running.ROOT / "docs" / "explanation" / "accuracy.md").read_text(encoding="utf-8")
    assert f"| ours, F1, the best of each number | {row} |" in page
    assert CONTENT["drive"]["runs"]["connection"]["foreground"]["f1"] > best[5]


def test_what_the_page_says_of_the_papers_network_is_what_its_first_steps_gave():
    known = json.loads((results.RESULTS / "efs72_loss.json").read_text())
    assert known["config"] == "mfs-efs72" and known["parameters"] == parameter_count(build(load_config("mfs-efs72")))
    assert known["steps"] == len(known["losses"]) >= 20 and known["last_mean"] < 0.8 * known["first_mean"]
    page = results.PAGE.read_text(encoding="utf-8")
    said = f"{known['first_mean']:.2f} over the first ten steps, {known['last_mean']:.2f} over the last ten of {known['steps']}"
    tens = [f"{mean(known['losses'][i : i + 10]):.2f}" for i in range(0, known["steps"], 10)]
    assert said in page and f"by tens {', '.join(tens)}." in page


def test_what_the_pages_say_of_chance_in_the_ablation_follows_from_its_seeds():
    rows = CONTENT["camvid-ablation"]["runs"]
    seeds = [rows[name]["miou"] for name in PLAN["camvid-ablation"].seeds["base-seeds"]]
    deviation = stdev(seeds) * sqrt(1 + 1 / len(seeds))
    limit = student.ppf(0.975, len(seeds) - 1) * deviation
    page = results.PAGE.read_text(encoding="utf-8")
    decision = (results.PAGE.parents[1] / "adr" / "020-networks-that-fit.md").read_text(encoding="utf-8")
    for text in (page, decision):
        assert f"by {deviation:.3f} (standard deviation)" in text and f"beyond {limit:.3f}" in text
    bars = [bar for bar in PLAN["camvid-ablation"].bars if bar.less == "base-seeds"]
    beyond = [bar.more for bar in bars if abs(rows[bar.more]["miou"] - mean(seeds)) > limit]
    assert beyond == ["constant-rate"] and seeds[0] == max(seeds)
