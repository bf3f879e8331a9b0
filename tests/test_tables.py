"""`neuroseg tables`: the papers' tables beside ours, and energies computed again."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from export.errors import DataError
from neuroseg.commands.measured import measurements, place
from neuroseg.commands.papers import paper_row, read_papers
from neuroseg.commands.tables import show_tables, tables

INCONSISTENT = {
    "mfs-seg/1/camvid/unet-ann",
    "mfs-seg/1/camvid/unet-snn",
    "mfs-seg/1/camvid/mfs-ms-snn",
    "mfs-seg/1/ddd17/mfs-ms",
    "mfs-seg/1/dsec/fcn-snn",
    "mfs-seg/1/dsec/mfs-efs",
}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return tables(tmp_path_factory.mktemp("no-results"))


@pytest.fixture(scope="module")
def rows(content):
    return {row["id"]: row for paper in content["papers"] for table in paper["tables"] for row in table["rows"]}


@pytest.fixture(scope="module")
def energies(content):
    return {row["id"]: row for row in content["energy"]}


def test_ids_are_unique_and_every_model_section_is_valid():
    papers = read_papers()
    ids = [row.id for paper in papers for row in paper.rows]
    assert len(ids) == len(set(ids)) > 50
    assert sum(row.section is not None for paper in papers for row in paper.rows) > 30


def test_efs_rows_meet_two_and_five_per_cent_but_for_the_two_that_contradict_themselves(rows):
    efs = {
        name: row for name, row in rows.items() if "efs" in name or name.startswith(("mfs-seg/3/mfs", "mfs-seg/3/no-m"))
    }
    assert len(efs) == 14
    exempt = {name for name, row in efs.items() if row["contradictions"].keys() & {"parameters", "macs"}}
    assert exempt == {"mfs-seg/2/efs-res18", "mfs-seg/4/camvid/efs-res36"}
    for name, row in efs.items():
        assert row["bar_percent"] == {"parameters": 2, "macs": 5}
        if name not in exempt:
            assert abs(row["deviation_percent"]["parameters"]) <= 2, name
            assert abs(row["deviation_percent"]["macs"]) <= 5, name


@pytest.mark.parametrize(
    "name",
    [
        "1/camvid/mfs-ms-snn",
        "1/ddd17/mfs-ms",
        "2/spike-fire",
        "2/spike-shuffle",
        "3/no-inception",
        "3/no-groups",
        "1/camvid/unet-ann",
        "1/camvid/unet-snn",
    ],
)
def test_rows_of_the_other_blocks_ablations_and_the_unet_meet_fifteen_per_cent(rows, name):
    row = rows[f"mfs-seg/{name}"]
    assert row["bar_percent"] == {"parameters": 15, "macs": 15} and row["cause"]
    assert row["met"] == {"parameters": True, "macs": True}, row["deviation_percent"]


def test_whatever_deviates_has_a_cause_or_contradicts_itself(rows):
    for name, row in rows.items():
        for quantity, value in row["deviation_percent"].items():
            if value is not None and abs(value) >= 1:
                assert row["cause"] or quantity in row["contradictions"], (name, quantity, value)


def test_networks_of_others_are_marked_and_not_counted(rows):
    assert not rows["mfs-seg/1/camvid/segnet-ann"]["is_ours"]
    assert rows["mfs-seg/1/camvid/segnet-ann"]["ours"] is None
    assert rows["mfs-seg/1/camvid/segnet-ann"]["theirs"] == {"parameters": 1.43e6, "macs_per_step": 107.5e9}


def test_the_steps_between_depths_are_those_of_the_paper_once_norms_are_counted(rows):
    """What torchstat counts (norms, no transposed convolution) explains the paper's step of 1.195 G per block."""
    shallow, deep = (rows[f"mfs-seg/4/ddd17/efs-res{depth}"] for depth in (36, 72))
    theirs = deep["theirs"]["macs_per_step"] - shallow["theirs"]["macs_per_step"]
    ours = {key: deep["ours"][key] - shallow["ours"][key] for key in ("macs_per_step", "torchstat_flops")}
    assert ours["torchstat_flops"] == pytest.approx(theirs, rel=0.01)
    assert ours["macs_per_step"] < 0.97 * theirs


