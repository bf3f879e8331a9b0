"""The ladder: each rung against the one before it, and the causes that it proves."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from lively import SIZE, images, lively_model, make_run
from PIL import Image
from safetensors.torch import load_file, save_file

from export.bundle import NETWORK, open_bundle
from export.errors import QuantizeError, RuntimeFailure, UsageError
from export.execute.integer import run_integer
from export.lava.board import Timing
from export.netx.read import read_netx
from export.netx.write import write_netx
from export.parity.rounding import explained_by_rounding
from neuroseg.cli import main
from neuroseg.commands import sides as module
from neuroseg.commands.console import progress
from neuroseg.commands.exporting import export_run
from neuroseg.commands.ladder import ladder
from neuroseg.commands.parity import parity
from neuroseg.commands.picture import draw_disagreement, draw_iou, spread
from neuroseg.commands.reference import Samples, maps_of, score
from neuroseg.commands.sides import open_sides
from neuroseg.metrics import VOID
from neuroseg.models.quantized import folded_module
from neuroseg.models.record import record_spikes

LIF = "encoder1.block0.lif_wide"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle of a network that fires."""
    folder = tmp_path_factory.mktemp("ladder")
    export_run(make_run(folder / "run"), folder / "bundle", vectors=1)
    return folder / "bundle"


def damaged(bundle, tmp_path, by):
    """A copy in which one threshold is not the trained one."""
    copy = shutil.copytree(bundle, tmp_path / "damaged")
    graph = read_netx(copy / NETWORK)
    lif = graph.populations[LIF].lif
    other = replace(graph.populations[LIF], lif=replace(lif, v_th=max(1, lif.v_th + by)))
    write_netx(replace(graph, populations={**graph.populations, LIF: other}), copy / NETWORK)
    return copy


def run_cli(monkeypatch, capsys, *arguments):
    """(exit code, standard output, standard error as one line)."""
    monkeypatch.setattr(sys, "argv", ["neuroseg", *map(str, arguments)])
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    captured = capsys.readouterr()
    return code, captured.out, " ".join(captured.err.split())


def test_the_rungs_stand_in_order_and_exact_ones_agree(bundle):
    result = ladder(bundle, ("int", "float", "slayer", "folded"), 2)
    rungs = result["rungs"]
    assert [row["name"] for row in rungs] == ["float", "folded", "slayer", "int"]
    assert [row["against"] for row in rungs] == [None, "float", "folded", "slayer"]
    assert [row["exact"] for row in rungs] == [False, False, False, True]
    assert result["mismatches"] == rungs[3]["mismatches"] == 0 < rungs[3]["compared"]
    assert rungs[1]["spike_agreement"] > 0.99
    assert rungs[2]["mismatches"] > 0
    assert rungs[2]["spike_agreement"] == 1 - rungs[2]["mismatches"] / rungs[2]["compared"]
    assert rungs[3]["miou"] == rungs[2]["miou"] and rungs[3]["iou_per_class"] == rungs[2]["iou_per_class"]
    assert result["class_names"] == ["background", "digit"]
    for row in rungs:
        deltas = [b - a for a, b in zip(rungs[0]["iou_per_class"], row["iou_per_class"], strict=True)]
        assert row["iou_delta_per_class"] == deltas


def test_eight_bit_weights_are_proved_to_explain_every_difference(bundle):
    row = ladder(bundle, ("folded", "slayer"), 2)["rungs"][1]
    first = row["first_divergence"]
    assert first["cause"].startswith("rounding: the 8-bit weights of '")
    assert "relative rms error" in first["cause"]
    assert first["cause"].endswith("explain every difference of this population")
    assert first["population"] in open_bundle(bundle).graph.populations


