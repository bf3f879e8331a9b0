"""`neuroseg fit`: the numbers are those of the compiler, a change that is said to fit fits, and bad input is named."""

import json
import math
import re
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_system import write_system

import hw_configs
from export.errors import DataError, UsageError
from export.graph import Conv, Sparse
from export.mapping.partition import place
from export.passes.fold_norm import fold_norm
from export.passes.lower import lower
from export.passes.quantize import WEIGHT_MAX
from export.passes.trace import trace
from export.pipeline import compile_module
from hw_configs import HardwareConfigError
from neuroseg.commands.candidate import full_width, lower_untrained
from neuroseg.commands.describe import describe
from neuroseg.commands.fit import fit
from neuroseg.commands.largest import block_choices, find_largest
from neuroseg.commands.variants import heights, last_that_fits, size_of_height, with_size
from neuroseg.config import load_config
from neuroseg.models import build_model

ROOT = Path(__file__).parents[1]
PROMISED = {
    *("schema_version", "name", "system", "chip", "fits", "cores", "chips", "cores_available", "chips_available"),
    *("lower_bound", "neurons", "neurons_deployed", "host_neurons", "latency_steps", "memory", "step_time_s"),
    *("latency_time_s", "binding", "populations", "findings", "changes"),
}
PLAIN = ["model={scales: 1, widths: [8], blocks: 0, steps: 2}", "data.size=[32, 32]"]  # a small family, quick to search


@pytest.fixture(scope="module")
def nano():
    return fit(load_config("mfs-nano"), "oheo_gulch")


def test_nano_fits_one_chip_and_the_json_has_what_the_contract_names(nano):
    assert set(nano) >= PROMISED
    assert nano["fits"] and nano["findings"] == [] and nano["changes"] == []
    assert nano["lower_bound"] <= nano["cores"] <= nano["cores_available"] == 120
    assert nano["cores"] == sum(row["cores"] for row in nano["populations"])
    assert nano["cores"] == sum(entry["cores"] for entry in nano["binding"].values())
    assert nano["memory"]["neurons"] == {"used": nano["neurons_deployed"], "available": 120 * 4095}
    assert all(entry["used"] <= entry["available"] for entry in nano["memory"].values())
    json.dumps(nano)


def test_the_counts_are_those_of_describe_and_the_cores_no_fewer_than_a_compiled_networks(nano):
    config = load_config("mfs-nano")
    described = describe(config)
    for key in ("neurons", "neurons_deployed", "neurons_by_kind", "host_neurons", "latency_steps", "params"):
        assert nano[key] == described[key], key
    compiled = compile_module(build_model(config.model, config.data.classes), (3, *config.data.size))
    mine = {row["name"]: row["cores"] for row in nano["populations"]}
    assert set(mine) == set(compiled.placement.cuts)
    assert nano["cores"] >= compiled.placement.cores  # full weights are at least as wide as any


def test_times_are_ordered_and_grow_with_the_assumed_rate(nano):
    busier = fit(load_config("mfs-nano"), "oheo_gulch", rate=0.3)
    for result in (nano, busier):
        step, latency = result["step_time_s"], result["latency_time_s"]
        assert 200e-9 <= step["low"] < step["nominal"] < step["high"] < 1e-2
        assert latency["nominal"] == pytest.approx(step["nominal"] * result["latency_steps"])
    assert busier["step_time_s"]["nominal"] > 2 * nano["step_time_s"]["nominal"]
    assert nano["assumed"]["spikes_per_neuron_and_step"] == 0.1 and nano["time_not_counted"]


def test_trained_weights_are_taken_as_wide_as_they_can_be_and_structural_zeros_stay():
    config = load_config("mfs-tiny")
    real = lower(fold_norm(trace(build_model(config.model, 2), (3, 16, 16))), "nested")
    wide = full_width(real)
    zeros = 0
    for before, after in zip(real.projections, wide.projections, strict=True):
        old, new = ((p.matrix.data if isinstance(p, Sparse) else p.weight) for p in (before, after))
        if real.populations[before.target].kind == "lif":
            assert np.array_equal(old != 0, new != 0) and new.max() == WEIGHT_MAX and new[new != 0].min() == WEIGHT_MAX
            zeros += int((new == 0).sum())
        else:
            assert before is after
    assert zeros, "a nested layout stores zeros"
    shared = [p.weight for p in wide.projections if isinstance(p, Conv)]
    assert len({id(w) for w in shared}) < len(shared), "copies of a shared convolution stay one array"


