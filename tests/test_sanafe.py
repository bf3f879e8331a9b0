"""SANA-FE, an independent simulator of Loihi 1, counts what we count: spikes, packets, synops, hops, and joules from them.

It runs in a process and an environment of its own (`make sanafe`); nothing of it is imported here.
"""

import importlib.util
import json
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

import hw_configs
from export.execute.integer import run_integer
from export.graph import Conv, Dense, Graph, Lif, Population, Sparse, to_physical
from export.mapping.coefficients import cost_set
from export.mapping.cost import energy
from export.mapping.hops import measure_hops
from export.mapping.mesh import Location
from export.mapping.partition import place
from export.mapping.traffic import count_packets
from export.mapping.work import complete, measure, work_of

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / ".tools" / "sanafe" / "bin" / "python"
LOIHI1 = hw_configs.load("loihi1")
BOARD = hw_configs.load_system("oheo_gulch")  # a system of one chip, here of Loihi 1
SYSTEM = BOARD.model_copy(
    update={
        "chip": "loihi1",
        "usable_cores_per_chip": BOARD.usable_cores_per_chip.model_copy(update={"value": LOIHI1.usable_cores.value}),
    }
)
STEPS, TAIL = 14, 5  # silence at the end, so that the deepest neurons have their last spikes before the simulator stops
INPUT_CORE = 127  # the last: ours come from the host, SANA-FE's sit on a core


def weights(rng, *shape):
    """Even and never 0: a stored zero is a synapse for SANA-FE, too."""
    return (rng.choice([-1, 1, 1], shape) * rng.integers(1, 15, shape) * 2).astype(np.int32)


def lif(name, shape, v_th=30, v_decay=1024):
    return Population(name, "lif", shape, Lif(v_th, 4096, v_decay))


def relay(name, source, shape):
    """The relay population and its synapse."""
    conv = Conv(f"{name}.synapse", source, name, np.full((shape[0], 1, 1, 1), 62, np.int32), groups=shape[0])
    return Population(name, "relay", shape, Lif(31, 4096, 4095)), conv


def graph_of(populations, projections, output):
    """With arrival steps: one after the other, as every projection here takes one step."""
    by_name = {p.name: p for p in populations}
    arrivals = {}
    for name in by_name:
        sources = {arrivals[p.source] for p in projections if p.target == name}
        assert len(sources) <= 1, "unbalanced"
        arrivals[name] = 1 + (sources.pop() if sources else 0)
    return Graph(by_name, tuple(projections), (output,), STEPS, arrivals)


def chain():
    rng = np.random.default_rng(1)
    populations = [Population("x", "input", (2, 6, 6)), lif("a", (4, 6, 6)), lif("b", (3, 3, 3), 25, 4096)]
    convs = [
        Conv("xa", "x", "a", weights(rng, 4, 2, 3, 3), padding=(1, 1)),
        Conv("ab", "a", "b", weights(rng, 3, 4, 3, 3), stride=(2, 2), padding=(1, 1)),
    ]
    return graph_of(populations, convs, "b")


def skip():
    """A residual shortcut through a relay, and two kernels side by side from one source into one target."""
    rng = np.random.default_rng(2)
    line, to_line = relay("a.relay[0]", "a", (3, 5, 5))
    populations = [Population("x", "input", (3, 5, 5)), lif("a", (3, 5, 5)), lif("b", (3, 5, 5)), line]
    populations.append(lif("c", (3, 5, 5), 45, 0))
    convs = [
        Conv("xa", "x", "a", weights(rng, 3, 3, 3, 3), padding=(1, 1)),
        Conv("ab", "a", "b", weights(rng, 3, 3, 3, 3), padding=(2, 2), dilation=(2, 2)),
        to_line,
        Conv("bc", "b", "c", weights(rng, 3, 3, 3, 1), padding=(1, 0)),
        Conv("bc, pointwise", "b", "c", weights(rng, 3, 3, 1, 1)),
        Conv("ac", "a.relay[0]", "c", weights(rng, 3, 1, 1, 1), groups=3),
    ]
    return graph_of(populations, convs, "c")