def test_the_proof_fails_when_the_right_hand_side_is_not_that_of_the_integers(bundle):
    opened = open_bundle(bundle)
    inputs, _ = opened.vectors()
    right = run_integer(opened.graph, inputs)
    left = {**right, LIF: 1 - right[LIF]}
    explain = explained_by_rounding({p.name: 0.01 for p in opened.graph.projections})
    assert "8-bit weights" in explain(opened.graph, LIF, left, right)
    wrong = {**right, LIF: right[LIF].copy()}
    wrong[LIF][0, :, 0] ^= 1
    assert "8-bit weights" not in explain(opened.graph, LIF, left, wrong)


def test_without_modules_the_inputs_still_come_from_the_host_path(bundle):
    result = ladder(bundle, ("slayer", "int"), 1)
    sides = open_sides(open_bundle(bundle), ("int",), 1)
    maps = maps_of(sides.bundle.graph, sides.run("int"), sides.samples)
    assert score(maps, sides.samples) == result["rungs"][1]["miou"]


def test_parity_takes_real_rungs_in_both_directions(bundle):
    there, back = (parity(bundle, *pair, 1) for pair in (("folded", "int"), ("int", "folded")))
    assert there["mismatches"] == back["mismatches"] > 0
    for result in (there, back):
        assert "8-bit weights" in result["first_divergence"]["cause"]
    assert there["miou_left"] == back["miou_right"]


def fold_sides(bundle):
    """Sides of `float` and `folded`, and the spikes of the first."""
    sides = open_sides(open_bundle(bundle), ("float", "folded"), 1)
    return sides, sides.run("float")


def test_differences_that_vanish_in_float64_are_called_rounding(bundle):
    sides, spikes = fold_sides(bundle)
    tipped = {**spikes, LIF: spikes[LIF].copy()}
    tipped[LIF].flat[7] ^= 1
    cause = sides.explain("float", "folded")(sides.bundle.graph, LIF, spikes, tipped)
    assert cause.startswith("rounding: folding the norms changes float32 sums in their last bits")
    assert "at 1 neuron-steps of this population in float32 and at 0 in float64" in cause


def test_a_wrong_fold_is_not_called_rounding(bundle, monkeypatch):
    sides, spikes = fold_sides(bundle)
    name = next(n for n in sides.modules["folded"].state_dict() if n.startswith("encoder1.block0.expand"))
    sides.modules["folded"].state_dict()[name].mul_(2)
    wrong = sides.run("folded")
    cause = sides.explain("float", "folded")(sides.bundle.graph, LIF, spikes, wrong)
    assert cause == f"folding: '{name}' is not what folding gives. This is a bug of neuroseg"
    original = module.folded_module

    def broken(model, synapses):
        folded = original(model, synapses)
        folded.state_dict()[name].mul_(2)
        return folded

    monkeypatch.setattr(module, "folded_module", broken)
    assert "so the folded weights do not compute what the norms did" in sides.explain("float", "folded")(
        sides.bundle.graph, LIF, spikes, wrong
    )


def test_a_folded_module_computes_what_the_norms_did_but_for_the_last_bits():
    model, given = lively_model(seed=1), images(4)
    folded = folded_module(model)
    _, before = record_spikes(model, given)
    _, after = record_spikes(folded, given)
    differing = sum(int((before[n] != after[n]).sum()) for n in before)
    assert differing <= 1e-4 * sum(values.size for values in before.values())
    assert not any("running_mean" in name for name in folded.state_dict())
    assert any("running_mean" in name for name in model.state_dict())
    one = folded_module(model, ["encoder0.block0.expand.conv"])
    kept = [n for n in model.state_dict() if n.endswith("running_mean")]
    assert [n for n in one.state_dict() if n.endswith("running_mean")] == [
        n for n in kept if "encoder0.block0.expand" not in n
    ]
    with pytest.raises(QuantizeError, match="no synapse named 'nowhere'"):
        folded_module(model, ["nowhere"])