@given(st.integers(0, 200), st.integers(-1, 200), st.integers(-5, 300))
def test_the_search_finds_the_last_that_fits_from_any_guess_in_few_looks(count, last, guess):
    last = min(last, count - 1)
    looked = []

    def fits(index):
        assert 0 <= index < count and index not in looked
        looked.append(index)
        return index <= last

    assert last_that_fits(count, fits, guess) == last
    assert len(looked) <= 3 + 2 * math.log2(1 + abs(min(max(guess, 0), max(count - 1, 0)) - last))


@pytest.fixture(scope="module")
def too_large(tmp_path_factory):
    """The tests' smallest MFS-Seg on a system that is too small for it, with the system's path."""
    system = write_system(tmp_path_factory.mktemp("systems"), 90)
    config = load_config("mfs-tiny", ["data.size=[48,64]"])
    return config, str(system), fit(config, str(system))


def test_every_change_is_computed_it_takes_the_cores_and_fits_as_it_says(too_large):
    config, system, result = too_large
    assert not result["fits"] and result["cores"] > 90
    assert {"smaller images", "fewer channels", "fewer blocks"} <= {change["what"] for change in result["changes"]}
    assert [change["fits"] for change in result["changes"]] == sorted(
        (c["fits"] for c in result["changes"]), reverse=True
    )
    for change in result["changes"]:
        overrides = [argument for argument in change["arguments"] if "=" in argument]
        words = [argument for argument in change["arguments"] if "=" not in argument]
        options = {key.removeprefix("--"): value for key, value in zip(words[::2], words[1::2], strict=True)}
        changed = load_config("mfs-tiny", ["data.size=[48,64]", *overrides])
        assert changed.model_copy(update={"data": config.data, "model": config.model}) == config
        again = fit(changed, options.pop("system", system), search=False, **options)
        assert (again["fits"], again["cores"]) == (change["fits"], change["cores"]), change


def test_the_images_of_a_change_are_the_largest_that_fit(too_large):
    config, system, result = too_large
    change = next(c for c in result["changes"] if c["what"] == "smaller images" and c["fits"])
    (text,) = (a for a in change["arguments"] if a.startswith("data.size"))
    height, width = json.loads(text.removeprefix("data.size="))
    assert (height, width) == size_of_height(config, height)
    larger = min(h for h in heights(config, 48) if h > height)
    delays = "neuron" if "neuron" in change["arguments"] else "relay"
    assert not fit(with_size(config, size_of_height(config, larger)), system, delays=delays, search=False)["fits"]


def test_delay_neurons_alone_make_the_demo_fit_one_chip(cli):
    code, out, _ = cli("fit", "demo", "--system", "oheo_gulch", "--json")
    result = json.loads(out)
    assert code == 1 and not result["fits"]
    change = next(c for c in result["changes"] if c["arguments"] == ["--delays", "neuron"])
    assert change["fits"] and change["cores"] <= 120
    page = (ROOT / "docs" / "how-to" / "does-it-fit.md").read_text(encoding="utf-8")
    shown = [line.strip("| ").split(" | ") for line in page.splitlines() if re.match(r"\|.*\| (yes|no) \|", line)]
    assert shown == [
        [c["what"], "yes" if c["fits"] else "no", f"{c['cores']:,}", f"`{' '.join(c['arguments'])}`"]
        for c in result["changes"]
    ]
    code, out, _ = cli("fit", "demo", "--system", "oheo_gulch", "--delays", "neuron", "--json")
    assert code == 0 and json.loads(out)["cores"] == change["cores"]
    assert json.loads(out)["delays"]["needs_programmable_neuron"]


def test_a_larger_system_is_named_by_the_chips_that_it_has(cli):
    code, _, err = cli("fit", "mfs-nano", "data.size=[144,192]", "--system", "oheo_gulch")
    text = " ".join(err.split())
    assert code == 1 and "DOES NOT FIT" in text and "of 120 cores of oheo_gulch" in text
    assert "kapoho_point, 8 chips" in text and "--system kapoho_point" in text
    assert "assumed: weights of 8 bits" in text


