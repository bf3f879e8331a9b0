"""`neuroseg hw`: the facts as a table and as JSON; a wrong file is refused by its keys."""

import json
from pathlib import Path

import pytest
import yaml

import hw_configs

HERE = Path(hw_configs.__file__).parent
COSTS = ("davies2018", "sanafe_loihi1", "loihi2_range")
NAMES = (*hw_configs.available(), *hw_configs.available_systems(), *hw_configs.available_coefficients())


def words(text: str) -> str:
    """Without the frame of a table and its line breaks."""
    return " ".join(text.replace("│", " ").split())


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    """A terminal on which nothing is folded."""
    monkeypatch.setattr("neuroseg.commands.console.messages.width", 400)


def test_the_list_names_everything_that_show_knows(cli):
    for arguments in (("hw", "list"), ("hw",)):
        code, out, err = cli(*arguments)
        assert (code, out) == (0, "")
        for name in (*NAMES, *COSTS):
            assert f" {name} " in words(err), name


def test_the_list_in_json_has_the_counts_of_the_systems(cli):
    code, out, _ = cli("hw", "list", "--json")
    content = json.loads(out)
    assert code == 0 and content["schema_version"] == 1
    systems = {s["name"]: (s["chip"], s["chips"], s["usable_cores_per_chip"]) for s in content["systems"]}
    assert systems["hala_point"] == ("loihi2", 1152, 122)
    assert [chip["name"] for chip in content["chips"]] == ["loihi1", "loihi2"]
    assert content["chips"][0]["cost_sets"] == ["davies2018", "sanafe_loihi1"]
    assert json.loads(cli("hw", "--json")[1]) == content


@pytest.mark.parametrize("name", NAMES)
def test_show_prints_every_fact_with_value_range_unit_evidence_and_source(cli, name):
    config = hw_configs.load_any(name)
    code, out, err = cli("hw", "show", name)
    assert (code, out) == (0, "")
    printed = words(err)
    for key, fact in config.leaves().items():
        assert f" {key} {'unknown' if fact.value is None else f'{fact.value:,.10g}'} " in printed, key
        assert words(fact.source) in printed, key
    code, out, _ = cli("hw", "show", name, "--json")
    content = json.loads(out)
    assert code == 0 and (content["schema_version"], content["name"]) == (1, name)
    assert content["kind"] == type(config).__name__.lower()
    facts = {fact.pop("key"): fact for fact in content["facts"]}
    assert facts == {key: leaf.model_dump(mode="json") for key, leaf in config.leaves().items()}


def test_a_row_reads_from_key_to_source(cli):
    _, _, err = cli("hw", "show", "loihi2")
    assert "static_power 250 232 to 540 mW estimate low end: 0.232 W printed in Intel's pilotnet_snn notebook" in words(
        err
    )
    assert " node unknown nm the process is called Intel 4" in words(err)
    _, _, err = cli("hw", "show", "loihi1")
    assert " costs.davies2018.barrier_time unknown 113 to 465 ns published Davies" in words(err)


@pytest.mark.parametrize("name", COSTS)
def test_a_set_of_costs_is_shown_alone(cli, name):
    code, out, _ = cli("hw", "show", name, "--json")
    content = json.loads(out)
    assert (code, content["kind"]) == (0, "costs")
    assert {fact["key"].rsplit(".", 1)[0] for fact in content["facts"]} == {f"costs.{name}"}
    assert len(content["facts"]) == len(hw_configs.load(content["name"]).costs[name])


def test_a_file_of_ones_own_is_shown_by_its_path(cli, tmp_path):
    content = yaml.safe_load((HERE / "systems" / "vpx_16.yaml").read_text())
    content["name"] = "mine"
    content["chips"]["value"], content["cores"]["value"] = 15, 1920
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    code, _, err = cli("hw", "show", path)
    assert code == 0
    assert "mine (system)" in err and " chips 15 chip published " in words(err)
    assert "its chip: loihi2" in err and f"file: {path}" in err


def test_a_wrong_file_is_refused_by_its_dotted_keys_without_a_traceback(cli, tmp_path):
    content = yaml.safe_load((HERE / "chips" / "loihi2.yaml").read_text())
    content["core"]["neurons"]["value"] = "many"
    content["costs"]["loihi2_range"]["hop_energy"] = content["costs"]["loihi2_range"].pop("synop_energy")
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    code, out, err = cli("hw", "show", path, "--json")
    assert (code, out) == (2, "")
    assert err.startswith(f"neuroseg: hardware config '{path}' is wrong:\n")
    assert "core.neurons.value: Input should be a valid number" in err and "(found: many)" in err
    assert "costs.loihi2_range.hop_energy" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "loihi9"), "unknown hardware config 'loihi9': use one of loihi1, loihi2, hala_point"),
        (("show", "none.yaml"), "'none.yaml' cannot be read: No such file"),
        (("show",), "Missing argument 'NAME'"),
        (("--json", "list"), "--json stands after the command: neuroseg hw list"),
        (("lsit",), "No such command 'lsit'"),
    ],
)
def test_wrong_usage_is_told_in_one_message(cli, arguments, says):
    code, out, err = cli("hw", *arguments)
    assert (code, out) == (2, "")
    assert says in err
