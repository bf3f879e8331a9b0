"""The fused network: made from the stock processes, equal to what they do, and wrong where they would be wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lava.proc.conv.process import Conv as LavaConv
from lava.proc.io.sink import RingBuffer
from lava.proc.lif.process import LIF
from lava_helpers import chain_graph, mixed_graph, residual_graph, spikes_for
from random_flows import interpret
from test_random_graphs_lava import case

from export.errors import RuntimeFailure
from export.execute.integer import run_integer
from export.graph import Graph
from export.lava import program
from export.lava.build import build, total_steps
from export.lava.fuse import fuse
from export.lava.supervise import _collect, prepare_job, run_lava
from export.netx.write import write_netx


def recorded(graph: Graph) -> list[str]:
    return [name for name, population in graph.populations.items() if population.kind not in ("relay", "delay")]


def stepped(graph, inputs, folder, *, built: Graph | None = None, threads: int = 1) -> dict[str, np.ndarray]:
    """Spikes of a fused network that is stepped here, without Lava's runtime.

    built  another graph from which the processes are made
    """
    samples = len(next(iter(inputs.values())))
    folder.mkdir(exist_ok=True)
    names = list(graph.populations)
    job = prepare_job(folder, folder / "none.net", graph, inputs, samples, names, fast=True)
    sources, sinks = ({name: folder / file for name, file in files.items()} for files in (job.sources, job.sinks))
    network = build(graph if built is None else built, sources, sinks, wide_groups=True)
    whole = fuse(network.neurons.values(), threads)
    for step in range(1, total_steps(graph, samples) + 1):
        whole.step(step)
    return {name: _collect(sinks[name], graph.populations[name], samples, graph.steps) for name in names}


def differences(left, right) -> int:
    """Neuron-steps that differ among populations that both have."""
    shared = left.keys() & right.keys()
    assert len(shared) > 1
    return sum(int((left[name] != right[name]).sum()) for name in shared)


@pytest.mark.parametrize("seed", range(24))
def test_random_networks_give_the_interpreters_spikes(seed, tmp_path):
    flow, inputs, _, balanced, _ = case(seed)
    assert differences(stepped(balanced, inputs, tmp_path / "job"), interpret(flow, inputs)) == 0


@pytest.mark.parametrize("make", [residual_graph, mixed_graph, chain_graph])
def test_relays_and_everything_else_equal_the_integer_executor(make, tmp_path):
    graph = make()
    inputs = spikes_for(graph, 4)
    expected = run_integer(graph, inputs, populations=list(graph.populations))
    assert all(0.01 < spikes.mean() < 0.9 for spikes in expected.values())
    assert differences(stepped(graph, inputs, tmp_path / "job"), expected) == 0


@pytest.mark.parametrize("make", [residual_graph, mixed_graph])
def test_threads_and_slabs_change_no_spike(make, tmp_path, monkeypatch):
    graph = make()
    inputs = spikes_for(graph, 3)
    alone = stepped(graph, inputs, tmp_path / "alone")
    monkeypatch.setattr(program, "SLAB", 40)
    monkeypatch.setattr(program, "SMALL", 0)
    assert differences(stepped(graph, inputs, tmp_path / "shared", threads=3), alone) == 0


@pytest.mark.parametrize("name", ["b0.b", "b1.a", "head"])
def test_a_reset_at_the_wrong_step_shows(name, tmp_path):
    graph = residual_graph()
    inputs = spikes_for(graph, 3)
    wrong = replace(graph, arrivals={**graph.arrivals, name: graph.arrivals[name] + 1})
    right, damaged = (stepped(graph, inputs, tmp_path / str(i), built=g) for i, g in enumerate((graph, wrong)))
    assert (right[name] != damaged[name]).any()


@pytest.mark.parametrize("name", ["p3", "p8"])
def test_a_delay_that_is_wrong_by_one_step_shows(name, tmp_path):
    graph = mixed_graph()
    inputs = spikes_for(graph, 3)
    wrong = graph.map_projections(lambda p: replace(p, delay=p.delay + 1) if p.name == name else p)
    right, damaged = (stepped(graph, inputs, tmp_path / str(i), built=g) for i, g in enumerate((graph, wrong)))
    target = next(p.target for p in graph.projections if p.name == name)
    assert (right[target] != damaged[target]).any()


def test_lava_runs_it_as_one_process_and_with_the_same_spikes_as_one_for_each(tmp_path):
    graph = mixed_graph()
    write_netx(graph, tmp_path / "net.net")
    inputs = spikes_for(graph, 5)
    fused, apart = (run_lava(tmp_path / "net.net", inputs, fast=True, fused=on) for on in (True, False))
    assert differences(fused, apart) == 0
    assert differences(fused, run_integer(graph, inputs)) == 0


def test_a_process_without_a_fast_form_is_refused_by_name():
    neuron = LIF(shape=(2, 2, 3), name="last")
    neuron.s_out.connect(RingBuffer(shape=(2, 2, 3), buffer=4).a_in)
    with pytest.raises(RuntimeFailure, match="is a RingBuffer, which cannot be fused"):
        fuse([neuron], 1)


def test_a_synapse_without_a_source_is_refused_by_name():
    neuron = LIF(shape=(2, 2, 3), name="last")
    synapse = LavaConv(weight=np.ones((3, 1, 1, 3), np.int32), input_shape=(2, 2, 3), name="two")
    synapse.a_out.connect(neuron.a_in)
    with pytest.raises(RuntimeFailure, match="'s_in' of process 'two' has 0 sources"):
        fuse([neuron], 1)


def test_an_axis_swap_between_two_ports_is_refused_by_name():
    first, last = LIF(shape=(2, 3, 4), name="first"), LIF(shape=(3, 2, 4), name="last")
    first.s_out.transpose([1, 0, 2]).connect(last.a_in)
    with pytest.raises(RuntimeFailure, match="'first' sends through a TransposePort"):
        fuse([first], 1)


def test_files_are_opened_only_where_the_network_runs(tmp_path):
    """A file that is missing is an error of the run, with the traceback of its process, not of the start."""
    graph = chain_graph()
    network = build(graph, {"in": Path("missing.npy")}, {}, wide_groups=True)
    whole = fuse(network.neurons.values(), 1)
    with pytest.raises(FileNotFoundError, match=r"missing\.npy"):
        whole.step(1)