def test_a_population_that_no_core_holds_is_named_with_number_limit_and_fix(tmp_path):
    system = write_system(tmp_path, 120, synaptic_words=40)
    result = fit(load_config("mfs-tiny", PLAIN), str(system))
    assert not result["fits"]
    assert all("words of synaptic memory" in finding for finding in result["findings"])
    first = result["findings"][0]
    assert "'encoder0.output'" in first and "little has 40" in first and "smaller fan-in" in first
    assert not any("--system" in change["arguments"] for change in result["changes"]), "no number of chips helps"
    narrower = next(c for c in result["changes"] if c["what"] == "fewer channels")
    assert narrower["fits"] and narrower["arguments"] == ["model.widths=[4]"]


def test_a_system_with_fewer_cores_than_populations_is_said_to_have_them(tmp_path):
    system = write_system(tmp_path, 20)
    result = fit(load_config("mfs-tiny"), str(system), search=False)
    count = len(result["populations"])
    assert count > 20 and not result["fits"]
    assert any(
        f"{count} populations" in text and "20 cores" in text and "fewer layers" in text for text in result["findings"]
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.steps=null", "model.steps = None: input should be a valid integer"),
        ("model.widths=[4,null,8]", "model.widths.1 = None"),
        ("data.size=null", "data.size = None"),
        ("model.widths=[0,6,8]", "model.widths.0 = 0: input should be greater than 0"),
        ("data.size=[8,8]", "data.size.0 = 8: input should be greater than or equal to 16"),
        ("data.size=[18,18]", "data.size: 18 is not a multiple of 4"),
    ],
)
def test_nulls_and_zero_sizes_in_a_config_are_refused_by_their_key(cli, override, message):
    code, out, err = cli("fit", "mfs-tiny", override, "--system", "oheo_gulch")
    assert (code, out) == (2, "") and message in " ".join(err.split())


def test_a_layer_of_size_zero_is_refused_by_its_name():
    graph = lower_untrained(load_config("mfs-tiny", PLAIN), "auto").graph
    empty = graph.map_populations(lambda p: replace(p, shape=(0, 32, 32)) if p.name == "head0.output" else p)
    with pytest.raises(DataError, match=r"'head0.output' has shape \(0, 32, 32\): 0 neurons, and at least 1"):
        place(empty, hw_configs.load("loihi2"))


def test_a_null_without_which_nothing_can_be_placed_is_refused_by_its_key(tmp_path):
    system = write_system(tmp_path, 120, neurons=None)
    with pytest.raises(HardwareConfigError, match=r"core\.neurons"):
        fit(load_config("mfs-tiny", PLAIN), str(system))


def test_an_unknown_axon_limit_is_said_not_to_be_checked(tmp_path):
    system = write_system(tmp_path, 120, axon_map=None)
    result = fit(load_config("mfs-tiny", PLAIN), str(system))
    assert result["fits"] and any("core.axon_map" in text for text in result["unchecked"])
    assert result["memory"]["axon_map"]["available"] is None


def test_a_chip_of_several_cost_sets_has_no_time_and_says_why(tmp_path):
    result = fit(load_config("mfs-tiny", PLAIN), str(write_system(tmp_path, 128, chip="loihi1")))
    assert result["step_time_s"] is None and result["latency_time_s"] is None
    assert "sets of costs" in result["time_not_counted"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit", "--system", "oheo_gulch"), "name a config"),
        (("fit", "mfs-tiny", "--system", "nowhere"), "unknown hardware config 'nowhere': use one of hala_point"),
        (("fit", "mfs-tiny", "--system", "oheo_gulch", "--rate", "1.5"), "--rate 1.5 is no rate"),
        (("fit", "mfs-tiny", "--system", "oheo_gulch", "--delays", "none"), "unknown delays 'none'"),
        (("fit", "mfs-tiny", "--system", "oheo_gulch", "--layout", "flat"), "unknown layout 'flat'"),
        (
            ("fit", "--largest", "--system", "oheo_gulch", "--objective", "fun"),
            "unknown objective 'fun'; choose one of macs",
        ),
        (("fit", "mfs-tiny"), "Missing option '--system'"),
    ],
)
def test_wrong_usage_is_told_with_the_choices(cli, arguments, message):
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "") and message in " ".join(err.split())


@pytest.fixture(scope="module")
def largest(tmp_path_factory):
    system = str(write_system(tmp_path_factory.mktemp("systems"), 24))
    family = load_config("mfs-tiny", PLAIN)
    return family, system, find_largest(family, system)