def test_a_fault_below_slayer_is_named_and_fails_the_command(bundle, tmp_path, monkeypatch, capsys):
    copy, out = damaged(bundle, tmp_path, -100), tmp_path / "out"
    code, printed, err = run_cli(
        monkeypatch, capsys, "ladder", copy, "--rungs", "float,slayer,int", "--samples", 2, "--no-verify", "--out", out
    )
    assert code == 1
    assert printed == ""
    assert "NOT checked" in err
    assert "float -> slayer (expected): first in" in err
    assert f"slayer -> int: first in {LIF}, sample 0" in err
    assert "rounding: the threshold differs by -" in err
    written = json.loads((out / "ladder.json").read_text())
    assert written["mismatches"] > 0
    for name in ("disagreement.png", "iou_per_class.png"):
        with Image.open(out / name) as picture:
            assert picture.format == "PNG" and min(picture.size) > 200


def test_real_rungs_may_differ_without_failing_the_command(bundle, monkeypatch, capsys):
    code, printed, err = run_cli(
        monkeypatch, capsys, "ladder", bundle, "--rungs", "float,slayer", "--samples", 1, "--json"
    )
    assert code == 0, err
    result = json.loads(printed)
    assert result["mismatches"] == 0 < result["rungs"][1]["mismatches"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rungs", "float,gpu"), "unknown rung 'gpu'"),
        (("--rungs", "int"), "needs two rungs or more"),
        (("--samples", "999"), "the test split has"),
        (("--out", "{file}/below"), "{file}' is a file, not a folder"),
        (("--out", "{file}"), "{file}' is a file, not a folder"),
        (("--out", "{bundle}"), "lies inside the bundle"),
        (("--out", "{bundle}/model/x"), "lies inside the bundle"),
        (("--board-timing", "1,2"), "--board-timing is for backend loihi2 only"),
        (("--board-timing", "1"), "is not two whole numbers of steps, such as 1,2"),
        (("--board-timing", "1,2,3"), "is not two whole numbers of steps, such as 1,2"),
        (("--board-timing=-1,2", "--rungs", "int,loihi2"), "--board-timing -1,2: steps cannot be negative"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, message, bundle, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    places = {"file": tmp_path / "file", "bundle": bundle}
    given = [a.format(**places) for a in arguments]
    code, _, err = run_cli(monkeypatch, capsys, "ladder", bundle, *given)
    assert code == 2, err
    assert message.format(**places) in err
    open_bundle(bundle)


@pytest.mark.parametrize("place", ["x.npz", "vectors.npz", "model/x.npz"])
def test_simulate_keeps_no_spikes_inside_a_bundle(place, bundle, monkeypatch, capsys):
    code, _, err = run_cli(monkeypatch, capsys, "simulate", bundle, "--out", bundle / place)
    assert code == 2
    assert "lies inside the bundle" in err
    open_bundle(bundle)
    assert not (bundle / "x.npz").exists()


def failing(monkeypatch, *rungs):
    """Have some sides fail as a Lava run does."""
    original = module.Sides.run

    def run(self, side):
        if side in rungs:
            raise RuntimeFailure(f"{side} was killed [/x] after 3 s.")
        return original(self, side)

    monkeypatch.setattr(module.Sides, "run", run)


def test_a_rung_that_fails_is_told_and_the_others_are_climbed(bundle, tmp_path, monkeypatch, capsys):
    failing(monkeypatch, "float", "slayer")
    arguments = ("ladder", bundle, "--rungs", "float,folded,slayer,int", "--samples", 1, "--out", tmp_path / "out")
    code, printed, err = run_cli(monkeypatch, capsys, *arguments)
    assert code == 1
    assert printed == ""
    assert "rung 'slayer' failed: slayer was killed [/x] after 3 s." in err
    assert "2 of 4 rungs failed: float, slayer" in err
    rungs = json.loads((tmp_path / "out" / "ladder.json").read_text())["rungs"]
    assert [row["error"] is None for row in rungs] == [False, True, False, True]
    assert rungs[2]["error"] == "slayer was killed [/x] after 3 s."
    assert set(rungs[2]) == set(rungs[3])
    measures = set(rungs[2]) - {"name", "exact", "seconds", "error"}
    assert all(rungs[2][key] is None for key in measures)
    assert rungs[1]["against"] is None and rungs[3]["against"] == "folded"
    assert rungs[3]["compared"] > 0
    assert rungs[1]["iou_delta_per_class"] == [0.0, 0.0]
    assert (tmp_path / "out" / "disagreement.png").exists()
    code, printed, _ = run_cli(monkeypatch, capsys, *arguments, "--json")
    assert code == 1
    assert json.loads(printed)["rungs"][0]["error"].startswith("float was killed")


@pytest.mark.parametrize("rungs", [("slayer", "int"), ("int",)])
def test_a_ladder_with_too_few_rungs_left_still_writes_its_json(rungs, bundle, tmp_path, monkeypatch, capsys):
    failing(monkeypatch, *rungs)
    out = tmp_path / "out"
    code, _, err = run_cli(monkeypatch, capsys, "ladder", bundle, "--rungs", "slayer,int", "--out", out)
    assert code == 1, err
    assert [path.name for path in out.iterdir()] == ["ladder.json"]
    assert f"written to {out}: ladder.json" in err.replace("\n", " ")


@pytest.mark.parametrize("command", [("ladder", "--rungs", "slayer,int"), ("parity", "--right", "int")])
def test_weights_that_do_not_belong_to_the_bundle_are_called_that(command, bundle, tmp_path, monkeypatch, capsys):
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    weights = load_file(copy / "model" / "weights.safetensors")
    save_file({name: 50 * values for name, values in weights.items()}, copy / "model" / "weights.safetensors")
    code, _, err = run_cli(monkeypatch, capsys, command[0], copy, *command[1:], "--samples", 1, "--no-verify")
    assert code == 1
    assert "model/weights.safetensors and quantization.json do not belong together (a " in err
    assert "export the run again" in err and "use a scale of" not in err


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        (("simulate", "--backend", "loihi2"), 1),
        (("parity", "--right", "loihi2", "--samples", "1"), 1),
        (("ladder", "--rungs", "int,loihi2", "--samples", "1"), 1),
        (("verify", "--backend", "int", "--backend", "loihi2"), 1),
    ],
)
@pytest.mark.parametrize("timing", [(3, 2), None])
def test_the_boards_timing_reaches_the_board(command, wanted, timing, bundle, monkeypatch, capsys):
    """A stand-in runs in the board's place: what is asked of it is what counts."""
    given, graph = [], open_bundle(bundle).graph

    def run_lava(network, inputs, *, board, **_):
        given.append(board)
        return run_integer(graph, inputs)

    monkeypatch.setattr("export.lava.board.require_extension", lambda: None)
    monkeypatch.setattr("export.lava.supervise.run_lava", run_lava)
    more = () if timing is None else ("--board-timing", f"{timing[0]},{timing[1]}")
    code, _, err = run_cli(monkeypatch, capsys, command[0], bundle, *command[1:], *more)
    assert code == 0, err
    assert given == [Timing(*(timing or (0, 0)))] * wanted


