"""The benchmarks: sides in turn, one network on every side, rows that say what was measured. No time is asserted."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.speed import __main__ as speed
from benchmarks.speed import executors, results, training
from benchmarks.speed.growth import exponent
from benchmarks.speed.kits import Flow, Slayer, flow_of
from benchmarks.speed.measure import Plan, command, in_turn, limit, versus
from benchmarks.speed.networks import compiled, efs_block, efs_nodes, images, network, stage
from benchmarks.speed.rivals import FOLDER, FRAMEWORKS, Folded, Rounded
from export.graph import Lif
from neuroseg.models import stock_slayer

RIVALS = pytest.mark.skipif(not FOLDER.is_dir(), reason="scripts/set_up.sh bench makes .tools/bench")
KEPT = json.loads((results.RESULTS / results.JSON).read_text())
TINY = (16, 16)


def test_sides_take_turns_warm_ups_do_not_count_and_a_side_may_time_itself():
    order = []
    sides = {"a": lambda: order.append("a"), "b": lambda: (order.append("b"), 7.0)[1]}
    seconds = in_turn(sides, runs=2, warm_up=1)
    assert order == ["a", "b"] * 3
    assert seconds["b"] == [7.0] * 2 and len(seconds["a"]) == 2 and min(seconds["a"]) > 0


@pytest.mark.parametrize(
    ("row", "ratio", "value", "met"),
    [
        (versus("n", [1.0, 9.0, 2.0], [8.0, 8.0, 30.0], bar=3.0, per=2.0), 4.0, 4.0, True),
        (versus("n", [2.0], [8.0], bar=5.0), 4.0, 4.0, False),
        (versus("n", [2.0], [8.0]), 4.0, 4.0, None),
        (limit("n", 181.0, "s", 180.0), None, 181.0, False),
        (limit("n", 2.9, "GB", 3.0, seconds=4.0), None, 2.9, True),
        (limit("n", 151.0, "images/s", 150.0), None, 151.0, True),
    ],
)
def test_ratios_are_of_medians_and_bars_are_lower_limits_of_speed_and_upper_ones_of_time_and_memory(
    row, ratio, value, met
):
    assert (row["ratio"], row["value"], row["met"]) == (ratio, value, met)


def test_a_row_holds_seconds_of_one_of_what_a_run_does_and_the_range_of_its_rounds():
    row = versus("n", [1.0, 9.0, 2.0], [8.0, 8.0, 30.0], per=2.0)
    assert (row["ours_s"], row["theirs_s"], row["runs"]) == (1.0, 4.0, 3)
    assert row["ratio_range"] == [0.8889, 15.0]


def test_new_rows_replace_those_of_their_group_and_the_others_keep_date_and_machine():
    old = {"machine": results.machine() | {"processor": "an old one"}, "versions": {"torch": "1.0"}}
    row = {"date": "1999-01-01", "setup": "4"}
    before = {"setups": {"4": old}, "rows": [row | {"name": n, "group": g} for n, g in (("a", "int"), ("b", "start"))]}
    content = results.merged(before, {"int": [limit("c", 1.0, "s")], "training": [limit("d", 1.0, "s")]})
    found = [(row["name"], row["group"], row["setup"]) for row in content["rows"]]
    assert found == [("d", "training", "5"), ("c", "int", "5"), ("b", "start", "4")]
    assert content["rows"][2]["date"] == "1999-01-01" and content["rows"][0]["date"] != "1999-01-01"
    now = {key: content[key] for key in ("machine", "versions")}
    assert content["setups"] == {"4": old, "5": now} and now["machine"] == results.machine()
    again = results.merged(content, {"start": [limit("e", 1.0, "s")]})
    assert again["setups"] == {"5": now} and {row["setup"] for row in again["rows"]} == {"5"}


def test_a_row_is_marked_where_others_worked_when_its_run_began_and_named_by_its_setup():
    row = limit("c", 1.0, "s", 2.0) | {"setup": "3", "load": 9.0}
    ends = [results.table([row | more]).splitlines()[-1] for more in ({"load_at_start": x} for x in (1.5, 1.6))]
    assert [end.split(" | ")[-2:] for end in ends] == [["met", "3 |"], ["met, loaded", "3 |"]]
    assert "| met, loaded | 3 |" in results.table([row])  # its start is not known


@pytest.mark.parametrize("load", [1.0, 1.1])
def test_a_busy_machine_is_warned_of_before_the_first_row(monkeypatch, capsys, tmp_path, load):
    monkeypatch.setattr(speed, "load", lambda: load)
    monkeypatch.setitem(speed.GROUPS, "start", lambda plan: iter([limit("c", 1.0, "s")]))
    assert speed.main(["--only", "start", "--out", str(tmp_path)]) == 0
    assert ("warning: the load average is 1.1" in capsys.readouterr().err) == (load > 1)
    assert results.read(tmp_path)["rows"][0]["load_at_start"] == load


def test_the_exponent_is_the_power_of_the_growth():
    assert exponent([1, 2, 4], [3.0, 12.0, 48.0]) == 2.0
    assert exponent([1, 4, 16], [5.0, 10.0, 20.0]) == 0.5


def test_a_command_that_fails_ends_the_benchmark_with_its_last_words():
    with pytest.raises(RuntimeError, match=r"failed with 1:[\s\S]*it is broken"):
        command("sh", "-c", "echo it is broken >&2; exit 1")


@pytest.mark.parametrize(
    ("kit", "axes"), [(Slayer(3), (0, 4, 1, 2, 3)), (Rounded(3, False), None), (Rounded(3, True), None)]
)
def test_every_layout_computes_our_network_with_all_its_heads(kit, axes):
    model, _ = network("mfs-tiny", TINY)
    flow = flow_of(model, (3, *TINY), outputs=3)
    start = next(name for name, node in flow.nodes.items() if not node.inputs)
    heads = [name for name in flow.nodes if name.endswith(".readout")]
    pixels = images(2, TINY)
    with torch.no_grad(), stock_slayer(model):
        wanted = model(pixels)
        rates = Flow(flow.nodes, [start], heads, kit).eval()(pixels)
    assert len(rates) == len(wanted) == 3
    for rate, logits in zip(rates, wanted, strict=True):
        assert torch.equal(rate * model.readout_gain, logits) and logits.any()


def test_from_the_spikes_of_the_inputs_the_float_side_gives_those_of_the_classes():
    model, size = stage(quick=True)
    net = compiled(model, size)
    flow = flow_of(model, (3, *size))
    inputs, outputs = (
        [f"net.{name}" for name in names] for names in ([p.name for p in net.graph.inputs], net.graph.outputs)
    )
    pixels = images(2, size)
    start = next(name for name, node in flow.nodes.items() if not node.inputs)
    with torch.no_grad():
        given = Flow(flow.nodes, [start], inputs, Rounded(flow.steps, False)).eval()(pixels)
        spikes = Flow(flow.nodes, inputs, outputs, Rounded(flow.steps, True)).eval()(*given)[0]
        assert torch.equal(spikes.mean(0), model(pixels)[0]) and spikes.any()


@pytest.mark.parametrize("kit", [Folded, *(pytest.param(kit, marks=RIVALS) for kit in FRAMEWORKS.values())])
@pytest.mark.parametrize("channels_last", [False, True])
def test_neurons_of_all_frameworks_fire_alike_where_nothing_is_rounded(kit, channels_last):
    """Currents are multiples of 1/16, so that a quarter of a quarter ... is exact on the chip's grid, too."""
    lif = Lif(0.5, 4096, 3072)
    currents = torch.randint(-12, 16, (5, 2, 3, 4, 6), generator=torch.Generator().manual_seed(0)) / 16
    neuron = kit(5, channels_last).lif(lif).train()
    wanted = Slayer(5).lif(lif)(currents.permute(1, 2, 3, 4, 0).contiguous()).permute(4, 0, 1, 2, 3)
    spikes = neuron(currents.clone())
    assert torch.equal(spikes, wanted) and 0.1 < wanted.mean() < 0.9


