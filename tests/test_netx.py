"""NetX files: exact round trips, plain chains, graphs that stock refuses, and errors that name file, layer and key."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lava_helpers import chain_graph, field_differences, mixed_graph, residual_graph, without
from scipy.sparse import csr_matrix

from export.errors import FileFormatError, GrammarError, UsageError
from export.graph import Conv, Dense, Graph, Lif, LinearReadOut, Population, Projection, Sparse
from export.netx.read import InputTransform, read_input_transform, read_netx
from export.netx.write import write_netx

INT_TYPES = (np.int8, np.int16, np.int32, np.int64)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Random graphs: several inputs, fan-in, all synapse types, layouts, kinds, delays and biases of both forms."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pick = lambda *options: options[rng.integers(len(options))]  # noqa: E731
    populations: dict[str, Population] = {}
    arrivals: dict[str, int] = {}
    projections: list[Projection] = []
    chain = draw(st.booleans())
    for i in range(draw(st.integers(2, 6))):
        name = f"enc{i}.block[{i}].neuron"
        layout = 1 if chain else pick(1, 2)
        shape = (int(rng.integers(1, 4)), 2 * int(rng.integers(1, 3)), 2 * int(rng.integers(1, 3)))
        if i == 0 or (not chain and rng.random() < 0.2):
            lif = pick(None, Lif(20, 4096, 100))
            populations[name], arrivals[name] = Population(name, "input", shape, lif, None, layout), 1
            continue
        before = list(populations)
        sources = before[-1:] if chain else list(rng.choice(before, rng.integers(1, len(before) + 1), replace=False))
        dense = bool(rng.random() < 0.3)
        shape = (shape[0], 1, 1) if dense else shape
        layout = 1 if dense else layout
        bias = pick(None, rng.integers(-9, 9, shape[0]), rng.integers(-9, 9, shape).astype(pick(*INT_TYPES)))
        lif = Lif(int(rng.integers(0, 1 << 17)), int(rng.integers(0, 4097)), int(rng.integers(0, 4097)))
        kind = pick("lif", "or", "and", "relay", "delay", "interleave")
        graded = rng.random() < 0.2 and kind in ("lif", "relay", "interleave")
        populations[name] = Population(name, kind, shape, lif, bias, layout, pick((8, 4, 2, 1), (1,)) if graded else ())
        arrivals[name] = max(arrivals[s] for s in sources) + 1 + (0 if chain else int(rng.integers(0, 2)))
        for source in sources:
            delay = arrivals[name] - arrivals[source] - 1
            label = f"{source}>{name}"
            projections.append(_synapse(rng, label, populations[str(source)], populations[name], delay, dense, chain))
    order = list(rng.permutation(len(projections)))
    shuffled = tuple(projections[i] for i in order)
    outputs = (list(populations)[-1],) if chain else tuple(list(populations)[::2])
    channels = sum(populations[name].shape[0] for name in outputs)
    weight, bias = rng.normal(size=(3, channels)), pick(None, rng.normal(size=3))
    readout = pick(None, LinearReadOut(weight, bias))
    return Graph(populations, shuffled, outputs, int(rng.integers(1, 9)), arrivals, readout)


def _synapse(
    rng: np.random.Generator, name: str, source: Population, target: Population, delay: int, dense: bool, chain: bool
) -> Projection:
    c, h, w = source.physical_shape
    k, y, x = target.physical_shape
    origin = str(rng.choice(["", "module.conv"]))
    if dense:
        weight = (2 * rng.integers(-128, 128, (k, c * h * w))).astype(np.int16)
        return Dense(name, source.name, target.name, weight, delay, origin)
    if chain or (y <= h + 2 and x <= w + 2 and rng.random() < 0.6):
        padding = (1 if y > h else 0, 1 if x > w else 0)
        padding = (max(padding[0], (y - h + 1) // 2), max(padding[1], (x - w + 1) // 2))
        kernel = (h + 2 * padding[0] - y + 1, w + 2 * padding[1] - x + 1)
        weight = (2 * rng.integers(-60, 60, (k, c, *kernel))).astype(rng.choice([np.int16, np.int64]))
        return Conv(name, source.name, target.name, weight, (1, 1), padding, delay=delay, origin=origin)
    matrix = csr_matrix(2 * rng.integers(-3, 3, (k * y * x, c * h * w)))
    return Sparse(name, source.name, target.name, matrix, (k, y, x), delay, origin)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graphs())
def test_a_graph_comes_back_with_every_field_equal(tmp_path: Path, graph: Graph) -> None:
    write_netx(graph, tmp_path / "net.net")
    assert field_differences(graph, read_netx(tmp_path / "net.net")) == []


@pytest.mark.parametrize(("add", "format_"), [("nothing", 1), ("readout", 2), ("thresholds", 2)])
def test_only_files_that_an_older_reader_would_misread_have_a_newer_format(add, format_, tmp_path):
    graph = chain_graph()
    last = graph.populations[graph.outputs[0]]
    if add == "readout":
        graph = without(graph, readout=LinearReadOut(np.ones((2, last.shape[0]))))
    if add == "thresholds":
        populations = {**graph.populations, last.name: replace(last, thresholds=(2, 1))}
        graph = without(graph, populations=populations)
    write_netx(graph, tmp_path / "net.net")
    with h5py.File(tmp_path / "net.net") as file:
        assert file.attrs["neuroseg_format"] == format_
        assert file.attrs["form"] == ("graph" if add == "thresholds" else "chain")
    assert field_differences(graph, read_netx(tmp_path / "net.net")) == []


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("readout/weight", np.ones((2, 99)), "the read-out has weights (2, 99)"),
        ("readout/bias", np.ones(7), "the read-out has a bias (7,) for 2 classes"),
        ("readout/weight", np.full((2, 3), np.nan), "finite real numbers"),
        ("readout/weight", np.ones((2, 3), dtype=np.int32), "key 'weight' holds int32 (2, 3)"),
    ],
)
def test_a_damaged_read_out_is_refused_by_name(key, value, named, tmp_path):
    graph = chain_graph()
    channels = graph.populations[graph.outputs[0]].shape[0]
    write_netx(without(graph, readout=LinearReadOut(np.ones((2, channels)), np.ones(2))), tmp_path / "net.net")
    with h5py.File(tmp_path / "net.net", "a") as file:
        del file[key]
        file[key] = value
    with pytest.raises(FileFormatError, match=re.escape(named)):
        read_netx(tmp_path / "net.net")


@pytest.mark.parametrize(("make", "form"), [(chain_graph, "chain"), (residual_graph, "graph"), (mixed_graph, "graph")])
def test_chains_are_plain_netx_and_everything_else_is_the_graph_form(make, form, tmp_path):
    graph = make()
    write_netx(graph, tmp_path / "net.net")
    with h5py.File(tmp_path / "net.net") as file:
        assert file.attrs["form"] == form
    assert field_differences(graph, read_netx(tmp_path / "net.net")) == []


def test_the_stock_loader_refuses_a_graph_loudly_even_when_asked_for_one_layer_only(tmp_path):
    from lava.lib.dl.netx.hdf5 import Network

    write_netx(residual_graph(), tmp_path / "net.net")
    for layers in (None, 1):
        with pytest.raises(NotImplementedError):
            Network(net_config=str(tmp_path / "net.net"), num_layers=layers)
    with h5py.File(tmp_path / "net.net") as file:
        assert b"graph of populations" in file["layer/0/message"][()]


def test_the_stock_loader_builds_a_chain_with_one_block_per_neuron_layer(tmp_path):
    from lava.lib.dl.netx.hdf5 import Network

    write_netx(chain_graph(), tmp_path / "net.net")
    assert len(Network(net_config=str(tmp_path / "net.net"))) == 4


@pytest.mark.parametrize(
    ("rows", "stands_in"),
    [([[0, 0, 0, 0]], True), ([[-128, 0, -2, -128]], True), ([[10, -20, 4, 254]], False), ([[-256, 2, 0, 8]], False)],
)
def test_a_dense_layer_that_stock_would_change_is_written_as_a_convolution(rows, stands_in, tmp_path):
    populations = [Population("x", "input", (1, 2, 2)), Population("y", "lif", (1, 1, 1), Lif(10, 4096, 0))]
    dense = Dense("p", "x", "y", np.array(rows))
    graph = Graph({p.name: p for p in populations}, (dense,), ("y",), 3, {"x": 1, "y": 2})
    write_netx(graph, tmp_path / "net.net")
    with h5py.File(tmp_path / "net.net") as file:
        assert (file[f"layer/{len(file['layer']) - 1}/type"][0] == b"conv") == stands_in
    assert field_differences(graph, read_netx(tmp_path / "net.net")) == []


def test_a_file_can_be_rewritten_at_once_so_no_handle_stays_open(tmp_path):
    for graph in (chain_graph(1), chain_graph(2)):
        write_netx(graph, tmp_path / "net.net")
        read_netx(tmp_path / "net.net")
    assert field_differences(chain_graph(2), read_netx(tmp_path / "net.net")) == []
    assert [p.name for p in tmp_path.iterdir()] == ["net.net"]


def test_a_missing_folder_is_made_and_one_that_cannot_be_is_a_usage_error(tmp_path):
    write_netx(chain_graph(), tmp_path / "new" / "net.net")
    with pytest.raises(UsageError, match=r"net\.net/below.*writable"):
        write_netx(chain_graph(), tmp_path / "new" / "net.net" / "below" / "x.net")


def test_a_read_only_folder_is_a_usage_error(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(UsageError, match="writable"):
            write_netx(chain_graph(), tmp_path / "net.net")
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_netx(chain_graph(1), tmp_path / "net.net")
    monkeypatch.setattr("export.netx.write._write_chain", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(UsageError, match="disk full"):
        write_netx(chain_graph(2), tmp_path / "net.net")
    assert [p.name for p in tmp_path.iterdir()] == ["net.net"]
    monkeypatch.undo()
    assert field_differences(chain_graph(1), read_netx(tmp_path / "net.net")) == []


def _with_first_projection(**changes):
    from dataclasses import replace

    def change(graph: Graph) -> Graph:
        first, *rest = graph.projections
        return without(graph, projections=(replace(first, **changes), *rest))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: without(g, arrivals={}), "arrival step"),
        (lambda g: without(g, arrivals={**g.arrivals, "net.c2": 9}), "balance the delays"),
        (_with_first_projection(weight=np.full((4, 2, 3, 3), 0.5)), "integers are needed"),
        (_with_first_projection(weight=np.full((4, 2, 3, 3), 300)), "-256 to 255"),
        (_with_first_projection(weight=np.full((4, 3, 3, 3), 2)), "2 channels"),
        (_with_first_projection(bias=np.zeros(4)), "still carries a bias"),
        (_with_first_projection(padding=(0, 0)), "delivers"),
        (_with_first_projection(source="nowhere"), "does not exist"),
        (lambda g: without(g, outputs=("nowhere",)), "not a population"),
    ],
)
def test_a_graph_that_is_not_ready_is_refused_and_nothing_is_written(change, message, tmp_path):
    with pytest.raises(GrammarError, match=message):
        write_netx(change(chain_graph()), tmp_path / "net.net")
    assert list(tmp_path.iterdir()) == []


def test_layers_that_stand_behind_those_that_read_them_are_refused_by_name(tmp_path, monkeypatch):
    graph, path = residual_graph(), tmp_path / "net.net"
    backwards = without(graph, populations=dict(reversed(graph.populations.items())))
    with pytest.raises(GrammarError, match="does not run forward"):
        write_netx(backwards, path)
    monkeypatch.setattr("export.netx.write.defects", lambda _: ())
    write_netx(backwards, path)
    reader = graph.projections[0]
    with pytest.raises(FileFormatError, match=f"'{reader.name}' does not run forward: its source '{reader.source}'"):
        read_netx(path)


def _damage(key, value=None):
    """Replace a key of a file, or delete it."""

    def apply(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            del file[key]
            if value is not None:
                file[key] = value

    return apply


def _append(number, kind):
    def apply(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            group = file.create_group(f"layer/{number}")
            group.create_dataset("type", data=np.array([kind.encode()], dtype="S10"))

    return apply


CHAIN_DAMAGE = [
    (_damage("layer/1/weight"), "layer 1 .conv.: key 'weight' is missing"),
    (_damage("layer/2/neuron/vThMant"), "layer 2 .conv.: key 'vThMant' is missing"),
    (_damage("layer/2/neuron"), "layer 2 .conv.: group 'neuron' is missing"),
    (_damage("layer/1"), "group '1' is missing"),
    (_damage("layer"), "group 'layer' is missing"),
    (_damage("layer/1/weight", np.full((4, 2, 3, 3), np.nan)), "layer 1 .conv.: key 'weight' holds NaN"),
    (_damage("layer/1/weight", np.full((4, 2, 3, 3), 0.5)), "'weight' holds real numbers"),
    (_damage("layer/1/weight", np.ones((4, 3, 3, 3))), "does not fit 2 input channels"),
    (_damage("layer/1/shape", np.array([4, 9, 9])), "layer 1 .conv.: key 'shape' is .4, 9, 9."),
    (_damage("layer/1/bias", np.ones(7)), "key 'bias' has shape"),
    (_damage("layer/1/stride", np.array([0, 1])), "stride"),
    (_damage("layer/1/neuron/type", "SDNN"), "neuron type 'SDNN' is not supported"),
    (_damage("layer/1/neuron/gradedSpike", True), "neuron/gradedSpike is 1"),
    (_damage("layer/1/neuron/iDecay", 5000), "decays are 0 to 4096"),
    (_damage("layer/3"), "group '3' is missing"),
    (_damage("simulation/tSample"), "simulation/tSample"),
    (_append(6, "pool"), "layer 6 .pool.: layer type 'pool' is not supported: lower pooling"),
    (_append(6, "dense_rec"), "layer 6 .dense_rec.: .* without recurrence"),
    (_append(6, "convT"), "polyphase"),
    (_append(6, "unheard"), "layer type 'unheard' is not supported"),
]
GRAPH_DAMAGE = [
    (_damage("layer/2/synapse/0/weight"), "layer 2: synapse 0: key 'weight' is missing"),
    (_damage("layer/2/inputs", np.array([77])), "layer 77, which does not exist"),
    (_damage("layer/2/delay", np.array([3])), "balance the delays"),
    (_damage("layer/6/synapse/0/indices", np.full(144, 9999)), "layer 6: synapse 0: .*no sparse matrix"),
    (_damage("layout/up", 5), "layout 5 does not divide"),
    (_damage("layer/0/type", np.array([b"input"])), "layer 0 must have type"),
]


@pytest.mark.parametrize(
    ("make", "damage", "message"),
    [(chain_graph, *case) for case in CHAIN_DAMAGE] + [(mixed_graph, *case) for case in GRAPH_DAMAGE],
)
def test_a_damaged_file_is_refused_with_file_layer_and_key(make, damage, message, tmp_path):
    path = tmp_path / "net.net"
    write_netx(make(), path)
    damage(path)
    with pytest.raises(FileFormatError, match=message) as caught:
        read_netx(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.3, 0.9])
def test_a_truncated_file_is_refused(kept, tmp_path):
    path = tmp_path / "net.net"
    write_netx(residual_graph(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(FileFormatError, match="HDF5"):
        read_netx(path)


def test_text_and_a_missing_file_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(FileFormatError, match="another format"):
        read_netx(tmp_path / "notes.txt")
    with pytest.raises(UsageError, match="does not exist"):
        read_netx(tmp_path / "absent.net")


def test_steps_are_taken_from_the_caller_only_where_the_file_does_not_say(tmp_path):
    path = tmp_path / "net.net"
    write_netx(chain_graph(steps=6), path)
    assert read_netx(path, steps=9).steps == 6
    _damage("simulation/tSample")(path)
    assert read_netx(path, steps=9).steps == 9


def test_foreign_input_layers_keep_their_neuron_and_their_pixel_transform(netx_files):
    graph = read_netx(netx_files / "tiny.net")
    assert graph.populations["layer0"].lif == Lif(25, 4096, 1024)
    assert dict(graph.arrivals) == {"layer0": 1, "layer1": 2, "layer2": 3}
    assert read_input_transform(netx_files / "tiny.net") == InputTransform(weight=36, bias=34)


def test_a_file_without_an_input_neuron_has_no_pixel_transform(tmp_path):
    write_netx(chain_graph(), tmp_path / "net.net")
    assert read_input_transform(tmp_path / "net.net") is None


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("gts/ntidigits/ntidigits.net", "layer 2 .dense.: key 'delay' differs"),
        ("gts/pilotnet_sdnn/network.net", "layer 0 .input.: neuron type 'SDNN'"),
    ],
)
def test_foreign_files_with_other_neurons_or_delays_are_refused_by_layer_and_type(file, message, netx_files):
    with pytest.raises(FileFormatError, match=message):
        read_netx(netx_files / file, steps=16)


@pytest.fixture(scope="module")
def netx_files() -> Path:
    """The trained nets that are installed with the lava-dl wheel."""
    import lava.lib.dl as installed

    return Path(next(iter(installed.__path__))).parents[2] / "tests/lava/lib/dl/netx"