@pytest.mark.parametrize("command", [("simulate",), ("parity", "--right", "int"), ("verify", "--backend", "int")])
def test_a_boards_timing_is_refused_where_no_board_runs(command, bundle, monkeypatch, capsys):
    code, _, err = run_cli(monkeypatch, capsys, command[0], bundle, *command[1:], "--board-timing", "0,0")
    assert code == 2
    assert "--board-timing is for backend loihi2 only" in err


def test_a_log_file_shows_life_and_no_more_often_than_it_should(monkeypatch, capsys):
    clock = iter([0.0, *range(1, 1000)])
    monkeypatch.setattr("neuroseg.commands.console.time.monotonic", lambda: next(clock))
    with progress("slayer") as report:
        assert capsys.readouterr().err == "slayer ...\n"
        for done in range(1, 201):  # one per second, half a percent each: every 10 % is every 20 s
            report(done, 200)
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [f"slayer: {percent} %" for percent in range(10, 101, 10)]
    assert captured.out == ""
    with progress("int") as report:
        for done in range(1, 41):  # 2.5 % a second: 10 % pass in 4 s, a line may come every 10 s
            report(done, 40)
    assert capsys.readouterr().err.splitlines() == ["int ...", *(f"int: {p} %" for p in (25, 50, 75, 100))]


