"""The zoo: every network is whole, its card tells what its files say, and its name stands for a RUN in every command."""

import json
import re
import shutil

import pytest
import typer
from test_help import LEAVES

from benchmarks.zoo.plan import read_plan
from export.errors import FileFormatError, UsageError
from export.files import sha256
from neuroseg.config import load_config
from neuroseg.models.count import parameter_count
from neuroseg.train import load_run
from neuroseg.train.run_folder import METRICS, prepare_run, scored_list
from neuroseg.zoo import NETWORKS, network_folder, network_names, resolve_run
from neuroseg.zoo.card import CARD, CARD_PAGE, has_card, read_card
from neuroseg.zoo.page import card_page

EMBEDDED = "mfs-digits"
NAMES = network_names()
every_network = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    """A terminal on which nothing is folded."""
    monkeypatch.setattr("neuroseg.commands.console.messages.width", 400)


def metrics_of(name: str) -> dict:
    return json.loads((NETWORKS / name / METRICS).read_text())


def test_the_zoo_has_the_embedded_network():
    assert EMBEDDED in NAMES


@every_network
def test_a_network_loads_and_its_hashes_hold(name):
    folder = network_folder(name)
    config, model = load_run(folder)
    card, metrics = read_card(folder), metrics_of(name)
    assert {file: sha256(folder / file) for file in metrics["sha256"]} == metrics["sha256"]
    assert len(metrics["sha256"]) == 2
    assert card.weights_sha256 == metrics["sha256"]["weights.safetensors"]
    assert parameter_count(model) == card.score.parameters == metrics["parameters"]
    assert tuple(config.input_shape) == card.input and config.model.steps == card.steps


@every_network
def test_a_card_agrees_with_metrics_and_config(name):
    folder = network_folder(name)
    config, _ = load_run(folder)
    card, metrics = read_card(folder), metrics_of(name)
    assert card.name == name
    assert card.score.split == scored_list(metrics)
    for key in ("protocol", "samples", "arithmetic", "seed", "miou", "miou_per_image", "pixel_accuracy"):
        assert getattr(card.score, key) == metrics[key], key
    assert card.score.chosen_on_it == (metrics["protocol"] == "paper")
    assert list(card.iou_per_class.items()) == list(zip(metrics["class_names"], metrics["iou_per_class"], strict=True))
    assert card.data.name == config.data.name and card.data.size == tuple(config.data.size)
    kept = config.train.model_dump(mode="json")
    assert {key: kept[key] for key in card.recipe.train} == card.recipe.train
    assert load_config(card.recipe.config, card.score.changes) == config
    assert (card.recipe.best_epoch, card.recipe.best_val_miou) == (metrics["best_epoch"], metrics["best_val_miou"])


@every_network
def test_a_card_tells_a_network_that_fits_and_fires_alike_on_every_rung(name):
    card = read_card(network_folder(name))
    rungs = card.ladder.rungs
    assert card.deployment.fits and card.deployment.neurons_deployed >= card.deployment.neurons > 0
    assert 0 < card.deployment.energy_j.low <= card.deployment.energy_j.nominal <= card.deployment.energy_j.high
    assert [rung.name for rung in rungs] == ["float", "folded", "slayer", "int", "lava-fast"]
    assert [rung.mismatches for rung in rungs if rung.exact] == [0, 0] and card.ladder.stock_mismatches == 0
    assert min(rung.compared for rung in rungs if rung.exact) > 0 and card.ladder.stock_compared > 0
    assert card.ladder.drop == rungs[0].miou - rungs[-1].miou <= read_plan()[name].most_drop <= 0.01
    assert card.recipe.train["qat_epochs"] == 0 or card.ladder.drop <= 0.003
    assert card.score.seed not in [score.seed for score in card.other_seeds]
    assert card.of_ann is None or card.of_ann >= 0.85


