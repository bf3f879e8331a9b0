"""`neuroseg support`: every cell is what the compiler says, the README has them all, and what is called deployed runs."""

import importlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from export.errors import NeurosegError
from export.execute.integer import run_integer
from export.lava.supervise import run_lava
from export.netx.write import write_netx
from neuroseg.commands.support import (
    ALLOW_GRADED,
    Model,
    attempt,
    cell_text,
    markdown,
    models,
    noise,
    shortened,
    support,
)
from neuroseg.models import record_spikes
from neuroseg.models.integrate_fire import IntegrateFire
from neuroseg.models.neuron import Lif

NAMES = [model.name for model in models()]
# What each line is expected to be: (binary targets, targets that may run graded spikes).
YES = ("deployed", ())
PAPER = ("switch", ("model.norm=tdbn", "model.reset=hard", "model.pool=2"))
ANN = ("switch", ("model.neuron=lif", "model.steps=4"))
GRADED = (("switch", ("--neuron if", "--reset hard")), ("switch", (ALLOW_GRADED,)))
EXPECTED = {
    "MFS-Seg, SEW-Res": (("refused", ()),) * 2,
    "MFS-Seg, ANN (ReLU)": (ANN, ANN),
    "DeepLab, ANN (ReLU)": (("switch", (*ANN[1], *PAPER[1])),) * 2,
    "Spiking-DeepLab, as in the paper": (PAPER, PAPER),
    "Spiking-FCN, as in the paper": (PAPER, PAPER),
    "U-Net, ANN (ReLU)": (ANN, ANN),
    "FCN, ANN (ReLU)": (("switch", (*ANN[1], *PAPER[1])),) * 2,
    "U-Net denoiser, ANN (ReLU)": (("switch", (*ANN[1], "model.norm=batch")),) * 2,
    **{name: GRADED for name in NAMES if name.endswith("converted, several thresholds")},
    "Spiking-UNet, converted, one threshold, soft reset": (("switch", ("--reset hard",)),) * 2,
}
FEW = ("MFS-Seg, SEW-Res", "Spiking-DeepLab, as in the paper", "Spiking-UNet, converted, several thresholds")
LEAST, MOST = 0.01, 0.6  # spikes per neuron and step
TRAINING_ONLY = ("head1.", "head2.")  # MFS-Seg's heads at smaller scales, for its loss: they are not exported


@cache
def whole(name):
    """What `neuroseg support --system oheo_gulch` says of one model."""
    return support("oheo_gulch", [name])


def cells(row):
    return {cell["target"]: (cell["status"], tuple(cell["switches"])) for cell in row["cells"]}


@pytest.fixture(scope="module")
def few():
    return {**whole(FEW[0]), "models": [row for name in FEW for row in whole(name)["models"]]}


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_what_the_compiler_says(name):
    (row,) = whole(name)["models"]
    binary, graded = EXPECTED.get(name, (YES, YES))
    assert cells(row) == {"int": graded, "lava": binary, f"lava {ALLOW_GRADED}": graded, "loihi2": binary}


def test_what_is_expected_are_lines_of_the_matrix():
    assert {*EXPECTED, *FEW} <= set(NAMES) and len(set(NAMES)) == len(NAMES)


def test_refusals_are_the_compilers_own_words(few):
    (row,) = [row for row in few["models"] if row["name"] == "MFS-Seg, SEW-Res"]
    (paper,) = [row for row in few["models"] if row["name"] == "Spiking-DeepLab, as in the paper"]
    assert all("model.norm=tdbn" in cell["reason"] for cell in paper["cells"])  # what was refused first
    reasons = {cell["reason"] for cell in row["cells"]}
    assert len(reasons) == 1
    assert "encoder0.block0.add: adds spikes to spikes" in reasons.pop()


def test_a_system_that_is_too_small_refuses_on_the_chip_alone(monkeypatch):
    big = Model("big", "mfs-nano", ("data.size=[96,128]",))
    monkeypatch.setattr("neuroseg.commands.support.models", lambda: [big])
    result = support("oheo_gulch")
    found = cells(result["models"][0])
    assert found["int"] == found["lava"] == YES
    assert found["loihi2"] == ("refused", ())
    assert "oheo_gulch" in result["models"][0]["cells"][-1]["reason"]


def test_a_switch_that_a_model_lacks_is_no_way_out():
    unknown = Model("x", "mfs-tiny", ("model.block=sew",))
    found = attempt(unknown, graded=True)
    assert found.status == "refused" and "adds spikes to spikes" in found.reason
    assert not unknown.takes("--reset hard") and unknown.takes("model.reset=hard")


def test_the_table_says_yes_with_and_no_with_numbered_reasons(few):
    text = markdown(few)
    assert "| model | int | lava | lava --allow-graded | loihi2 |" in text
    assert "with `model.norm=tdbn`, `model.reset=hard`, `model.pool=2`" in text
    assert "| no [1] |" in text and "\n[1] the network is not spike-only: encoder0" in text
    assert cell_text({"status": "deployed", "switches": [], "reason": None}) == "yes"
    assert shortened("a:\n  b: c.\n  d: c.") == "a: b: c. (and 1 more)"