def test_the_largest_network_of_a_family_fits_and_leads_by_the_objective(largest):
    _, system, result = largest
    best = result["largest"]
    assert result["pareto"][0] == best and result["objective"] == "multiply-accumulates per step"
    assert [row["macs_per_step"] for row in result["pareto"]] == sorted(
        (row["macs_per_step"] for row in result["pareto"]), reverse=True
    )
    again = fit(load_config("mfs-tiny", [*PLAIN, *best["arguments"]]), system, search=False)
    assert again["fits"]
    for key in ("cores", "neurons", "neurons_deployed", "macs_per_step", "params", "depth"):
        assert again[key] == best[key], key


def test_every_network_of_the_table_is_the_largest_image_of_its_width_and_blocks(largest):
    family, system, result = largest
    for row in result["pareto"][:: max(1, len(result["pareto"]) // 4)]:
        config = load_config("mfs-tiny", [*PLAIN, *row["arguments"]])
        assert list(config.data.size) == row["size"]
        larger = with_size(config, size_of_height(family, row["size"][0] + family.model.multiple))
        assert row["cores"] <= 24
        assert row["size"][0] == result["grid"]["heights"][1] or not fit(larger, system, search=False)["fits"]
    assert result["grid"]["heights"] == [16, 128] and [8] in result["grid"]["widths"]


def test_a_largest_network_at_the_edge_of_the_grid_is_told_so(largest):
    result = largest[2]
    assert result["largest"]["widths"] == result["grid"]["widths"][-1] == [32]
    assert result["at_the_edge"] == ["widths"]


def test_no_network_of_the_table_surpasses_another(largest):
    rows = largest[2]["pareto"]
    for row in rows:
        for other in rows:
            mine, others = ((r["pixels"], *r["widths"], *r["blocks"]) for r in (row, other))
            assert mine == others or any(a < b for a, b in zip(mine, others, strict=True))
    assert len({tuple(row["widths"]) for row in rows}) > 2 and len({tuple(row["blocks"]) for row in rows}) > 1


def test_another_objective_ranks_otherwise(largest, tmp_path):
    system = write_system(tmp_path, 4)  # little fits: quick
    by_pixels = find_largest(largest[0], str(system), objective="pixels")
    assert by_pixels["largest"]["pixels"] == max(row["pixels"] for row in by_pixels["pareto"])
    assert by_pixels["largest"]["macs_per_step"] < max(row["macs_per_step"] for row in by_pixels["pareto"])


def test_a_family_of_which_nothing_fits_is_told_with_exit_code_1(cli, tmp_path):
    system = write_system(tmp_path, 1)
    code, out, _ = cli("fit", "--largest", "mfs-tiny", *PLAIN, "--system", system, "--json")
    result = json.loads(out)
    assert code == 1 and result["largest"] is None and result["pareto"] == [] and not result["fits"]
    code, _, err = cli("fit", "--largest", "mfs-tiny", *PLAIN, "--system", system)
    assert code == 1 and "no network of the family mfs-tiny fits mine (1 cores)" in " ".join(err.split())


def test_blocks_are_tried_from_shallow_to_deep_and_the_familys_own_are_among_them():
    choices = block_choices(load_config("mfs-tiny", ["model.blocks=[3,0,1]"]))
    assert (3, 0, 1) in choices and choices[0] == (0, 0, 0) and (2, 2, 2) in choices
    assert [sum(blocks) for blocks in choices] == sorted(sum(blocks) for blocks in choices)


def test_a_width_that_is_not_of_the_aspect_is_rounded_to_what_the_network_takes():
    config = load_config("mfs-nano")  # 72 x 96, multiples of 8
    assert [size_of_height(config, h) for h in heights(config, 40)] == [(16, 24), (24, 32), (32, 40), (40, 56)]


def test_unknown_objectives_and_layouts_are_refused_before_anything_is_built():
    with pytest.raises(UsageError, match="unknown objective"):
        find_largest(load_config("mfs-efs72"), "oheo_gulch", objective="joy")


@pytest.mark.slow
def test_the_papers_largest_network_is_judged_within_4_gigabytes():
    done = subprocess.run(
        [sys.executable, "-m", "neuroseg.cli", "fit", "mfs-efs72", "--system", "oheo_gulch", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 4e6  # kB
    result = json.loads(done.stdout)
    assert any(change["fits"] for change in result["changes"])
    assert result["neurons_deployed"] > 450e6
