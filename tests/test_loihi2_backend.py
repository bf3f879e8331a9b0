"""The loihi2 backend: refused in one sentence without Intel's extension, and against a stand-in for it, what runs where.

The stand-in (`loihi2_standin/`) has the names of Intel's extension that Lava's open code imports. Its chip models are
stock's Python models by inheritance, so that the network under `Loihi2HwCfg` can run here. It shows which models are
chosen, how host and chip are joined and when spikes cross; it shows nothing of a chip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lava.utils import loihi
from lava_helpers import chain_graph, mixed_graph, residual_graph, spikes_for

from export.errors import GrammarError, MissingBackend, RuntimeFailure, UsageError
from export.execute.integer import run_integer
from export.graph import Graph, Lif, Population
from export.lava import board
from export.lava.board import Timing, check_board, chip_generation, choose_host, require_extension
from export.lava.supervise import run_lava
from export.netx.write import write_netx
from export.passes.balance_delays import balance_delays
from export.simulate import BACKENDS, check_backend, simulate
from neuroseg.cli import main

STANDIN = Path(__file__).with_name("loihi2_standin")


@pytest.fixture
def extension(tmp_path, monkeypatch) -> Path:
    """The stand-in, installed for this test; returns its `lava/proc` folder. `log` beside it names started models."""
    monkeypatch.setenv("STANDIN_LOG", str(tmp_path / "log"))
    return install(tmp_path / "extension", monkeypatch)


def install(folder: Path, monkeypatch) -> Path:
    shutil.copytree(STANDIN, folder)
    monkeypatch.delitem(sys.modules, "lava.proc.embedded_io", raising=False)  # it remembers the folder of the last test
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder / "lava" / "proc"


def on_relays(graph: Graph) -> Graph:
    """The graph with relay populations instead of delays in synapses, which only the CPU has."""
    undelayed = graph.map_projections(lambda p: replace(p, delay=0))
    return balance_delays(replace(undelayed, arrivals={}))[0]


def test_without_the_extension_one_sentence_says_what_is_missing_and_how_to_get_it():
    with pytest.raises(MissingBackend) as caught:
        check_backend("loihi2")
    sentence = str(caught.value)
    assert sentence.count(". ") == 0 and sentence.endswith(".")
    for part in ("lava-loihi", "Intel Neuromorphic Research Community", "inrc_interest@intel.com", "lava-fast"):
        assert part in sentence
    assert caught.value.exit_code == 1


def test_nothing_is_read_or_started_before_the_refusal(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    graph = residual_graph()
    for call in (
        lambda: run_lava(tmp_path / "absent.net", spikes_for(graph, 1), fast=False, board=Timing()),
        lambda: simulate(graph, tmp_path / "absent.net", spikes_for(graph, 1), "loihi2"),
    ):
        with pytest.raises(MissingBackend, match="lava-loihi"):
            call()


@pytest.mark.parametrize(
    "arguments",
    [
        ("simulate", "absent.bundle", "--backend", "loihi2"),
        ("parity", "absent.bundle", "--right", "loihi2"),
        ("parity", "absent.bundle", "--left", "loihi2", "--right", "int"),
    ],
    ids=["simulate", "parity-right", "parity-left"],
)
def test_the_command_line_refuses_with_exit_code_1_before_it_opens_the_bundle(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["neuroseg", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert "Intel Neuromorphic Research Community" in said and "absent.bundle" not in said


def test_the_board_is_a_backend():
    assert "loihi2" in BACKENDS


@pytest.mark.parametrize(
    ("make", "chip_models"),
    [
        pytest.param(
            residual_graph,
            {"NcL2ModelConv", "NcL2ModelLif", "NcL2ModelLifReset"},
            id="residual",
            marks=pytest.mark.slow,
        ),
        pytest.param(chain_graph, {"NcL2ModelConv", "NcModelDense", "NcL2ModelLifReset"}, id="chain"),
    ],
)
def test_neurons_and_synapses_take_chip_models_and_fire_the_spikes_of_the_integer_executor(
    make, chip_models, extension, tmp_path
):
    graph = make()
    write_netx(graph, tmp_path / "net.net")
    inputs = spikes_for(graph, 2)
    truth = run_integer(graph, inputs)
    assert all(0.01 < values.mean() < 0.9 for values in truth.values())
    spikes = run_lava(tmp_path / "net.net", inputs, fast=False, board=Timing())
    assert {n: int((spikes[n] != truth[n]).sum()) for n in truth} == dict.fromkeys(truth, 0)
    started = Counter((tmp_path / "log").read_text().split())
    assert set(started) == chip_models
    assert sum(started.values()) == len(graph.projections) + len(graph.populations) - len(graph.inputs)


def test_sparse_and_dense_synapses_take_chip_models_too(extension, tmp_path):
    graph = on_relays(mixed_graph())
    write_netx(graph, tmp_path / "net.net")
    inputs = spikes_for(graph, 2)
    spikes = run_lava(tmp_path / "net.net", inputs, fast=False, board=Timing(), populations=["class"])
    assert np.array_equal(spikes["class"], run_integer(graph, inputs)["class"])
    started = Counter((tmp_path / "log").read_text().split())
    assert started["NcModelSparse"] == 1 and started["NcModelDense"] == 2 and started["NcL2ModelConv"] >= 6


@pytest.mark.parametrize("known", [True, False], ids=["told", "not-told"])
def test_steps_between_host_and_chip_shift_resets_and_records(known, extension, tmp_path, monkeypatch):
    monkeypatch.setenv("STANDIN_INPUT_STEPS", "1")
    monkeypatch.setenv("STANDIN_OUTPUT_STEPS", "2")
    graph = chain_graph()
    write_netx(graph, tmp_path / "net.net")
    inputs = spikes_for(graph, 3)
    truth = run_integer(graph, inputs)
    spikes = run_lava(tmp_path / "net.net", inputs, fast=False, board=Timing(1, 2) if known else Timing())
    equal = all(np.array_equal(spikes[n], truth[n]) for n in truth if n != "in")
    assert equal == known
    assert np.array_equal(spikes["in"], truth["in"])  # the input never leaves the host


@pytest.mark.parametrize("package", ["lif", "conv"])
def test_a_process_without_a_chip_model_is_refused_by_name_and_not_run_on_the_host(package, extension, tmp_path):
    (extension / package / "ncmodels.py").unlink()
    graph = chain_graph()
    write_netx(graph, tmp_path / "net.net")
    name = {"lif": "process LIFReset", "conv": "process Conv 's[12]'"}[package]
    with pytest.raises(RuntimeFailure, match=f"no Loihi 2 model for the {name}"):
        run_lava(tmp_path / "net.net", spikes_for(graph, 1), fast=False, board=Timing())


def test_an_extension_without_adapters_is_named(extension):
    shutil.rmtree(extension / "embedded_io")
    with pytest.raises(MissingBackend, match=r"lava\.proc\.embedded_io\.spike"):
        require_extension()


def test_an_extension_that_lacks_one_adapter_is_named(extension, tmp_path):
    path = extension / "embedded_io" / "spike.py"
    path.write_text(path.read_text().replace("PyToN3ConvAdapter", "Renamed"))
    graph = chain_graph()
    write_netx(graph, tmp_path / "net.net")
    with pytest.raises(RuntimeFailure, match="has no PyToN3ConvAdapter"):
        run_lava(tmp_path / "net.net", spikes_for(graph, 1), fast=False, board=Timing())


def test_every_helper_graph_without_delays_fits_the_chip():
    for graph in (chain_graph(), residual_graph(), on_relays(mixed_graph())):
        check_board(graph)


def changed(name: str, **fields: object) -> Graph:
    """The chain with one population changed."""
    graph = chain_graph()
    populations = {n: replace(p, **fields) if n == name else p for n, p in graph.populations.items()}  # type: ignore[arg-type]
    return replace(graph, populations=populations)


def weighted(change) -> Graph:
    graph = chain_graph()
    return graph.map_projections(lambda p: replace(p, weight=change(p.weight)) if p.name == "s2" else p)


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (changed("net.c2", lif=Lif(1 << 17, 4096, 1024)), r"'net\.c2' has the threshold 131,072.*131,071"),
        (changed("net.c2", lif=Lif(60, 0, 1024)), r"'net\.c2' decays its current by 0/4096"),
        (changed("net.c2", lif=Lif(60, 4096, 4096)), r"'net\.c2'.*membrane by 4096/4096.*0 to 4095"),
        (changed("net.c1", bias=np.array([0, 0, -4096, 1])), r"'net\.c1' has a bias of magnitude 4,096.*4,095"),
        (weighted(lambda w: w * 0 + 256), r"'s2' has weights from 256 to 256.*-256 to 254"),
        (weighted(lambda w: w * 0 - 1), "'s2' has odd weights"),
        (mixed_graph(), "'p8' waits 1 step"),
    ],
    ids=["threshold", "current", "membrane", "bias", "weight", "odd", "delay"],
)  # fmt: skip
def test_what_the_simulator_takes_and_the_chip_cannot_hold_is_refused_by_name(graph, says):
    with pytest.raises(GrammarError, match=says):
        check_board(graph)


def test_an_input_population_has_no_chip_parameters_to_check():
    image = Population(
        "in", "input", (2, 9, 7), Lif(1 << 20, 0, 4096)
    )  # driven by a bias: its spikes are computed here
    graph = chain_graph()
    check_board(replace(graph, populations={**graph.populations, "in": image}))


def test_timing_takes_no_negative_steps():
    with pytest.raises(UsageError, match="-1"):
        Timing(-1, 0)


def test_an_unknown_chip_generation_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="LOIHI_GEN=N9.*N3B3"):
        chip_generation({"LOIHI_GEN": "N9"})
    assert chip_generation({}).value == "N3B3"


@pytest.mark.parametrize(
    ("environment", "reached", "call"),
    [
        ({"SLURM": "1", "PARTITION": "oheogulch"}, "slurm", ("slurm", "oheogulch", None, "N3B3")),
        (
            {"SLURM": "1", "PARTITION": "p", "BOARD": "ncl-og-05", "LOIHI_GEN": "N3C1"},
            "slurm",
            ("slurm", None, "ncl-og-05", "N3C1"),
        ),
        ({"NXSDKHOST": "10.0.0.7"}, "ethernet", ("ethernet", "10.0.0.7", "nxcore/bin/nx_driver_server", "N3B3")),
        ({}, "default", None),
    ],
    ids=["partition", "board", "ethernet", "default"],
)  # fmt: skip
def test_the_environment_names_the_board(environment, reached, call, monkeypatch):
    calls = []
    monkeypatch.setenv("LOIHI_GEN", "unset")
    monkeypatch.setattr(loihi, "use_slurm_host", lambda p, b, g: calls.append(("slurm", p, b, g.value)))
    monkeypatch.setattr(loihi, "use_ethernet_host", lambda a, b, g: calls.append(("ethernet", a, b, g.value)))
    assert choose_host(environment) == reached
    assert calls == ([call] if call else [])
    if not call:
        assert os.environ["LOIHI_GEN"] == board.chip_generation(environment).value