@pytest.fixture
def script(monkeypatch):
    """scripts/readme_support.py as a module."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
    return importlib.import_module("readme_support")


def test_the_readme_has_every_cell_of_the_matrix(script):
    found = {**whole(NAMES[0]), "models": [row for name in NAMES for row in whole(name)["models"]]}
    readme = script.README.read_text(encoding="utf-8")
    assert script.updated(readme, found) == readme, "run `make readme`"


def test_another_outcome_or_another_line_gives_another_table(script, few):
    readme = script.updated(f"{script.BEGIN}{script.END}", few)
    refused = {**few["models"][0]["cells"][0], "target": "lava"}
    paper = {**few["models"][1], "cells": [refused, *few["models"][1]["cells"][1:]]}
    assert script.updated(readme, {**few, "models": [few["models"][0], paper, few["models"][2]]}) != readme
    assert script.updated(readme, {**few, "models": few["models"][:2]}) != readme


def test_the_readme_gets_the_table_between_its_marks(script, few):
    readme = f"before\n{script.BEGIN}old\n{script.END}after\n"
    assert script.updated(readme, few) == f"before\n{script.BEGIN}{markdown(few)}{script.END}after\n"
    with pytest.raises(ValueError, match="lacks the marks"):
        script.updated("no marks", few)


def test_the_command_says_which_switches_ask_for_a_new_training(cli, monkeypatch, few):
    monkeypatch.setattr("neuroseg.commands.support.support", lambda system: few)
    code, out, err = cli("support")
    words = " ".join((out + err).split())
    assert code == 0 and "another network, to be trained anew" in words and "`neuroseg convert`" in words


def test_the_spiking_twin_of_an_ann_keeps_its_membranes_over_several_steps():
    (model,) = [model for model in models() if model.name == "U-Net, ANN (ReLU)"]
    found = attempt(model, graded=True)
    config, _ = model.built(found.switches)
    assert (model.built()[0].model.steps, config.model.neuron, config.model.steps) == (1, "lif", 4)


def test_the_command_prints_one_line_of_json(cli, monkeypatch, few):
    monkeypatch.setattr("neuroseg.commands.support.support", lambda system: few)
    code, out, _ = cli("support", "--json")
    assert code == 0 and json.loads(out) == few
    code, out, _ = cli("support", "--markdown")
    assert code == 0 and out == markdown(few)


def test_an_unknown_system_is_refused():
    with pytest.raises((NeurosegError, ValueError), match="nowhere"):
        support("nowhere", [])


def deployable(name, graded):
    """Network, inputs of its input populations, and the compiled graph of a line, on targets with or without graded spikes."""
    (model,) = [model for model in models() if model.name == name]
    found = attempt(model, graded)
    assert found.compiled is not None, found
    config, network = model.built(found.switches)
    _, spikes = record_spikes(network, noise(config)[:2])
    return network, found.compiled, {p.name: spikes[p.name] for p in found.compiled.graph.inputs}


def too_quiet_or_too_busy(network, spikes):
    """Populations of LIF and integrate-and-fire neurons that fire outside of the bounds, or not at all, with their rates.

    The host's are among them. ORs of max pools, sources of spikes and products of spikes are no such neurons: an OR fires at
    least as often as the busiest of its window.
    """
    neurons = [name for name, module in network.named_modules() if isinstance(module, Lif | IntegrateFire)]
    neurons = [name for name in neurons if not name.startswith(TRAINING_ONLY)]
    assert neurons
    rates = {name: float((spikes[name] > 0).mean()) for name in neurons}
    return {name: rate for name, rate in rates.items() if not LEAST <= rate <= MOST}


def test_one_silent_population_among_lively_ones_is_found():
    network, compiled, inputs = deployable("MFS-Seg, EFS-Res", graded=False)
    spikes = run_integer(compiled.graph, inputs)
    assert too_quiet_or_too_busy(network, spikes) == {}
    for name, value in (("encoder1.block0.lif_in", 0), ("encoder0.image_lif", 1)):  # the chip's; the host's
        changed = {**spikes, name: np.full_like(spikes[name], value)}
        assert too_quiet_or_too_busy(network, changed) == {name: float(value)}


# All but the only one that is refused; those with graded spikes a second time, with them.
RUN = [(name, False) for name in NAMES if name != "MFS-Seg, SEW-Res"] + [
    (name, True) for name in NAMES if EXPECTED.get(name) == GRADED
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "graded"), RUN)
def test_what_is_deployed_is_lively_and_fires_the_same_spikes_on_stock_lava(name, graded, tmp_path):
    network, compiled, inputs = deployable(name, graded)
    write_netx(compiled.graph, tmp_path / "net.net")
    expected = run_integer(compiled.graph, inputs)
    assert too_quiet_or_too_busy(network, expected) == {}
    assert (max(int(spikes.max()) for spikes in expected.values()) > 1) == graded
    on_lava = run_lava(tmp_path / "net.net", inputs, fast=False)
    assert sorted(on_lava) == sorted(expected)
    assert sum(int(np.count_nonzero(on_lava[n] != expected[n])) for n in on_lava) == 0
