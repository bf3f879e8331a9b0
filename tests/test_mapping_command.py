"""`neuroseg map`: any NetX file or bundle on any system, as JSON and as a table; errors name number, limit and fix."""

import json
from pathlib import Path
from sysconfig import get_paths

import h5py
import numpy as np
import pytest
import yaml
from lively import SIZE, lively_model, make_run
from random_mappings import chain, conv

import hw_configs
import neuroseg.cli.mapping  # noqa: F401  # the command
from export.netx.read import read_netx
from export.netx.write import write_netx
from export.pipeline import compile_module
from neuroseg.commands.exporting import export_run

NETX = Path(get_paths()["purelib"]) / "tests/lava/lib/dl/netx"
PILOTNET = NETX / "gts/pilotnet_lif/network.net"
KEYS = ("name", "cores", "tile", "neurons_per_core", "synmem_words_per_core", "binding")


@pytest.fixture
def small_system(tmp_path):
    """A system of one chip with a given number of usable cores, by path."""

    def write(cores, **changes):
        config = hw_configs.load_system("oheo_gulch")
        content = json.loads(config.model_dump_json())
        content |= {"name": "mine", "chip": "loihi2"}
        content["usable_cores_per_chip"] |= {"value": cores, "evidence": "estimate" if cores else None}
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(content | changes), encoding="utf-8")
        return path

    return write


def mapped(cli, *arguments):
    code, out, err = cli("map", *arguments, "--json")
    assert err == ""
    return code, json.loads(out)


def test_pilotnet_as_json_has_what_the_contract_names(cli):
    code, result = mapped(cli, PILOTNET, "--system", "oheo_gulch")
    assert (code, result["fits"], result["schema_version"], result["chips"]) == (0, True, 1, 1)
    assert result["lower_bound"] <= result["cores"] <= 60
    assert sum(row["cores"] for row in result["populations"]) == result["cores"]
    for row in result["populations"]:
        assert all(key in row for key in KEYS)
        assert row["pool_per_core"] <= 1 and row["synmem_words_per_core"] <= 12000
    assert result["cannot_run"] == [] and result["unchecked"] == []


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("gts/pilotnet_sdnn/network.net", "9 layers from layer 0 (input) on: neuron type 'SDNN' is not supported"),
        ("gts/ntidigits/ntidigits.net", "layer 5 (average): average the output spikes on the host"),
        ("mnist.net", None),
        ("tiny.net", None),
    ],
)
def test_files_of_others_are_mapped_and_what_cannot_be_run_is_said(cli, file, reason):
    code, result = mapped(cli, NETX / file, "--system", "oheo_gulch")
    assert code == 0 and result["fits"]
    assert any(reason in text for text in result["cannot_run"]) if reason else result["cannot_run"] == []


def test_our_own_files_of_both_forms_are_mapped_as_their_graph_is(cli, tmp_path):
    compiled = compile_module(lively_model(), (3, *SIZE))
    write_netx(compiled.graph, tmp_path / "graph.net")
    result = mapped(cli, tmp_path / "graph.net", "--system", "kapoho_point")[1]
    assert result["cores"] == compiled.placement.cores
    assert [row["name"] for row in result["populations"]] == list(compiled.placement.cuts)
    assert read_netx(tmp_path / "graph.net").neurons() == compiled.graph.neurons()


def test_the_table_names_every_population_and_says_what_is_not_known(cli, monkeypatch):
    monkeypatch.setattr("neuroseg.commands.console.messages.width", 100)
    code, out, err = cli("map", PILOTNET, "--system", "oheo_gulch")
    assert (code, out) == (0, "")
    for name in ("layer0", "layer10", "words", "binds", "not modelled", "fits: 51 of 120 cores of oheo_gulch"):
        assert name in err


def test_what_takes_more_cores_than_the_system_has_exits_1_with_the_numbers(cli, small_system):
    code, result = mapped(cli, PILOTNET, "--system", small_system(20))
    assert code == 1 and not result["fits"]
    (finding,) = result["findings"]
    assert "takes 51 cores, 3 chips of 20; mine has 20 cores on 1 chip" in finding and "'layer1' (20 cores)" in finding


def test_fewer_cores_than_populations_are_named_as_such(cli, small_system):
    code, result = mapped(cli, PILOTNET, "--system", small_system(5))
    assert code == 1
    assert "has 10 populations, and each takes a core or more; mine has 5 cores" in result["findings"][-1]