def test_json_stands_alone_on_standard_output_while_progress_is_told(bundle, monkeypatch, capsys):
    code, printed, err = run_cli(monkeypatch, capsys, "simulate", bundle, "--json")
    assert code == 0
    assert json.loads(printed)["backend"] == "int"
    assert "int ..." in err


def test_a_ladder_of_another_network_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is no bundle"):
        ladder(tmp_path, ("slayer", "int"), 1)


def larger(samples):
    """The same samples with masks of twice the size, whose upper rows are void."""
    masks = samples.masks.repeat(2, axis=1).repeat(2, axis=2)
    masks[:, :8] = VOID
    return replace(samples, masks=masks)


def test_maps_are_scored_at_the_size_of_larger_masks_and_void_counts_nowhere(bundle):
    sides = open_sides(open_bundle(bundle), ("int",), 2)
    spikes, samples = sides.run("int"), larger(sides.samples)
    maps = maps_of(sides.bundle.graph, spikes, samples)
    assert maps.shape == samples.masks.shape == (2, 2 * SIZE[0], 2 * SIZE[1])
    scored = score(maps, samples)
    maps[:, :8] = 1 - maps[:, :8]
    assert score(maps, samples) == scored
    maps[:, 8:] = 1 - maps[:, 8:]
    assert score(maps, samples) != scored


def colours_in(path):
    with Image.open(path) as picture:
        return {colour[:3] for _, colour in picture.convert("RGB").getcolors(1 << 24)}


def test_pictures_take_the_colours_of_the_data_set_and_draw_void_black(tmp_path):
    colours = ((10, 200, 30), (200, 30, 180), (30, 60, 250))
    masks = np.zeros((1, 32, 32), np.int64)
    masks[:, 16:], masks[:, :4] = 1, VOID
    samples = Samples(torch.full((1, 3, 16, 16), 0.5), masks, 3, ("a", "b", "c"), colours)
    left, right = np.zeros((1, 32, 32), np.int64), np.zeros((1, 32, 32), np.int64)
    right[:, 10:20] = 2
    draw_disagreement(tmp_path / "d.png", samples, {"float": left, "lava": right}, [("float", "lava")])
    seen = colours_in(tmp_path / "d.png")
    assert {*colours, (0, 0, 0), (204, 0, 0)} <= seen
    draw_disagreement(tmp_path / "same.png", samples, {"float": left, "lava": left}, [("float", "lava")])
    assert (204, 0, 0) not in colours_in(tmp_path / "same.png")


def test_the_iou_picture_takes_absent_classes_and_equal_rungs(tmp_path):
    draw_iou(tmp_path / "i.png", ("a", "b"), {"float": [0.5, None], "slayer": [0.4, None], "int": [0.4, None]})
    draw_iou(tmp_path / "j.png", ("a", "b"), {"float": [0.5, None], "slayer": [0.5, None]})
    assert len(colours_in(tmp_path / "i.png")) > len(colours_in(tmp_path / "j.png")) > 2


def test_images_of_a_picture_are_spread_over_all():
    assert spread(101, 6) == [0, 20, 40, 60, 80, 100]
    assert spread(3, 6) == [0, 1, 2] and spread(1, 6) == [0]