def strided():
    rng = np.random.default_rng(3)
    populations = [Population("x", "input", (4, 8, 6)), lif("a", (6, 4, 3)), lif("b", (6, 4, 3), 20, 2048)]
    populations += [lif("c", (5, 1, 1), 40, 512), lif("d", (4, 1, 1), 10)]
    matrix = csr_matrix((np.array([30, -12, 44, 8, 26]), ([0, 0, 1, 2, 3], [0, 4, 1, 2, 3])), shape=(4, 5))
    projections = [
        Conv("xa", "x", "a", weights(rng, 6, 2, 3, 3), (2, 2), (1, 1), groups=2),
        Conv("ab", "a", "b", weights(rng, 6, 1, 3, 3), padding=(1, 1), groups=6),
        Dense("bc", "b", "c", weights(rng, 5, 72)),
        Sparse("cd", "c", "d", matrix.astype(np.int32), (4, 1, 1)),
    ]
    return graph_of(populations, projections, "d")


NETS = {"chain": (chain, 24), "skip": (skip, 20), "strided": (strided, 10)}  # and the neurons that a core may hold


def synapses_of(projection, source, target):
    """[(source neuron, target neuron, weight)], flat indices, one by one."""
    if isinstance(projection, Sparse):
        found = projection.matrix.tocoo()
        return list(zip(found.col.tolist(), found.row.tolist(), found.data.tolist(), strict=True))
    if isinstance(projection, Dense):
        return [(i, o, int(projection.weight[o, i])) for o, i in np.ndindex(*projection.weight.shape)]
    out, ins, *kernel = projection.weight.shape
    found = []
    for o, y, x in np.ndindex(*target):
        for i, ky, kx in np.ndindex(ins, *kernel):
            sy = y * projection.stride[0] + ky * projection.dilation[0] - projection.padding[0]
            sx = x * projection.stride[1] + kx * projection.dilation[1] - projection.padding[1]
            if 0 <= sy < source[1] and 0 <= sx < source[2]:
                channel = o // (out // projection.groups) * ins + i
                pair = np.ravel_multi_index((channel, sy, sx), source), np.ravel_multi_index((o, y, x), target)
                found.append((int(pair[0]), int(pair[1]), int(projection.weight[o, i, ky, kx])))
    return found


def cores_of(cut):
    """Core of every neuron of a population, flat."""
    where = [np.searchsorted(cut.edges(axis), np.arange(cut.shape[axis]), "right") - 1 for axis in range(3)]
    rows, columns = len(cut.edges(1)) - 1, len(cut.edges(2)) - 1
    c, y, x = np.meshgrid(*where, indexing="ij")
    return (cut.first + (c * rows + y) * columns + x).ravel()


def in_sanafe(spot):
    """SANA-FE's number of one of our places: routers are read row by row here, column by column there."""
    router, place_ = divmod(int(spot), 4)
    row, column = divmod(router, 8)
    return 4 * (column * 4 + row) + place_


@dataclass
class Both:
    """A network, what SANA-FE made of it, and where its neurons sit."""

    graph: Graph
    placement: object
    location: Location
    spikes: dict
    inputs: dict
    offsets: dict
    fired: list
    counts: dict
    synapses: list