@every_network
def test_a_network_is_small_has_its_pictures_and_nothing_of_the_machine_that_made_it(name):
    folder = network_folder(name)
    card = read_card(folder)
    assert (folder / "weights.safetensors").stat().st_size == card.weights_size_bytes < 5_000_000
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    pictures = {picture.file for picture in card.pictures}
    assert files == {"config.yaml", "weights.safetensors", METRICS, CARD, CARD_PAGE} | pictures and len(pictures) >= 2
    assert sum((folder / file).stat().st_size for file in files - {"weights.safetensors"}) <= 600_000
    for file in ("config.yaml", METRICS, CARD, CARD_PAGE):
        assert not re.search(r"(^|[\s\"'(])[~/][\w.]", (folder / file).read_text()), file


@every_network
def test_the_page_is_what_the_template_makes_of_the_card(name):
    folder = network_folder(name)
    page = (folder / CARD_PAGE).read_text(encoding="utf-8")
    assert page == card_page(read_card(folder))
    for told in (f"zoo:{name}", "## Limits", "licence of the data"):
        assert told in page
    assert all((folder / link).is_file() for link in re.findall(r"\]\(([^)]+)\)", page))


def test_the_list_tells_what_the_cards_say(cli):
    code, out, _ = cli("zoo", "list", "--json")
    content = json.loads(out)
    assert code == 0 and content["schema_version"] == 1
    assert [row["name"] for row in content["networks"]] == NAMES
    for row in content["networks"]:
        card = read_card(network_folder(row["name"]))
        assert (row["miou"], row["cores"]) == (card.score.miou, card.deployment.cores)
    for arguments in (("zoo", "list"), ("zoo",)):
        code, out, err = cli(*arguments)
        assert (code, out) == (0, "") and all(name in err for name in NAMES)
    assert f"{metrics_of(EMBEDDED)['miou']:.4f}" in err


@pytest.mark.parametrize("given", [EMBEDDED, f"zoo:{EMBEDDED}"])
def test_show_prints_the_card(cli, given):
    code, out, err = cli("zoo", "show", given)
    assert (code, out) == (0, "")
    assert card_page(read_card(network_folder(EMBEDDED))) in err
    code, out, _ = cli("zoo", "show", given, "--json")
    assert code == 0 and json.loads(out)["name"] == EMBEDDED


def arguments_named(*metavars: str) -> list[tuple[str, object]]:
    """(command, parameter) of every argument of all commands with one of these names."""
    return [(name, p) for name, command in LEAVES.items() for p in command.params if p.metavar in metavars]


def test_every_argument_that_takes_a_run_takes_a_name_of_the_zoo():
    found = arguments_named("RUN", "RUN ...", "RUN_OR_ONNX", "RUN_OR_CONFIG")
    assert {name for name, _ in found} == {
        *("eval", "export", "convert", "study thresholds", "study timesteps", "study noise", "study rates"),
    }
    for name, parameter in found:
        many = parameter.nargs == -1
        given = [f"zoo:{EMBEDDED}", "zoo:mfs-digits"] if many else f"zoo:{EMBEDDED}"
        value = parameter.process_value(typer.Context(LEAVES[name]), given)
        assert [str(one) for one in (value if many else [value])] == [str(NETWORKS / EMBEDDED)] * (2 if many else 1), (
            name
        )


def test_a_network_lends_its_config_to_the_commands_that_take_one(cli):
    code, out, _ = cli("describe", f"zoo:{EMBEDDED}", "--json")
    card = read_card(NETWORKS / EMBEDDED)
    assert code == 0 and json.loads(out)["neurons_deployed"] == card.deployment.neurons_deployed
    code, _, err = cli("fit", "zoo:mfs-digit", "--system", "oheo_gulch")
    assert code == 2 and f"did you mean zoo:{EMBEDDED}?" in err
    code, _, err = cli("map", f"zoo:{EMBEDDED}", "--system", "oheo_gulch")
    assert code == 2 and f"Export it first: neuroseg export zoo:{EMBEDDED}" in err


def test_no_other_argument_is_a_run_under_another_name():
    told = {
        f"{name} {p.metavar}"
        for name, command in LEAVES.items()
        for p in command.params
        if "RUN" in str(p.metavar or "")
    }
    assert len(told) == 7, "give it the callback in_zoo, and add it above"


