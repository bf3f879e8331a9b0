"""The anchor: energy and time of PilotNet-LIF beside what Intel measured, from its file, a mapping, its spikes and prices."""

import json
from functools import cache
from pathlib import Path
from sysconfig import get_paths

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import hw_configs
from benchmarks.pilotnet_anchor import PAGE, RESULT, layers, load_anchor, tables
from export.graph import Conv
from export.mapping.coefficients import LEVELS
from hw_configs import HardwareConfigError
from hw_configs.measurement import Measurement, load_measurement

CHIP = hw_configs.load("loihi2")
MEASURED_J, MEASURED_S = 1.094e-3, 152.9e-6


loaded = cache(load_anchor)


@pytest.fixture(params=["ours", "intel"])
def anchor(request):
    return loaded(request.param)


@pytest.fixture
def ours():
    return loaded("ours")


def priced(term: str, factor: float):
    """The chip with one price changed."""
    old = CHIP.costs["loihi2_range"][term]
    new = old.model_copy(update={"value": old.value * factor, "range": None})
    return CHIP.model_copy(update={"costs": {"loihi2_range": dict(CHIP.costs["loihi2_range"]) | {term: new}}})


def test_the_measurement_is_the_published_one():
    measured = load_measurement("pilotnet_lif")
    assert measured.dynamic_energy.value * 1e-12 == pytest.approx(MEASURED_J)
    assert measured.step_time.value * 1e-9 == pytest.approx(MEASURED_S)
    assert measured.synops.value == 36.6e6 and measured.steps.value == 16
    # the notebook's figures agree with each other: frames of 16 steps, dynamic and total power
    seconds = 16 * MEASURED_S
    assert 1 / seconds == pytest.approx(408.9, rel=1e-3)
    dynamic_power = (measured.total_power.value - measured.static_power.value) * 1e-3
    assert dynamic_power * seconds == pytest.approx(MEASURED_J, rel=1e-3)
    assert sum(row.cores for row in measured.mapping.rows) == measured.cores.value == 74
    assert all(quantity.evidence and quantity.source for quantity in measured.leaves().values())


def test_a_wrong_measurement_is_refused_by_name_and_key():
    with pytest.raises(HardwareConfigError, match="unknown measurement 'pilotnet': use one of pilotnet_lif"):
        load_measurement("pilotnet")
    content = load_measurement("pilotnet_lif").model_dump()
    with pytest.raises(ValueError, match=r"dynamic_energy[\s\S]*'mW' must be 'pJ'"):
        Measurement.model_validate(content | {"dynamic_energy": content["static_power"]})


def test_the_spikes_are_those_that_lava_dl_recorded(ours):
    """Layer k is recorded with k silent or bias-driven steps before its first, on Loihi's own clock."""
    recorded_in = (Path(get_paths()["purelib"]) / ours.measured.network).parent
    files = ["input", *(f"conv-{i}" for i in range(5)), *(f"fc-{i}" for i in range(3))]
    for skew, (name, file) in enumerate(zip(ours.placement.cuts, files, strict=False)):
        recorded = np.moveaxis(np.load(recorded_in / f"{file}.npy"), -1, 0)[skew : skew + 15]
        recorded = recorded.transpose(0, 3, 2, 1) if recorded.ndim == 4 else recorded[:, :, None, None]
        assert recorded.any()
        assert np.array_equal(ours.spikes[name][0, :15], recorded), name


def test_synops_are_those_of_every_single_spike_and_its_synapses(ours):
    """Counted from the other end: fan-out of each source neuron, by a transposed convolution of ones."""
    total = 0
    for p in ours.graph.projections:
        fired = torch.from_numpy(ours.spikes[p.source][0].sum(axis=0).astype(np.float64))
        present = torch.from_numpy((p.weight != 0).astype(np.float64))
        if isinstance(p, Conv):
            ones = torch.ones(1, *ours.graph.populations[p.target].shape, dtype=torch.float64)
            fan_out = F.conv_transpose2d(ones, present, stride=p.stride, padding=p.padding)[0]
            extra = [have - got for have, got in zip(fired.shape[1:], fan_out.shape[1:], strict=True)]
            fan_out = F.pad(fan_out, (0, extra[1], 0, extra[0]))  # rows and columns that no kernel reads
        else:
            fan_out = present.sum(dim=0).view(fired.shape)
        total += float((fired * fan_out).sum())
    assert ours.work.synops_per_sample == total == 40_871_267


