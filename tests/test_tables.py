"""`neuroseg tables`: the papers' tables beside ours, and energies computed again."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from export.errors import DataError
from export.report.energy import Trained, paper_coefficients, papers_as_trained, spiking_energy
from neuroseg.commands.measured import measurements, place
from neuroseg.commands.paper_energy import paper_joules
from neuroseg.commands.papers import paper_row, read_papers
from neuroseg.commands.tables import show_tables, tables

INCONSISTENT = {
    "mfs-seg/1/camvid/unet-ann",
    "mfs-seg/1/camvid/mfs-ms-snn",
    "mfs-seg/1/ddd17/mfs-ms",
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
        if name != "mfs-seg/2/efs-res18":
            assert abs(row["deviation_percent"]["macs"]) <= 5, name


def test_a_contradiction_says_by_how_much_ours_deviates(rows):
    row = rows["mfs-seg/2/efs-res18"]
    assert f"operations deviate by {row['deviation_percent']['macs']:+.1f} %" in row["contradictions"]["macs"]
    assert "a bar of 5 %" in row["contradictions"]["macs"]


def test_what_meets_its_bar_is_not_called_a_contradiction(rows):
    for name, row in rows.items():
        for quantity in row["contradictions"].keys() & {"parameters", "macs"}:
            assert abs(row["deviation_percent"][quantity]) > row["bar_percent"][quantity], (name, quantity)


def test_the_operations_of_kim_on_ddd17_are_two_for_each_mac_at_their_own_size(content, rows):
    """Spiking-DeepLab over all 20 steps, Spiking-FCN in one: both are met so, and by the common rule far off."""
    assert content["not_met"] == []
    own = {name for name, row in rows.items() if row["by_the_common_rule"]}
    assert set(content["by_their_own_rule"]) == own and "mfs-seg/1/ddd17/deeplab-snn" in own
    for network, steps in (("deeplab", 20), ("fcn", 1)):
        row = rows[f"mfs-seg/1/ddd17/{network}-snn"]
        assert 2 * steps * row["ours"]["macs_per_step"] == pytest.approx(row["printed"]["gflops"] * 1e9, rel=0.006)
        assert row["met"] == {"parameters": True, "macs": True} and "macs" not in row["contradictions"]
        assert "ours at 64x64" in row["counted_as"] and "Neither paper says it" in row["cause"]
        common = row["by_the_common_rule"]["macs_percent"]
        assert common == pytest.approx((row["deviation_percent"]["macs"] + 100) / (2 * steps) - 100)


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
        "mfs-seg/1/camvid/unet-snn",
        "mfs-seg/1/dsec/fcn-snn",
        "spiking-unet/5/unet",
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


@pytest.mark.parametrize("name", ["mfs-seg/1/camvid/unet-snn", "mfs-seg/1/dsec/fcn-snn"])
def test_rows_whose_first_layer_counts_as_accumulations_are_met_and_say_so(rows, energies, name):
    """Every operation at the firing rate, the first layer's too; as multiply-accumulates it would be another energy."""
    row, energy = rows[name], energies[name]
    assert paper_row(name).first_layer == "ac" and "energy" not in row["contradictions"]
    assert any("first layer counts as accumulations" in note for note in row["counted_as"])
    fired = row["steps"] * row["printed"]["firing_rate"] * 0.9e-12
    assert energy["own_arithmetic_j"] == pytest.approx(fired * row["theirs"]["macs_per_step"])
    assert energy["ours_j"] == pytest.approx(fired * row["ours"]["macs_per_step"])
    assert row["ours"]["host_macs"] > 0 and energy["consistent"] and energy["met"]
    frames = 1 if row["data"] == "camvid" else row["steps"]
    extra = frames * 4.6e-12 * row["ours"]["host_macs"] - fired * row["ours"]["host_macs"]
    common = row["by_the_common_rule"]
    assert common["energy_percent"] == pytest.approx(100 * ((energy["ours_j"] + extra) / energy["theirs_j"] - 1))
    assert common["energy_percent"] > 3 and common["macs_percent"] == row["deviation_percent"]["macs"]


def test_up_convolutions_are_told_beside_what_our_own_layers_give(rows):
    row = rows["spiking-unet/5/unet"]
    common = row["by_the_common_rule"]
    ours = rows["spiking-unet/5/spiking-unet"]["ours"]["macs_per_step"]  # the same U-Net, counted as it is
    assert common["macs_percent"] == pytest.approx(100 * (ours / 65.5e9 - 1)) and common["macs_percent"] < -15
    assert {name for name, other in rows.items() if other["by_the_common_rule"]} == {
        "mfs-seg/1/ddd17/deeplab-snn",
        "mfs-seg/1/ddd17/fcn-snn",
        "spiking-unet/5/unet",
        "mfs-seg/1/camvid/unet-snn",
        "mfs-seg/1/dsec/fcn-snn",
    }