def test_a_side_that_computes_something_else_is_refused(monkeypatch):
    monkeypatch.setattr(training, "FRAMEWORKS", {})
    assert training.checked(training._block_sides(4, (8, 12), "cpu"))["SLAYER"] == 0
    sides = training._block_sides(4, (8, 12), "cpu")
    block = efs_block(4, seed=1)
    flow = Flow(efs_nodes(block, (4, 8, 12)), ["x"], ["y"], Slayer(5))
    sides["SLAYER"] = replace(sides["SLAYER"], module=flow)
    with pytest.raises(RuntimeError, match="SLAYER computes something else than ours"):
        training.checked(sides)


def test_one_wrong_spike_and_a_silent_network_end_the_benchmark():
    model, size = stage(quick=True)
    net = compiled(model, size)
    _, recorded = executors._recorded(model, net, size, 1)
    assert executors._demand_equal(net, recorded, recorded, "int") > 1000
    wrong = {name: values.copy() for name, values in recorded.items()}
    wrong[net.graph.outputs[0]].flat[5] ^= 1
    with pytest.raises(RuntimeError, match="int fires other spikes than stock SLAYER: 1,"):
        executors._demand_equal(net, recorded, wrong, "int")
    silent = {name: np.zeros_like(values) for name, values in recorded.items()}
    with pytest.raises(RuntimeError, match="silent"):
        executors._demand_equal(net, silent, silent, "int")