def test_energies_are_met_within_three_per_cent_where_the_papers_arithmetic_is_consistent(energies):
    met = {name for name, row in energies.items() if row["met"]}
    assert met >= {
        "mfs-seg/1/camvid/mfs-efs-ann",
        "mfs-seg/1/camvid/mfs-efs-snn",
        "mfs-seg/1/camvid/mfs-ms-ann",
        "mfs-seg/1/ddd17/mfs-efs",
        "spiking-unet/5/unet",
        "spiking-unet/5/spiking-unet",
    }
    assert [name for name, row in energies.items() if row["met"] is False] == []


def test_inconsistent_energies_are_listed_with_what_is_wrong(energies):
    assert {name for name, row in energies.items() if row["consistent"] is False} == INCONSISTENT
    assert all(energies[name]["wrong"] for name in INCONSISTENT)
    consistent = [row for row in energies.values() if row["consistent"]]
    assert len(consistent) > 15 and all(abs(row["own_deviation_percent"]) <= 3 for row in consistent)


@pytest.mark.parametrize(
    ("name", "joule"),
    [
        ("mfs-seg/1/camvid/segnet-ann", 4.6e-12 * 107.5e9),
        ("mfs-seg/1/dsec/ess", 4.6e-12 * 77.46e9),
        ("spiking-unet/5/unet", 4.6e-12 * 65.5e9),
    ],
)
def test_an_anns_energy_is_a_mac_for_each_operation(energies, name, joule):
    assert energies[name]["own_arithmetic_j"] == pytest.approx(joule)


def test_a_spiking_networks_energy_is_by_hand(rows, energies):
    ours = rows["mfs-seg/1/camvid/mfs-efs-snn"]["ours"]
    by_hand = 5 * 0.243 * 0.9e-12 * (ours["macs_per_step"] - ours["host_macs"]) + 4.6e-12 * ours["host_macs"]
    assert energies["mfs-seg/1/camvid/mfs-efs-snn"]["ours_j"] == pytest.approx(by_hand)
    ours = rows["mfs-seg/1/ddd17/mfs-efs"]["ours"]  # frames: the host convolves another one at each step
    by_hand = 2 * (0.238 * 0.9e-12 * (ours["macs_per_step"] - ours["host_macs"]) + 4.6e-12 * ours["host_macs"])
    assert energies["mfs-seg/1/ddd17/mfs-efs"]["ours_j"] == pytest.approx(by_hand)


def test_a_ratio_of_energies_implies_a_number_of_spikes(content):
    gains = {row["id"]: row for row in content["energy_gains"]}
    assert gains["kim/6/deeplab-voc2012"]["implied_spikes_per_neuron"] == pytest.approx(4.6 / 0.9 / 2.75)
    assert gains["kim/6/deeplab-voc2012"]["implied_firing_rate"] == pytest.approx(4.6 / 0.9 / 2.75 / 20)
    assert len(gains) == 4


NESTED = {
    "schema_version": 1,
    "studies": {
        "digits": {"runs": {"deeplab": {"paper_row": "kim/4/deeplab-snn", "miou": 0.5, "steps": 8, "seed": 3}}},
        "vessels": {
            "about": "an eighth of the widths",
            "runs": {"other": {"paper_row": None, "foreground": {"f1": 0.1}}, "ann": [{"paper_row": "kim/4/fcn-ann"}]},
        },
    },
}


