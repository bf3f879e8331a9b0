"""The report: counts that are exact, energies that are the formulas they name, and sums that agree."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lively import SIZE, images, lively_model
from random_flows import lowered, random_flow
from scipy.sparse import csr_matrix

import hw_configs
from export.errors import UsageError
from export.execute.integer import run_integer
from export.graph import Conv, Dense, Sparse, to_physical
from export.mapping.partition import place
from export.mapping.work import complete, measure, stored_fan_out, touched
from export.passes.balance_delays import balance_delays
from export.passes.count_macs import count_macs
from export.passes.trace import trace
from export.pipeline import compile_module
from export.report.about import About
from export.report.build import build_report
from export.report.energy import Deployed, Trained, papers_as_deployed, papers_as_trained
from export.report.figures import energy_rows
from export.report.pages import report_page, with_unit
from neuroseg.models import parameter_count, quantized, record_spikes
from neuroseg.models.count import network_size
from neuroseg.models.synapse import SynapseConv

CHIP = hw_configs.load("loihi2")
PAPERS = hw_configs.load_coefficients("horowitz45nm")


@pytest.fixture(scope="module")
def parts():
    """(compiled, inputs, spikes) of a small network that fires."""
    compiled = compile_module(lively_model(), (3, *SIZE))
    reference = quantized(lively_model(), compiled.quantization.weight_scale, compiled.quantization.v_th)
    _, spikes = record_spikes(reference, images(2), stock=True)
    known = {name: values for name, values in spikes.items() if name in compiled.graph.populations}
    return compiled, {p.name: spikes[p.name] for p in compiled.graph.inputs}, known


@pytest.fixture(scope="module")
def content(parts):
    """Its report, as JSON gives it back."""
    return json.loads(json.dumps(build_report(*parts), allow_nan=False))


def pair(chips: int = 2):
    """A made-up board of chips with 60 usable cores each."""
    board = hw_configs.load_system("oheo_gulch")
    values = {"chips": chips, "cores": 128 * chips, "usable_cores_per_chip": 60, "chip_columns": chips, "chip_rows": 1}
    changed = {key: getattr(board, key).model_copy(update={"value": value}) for key, value in values.items()}
    return board.model_copy(update={"name": "pair", **changed})


@pytest.fixture(scope="module")
def split(parts):
    """The report of the same network on two chips."""
    return json.loads(json.dumps(build_report(*parts, None, pair()), allow_nan=False))


def by_hand(projection, spikes, target_shape):
    """(non-zero, stored) synapses that spikes (C, H, W) touch, per target neuron: loops over single synapses."""
    some, stored = np.zeros(target_shape, int), np.zeros(target_shape, int)
    out, ins, *kernel = projection.weight.shape
    per_group = out // projection.groups
    for o, y, x in np.ndindex(*target_shape):
        for i, ky, kx in np.ndindex(ins, *kernel):
            sy = y * projection.stride[0] + ky * projection.dilation[0] - projection.padding[0]
            sx = x * projection.stride[1] + kx * projection.dilation[1] - projection.padding[1]
            if 0 <= sy < spikes.shape[1] and 0 <= sx < spikes.shape[2]:
                fired = int(spikes[o // per_group * ins + i, sy, sx])
                stored[o, y, x] += fired
                some[o, y, x] += fired * int(projection.weight[o, i, ky, kx] != 0)
    return some, stored


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_touched_synapses_are_those_that_a_loop_over_single_synapses_finds(data):
    groups = data.draw(st.sampled_from([1, 2]))
    out, ins = groups * data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))
    kernel = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)))
    pair = st.tuples(st.integers(1, 2), st.integers(1, 2))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    weight = rng.integers(-1, 2, (out, ins, *kernel)).astype(np.int32)
    padding = data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    conv = Conv("p", "a", "b", weight, data.draw(pair), padding, data.draw(pair), groups)
    shape = (ins * groups, data.draw(st.integers(5, 6)), data.draw(st.integers(5, 6)))
    spikes = rng.integers(0, 2, shape).astype(np.uint8)
    some, stored = by_hand(conv, spikes, conv.output_shape(shape))
    np.testing.assert_array_equal(touched(conv, spikes[None])[0], some)
    assert (stored_fan_out(conv, shape) * spikes).sum() == stored.sum()


def test_dense_and_sparse_synapses_are_counted_with_and_without_zeros():
    spikes = np.array([1, 0, 1, 1], np.uint8).reshape(1, 4, 1, 1)
    weight = np.array([[2, 2, 0, 4], [0, 2, 0, 0]], np.int32)
    dense = Dense("d", "a", "b", weight)
    assert touched(dense, spikes).ravel().tolist() == [2, 0]
    assert (stored_fan_out(dense, (4, 1, 1)) * spikes[0]).sum() == 6
    matrix = csr_matrix((np.array([2, 0, 4]), np.array([0, 2, 1]), np.array([0, 2, 3])), shape=(2, 4))
    sparse = Sparse("s", "a", "b", matrix, (2, 1, 1))
    assert touched(sparse, spikes).ravel().tolist() == [1, 0]
    assert (stored_fan_out(sparse, (4, 1, 1)) * spikes[0]).sum() == 2
    assert matrix.nnz == 3, "the graph's own matrix is left as it is"


@pytest.mark.parametrize("seed", range(4))
def test_loads_of_random_networks_agree_with_single_synapses(seed):
    flow, inputs = random_flow(seed, samples=2, size=4, moves=3)
    graph, _ = balance_delays(lowered(flow, "interleave" if seed % 2 else "nested"))
    placement = place(graph, CHIP)
    inputs = {name: values.astype(np.uint8) for name, values in inputs.items()}
    every = [p.name for p in graph.populations.values()]
    spikes = run_integer(graph, inputs, populations=every)  # relays too: `measure` must find them by itself
    loads = measure(graph, placement, complete(graph, inputs, {}))
    assert set(loads) == {p.name for p in graph.populations.values() if p.kind != "input"}
    for name, load in loads.items():
        shape = graph.populations[name].physical_shape
        fan_in, wanted = np.zeros(shape, int), 0
        for p in graph.into(name):
            source = graph.populations[p.source]
            frames = to_physical(spikes[p.source], source.layout).reshape(-1, *source.physical_shape)
            if isinstance(p, Conv):
                fan_in += by_hand(p, np.ones(source.physical_shape, int), shape)[0]
                wanted += by_hand(p, frames.sum(axis=0), shape)[0].sum()
            else:
                fan_in += np.diff(p.matrix.indptr).reshape(shape)
                wanted += (p.matrix != 0).astype(int).dot(frames.sum(axis=0).ravel()).sum()
        assert load.synapses.sum() == fan_in.sum()
        assert load.fan_in == fan_in.max()
        assert load.synops.sum() == wanted
        assert load.spikes.sum() * 2 == spikes[name].sum()


def test_population_rows_core_rows_and_totals_agree(content):
    cores, populations = content["core_loads"], content["populations"]
    for key in ("synops_per_sample", "updates_per_sample"):
        total = sum(row[key] + row[f"relay_{key}"] for row in populations)
        assert sum(row[key] for row in cores) == pytest.approx(total, rel=1e-12)
        assert content[key] == pytest.approx(total, rel=1e-12)
    assert [row["core"] for row in cores] == list(range(content["cores"]))
    assert content["cores"] == sum(row["cores"] + row["relay_cores"] for row in populations)
    assert content["chips"] == len({row["chip"] for row in cores}) == len(content["mapping"]["chips"])
    assert sum(row["relay_neurons"] for row in populations) == content["neurons_by_kind"]["relay"]
    on_chip_neurons = sum(r["neurons"] + r["relay_neurons"] for r in populations if r["kind"] != "input")
    assert (
        on_chip_neurons + sum(r["relay_neurons"] for r in populations if r["kind"] == "input")
        == content["neurons_deployed"]
    )
    assert content["updates_per_sample"] == content["neurons_deployed"] * content["steps_per_sample"]
    busiest = max(cores, key=lambda row: row["max_synops_per_step"])
    assert content["busiest_core"]["max_synops_per_step"] == busiest["max_synops_per_step"]
    for row in cores:
        assert row["neurons"] <= content["core_limits"]["neurons"]
        assert row["synops_per_sample"] <= content["steps_per_sample"] * row["max_synops_per_step"]
        assert row["synops_per_sample"] <= content["steps_per_sample"] * row["synapses"]


def test_packets_add_up_over_cores_populations_chips_and_places(split):
    mapping, cores = split["mapping"], split["core_loads"]
    packets = mapping["packets_per_sample"]["between_cores"]
    assert packets > 0
    assert sum(row["packets_out_per_sample"] for row in cores) == pytest.approx(packets)
    assert sum(row["packets_in_per_sample"] for row in cores) == pytest.approx(packets)
    assert sum(row["packets_per_sample"] for row in mapping["traffic_between_populations"]) == pytest.approx(packets)
    from_host = mapping["packets_per_sample"]["host_in"]
    assert sum(row["host_packets_in_per_sample"] for row in cores) == pytest.approx(from_host)
    assert sum(row["packets_per_sample"] for row in mapping["traffic_from_host"]) == pytest.approx(from_host)
    assert split["energy"]["loihi2"]["host"]["input_packets_per_sample"] == pytest.approx(from_host)
    shown = mapping["locations"][-1]
    assert shown["method"] == mapping["method"] == "best"
    crossing = sum(row["packets_per_sample"] for row in mapping["traffic_between_chips"])
    assert crossing == pytest.approx(shown["packets_between_chips"]) and crossing > 0
    for row in mapping["locations"]:
        parts = row["hops_east_west"] + row["hops_north_south"] + row["inter_chip_crossings"]
        assert row["hop_weighted_packets"] == pytest.approx(parts) and parts >= row["lower_bound"]
    assert shown["hop_weighted_packets"] < 0.6 * mapping["locations"][0]["hop_weighted_packets"]


def test_cores_stand_on_routers_of_the_system_and_chips_hold_them(split):
    mapping, cores = split["mapping"], split["core_loads"]
    system = mapping["system"]
    assert system["name"] == split["system"] == "pair" and system["chips"] == split["chips"] == 2
    assert len({row["spot"] for row in cores}) == split["cores"] == len(cores)
    for row in cores:
        chip, place = divmod(row["spot"], system["usable_cores_per_chip"])
        assert row["chip"] == chip < system["chips"]
        column, line = row["router"]
        assert line * system["mesh_columns"] + column == place // system["cores_per_router"]
    for row in mapping["chips"]:
        held = [core for core in cores if core["chip"] == row["chip"]]
        assert row["cores"] == len(held) <= 60
        assert row["synops_per_sample"] == pytest.approx(sum(core["synops_per_sample"] for core in held))
    assert split["cores_to_spare"] == 2 * 60 - split["cores"]


def test_every_core_is_within_the_limits_and_rows_name_the_fullest(content):
    rows = {row["name"]: row for row in content["mapping"]["populations"]}
    assert sum(row["cores"] for row in rows.values()) == content["cores"]
    for key, limit in content["core_limits"].items():
        assert all(row[key] <= limit for row in content["core_loads"])
        for row in (r for r in content["populations"] if r["cores"]):
            held = [core[key] for core in content["core_loads"] if core["population"] == row["name"]]
            assert max(held) == row[f"{key}_per_core"] and len(held) == row["cores"] == rows[row["name"]]["cores"]


def test_energy_of_cores_and_hops_is_the_dynamic_energy_and_shares_say_what_is_estimated(split):
    model, weight = split["energy"]["loihi2"], split["energy"]["estimates"]
    cores = sum(row["energy_nominal_j"] for row in split["core_loads"])
    hops = sum(model["dynamic_parts_j"][name]["nominal"] for name in ("hops east-west", "hops north-south"))
    assert cores + hops == pytest.approx(model["dynamic_energy_j"]["nominal"])
    assert model["dynamic_parts_j"]["crossings between chips"] is None, "their energy is not published"
    assert "crossings between chips (no inter_chip_hop_energy in loihi2_range)" in model["not_counted"]
    assert sum(part["share_nominal"] for part in weight["parts"]) == pytest.approx(1)
    assert weight["dynamic_share_on_estimates"] == pytest.approx(1), "nothing is published for Loihi 2"
    assert any(text.startswith("100% of the nominal dynamic energy on loihi2 rests") for text in split["warnings"])
    slowest = max(split["core_loads"], key=lambda row: row["step_time_nominal_s"])
    assert slowest["core"] == model["slowest_core"]
    assert slowest["step_time_nominal_s"] == pytest.approx(model["slowest_step_time_s"]["nominal"])
    assert sum(row["energy_nominal_j"] for row in split["mapping"]["chips"]) == pytest.approx(cores)


def test_static_energy_is_that_of_all_chips_in_use(content, split):
    one, two = content["energy"]["loihi2"], split["energy"]["loihi2"]
    assert two["static_power_w"]["nominal"] == 2 * one["static_power_w"]["nominal"]
    assert two["step_time_s"] == one["step_time_s"]


def test_without_a_system_the_report_makes_one_up_and_says_so(content):
    assert content["system"] is None and content["mapping"]["system"]["name"] == "1 x loihi2"
    assert content["mapping"]["notes"][0].startswith("no system was given")


def test_a_system_that_is_too_small_does_not_fit_and_is_shown_larger(parts):
    report = build_report(*parts, About("mine"), pair(chips=1))
    assert not report["fits"] and len(report["findings"]) == 2
    assert report["findings"][0].startswith("'mine' takes 92 cores, 2 chips of 60; pair has 60 cores on 1 chip.")
    assert report["mapping"]["system"]["name"] == "1 x loihi2" and report["system"] == "pair"
    assert "system 'pair' has too few cores" in report["mapping"]["notes"][0]
    assert report["warnings"].count(report["findings"][0]) == 1


def test_a_system_of_another_chip_is_refused(parts):
    with pytest.raises(UsageError, match="placed on chip 'loihi2'; system 'pair' has chips 'loihi1'"):
        build_report(*parts, None, pair().model_copy(update={"chip": "loihi1"}))


def test_a_chip_whose_mesh_is_unknown_gives_a_report_without_places(parts):
    compiled, inputs, spikes = parts
    chip = CHIP.model_copy(update={"mesh_columns": hw_configs.load("loihi1").x86_cores})  # a null
    content = build_report(replace(compiled, placement=replace(compiled.placement, chip=chip)), inputs, spikes)
    mapping = content["mapping"]
    assert mapping["method"] is None and mapping["locations"] == []
    assert "mesh of routers is not known" in mapping["notes"][-1]
    assert all(row["spot"] is None and row["router"] is None for row in content["core_loads"])
    assert any("no place on the mesh" in text for text in content["energy"]["loihi2"]["not_counted"])
    page = report_page(content)
    assert "Map of cores" not in page and "mesh of routers is not known" in page


@pytest.mark.parametrize("delays", ["relay", "neuron"])
def test_the_delay_section_adds_up(parts, delays):
    compiled = parts[0] if delays == "relay" else compile_module(lively_model(), (3, *SIZE), delays=delays)
    report = build_report(compiled, parts[1], {})
    section, kinds = report["delays"], report["neurons_by_kind"]
    assert section["mode"] == delays and section["needs_programmable_neuron"] == (delays != "relay")
    for key, kind in (("relay_neurons", "relay"), ("delay_neurons", "delay")):
        assert sum(row[key] for row in section["sources"]) == kinds[kind] == section[key]
    cost = section["cost"]
    assert cost["neurons"] == kinds["relay"] + kinds["delay"]
    assert cost["neurons_share"] == cost["neurons"] / report["neurons_deployed"]
    assert cost["cores"] == sum(row["cores"] for row in section["sources"])
    assert cost["cores"] == sum(row["relay_cores"] for row in report["populations"])
    assert cost["energy_nominal_j"] == pytest.approx(sum(row["energy_nominal_j"] for row in section["sources"]))
    assert max(row["longest_wait_steps"] for row in section["sources"]) == section["longest_skip"]["lag"]
    ways = {row["way"] for row in section["sources"]}
    assert ways == {"host", "relays"} if delays == "relay" else "delay neurons" in ways
    assert any("programmable neuron" in text for text in report["warnings"]) == (delays != "relay")
    assert ("If each tap takes a neuron of its own" in report_page(report)) == (delays != "relay")


@pytest.mark.parametrize(("width", "wide"), [(256, False), (264, True)])
def test_a_layer_wider_than_the_chip_can_handle_is_warned_of(width, wide):
    compiled = compile_module(lively_model((16, width), scales=1, widths=(2,), steps=2), (3, 16, width))
    rng = np.random.default_rng(0)
    inputs = {p.name: rng.integers(0, 2, (1, 2, *p.shape)).astype(np.uint8) for p in compiled.graph.inputs}
    report = build_report(compiled, inputs, {})
    found = [text for text in report["warnings"] if "may drop spikes in convolutions wider than 256" in text]
    assert bool(found) == wide
    page = report_page(report)
    assert ("may drop spikes" in page) == wide and ("erratum" in page) == wide


def test_a_network_that_never_fires_has_a_report(parts):
    compiled, inputs, _ = parts
    still = {name: np.zeros_like(values) for name, values in inputs.items()}
    graph = replace(compiled.graph, populations={n: _quiet(p) for n, p in compiled.graph.populations.items()})
    content = json.loads(json.dumps(build_report(replace(compiled, graph=graph), still, {}), allow_nan=False))
    assert content["synops_per_sample"] == content["mapping"]["packets_per_sample"]["between_cores"] == 0
    assert content["mapping"]["locations"][0]["times_lower_bound"] == 1
    assert "Where it runs" in report_page(content) and "Between populations" not in report_page(content)


def _quiet(population):
    return population if population.bias is None else replace(population, bias=np.zeros_like(population.bias))


def test_counts_with_stored_zeros_are_never_below_those_without(content):
    for row in content["populations"]:
        assert row["synops_per_sample"] <= row["synops_stored_per_sample"]
        assert row["synapses"] <= row["synapses_stored"]
    assert content["synops_stored_per_sample"] > 1.5 * content["synops_per_sample"], "nested layouts store zeros"


def test_firing_rates_are_those_of_the_recorded_spikes(parts, content):
    compiled, inputs, spikes = parts
    spikes = complete(compiled.graph, inputs, spikes)  # SLAYER's module has no interleaved copies
    assert len(content["populations"]) >= 39
    for row in content["populations"]:
        recorded = inputs.get(row["name"], spikes.get(row["name"]))
        assert row["firing_rate"] == recorded.mean() > 0
    lifs = [
        inputs.get(r["name"], spikes.get(r["name"])) for r in content["populations"] if r["kind"] in ("lif", "input")
    ]
    rate = sum(s.sum(dtype=int) for s in lifs) / sum(s.size for s in lifs)
    assert content["firing_rate"] == pytest.approx(rate, rel=1e-12)
    assert content["energy"]["papers_as_trained"]["firing_rate"] == content["firing_rate"]
    means = [s.mean() for s in lifs]
    assert abs(rate - sum(means) / len(means)) > 1e-3, "here the mean over populations is another number"
    assert content["firing_rate_of"] == "all LIF neurons of the exported network, host included, over 2 test vectors"


def test_operations_of_auxiliary_heads_are_in_the_energy_as_trained_only(content):
    energy = content["energy"]
    assert content["host_macs"] < content["macs_per_step_deployed"] < content["macs_per_step"]
    assert energy["papers_as_trained"]["acs_per_step"] == content["macs_per_step"] - content["host_macs"]
    assert energy["papers_as_trained"]["ann_energy_j"] == pytest.approx(4.6e-12 * content["macs_per_step"])
    assert energy["papers_as_deployed"]["host_macs"] == content["host_macs"]


def test_a_report_names_its_network_and_what_made_it(parts, content):
    assert content["name"] is None and content["miou"] is None and content["miou_split"] is None
    named = build_report(*parts, About("mine", 0.25, "val"))
    assert (named["name"], named["miou"], named["miou_split"]) == ("mine", 0.25, "val")
    assert named["input"] == [3, *SIZE] and named["steps_per_sample"] == 4
    assert named["params"] == parameter_count(lively_model())
    assert (
        named["versions"]["torch"] == torch.__version__.split("+")[0] or named["versions"]["torch"] == torch.__version__
    )
    assert {"python", "neuroseg", "lava-nc", "lava-dl"} <= set(named["versions"])


def test_populations_that_were_not_recorded_are_computed(parts, content):
    compiled, inputs, spikes = parts
    fewer = {name: spikes[name] for name in compiled.graph.outputs}
    again = json.loads(json.dumps(build_report(compiled, inputs, fewer)))
    assert again == content


@pytest.mark.parametrize("scales", [1, 3])
def test_macs_are_the_models_own_and_say_which_are_of_auxiliary_heads(scales):
    model = lively_model(widths=(4, 6, 8)[:scales], scales=scales)
    macs = count_macs(trace(model, (3, *SIZE)))
    size = network_size(model, (3, *SIZE))
    convs = {f"{n}" for n, m in model.named_modules() if isinstance(m, SynapseConv)}
    left_out = {name for name, m in macs.items() if not m.deployed}
    assert convs <= set(macs)
    heads = {f"head{i}" for i in range(1, scales)}
    assert {name.split(".")[0] for name in left_out} == heads
    auxiliary = sum(
        model.get_submodule(name).weight.numel() * (SIZE[0] >> int(name[4])) * (SIZE[1] >> int(name[4]))
        for name in left_out
    )
    assert sum(m.per_step for m in macs.values()) == size.macs_per_step
    assert sum(m.per_step for m in macs.values() if not m.deployed) == auxiliary
    assert sum(m.per_step for m in macs.values() if m.on_host) == size.host_macs > 0


def test_the_papers_formulas_against_hand_computation():
    trained = Trained(steps=5, macs_per_step=1_100_000, host_macs=100_000, firing_rate=0.2)
    result = papers_as_trained(trained, PAPERS)
    assert result["energy_j"] == pytest.approx(5 * (0.2 * 0.9e-12 * 1e6 + 4.6e-12 * 1e5))
    assert result["energy_j"] == pytest.approx(3.2e-6)
    assert result["ann_energy_j"] == pytest.approx(5.06e-6)
    deployed = papers_as_deployed(Deployed(steps=5, host_macs=100_000, synops=3e6), PAPERS)
    assert deployed["energy_j"] == pytest.approx(0.9e-12 * 3e6 + 4.6e-12 * 1e5)
    assert deployed["energy_host_every_step_j"] == pytest.approx(2.7e-6 + 5 * 0.46e-6)


def test_energies_follow_the_coefficients_that_they_are_given():
    double = PAPERS.model_copy(update={"mac_energy": PAPERS.mac_energy.model_copy(update={"value": 9.2})})
    trained = Trained(5, 1_000_000, 1_000_000, 0.0)
    assert papers_as_trained(trained, double)["energy_j"] == 2 * papers_as_trained(trained, PAPERS)["energy_j"]


def test_every_hardware_number_comes_with_evidence_and_source(content):
    keys = {row["key"] for row in content["hardware"]}
    assert {"horowitz45nm.mac_energy", "loihi2.core.neurons", "loihi2.costs.loihi2_range.synop_energy"} <= keys
    assert all(row["evidence"] and row["source"] for row in content["hardware"])


def test_every_range_is_ordered_and_static_stands_apart(content):
    rows = {row["name"]: row for row in energy_rows(content)}
    assert len(rows) == 7
    for name in ("loihi2, dynamic", "loihi2, static", "loihi2, dynamic, stored zeros too"):
        assert 0 < rows[name]["low"] < rows[name]["nominal"] < rows[name]["high"]
    latency = content["latency"]
    step = content["energy"]["loihi2"]["step_time_s"]
    assert latency["latency_steps"] == content["latency_steps"]
    assert latency["latency_time_s"]["high"] == pytest.approx(content["latency_steps"] * step["high"])


@pytest.mark.parametrize(
    ("value", "text"), [(3.77e-5, "37.7 µJ"), (0.0, "0 J"), (1.5, "1.5 J"), (2e-14, "0.02 pJ"), (1e-3, "1 mJ")]
)
def test_joules_read_with_a_prefix(value, text):
    assert with_unit(value, "J") == text
