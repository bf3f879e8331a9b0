"""Time and energy of a mapped network: the formulas by hand, sums that agree, and nothing unknown taken for nothing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

import hw_configs
from export.errors import UsageError
from export.graph import Conv, Dense, Graph, Lif, Population, Sparse
from export.mapping.coefficients import LEVELS, cost_set, levels, weakest
from export.mapping.cost import cost, energy
from export.mapping.hops import Hops
from export.mapping.partition import place
from export.mapping.placement import Cut, Load
from export.mapping.step_time import step_time
from export.mapping.traffic import Traffic
from export.mapping.work import Work, assume, complete, fan_in, measure, synops_per_core, touched, work_of
from hw_configs import HardwareConfigError

CHIP = hw_configs.load("loihi2")
LOIHI1 = hw_configs.load("loihi1")
SETS = [(CHIP, "loihi2_range"), (LOIHI1, "davies2018"), (LOIHI1, "sanafe_loihi1")]
TIMED = SETS[:2]


def work(synops=((1000.0, 40_000.0, 2000.0),), neurons=(4000.0, 10.0, 4000.0), chips=3) -> Work:
    """Synops of every step and core, and neurons of every core; half as much again with stored zeros."""
    synops = np.array([synops], dtype=np.float64)
    return Work(synops.shape[1], chips, synops, 1.5 * float(synops.sum()), np.array(neurons), np.array(neurons) / 10)


def traffic(count: int) -> Traffic:
    """Every core sends 7 packets to the first and 2 to itself; the host sends 5 to each."""
    packets = csr_matrix((np.full(count, 7.0), (np.arange(count), np.zeros(count, int))), shape=(count, count))
    return Traffic(packets, np.full(count, 2.0), np.full(count, 5.0), np.ones(count), ())


def hops(inter_chip=4.0, busiest_link=8.0) -> Hops:
    return Hops(21.0, 30.0, 20.0, inter_chip, inter_chip, busiest_link, inter_chip, 50.0, 1)


def changed(chip, name: str, term: str, value: float | None):
    """The chip with one coefficient at another value and without a range."""
    quantity = chip.costs[name][term].model_copy(update={"value": value, "range": None})
    return chip.model_copy(update={"costs": dict(chip.costs) | {name: dict(chip.costs[name]) | {term: quantity}}})


def with_links(chip, name: str, time_ns: float):
    """The chip with a time in which a link passes on a packet."""
    known = chip.costs[name]["synop_time"].model_copy(update={"value": time_ns, "range": None})
    return chip.model_copy(
        update={"costs": dict(chip.costs) | {name: dict(chip.costs[name]) | {"link_packet_time": known}}}
    )


works = st.builds(
    lambda seed, samples, steps, cores: Work(
        steps,
        2,
        *(
            lambda r: (
                r.integers(0, 9000, (samples, steps, cores)).astype(float),
                1e7,
                r.integers(1, 4000, cores) * 1.0,
            )
        )(np.random.default_rng(seed)),
        np.random.default_rng(seed + 1).integers(0, 99, cores) * 1.0,
    ),
    st.integers(0, 9999),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 6),
)


def test_the_chip_model_against_hand_computation():
    frame = work(((1000.0, 40_000.0, 2000.0), (0.0, 10_000.0, 0.0)))
    result = cost(frame, CHIP).to_json()
    synops, updates = 53_000, 8010 * 2
    assert result["dynamic_energy_j"] == pytest.approx(
        {
            "low": synops * 6.8e-12 + updates * 10.8e-12,
            "nominal": synops * 23.6e-12 + updates * 81e-12,
            "high": synops * 30e-12 + updates * 81e-12,
        }
    )
    assert result["dynamic_energy_stored_zeros_j"]["nominal"] == pytest.approx(
        1.5 * synops * 23.6e-12 + updates * 81e-12
    )
    assert result["dynamic_parts_j"]["synops"]["nominal"] == pytest.approx(synops * 23.6e-12)
    # the second core is the slowest in the first step; in the second step it is only where an update is quick
    first = {"low": 40_000 * 0.37e-9 + 10 * 0.59e-9, "nominal": 4e4 * 0.7e-9 + 42e-9, "high": 4e4 * 1e-9 + 42e-9}
    second = {"low": 1e4 * 0.37e-9 + 5.9e-9, "nominal": 4000 * 4.2e-9, "high": 4000 * 4.2e-9}
    assert result["slowest_step_time_s"] == pytest.approx(first)
    steps = {level: (first[level] + second[level]) / 2 for level in LEVELS}
    assert result["step_time_s"] == pytest.approx(steps)
    assert result["time_per_sample_s"] == pytest.approx({level: 2 * steps[level] for level in LEVELS})
    assert result["overlapped_step_time_s"]["nominal"] == pytest.approx((28e-6 + 16.8e-6) / 2)
    powers = {"low": 0.232, "nominal": 0.25, "high": 0.54}
    assert result["static_energy_j"] == pytest.approx({level: 3 * powers[level] * 2 * steps[level] for level in LEVELS})
    assert result["slowest_core"] == 1
    assert result["step_terms_s"]["synops"]["nominal"] == pytest.approx(28e-6)
    assert result["step_terms_s"]["neuron updates"]["nominal"] == pytest.approx(42e-9)


def test_cores_that_are_slowest_in_different_steps_are_each_waited_for():
    frame = work(((1000.0, 0.0), (0.0, 1000.0)), (1.0, 1.0))
    time = step_time(frame, cost_set(CHIP))
    assert time.mean["nominal"] == pytest.approx(time.slowest["nominal"]) == pytest.approx(704.2e-9)


@pytest.mark.parametrize(
    ("synops", "neurons", "link", "bound"),
    [
        (9000.0, 100.0, 1.0, "synops"),
        (100.0, 4000.0, 1.0, "neuron updates"),
        (100.0, 100.0, 400.0, "busiest link"),
        (10.0, 10.0, 1.0, "barrier"),
    ],
)
def test_the_term_that_binds_is_named_and_sets_the_step(synops, neurons, link, bound):
    costs = cost_set(with_links(CHIP, "loihi2_range", 6.5))
    time = step_time(work(((synops,),), (neurons,)), costs, hops(busiest_link=link))
    assert time.bound_by["nominal"] == bound
    core = synops * 0.7e-9 + neurons * 4.2e-9
    expected = {"busiest link": link * 6.5e-9, "barrier": 200e-9}.get(bound, core)
    assert time.slowest["nominal"] == pytest.approx(expected)
    assert time.terms["busiest link"]["nominal"] == pytest.approx(link * 6.5e-9)
    assert time.terms["synaptic-memory reads"] is None
    assert time.link_packets == link
    assert "in the time of a step: links between chips (no time is published)" in time.not_counted
    assert "in the time of a step: synaptic-memory reads (no time per read is published)" in time.not_counted


@settings(max_examples=60, deadline=None)
@given(works, st.sampled_from(SETS))
def test_energies_of_cores_and_of_the_network_add_up_to_the_whole(frame, chip_and_set):
    bill = energy(frame, cost_set(*chip_and_set), traffic(len(frame.neurons)), hops())
    network = [bill.parts[name] for name in ("hops east-west", "hops north-south")]
    for level in LEVELS:
        total = bill.cores[level].sum() + sum(part[level] for part in network)
        assert total == pytest.approx(bill.dynamic[level], rel=1e-12)
        assert bill.cores[level].shape == frame.neurons.shape


@settings(max_examples=60, deadline=None)
@given(works, st.sampled_from(TIMED))
def test_every_level_is_between_its_neighbours(frame, chip_and_set):
    chip, name = chip_and_set
    result = cost(frame, chip, name, traffic(len(frame.neurons)), hops()).to_json()
    keys = [
        key
        for key, value in result.items()
        if isinstance(value, dict) and "nominal" in value and key != "step_bound_by"
    ]
    assert len(keys) == 8
    for one in [result[key] for key in keys] + [v for v in result["dynamic_parts_j"].values() if v]:
        assert 0 <= one["low"] <= one["nominal"] <= one["high"]
    overlapped, mean, slowest = (result[f"{kind}step_time_s"]["nominal"] for kind in ("overlapped_", "", "slowest_"))
    assert overlapped <= mean * (1 + 1e-12) and mean <= slowest * (1 + 1e-12)  # a mean of equal numbers is rounded


@settings(max_examples=60, deadline=None)
@given(works, st.floats(0.1, 20))
def test_what_activity_costs_grows_in_proportion_to_it_and_the_rest_stays(frame, factor):
    costs = cost_set(LOIHI1, "sanafe_loihi1")
    once, more = energy(frame, costs), energy(frame.scaled(factor), costs)
    for name in ("synops", "fired spikes"):
        assert more.parts[name]["nominal"] == pytest.approx(factor * once.parts[name]["nominal"], rel=1e-9)
    for name in ("neuron accesses", "neuron updates"):
        assert more.parts[name] == once.parts[name]
    assert frame.scaled(factor).synops_per_sample == pytest.approx(factor * frame.synops_per_sample, rel=1e-9)
    idle = replace(frame, neurons=frame.neurons * 0 + 1e-9, synops=frame.synops + 1e4)  # far above the barrier
    quick, slow = (step_time(one, cost_set(CHIP)).mean["nominal"] for one in (idle, idle.scaled(3.0)))
    assert slow == pytest.approx(3 * quick, rel=1e-9)


@pytest.mark.parametrize(
    ("chip", "name", "term", "part"),
    [
        (CHIP, "loihi2_range", "synop_energy", "synops"),
        (CHIP, "loihi2_range", "neuron_update_energy", "neuron updates"),
        (CHIP, "loihi2_range", "hop_north_south_energy", "hops north-south"),
        (LOIHI1, "davies2018", "neuron_active_energy", "neuron updates"),
        (LOIHI1, "davies2018", "spike_energy", "messages"),
        (LOIHI1, "sanafe_loihi1", "neuron_access_energy", "neuron accesses"),
        (LOIHI1, "sanafe_loihi1", "neuron_fire_energy", "fired spikes"),
        (LOIHI1, "sanafe_loihi1", "message_energy", "messages"),
    ],
)
def test_a_coefficient_moves_its_own_part_and_no_other(chip, name, term, part):
    def parts(of):
        return energy(work(), cost_set(of, name), traffic(3), hops()).parts

    value = 1000.0
    before, after = parts(chip), parts(changed(chip, name, term, value))
    old = chip.costs[name][term].value
    assert after[part]["nominal"] == pytest.approx(before[part]["nominal"] * value / old)
    assert {k: v for k, v in before.items() if k != part} == {k: v for k, v in after.items() if k != part}


@pytest.mark.parametrize(("chip", "name"), SETS)
def test_an_unknown_coefficient_is_listed_and_never_taken_for_nothing(chip, name):
    bill = energy(work(), cost_set(chip, name), traffic(3), hops())
    assert bill.parts["crossings between chips"] is None
    assert f"crossings between chips (no inter_chip_hop_energy in {name})" in bill.not_counted
    known = changed(chip, name, "hop_east_west_energy", None)
    assert energy(work(), cost_set(known, name), traffic(3), hops()).parts["hops east-west"] is None
    nothing = energy(work(), cost_set(chip, name), traffic(3), hops(inter_chip=0))
    assert nothing.parts["crossings between chips"] == dict.fromkeys(LEVELS, 0.0)
    assert not any("crossings" in line for line in nothing.not_counted)


def test_the_time_of_a_hop_is_not_taken_for_that_of_a_packet_on_a_link():
    time = step_time(work(), cost_set(CHIP), hops(busiest_link=1e9))
    assert time.slowest == step_time(work(), cost_set(CHIP)).slowest
    assert time.terms["busiest link"] is None and time.link_packets == 1e9
    assert "in the time of a step: busiest link (no link_packet_time in loihi2_range)" in time.not_counted


def test_what_was_not_counted_is_listed():
    result = cost(work(), CHIP).to_json()
    listed = "; ".join(result["not_counted"])
    for words in ("messages between cores", "hops east-west", "crossings", "host", "busiest link", "stored zeros"):
        assert words in listed
    assert result["host"] == {"input_packets_per_sample": None, "output_spikes_per_sample": None, "energy_j": None}
    more = cost(work(), CHIP, traffic=traffic(3), hops=hops(), output_spikes=11.0).to_json()
    assert more["host"] == {"input_packets_per_sample": 15.0, "output_spikes_per_sample": 11.0, "energy_j": None}
    assert "hops_east-west * hop_east_west_energy" in more["formula_dynamic"]
    assert more["dynamic_energy_j"]["nominal"] - result["dynamic_energy_j"]["nominal"] == pytest.approx(170e-12)


def test_sets_of_costs_are_named_and_never_mixed():
    with pytest.raises(
        UsageError, match=r"'loihi1' needs a set of costs to be named: it has davies2018, sanafe_loihi1"
    ):
        cost(work(), LOIHI1)
    with pytest.raises(UsageError, match=r"'loihi2' has no set of costs 'davies2018': it has loihi2_range"):
        cost(work(), CHIP, "davies2018")
    with pytest.raises(UsageError, match=r"'loihi1' has no costs\.sanafe_loihi1\.synop_time"):
        cost(work(), LOIHI1, "sanafe_loihi1")
    bill = energy(work(), cost_set(LOIHI1, "davies2018"), traffic(3), hops())
    assert all(key.startswith("loihi1.costs.davies2018.") for key in bill.used)
    assert "neuron accesses" not in bill.parts and "fired spikes" not in bill.parts


def test_of_active_and_inactive_neurons_the_low_end_takes_none_and_the_others_all_for_active():
    costs = cost_set(LOIHI1, "davies2018")
    assert costs.update("energy") == pytest.approx({"low": 52e-12, "nominal": 81e-12, "high": 81e-12})
    time = step_time(work(((0.0,),), (1000.0,)), costs)
    assert time.slowest == pytest.approx({"low": 5.3e-6, "nominal": 8.4e-6, "high": 8.4e-6})


def test_a_range_without_a_value_is_nominally_its_middle():
    assert levels(LOIHI1.costs["davies2018"]["barrier_time"]) == pytest.approx(
        {"low": 113e-9, "nominal": 289e-9, "high": 465e-9}
    )
    assert levels(LOIHI1.min_step_time) is None
    assert step_time(work(((1.0,),), (1.0,)), cost_set(LOIHI1, "davies2018")).slowest["high"] == pytest.approx(465e-9)


def test_updates_that_change_something_replace_all_updates_where_the_set_tells_them_apart():
    costs = cost_set(LOIHI1, "sanafe_loihi1")
    some = replace(work(), changed=np.array([5.0, 0.0, 1.0]))
    assert energy(some, costs).parts["neuron updates"]["nominal"] == pytest.approx(6 * 21.6e-12)
    assert energy(some, costs).parts["neuron accesses"]["nominal"] == pytest.approx(8010 * 51.2e-12)
    assert "all neurons are charged" in "; ".join(energy(work(), costs).not_counted)
    assert energy(some, cost_set(CHIP)).parts == energy(work(), cost_set(CHIP)).parts


@pytest.mark.parametrize("term", ["synop_time", "neuron_update_energy"])
def test_a_chip_without_a_coefficient_is_refused_by_its_key(term):
    costs = {name: q for name, q in CHIP.costs["loihi2_range"].items() if name != term}
    with pytest.raises(UsageError, match=rf"'loihi2' has no costs\.loihi2_range\.{term}"):
        cost(work(), CHIP.model_copy(update={"costs": {"loihi2_range": costs}}))
    unknown = CHIP.static_power.model_copy(update={"value": None, "range": None})
    with pytest.raises(HardwareConfigError, match="static_power is null"):
        cost(work(), CHIP.model_copy(update={"static_power": unknown}))


def test_figures_are_worth_as_much_as_their_weakest_coefficient():
    assert cost(work(), CHIP).to_json()["evidence"] == "estimate"
    bill = energy(work(), cost_set(LOIHI1, "davies2018"))
    assert weakest(bill.used.values()) == "published"
    assert weakest([*bill.used.values(), LOIHI1.static_power]) == "derived"


def two_layers(steps=5) -> Graph:
    rng = np.random.default_rng(0)
    populations = {
        "x": Population("x", "input", (2, 6, 6)),
        "a": Population("a", "lif", (3, 6, 6), Lif(20, 4096, 1024)),
        "b": Population("b", "lif", (4, 3, 3), Lif(20, 4096, 1024)),
    }
    convs = (
        Conv("xa", "x", "a", rng.integers(-6, 10, (3, 2, 3, 3)).astype(np.int32) * 2, padding=(1, 1)),
        Conv("ab", "a", "b", rng.integers(-6, 10, (4, 3, 3, 3)).astype(np.int32) * 2, (2, 2), (1, 1)),
    )
    return Graph(populations, convs, ("b",), steps, {"x": 1, "a": 2, "b": 3})


def test_work_on_lavas_clock_puts_what_happens_at_once_into_one_row():
    graph = two_layers()
    placement = place(graph, CHIP)
    x = np.zeros((1, 5, 2, 6, 6), np.uint8)
    x[0, 2] = 1  # sent in Lava's step 3; 'a' works on it in step 4, 'b' in step 5 on the spikes of step 4
    spikes = complete(graph, {"x": x}, {})
    frame = work_of(graph, placement, measure(graph, placement, spikes))
    assert placement.cores == 2
    assert np.nonzero(frame.synops[0, :, 0])[0].tolist() == [4]
    assert 0 in np.nonzero(frame.synops[0, :, 1])[0].tolist()  # 5 mod T
    assert spikes["a"][0, 2].any()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_fan_in_is_what_is_touched_when_every_neuron_fires(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    groups = data.draw(st.sampled_from([1, 2, 3]))
    kernel = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    pair = st.tuples(st.integers(1, 3), st.integers(1, 2))
    weight = rng.integers(-1, 2, (2 * groups, 2, *kernel)).astype(np.int32)
    padding = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 2)))
    conv = Conv("p", "a", "b", weight, data.draw(pair), padding, data.draw(pair), groups)
    shape = (2 * groups, data.draw(st.integers(7, 9)), data.draw(st.integers(5, 8)))
    np.testing.assert_array_equal(fan_in(conv, shape), touched(conv, np.ones((1, *shape), np.uint8))[0])
    dense = Dense("d", "a", "b", rng.integers(-1, 2, (4, 12)).astype(np.int32))
    single = csr_matrix(rng.integers(-1, 2, (4, 12)).astype(np.int32))
    single.data[:1] = 0  # a stored zero
    for other in (dense, Sparse("s", "a", "b", single, (4, 1, 1))):
        np.testing.assert_array_equal(fan_in(other, (3, 2, 2)), touched(other, np.ones((1, 3, 2, 2), np.uint8))[0])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_synops_per_core_are_what_is_touched_summed_over_its_tile(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    groups = data.draw(st.sampled_from([1, 2, 4]))
    kernel = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    pair = st.tuples(st.integers(1, 3), st.integers(1, 2))
    weight = rng.integers(-1, 2, (3 * groups, 2, *kernel)).astype(np.int32)
    padding = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 2)))
    conv = Conv("p", "a", "b", weight, data.draw(pair), padding, data.draw(pair), groups)
    spikes = rng.integers(0, 2, (2, 2 * groups, data.draw(st.integers(7, 9)), data.draw(st.integers(5, 8))), np.uint8)
    shape = conv.output_shape(spikes.shape[1:])
    tile = tuple(data.draw(st.integers(1, side)) for side in reversed(shape))
    cores = [-(-side // part) for side, part in zip(shape, reversed(tile), strict=True)]
    cut = Cut("b", shape, tile, 0, Load(*[np.ones(cores, np.int64)] * 6, None), 1, True)
    np.testing.assert_array_equal(synops_per_core(conv, cut, spikes), cut.per_core(touched(conv, spikes)))


def test_assumed_rates_give_the_work_of_neurons_that_fire_so_on_average():
    graph = two_layers()
    placement = place(graph, CHIP)
    always = {name: np.ones((1, 5, *p.shape), np.uint8) for name, p in graph.populations.items()}
    full = work_of(graph, placement, measure(graph, placement, always))
    assumed = work_of(graph, placement, assume(graph, placement, {"x": 0.25, "a": 0.5, "b": 0.125}))
    assert assumed.synops == pytest.approx(full.synops * [0.25, 0.5])
    assert assumed.spikes == pytest.approx(full.spikes * [0.5, 0.125])
    alike = work_of(graph, placement, assume(graph, placement, 0.25))
    assert alike.synops_stored == pytest.approx(0.25 * full.synops_stored)
    assert step_time(alike, cost_set(CHIP)).mean == pytest.approx(step_time(alike, cost_set(CHIP)).slowest)