@pytest.mark.parametrize("name", list(LEAVES))
def test_no_command_writes_into_the_zoo(cli, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outputs = [flag for p in LEAVES[name].params for flag in p.opts if flag in ("--out", "--html")]
    for flag in outputs:
        for out in (f"zoo:{EMBEDDED}", NETWORKS / EMBEDDED, NETWORKS / "new"):
            with pytest.raises(UsageError, match="belongs to the zoo, which is never written to"):
                next(p for p in LEAVES[name].params if flag in p.opts).process_value(typer.Context(LEAVES[name]), out)
    assert list(tmp_path.iterdir()) == []


def test_a_training_refuses_the_folder_of_the_zoo_also_from_python():
    with pytest.raises(UsageError, match="not of a run"):
        prepare_run(NETWORKS / EMBEDDED)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("eval", "zoo:mfs-digit"), "the zoo has no network 'mfs-digit'; did you mean zoo:mfs-digits?"),
        (("export", "zoo:whatever", "--out", "b"), f"the zoo has no network 'whatever'; it has {', '.join(NAMES)}."),
        (("zoo", "show", "mfs-digit"), "`neuroseg zoo list` shows them."),
        (("study", "noise", "zoo:mfs-digits", "zoo:other"), "the zoo has no network 'other'"),
        (("train", "demo", "--out", "zoo:mfs-digits"), "'zoo:mfs-digits' belongs to the zoo"),
        (
            ("verify", "zoo:mfs-digits"),
            "not a bundle. Export it first: neuroseg export zoo:mfs-digits --out mfs-digits.bundle",
        ),
        (("zoo", "--json", "list"), "--json stands after the command: neuroseg zoo list"),
        (("zoo", "get"), "Missing argument 'NAME'"),
    ],
)
def test_wrong_usage_is_told_in_one_message(cli, arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_looks_like_no_name_stays_a_path():
    assert str(resolve_run("runs/first")) == "runs/first"


def test_a_copy_is_a_run_with_its_card_and_may_be_made_again(cli, tmp_path):
    out = tmp_path / "below" / "copy"
    for _ in range(2):
        code, printed, err = cli("zoo", "get", EMBEDDED, "--out", out, "--json")
        assert code == 0, err
    assert json.loads(printed)["name"] == EMBEDDED
    assert sorted(json.loads(printed)["files"]) == sorted(
        p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()
    )
    assert has_card(out) and read_card(out) == read_card(NETWORKS / EMBEDDED)
    assert load_run(out)[0] == load_run(NETWORKS / EMBEDDED)[0]
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["copy"]


@pytest.mark.parametrize("file", ["notes.txt", "pictures/mine.png"])
def test_a_copy_never_takes_the_place_of_something_else(cli, tmp_path, file):
    out = tmp_path / "copy"
    assert cli("zoo", "get", EMBEDDED, "--out", out)[0] == 0
    (out / file).write_text("mine")
    code, _, err = cli("zoo", "get", EMBEDDED, "--out", out)
    assert code == 2 and "holds files that are not of a copy of zoo:mfs-digits" in err
    assert (out / file).read_text() == "mine"


def test_a_damaged_card_is_named_with_its_key(tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(NETWORKS / EMBEDDED, folder)
    content = json.loads((folder / CARD).read_text())
    content["score"]["miou"] = 1.5
    (folder / CARD).write_text(json.dumps(content))
    with pytest.raises(FileFormatError, match=r"card\.json' is no card of schema version 1: score\.miou"):
        read_card(folder)
    (folder / CARD).unlink()
    with pytest.raises(FileFormatError, match="cannot be read"):
        read_card(folder)


def test_a_network_is_scored_by_its_name_as_its_card_says(cli):
    code, out, err = cli("eval", f"zoo:{EMBEDDED}", "--json")
    assert code == 0, err
    assert json.loads(out)["miou"] == pytest.approx(metrics_of(EMBEDDED)["miou"], abs=2e-3)