def both(name, folder) -> Both:
    make, neurons = NETS[name]
    graph = make()
    chip = hw_configs.load("loihi2")
    small = chip.core.neurons.model_copy(update={"value": float(neurons)})
    placement = place(graph, chip.model_copy(update={"core": chip.core.model_copy(update={"neurons": small})}))
    assert 6 < placement.cores < INPUT_CORE
    rng = np.random.default_rng(7)
    spots = rng.permutation(INPUT_CORE)[: placement.cores]  # anywhere, so that packets travel both ways
    x = (rng.random((1, STEPS, *graph.populations["x"].shape)) < 0.35).astype(np.uint8)
    x[:, STEPS - TAIL :] = 0
    inputs = {"x": x}
    ends = np.cumsum([p.neurons for p in graph.populations.values()])
    offsets = dict(zip(graph.populations, [0, *ends[:-1].tolist()], strict=True))
    synapses = []
    for p in graph.projections:
        shapes = [graph.populations[n].physical_shape for n in (p.source, p.target)]
        pairs = synapses_of(p, *shapes)
        synapses += [(offsets[p.source] + s, offsets[p.target] + t, w) for s, t, w in pairs]
    others = [p for p in graph.populations.values() if p.kind != "input"]
    given = {
        "steps": STEPS,
        "inputs": {
            "cores": [INPUT_CORE] * graph.populations["x"].neurons,
            "spikes": x[0].reshape(STEPS, -1).T.tolist(),
        },
        "neurons": {
            "cores": [in_sanafe(spots[core]) for p in others for core in cores_of(placement.cuts[p.name])],
            "v_th": [p.lif.v_th for p in others for _ in range(p.neurons)],
            "keeps": [1 - p.lif.v_decay / 4096 for p in others for _ in range(p.neurons)],
        },
        "synapses": synapses,
    }
    (folder / "network.json").write_text(json.dumps(given))
    command = [PYTHON, ROOT / "tests" / "sanafe_runner.py", folder / "network.json", folder / "counts.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    counts = json.loads((folder / "counts.json").read_text())
    spikes = complete(graph, inputs, {})
    every = run_integer(graph, inputs, populations=list(graph.populations))
    return Both(
        graph,
        placement,
        Location("random", spots, 1),
        spikes,
        inputs,
        offsets,
        fired_of(graph, every, offsets),
        counts,
        synapses,
    )


def fired_of(graph, spikes, offsets):
    """Numbers of the neurons that fire in each of Lava's steps."""
    fired = [[] for _ in range(STEPS)]
    for name, values in spikes.items():
        flat = to_physical(values[0], graph.populations[name].layout).reshape(STEPS, -1)
        for t, neuron in zip(*np.nonzero(flat), strict=True):
            fired[t + graph.arrivals[name] - 1].append(offsets[name] + int(neuron))  # an IndexError: too short a tail
    return [sorted(step) for step in fired]


@pytest.fixture(scope="module", params=list(NETS))
def compared(request, tmp_path_factory):
    if not PYTHON.exists():
        pytest.skip("SANA-FE is not installed: run `make sanafe`")
    return both(request.param, tmp_path_factory.mktemp(request.param))


def test_nothing_of_the_product_imports_it():
    sources = [path for package in ("neuroseg", "export", "hw_configs") for path in (ROOT / package).rglob("*.py")]
    assert len(sources) > 100
    assert [path for path in sources if re.search(r"^\s*(import|from)\s+sanafe", path.read_text(), re.M)] == []


def test_its_version_is_pinned_and_hashed_and_in_no_environment_of_ours():
    pinned = (ROOT / "requirements" / "sanafe.txt").read_text()
    assert pinned.startswith("sanafe==2.2.9 ") and pinned.count("--hash=sha256:") == pinned.count("\n") - 1
    assert importlib.util.find_spec("sanafe") is None


def test_where_it_cannot_be_had_set_up_says_so_and_goes_on(tmp_path):
    for name in ("scripts", "requirements"):
        shutil.copytree(ROOT / name, tmp_path / name)
    uv, old = tmp_path / ".tools/bin/uv", tmp_path / ".tools/sanafe/half-made"
    old.mkdir(parents=True)
    uv.parent.mkdir()
    version = re.search(r"uv==(\S+)", (ROOT / "requirements" / "uv.txt").read_text())[1]
    uv.write_text(f'#!/bin/sh\ncase "$1" in --version) echo "uv {version}";; venv) exit 0;; *) exit 2;; esac\n')
    uv.chmod(0o755)
    done = subprocess.run([tmp_path / "scripts/set_up.sh", "sanafe"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "SANA-FE could not be installed: the tests that compare with it are skipped" in done.stderr
    assert not (tmp_path / ".tools/sanafe").exists()


def test_the_same_neurons_fire_in_the_same_steps(compared):
    assert compared.counts["fired"] == compared.fired
    for name, values in compared.spikes.items():
        assert 0.02 < values.mean() < 0.9, f"{name} says little"


def test_synops_agree_in_every_step_and_in_all(compared):
    graph, placement = compared.graph, compared.placement
    work = work_of(graph, placement, measure(graph, placement, compared.spikes))
    fan_out = np.bincount(
        [s for s, _, _ in compared.synapses], minlength=sum(p.neurons for p in graph.populations.values())
    )
    assert compared.counts["synops"] == [int(fan_out[step].sum()) for step in compared.fired]
    assert sum(compared.counts["synops"]) == work.synops_per_sample == work.synops_stored
    # SANA-FE counts a synop in the step of its spike, we in the next, where it reaches a neuron; its step 0 is Lava's 1
    assert np.roll(work.synops[0].sum(axis=1), -2).tolist() == compared.counts["synops"]


def test_packets_agree(compared):
    traffic = count_packets(compared.graph, compared.placement, activity(compared))
    messages = {group: hops[0] for group, hops in compared.counts["hops"].items()}
    assert sum(compared.counts["packets"]) == sum(messages.values())
    assert traffic.host_in.sum() == messages["inputs"]
    assert traffic.packets.sum() + traffic.local.sum() == messages["neurons"]


def activity(compared):
    """Spikes of each neuron, as `count_packets` takes them."""
    return {name: values.sum(axis=(0, 1)) for name, values in compared.spikes.items()}


def test_hops_agree(compared):
    traffic = count_packets(compared.graph, compared.placement, activity(compared))
    hops = measure_hops(traffic, compared.location, SYSTEM)
    ours = hops.hops_east_west, hops.hops_north_south
    assert list(ours) == compared.counts["hops"]["neurons"][1:]
    assert min(ours) > 0 and hops.inter_chip == 0


def changed_by_hand(compared):
    """Updates that find a state or an input other than nothing, per core: neurons run one by one, on Lava's clock."""
    graph, fired = compared.graph, [set(step) for step in compared.fired]
    into = {}
    for source, target, weight in compared.synapses:
        into.setdefault(target, []).append((source, weight))
    changed = np.zeros(compared.placement.cores)
    for name, cut in compared.placement.cuts.items():
        neuron_lif = graph.populations[name].lif
        for i, core in enumerate(cores_of(cut)):
            membrane = 0
            for t in range(STEPS):
                arrived = [w for s, w in into.get(compared.offsets[name] + i, ()) if t and s in fired[t - 1]]
                changed[core] += bool(membrane or arrived)
                kept = abs(membrane) * (4096 - neuron_lif.v_decay) // 4096
                membrane = (kept if membrane > 0 else -kept) + 64 * sum(arrived)
                membrane = 0 if membrane > 64 * neuron_lif.v_th else membrane
    return changed


def test_joules_agree(compared):
    graph, placement, counts = compared.graph, compared.placement, compared.counts
    work = work_of(graph, placement, measure(graph, placement, compared.spikes))
    work = replace(work, changed=changed_by_hand(compared))
    inputs_fired = int(compared.inputs["x"].sum())  # SANA-FE counts them as updated, and takes nothing for it
    assert work.changed.sum() == sum(counts["updates"]) - inputs_fired
    traffic = count_packets(graph, placement, activity(compared))
    hops = measure_hops(traffic, compared.location, SYSTEM)
    costs = cost_set(LOIHI1, "sanafe_loihi1")
    ours = energy(work, costs, traffic, hops)
    prices = {name: costs.quantity(name).value * 1e-12 for name in LOIHI1.costs["sanafe_loihi1"]}
    messages, across, along = counts["hops"]["inputs"]  # from the host, whose price is not the chip's
    host = messages * prices["message_energy"] + across * prices["hop_east_west_energy"]
    host += along * prices["hop_north_south_energy"]
    assert ours.dynamic["nominal"] + host == pytest.approx(counts["energy_j"], rel=1e-9)
    assert ours.parts["crossings between chips"]["nominal"] == 0
    assert ours.not_counted == ("the x86 cores, the host and input and output",)