def test_energies_from_their_numbers_say_which_macs_they_borrow_from_ours(rows, energies):
    borrowed = {name: row["own_borrows_host_macs"] for name, row in energies.items() if row["own_borrows_host_macs"]}
    assert {"mfs-seg/1/camvid/mfs-efs-snn", "mfs-seg/1/ddd17/mfs-efs", "spiking-unet/5/spiking-unet"} <= borrowed.keys()
    assert all(macs == rows[name]["ours"]["host_macs"] for name, macs in borrowed.items())
    assert not any(rows[name]["kind"] == "ann" or paper_row(name).first_layer == "ac" for name in borrowed)


def test_spiking_unets_energy_is_theirs_alone_since_it_prints_spikes_and_no_rate(rows, energies):
    energy, host = energies["spiking-unet/5/spiking-unet"], rows["spiking-unet/5/spiking-unet"]["ours"]["host_macs"]
    assert energy["own_arithmetic_j"] == pytest.approx(0.9e-12 * (0.292e9 - host) + 4.6e-12 * host)
    assert energy["consistent"] and energy["ours_j"] is None and energy["met"] is None


@pytest.mark.parametrize(
    ("name", "notes"),
    [
        ("mfs-seg/1/camvid/mfs-efs-snn", ["the printed GFLOPs are half of the operations"]),
        ("mfs-seg/1/camvid/unet-ann", ["ours at 176x240"]),
        ("mfs-seg/1/camvid/mfs-efs-ann", []),
        ("spiking-unet/5/spiking-unet", ["energy: spikes and the first layer's multiply-accumulates, once"]),
    ],
)
def test_a_row_says_how_it_is_counted(rows, name, notes):
    assert rows[name]["counted_as"] == notes


def test_reports_and_tables_share_the_papers_formula():
    """Equation 7 of MFS-Seg counts the host's convolutions T times, an image's row once: one argument tells them apart."""
    trained = Trained(5, 1.1e6, 100_000, 0.2)
    report = papers_as_trained(trained, paper_coefficients())
    assert report["energy_j"] == spiking_energy(trained, paper_joules(), 5)
    once = spiking_energy(trained, paper_joules(), 1)
    assert report["energy_j"] - once == pytest.approx(4 * 4.6e-12 * 1e5)


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("spiking-unet/1/drive/unet", {"f1": 0.806, "jaccard": 0.675, "accuracy": 0.970}),
        ("spiking-unet/1/drive/mt-ft", {"f1": 0.794, "jaccard": 0.658, "accuracy": 0.970}),
        ("spiking-unet/1/em/mt-ft", {"f1": 0.947, "jaccard": 0.900, "accuracy": 0.917}),
        ("spiking-unet/1/camseq01/fcn", {"miou": 0.313}),
        ("spiking-unet/2/bsd68-25/unet", {"psnr_db": 28.61, "ssim": 0.799}),
        ("spiking-unet/2/bsd68-50/mt-dt", {"psnr_db": 22.76, "ssim": 0.524}),
        ("spiking-unet/2/cbsd68-15/mt-ft", {"psnr_db": 33.14, "ssim": 0.913}),
        ("spiking-unet/2/cbsd68-25/mt-ft", {"psnr_db": 30.57, "ssim": 0.858}),
        ("spiking-unet/3/lw-mt-ft", {"miou": 0.199}),
        ("spiking-unet/3/cw-mt-ft", {"miou": 0.651}),
        ("spiking-unet/4/2-1-0.5-0.25", {"miou": 0.651}),
        ("spiking-unet/4/2-1-0.5", {"miou": 0.412}),
    ],
)
def test_scores_of_spiking_unet_are_those_printed(rows, name, printed):
    assert rows[name]["printed"] == printed | {"halved": False}


def test_spiking_unets_tables_are_whole_and_only_networks_of_ours_have_a_model(content):
    (paper,) = [paper for paper in content["papers"] if paper["paper"] == "spiking-unet"]
    assert {table["table"]: len(table["rows"]) for table in paper["tables"]} == {1: 22, 2: 42, 3: 8, 4: 8, 5: 2}
    others = {row["id"].rsplit("/", 1)[1] for table in paper["tables"] for row in table["rows"] if not row["is_ours"]}
    assert others == {"ml-dt", "ml-ft", "rs-dt", "rs-ft", "mt-dt"}
    steps = {
        row["data"]: row["steps"] for table in paper["tables"][:2] for row in table["rows"] if row["kind"] == "snn"
    }
    assert steps == {"drive": 10, "em": 50, "camseq01": 20, "bsd68": 10, "cbsd68": 20}


def test_networks_put_out_classes_and_denoisers_as_many_maps_as_the_image_has_channels():
    outputs = {name: setting.outputs for paper in read_papers() for name, setting in paper.settings.items()}
    assert outputs["cbsd68"] == 3 and outputs["bsd68"] == 1 and outputs["camseq01"] == 32
    assert outputs["mnist-cifar10"] == 2  # a digit or none, not which


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
    assert "PSNR dB" in shown and "rows that are counted in their own way" in shown
    assert "Table 4" in shown and "SegNet (ANN) *" in shown and "outside their bars: none" in shown
    words = " ".join(shown.replace("│", " ").split())  # cells wrap
    assert "by the rule of the other rows ours would deviate: operations -26.3 %, energy -26.2 %" in words