SLOW = [("lava", 2), ("int", 2), ("export", 2), ("growth", 1)]


@pytest.mark.parametrize(
    ("group", "rows"),
    [
        ("start", 1),
        pytest.param("training", 6, marks=RIVALS),
        *(pytest.param(*group, marks=pytest.mark.slow) for group in SLOW),
    ],
)
def test_a_quick_run_measures_and_writes(group, rows, tmp_path, capsys):
    assert speed.main(["--quick", "--only", group, "--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "latest.json").read_text())
    assert [row["group"] for row in content["rows"]] == [group] * rows
    assert all(row["value"] > 0 and row["bar"] is None for row in content["rows"])
    written, table = (tmp_path / "latest.md").read_text(), results.table(content["rows"])
    assert written == results.text(content) and table.splitlines()[-1] in capsys.readouterr().out


def test_an_unknown_group_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        speed.main(["--only", "training,speed"])
    assert "unknown group 'speed'; choose some of training,lava,int" in capsys.readouterr().err


def test_the_page_and_the_table_are_those_of_the_result_file():
    text = results.text(KEPT)
    assert text in results.PAGE.read_text(encoding="utf-8"), "run python -m benchmarks.speed"
    assert (results.RESULTS / results.TABLE).read_text() == text


def test_the_result_file_has_what_its_description_says():
    page = (results.RESULTS.parent / "README.md").read_text(encoding="utf-8")
    assert KEPT["schema_version"] == results.SCHEMA_VERSION and {"torch", "spikingjelly"} <= set(KEPT["versions"])
    for row in KEPT["rows"]:
        assert {"name", "group", "ours_s", "theirs_s", "ratio", "bar", "unit", "value", "met"} <= set(row)
        assert {"device", "date", "load"} <= set(row) and row["setup"] in KEPT["setups"]
        assert [key for key in row if f"`{key}`" not in page and f".{key}`" not in page] == [], (
            "describe it in README.md"
        )
        assert row["unit"] != "x" or row["runs"] >= 5
    assert Plan().runs >= 5


def test_the_memory_of_a_command_is_its_own():
    held = bytearray(400_000_000)
    held[::4096] = b"x" * len(held[::4096])
    _, memory = command("sh", "-c", ":")
    assert memory < 0.1 and len(held) > 0