def test_measurements_stand_in_their_row_at_whatever_depth_they_were_written(tmp_path):
    (tmp_path / "accuracy").mkdir()
    result = {"paper_row": "mfs-seg/1/camvid/mfs-efs-snn", "miou": 0.5, "miou_per_image": 0.4, "seed": 1, "log": "..."}
    (tmp_path / "accuracy" / "a.json").write_text(json.dumps(result))
    (tmp_path / "accuracy.json").write_text(json.dumps(NESTED))
    (tmp_path / "other.json").write_text('{"rows": []}')
    found = {row: entries for row, entries in measurements(tmp_path).items() if entries}
    assert found == {
        "mfs-seg/1/camvid/mfs-efs-snn": [
            {"file": "accuracy/a.json", "path": "", "miou": 0.5, "miou_per_image": 0.4, "seed": 1}
        ],
        "kim/4/deeplab-snn": [
            {"file": "accuracy.json", "path": "digits/deeplab", "miou": 0.5, "seed": 3, "steps": 8},
        ],
        "kim/4/fcn-ann": [{"file": "accuracy.json", "path": "vessels/ann/0"}],
    }
    assert place(found["kim/4/deeplab-snn"][0]) == "accuracy.json: digits/deeplab"
    assert place(found["mfs-seg/1/camvid/mfs-efs-snn"][0]) == "accuracy/a.json"


def test_scores_of_the_foreground_count_as_the_runs_own(tmp_path):
    run = {
        "paper_row": "kim/4/fcn-snn",
        "note": "a quarter as wide",
        "foreground": {"f1": 0.7, "jaccard": 0.6, "recall": 1},
    }
    (tmp_path / "a.json").write_text(json.dumps({"psnr_db": 1, "runs": {"fcn": {**run, "miou": None}}}))
    (entry,) = measurements(tmp_path)["kim/4/fcn-snn"]
    assert entry == {"file": "a.json", "path": "fcn", "f1": 0.7, "jaccard": 0.6, "note": "a quarter as wide"}


def test_measured_scores_and_their_notes_are_shown_beside_the_papers(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("neuroseg.commands.console.messages", Console(stderr=True, width=160))
    run = {"paper_row": "kim/4/fcn-snn", "note": "a quarter as wide", "miou": 0.5432, "steps": 8, "seed": 0}
    (tmp_path / "a.json").write_text(json.dumps({"studies": {"digits": {"runs": {"fcn": run}}}}))
    show_tables(tables(tmp_path))
    shown = capsys.readouterr().err
    (line,) = [line for line in shown.splitlines() if "Spiking-FCN" in line and "0.662" in line]
    assert "0.543" in line.split("0.662")[1], "ours stands behind theirs"
    (line,) = [line for line in shown.splitlines() if "a.json: digits/fcn" in line]
    assert "kim/4/fcn-snn" in line and "mIoU 0.543" in line and "a quarter as wide" in line
    words = " ".join(shown.split())  # titles are as wide as their tables
    assert "MNIST-CIFAR10-Segmentation (scores of ours: reduced networks and data" in words
    assert "PASCAL VOC2012 (" not in words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"paper_row": "mfs-seg/9"}', r"a\.json': no table of the papers has a row 'mfs-seg/9'"),
        ('{"runs": {"x": {"paper_row": "mfs-seg/9"}}}', r"a\.json', x: no table of the papers has a row 'mfs-seg/9'"),
        ('{"paper_row": "kim/4/fcn-snn", "miou": "0.5"}', "has '0.5' as miou of row 'kim/4/fcn-snn'; write a number"),
        ("{", "cannot be read"),
    ],
)
def test_a_result_that_names_no_row_or_has_no_number_is_refused(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=message):
        tables(tmp_path)


def test_a_row_is_found_by_its_id():
    assert paper_row("kim/4/deeplab-snn").printed.miou == 0.6531
    with pytest.raises(DataError, match="has a row 'kim/9/x'; `neuroseg tables --json` lists the ids"):
        paper_row("kim/9/x")


def test_the_command_prints_one_line_of_json_or_tables(cli, tmp_path, content, capsys, monkeypatch):
    monkeypatch.setattr("neuroseg.commands.console.messages", Console(stderr=True, width=140))
    code, out, _ = cli("tables", "--results", tmp_path, "--json")
    assert code == 0 and json.loads(out) == json.loads(json.dumps(content))
    show_tables(content)
    shown = capsys.readouterr().err
    assert "Table 4" in shown and "SegNet (ANN) *" in shown and "outside their bars: none" in shown
