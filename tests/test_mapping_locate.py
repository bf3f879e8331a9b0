"""Every core gets a place of its own; hops are what walking packet by packet gives; the search beats its baselines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse import random as random_sparse

import hw_configs
from export.errors import DataError, UsageError
from export.mapping.hilbert import along_curve, compact_chips, curve
from export.mapping.hops import lower_bound, measure_hops
from export.mapping.locate import METHODS, locate, neighbours
from export.mapping.mesh import Location, Mesh, mesh_of
from export.mapping.refine import Layout, anneal, force, jump
from export.mapping.traffic import Traffic

KAPOHO = hw_configs.load_system("kapoho_point")
OHEO = hw_configs.load_system("oheo_gulch")
HALA = hw_configs.load_system("hala_point")


def traffic_of(matrix) -> Traffic:
    packets = csr_matrix(matrix, dtype=np.float64)
    nothing = np.zeros(packets.shape[0])
    return Traffic(packets, nothing, nothing, nothing, ())


def drawn(cores: int, density: float, seed: int) -> Traffic:
    """Random traffic in whole packets, none from a core to itself."""
    rng = np.random.default_rng(seed)
    matrix = random_sparse(cores, cores, density, "lil", random_state=seed, data_rvs=lambda n: rng.integers(1, 50, n))
    matrix.setdiag(0)
    return traffic_of(matrix.tocsr())


def layers(count: int, width: int) -> Traffic:
    """Layers of cores, each core of one sending to every core of the next; and a relay line beside them."""
    cores = 2 * count * width
    matrix = np.zeros((cores, cores))
    for layer in range(count - 1):
        here, there = (slice((layer + k) * width, (layer + k + 1) * width) for k in (0, 1))
        matrix[here, there] = 10
        line = count * width + layer * width + np.arange(width)
        matrix[line, line + width] = 100
    return traffic_of(matrix)


def place_of(mesh: Mesh, spot: int) -> tuple[int, int]:
    """Router of a core on the plane, by the rule of the interface."""
    chip, router = spot // mesh.usable, spot % mesh.usable // mesh.per_router
    x = chip % mesh.chip_columns * mesh.columns + router % mesh.columns
    return x, chip // mesh.chip_columns * mesh.rows + router // mesh.columns


def walked(traffic: Traffic, spot, mesh: Mesh) -> dict:
    """Every packet, step by step: first along the row, then along the column."""
    found = {"hops_east_west": 0.0, "hops_north_south": 0.0, "inter_chip": 0.0, "between_chips": 0.0}
    links: dict = {}
    entries = traffic.packets.tocoo()
    for i, j, packets in zip(entries.row, entries.col, entries.data, strict=True):
        here, goal = place_of(mesh, int(spot[i])), place_of(mesh, int(spot[j]))
        crossed = False
        while here != goal:
            axis = 0 if here[0] != goal[0] else 1
            after = list(here)
            after[axis] += 1 if goal[axis] > here[axis] else -1
            side = (mesh.columns, mesh.rows)[axis]
            border = here[axis] // side != after[axis] // side
            crossed |= border
            found["inter_chip" if border else ("hops_east_west", "hops_north_south")[axis]] += packets
            links[border, here, tuple(after)] = links.get((border, here, tuple(after)), 0) + packets
            here = tuple(after)
        found["between_chips"] += packets * crossed
    found["busiest_link"] = max((v for k, v in links.items() if not k[0]), default=0.0)
    found["busiest_border"] = max((v for k, v in links.items() if k[0]), default=0.0)
    return found


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([OHEO, KAPOHO, HALA]), st.integers(2, 90), st.integers(0, 99))
def test_hops_and_links_are_those_of_a_walk_packet_by_packet(system, cores, seed):
    traffic, mesh = drawn(cores, 0.1, seed), mesh_of(system)
    rng = np.random.default_rng(seed)
    spot = rng.choice(min(mesh.spots, 3000), cores, replace=False)
    hops = measure_hops(traffic, Location("drawn", spot, 1), system)
    for name, value in walked(traffic, spot, mesh).items():
        assert getattr(hops, name) == pytest.approx(value), name
    assert hops.hops >= hops.lower_bound
    assert hops.packets == traffic.total


def test_the_bound_is_met_where_it_can_be():
    mesh = mesh_of(OHEO)
    clique = np.ones((4, 4)) - np.eye(4)
    assert lower_bound(csr_matrix(clique), mesh) == 0  # four cores share a router
    star = np.zeros((6, 6))
    star[0, 1:] = [9, 8, 7, 2, 1]  # three targets sit with the source, two one hop away; targets see one source only
    best = locate(traffic_of(star), OHEO, sweeps=4000)
    assert lower_bound(csr_matrix(star), mesh) == pytest.approx(3 / 2)
    assert measure_hops(traffic_of(star), best, OHEO).hops == 3


@settings(max_examples=15, deadline=None)
@given(st.integers(5, 60), st.integers(0, 99))
def test_no_location_beats_the_bound_on_a_mesh_or_on_a_plane(cores, seed):
    traffic = drawn(cores, 0.3, seed)
    bounds = [lower_bound(traffic.packets, mesh_of(system)) for system in (KAPOHO, HALA)]
    spot = locate(traffic, KAPOHO, "force").spot
    assert bounds[1] <= bounds[0] <= measure_hops(traffic, Location("force", spot, 1), KAPOHO).hops


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("system", "cores"), [(OHEO, 120), (KAPOHO, 150), (HALA, 130)])
def test_every_core_has_a_place_of_its_own(method, system, cores):
    mesh = mesh_of(system)
    location = locate(drawn(cores, 0.02, 1), system, method, sweeps=500)
    assert len(np.unique(location.spot)) == cores
    assert location.spot.min() >= 0 and location.spot.max() < mesh.spots
    assert location.chips == len(set(location.spot // mesh.usable))


def test_sequential_is_lavas_order():
    assert locate(drawn(300, 0.01, 0), KAPOHO, "sequential").spot.tolist() == list(range(300))


def test_the_search_beats_every_baseline_on_the_fewest_chips():
    traffic = layers(10, 12)
    hops = {m: measure_hops(traffic, locate(traffic, KAPOHO, m, sweeps=10_000), KAPOHO) for m in METHODS}
    assert hops["force"].hops < hops["hilbert"].hops < hops["sequential"].hops
    assert hops["best"].hops <= 0.6 * hops["sequential"].hops
    assert hops["best"].hops <= 0.9 * hops["hilbert"].hops
    assert hops["best"].hops < hops["force"].hops
    assert hops["best"].chips == 2 and hops["best"].inter_chip <= hops["hilbert"].inter_chip


def test_equal_seeds_give_equal_places():
    traffic = layers(4, 6)
    first, again, other = (locate(traffic, OHEO, seed=seed, sweeps=300).spot for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()


def test_a_network_of_very_many_cores_is_placed_by_jumps_and_says_so(monkeypatch):
    monkeypatch.setattr("export.mapping.locate.WORK", 1000)
    traffic = layers(10, 12)
    location = locate(traffic, KAPOHO)
    assert "240 cores are too many to anneal" in location.notes[-1]
    hops = [measure_hops(traffic, place, KAPOHO).hops for place in (location, locate(traffic, KAPOHO, "hilbert"))]
    assert hops[0] < 0.9 * hops[1]


def test_silent_networks_and_single_cores_are_placed():
    for cores in (1, 7):
        silent = traffic_of(np.zeros((cores, cores)))
        for method in METHODS:
            hops = measure_hops(silent, locate(silent, OHEO, method), OHEO)
            assert (hops.hops, hops.lower_bound, hops.times_lower_bound, hops.chips) == (0, 0, 1, 1)


def test_too_small_a_system_is_refused_with_numbers():
    with pytest.raises(DataError, match=r"needs 121 cores; system 'oheo_gulch' has 120 .* Take a larger system"):
        locate(drawn(121, 0.01, 0), OHEO)


def test_an_unknown_method_is_refused():
    with pytest.raises(UsageError, match="choose one of sequential, hilbert, force, best"):
        locate(drawn(4, 0.5, 0), OHEO, "fastest")


@pytest.mark.parametrize("key", ["chip_columns", "chips", "usable_cores_per_chip"])
def test_a_system_without_a_number_is_refused_by_key(key):
    unknown = getattr(KAPOHO, key).model_copy(update={"value": None, "evidence": None, "range": None})
    with pytest.raises(UsageError, match=f"'kapoho_point' has no value for {key}"):
        locate(drawn(4, 0.5, 0), KAPOHO.model_copy(update={key: unknown}))


def test_more_usable_cores_than_routers_hold_are_refused():
    many = KAPOHO.usable_cores_per_chip.model_copy(update={"value": 129.0})
    with pytest.raises(UsageError, match="8 x 4 x 4"):
        mesh_of(KAPOHO.model_copy(update={"usable_cores_per_chip": many}))


@pytest.mark.parametrize("sides", [(1, 1), (1, 5), (8, 4), (32, 8), (7, 3), (6, 9), (5, 5), (288, 128)])
def test_the_curve_meets_every_cell_once_in_steps_to_neighbours(sides):
    path = np.array(curve(*sides))
    assert len(np.unique(path, axis=0)) == len(path) == sides[0] * sides[1]
    steps = abs(np.diff(path, axis=0))
    assert steps.max(initial=1) == 1 and (steps.sum(axis=1) == 2).sum() <= 1  # at most one step over a corner


def test_chips_in_use_stand_together():
    mesh = mesh_of(HALA)
    chips = compact_chips(mesh, 16)
    x, y = chips % mesh.chip_columns, chips // mesh.chip_columns
    assert len(set(chips.tolist())) == 16 and np.ptp(x) <= 7 and np.ptp(y) <= 7
    assert sorted(along_curve(mesh, np.arange(500))) == list(range(500))


def test_a_swap_of_forces_changes_the_cost_by_its_gain():
    mesh = mesh_of(KAPOHO)
    spots = np.arange(mesh.spots)
    x, y = (axis.astype(float) for axis in mesh.router_at(spots))
    both = drawn(mesh.spots, 0.01, 3).packets
    layout = Layout((both + both.T).tocsr(), x * 3, y * 3)
    at = np.random.default_rng(0).permutation(len(spots))
    before = layout.cost(at)
    for pair in neighbours(mesh, spots)[::997]:
        after = layout.cost(force(layout, at, pair[None], 1))
        who = np.empty_like(at)
        who[at] = np.arange(len(at))
        a, b = who[pair]
        swapped = at.copy()
        swapped[[a, b]] = at[[b, a]]
        assert after == pytest.approx(min(before, layout.cost(swapped)))


@pytest.mark.parametrize("search", [anneal, jump])
def test_a_search_never_ends_worse_than_it_began(search):
    both = layers(6, 5).packets
    layout = Layout((both + both.T).tocsr(), np.arange(60.0), np.zeros(60))
    good = search(layout, np.arange(60), 2000, 0)
    assert sorted(good) == list(range(60))
    assert layout.cost(search(layout, good, 10, 1)) <= layout.cost(good) < layout.cost(np.arange(60))