def test_a_population_that_no_core_holds_exits_1_and_names_the_fix(cli, tmp_path):
    write_netx(chain(conv(2, 1334, 3), inputs=(1334, 4, 4)), tmp_path / "wide.net")
    code, result = mapped(cli, tmp_path / "wide.net", "--system", "hala_point")
    assert code == 1 and not result["populations"][0]["fits"]
    assert "needs 12,006 words" in result["findings"][0] and "smaller fan-in" in result["findings"][0]
    assert "DOES NOT FIT" in cli("map", tmp_path / "wide.net", "--system", "hala_point")[2]


def test_a_null_where_a_number_is_needed_is_named_by_its_key(cli, small_system):
    code, out, err = cli("map", PILOTNET, "--system", small_system(None))
    assert (code, out) == (2, "") and "usable_cores_per_chip is null" in err


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("shape", np.array([24, 0, 99]), "layer 1 (conv): key 'shape' is [24, 0, 99]"),
        ("weight", np.zeros((0, 3, 3, 3), np.float32), "key 'weight' has shape (0, 3, 3, 3), no synapse at all"),
    ],
)
def test_a_layer_of_size_zero_is_refused_by_layer_and_key(cli, tmp_path, key, value, words):
    path = tmp_path / "zero.net"
    path.write_bytes(PILOTNET.read_bytes())
    with h5py.File(path, "r+") as file:
        del file[f"layer/1/{key}"]
        file[f"layer/1/{key}"] = value
    code, out, err = cli("map", path, "--system", "oheo_gulch")
    assert (code, out) == (1, "") and words in err


def test_files_that_are_none_and_folders_that_are_no_bundle_are_refused(cli, tmp_path):
    assert cli("map", tmp_path / "none.net", "--system", "oheo_gulch")[0] == 2
    code, _, err = cli("map", tmp_path, "--system", "oheo_gulch")
    assert code == 2 and "is no bundle" in err
    code, _, err = cli("map", PILOTNET, "--system", "nowhere")
    assert code == 2 and "nowhere" in err


def test_a_bundle_is_mapped_and_one_that_was_changed_is_not_unless_asked(cli, tmp_path, capsys):
    export_run(make_run(tmp_path / "run"), tmp_path / "bundle", vectors=1)
    capsys.readouterr()  # what the export said
    code, result = mapped(cli, tmp_path / "bundle", "--system", "oheo_gulch")
    report = json.loads((tmp_path / "bundle" / "report.json").read_text(encoding="utf-8"))
    assert code == 0 and result["cores"] == report["cores"]
    with (tmp_path / "bundle" / "network.net").open("ab") as file:
        file.write(b"x")
    code, out, err = cli("map", tmp_path / "bundle", "--system", "oheo_gulch")
    assert (code, out) == (1, "") and "network.net" in err
    code, out, err = cli("map", tmp_path / "bundle", "--system", "oheo_gulch", "--no-verify", "--json")
    assert code == 0 and "NOT checked" in err and json.loads(out)["cores"] == result["cores"]


def test_locate_adds_hops_of_every_method_and_a_price(cli):
    _, result = mapped(cli, PILOTNET, "--system", "oheo_gulch", "--locate", "--rate", "0.05")
    location = result["location"]
    assert location["activity"].startswith("assumed: 0.05")
    hops = {name: row["hops"] for name, row in location["methods"].items()}
    assert hops["best"] < hops["force"] < hops["hilbert"] < hops["sequential"]
    assert hops["best"] >= location["hops_lower_bound"] > 0
    assert len(set(location["core_spots"])) == result["cores"]  # one core, one place
    levels = location["cost"]["dynamic_energy_j"]
    assert 0 < levels["low"] < levels["nominal"] < levels["high"]


def test_a_bundle_is_located_by_its_own_test_vectors(cli, tmp_path, capsys):
    export_run(make_run(tmp_path / "run"), tmp_path / "bundle", vectors=1)
    capsys.readouterr()  # what the export said
    code, result = mapped(cli, tmp_path / "bundle", "--system", "oheo_gulch", "--locate")
    assert code == 0 and result["location"]["activity"] == "the bundle's test vectors"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--rate", "0.1"], "--rate and --costs say what --locate counts with: add --locate"),
        (["--locate", "--rate", "1.5"], "--rate 1.5 is no firing rate"),
        (["--locate", "--costs", "davies2018"], "davies2018"),
    ],
)
def test_wrong_flags_of_locate_are_refused(cli, flags, says):
    code, out, err = cli("map", PILOTNET, "--system", "oheo_gulch", *flags)
    assert (code, out) == (2, "") and says in err