def test_the_input_is_on_the_chip_as_it_was_when_it_was_measured(anchor):
    assert anchor.placement.cuts["layer0"].neurons().sum() == 39_600
    assert anchor.work.neurons.sum() == anchor.graph.neurons() == 158_509
    assert anchor.traffic.host_in.sum() == 0
    assert anchor.work.core_synops[: anchor.placement.cuts["layer0"].cores].sum() == 0


def test_dynamic_energy_is_within_30_percent_of_the_measured(anchor):
    found = anchor.cost().energy.dynamic
    assert found["nominal"] == pytest.approx(MEASURED_J, rel=0.3)
    assert found["low"] < MEASURED_J < found["high"]
    assert anchor.cost(scaled=False).energy.dynamic["nominal"] == pytest.approx(MEASURED_J, rel=0.3)


def test_the_mean_step_of_our_mapping_is_within_a_factor_of_two_of_the_measured(ours):
    step = ours.cost().time.mean["nominal"]
    assert MEASURED_S / 2 < step < 2 * MEASURED_S
    assert ours.cost().time.bound_by["nominal"] == "synops"


def test_with_intels_tiles_the_mean_step_is_too_short_and_the_page_says_so():
    intel = loaded("intel")
    assert intel.placement.cores == 74
    assert intel.cost().time.mean["nominal"] < MEASURED_S / 2
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert "With the tiles of Intel's compiler the model gives less than half of the measured time" in page


def test_no_constant_is_fitted_to_it_the_figures_follow_the_prices(ours):
    plain = ours.cost()
    dearer = ours.cost(chip=priced("synop_energy", 2.0)).energy.dynamic["nominal"]
    assert dearer - plain.energy.dynamic["nominal"] == pytest.approx(36.6e6 * 23.6e-12)
    dearer = ours.cost(chip=priced("neuron_update_energy", 2.0)).energy.dynamic["nominal"]
    assert dearer - plain.energy.dynamic["nominal"] == pytest.approx(158_509 * 16 * 81e-12)
    for term in ("synop_time", "neuron_update_time"):
        slower = ours.cost(chip=priced(term, 2.0)).time.mean["nominal"]
        assert plain.time.mean["nominal"] < slower < 2 * plain.time.mean["nominal"]
    assert ours.scale == pytest.approx(36.6e6 / 40_871_267)


def test_layers_and_hops_add_up_to_the_whole_and_levels_are_ordered(anchor):
    cost, rows = anchor.cost(), layers(anchor)
    assert sum(row["cores"] for row in rows) == anchor.placement.cores
    assert sum(row["synops_per_frame"] for row in rows) == 40_871_267
    assert sum(row["scaled_synops_per_frame"] for row in rows) == pytest.approx(36.6e6)
    hops = [cost.energy.parts[name] for name in ("hops east-west", "hops north-south")]
    for level in LEVELS:
        total = sum(row["scaled_energy_j"][level] for row in rows) + sum(part[level] for part in hops)
        assert total == pytest.approx(cost.energy.dynamic[level])
    for one in (cost.energy.dynamic, cost.static, cost.time.mean, cost.time.slowest, cost.time.overlapped):
        assert one["low"] < one["nominal"] < one["high"]


def test_the_result_file_and_the_page_hold_what_the_code_gives(anchor, request):
    content = json.loads(RESULT.read_text())
    for name, table in tables(content).items():
        assert table in PAGE.read_text(encoding="utf-8"), f"{name}: run benchmarks/pilotnet_anchor.py"
    one = content["mappings"][request.node.callspec.params["anchor"]]
    assert one["cores"] == anchor.placement.cores
    found, kept = anchor.cost().to_json(), one["published_activity"]
    for key in ("step_time_s", "slowest_step_time_s", "overlapped_step_time_s", "static_energy_j"):
        assert kept[key] == pytest.approx(found[key]), "run benchmarks/pilotnet_anchor.py"
    for part in ("synops", "neuron updates"):  # hops depend on a search
        assert kept["dynamic_parts_j"][part] == pytest.approx(found["dynamic_parts_j"][part])
