"""`neuroseg support`: every cell is what the compiler says, and what it calls deployed runs."""

import importlib
import json
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

NAMES = [model.name for model in models()]
# What each line is expected to be: (binary targets, targets that may run graded spikes).
YES = ("deployed", ())
PAPER = ("switch", ("model.norm=tdbn", "model.reset=hard", "model.pool=2"))
ANN = ("switch", ("model.neuron=lif",))
EXPECTED = {
    "MFS-Seg, SEW-Res": (("refused", ()),) * 2,
    "MFS-Seg, ANN (ReLU)": (ANN, ANN),
    "DeepLab, ANN (ReLU)": (("switch", (*ANN[1], *PAPER[1][1:])),) * 2,
    "Spiking-DeepLab, as in the paper": (PAPER, PAPER),
    "Spiking-FCN, as in the paper": (PAPER, PAPER),
    "U-Net, ANN (ReLU)": (ANN, ANN),
    "Spiking-UNet, converted, several thresholds": (
        ("switch", ("--neuron if", "--reset hard")),
        ("switch", (ALLOW_GRADED,)),
    ),
    "Spiking-UNet, converted, one threshold, soft reset": (("switch", ("--reset hard",)),) * 2,
}
FEW = ("MFS-Seg, SEW-Res", "Spiking-DeepLab, as in the paper", "Spiking-UNet, converted, several thresholds")


def cells(row):
    return {cell["target"]: (cell["status"], tuple(cell["switches"])) for cell in row["cells"]}


@pytest.fixture(scope="module")
def few():
    return support("oheo_gulch", FEW)


@pytest.mark.parametrize("name", FEW)
def test_cells_are_what_the_compiler_says(few, name):
    (row,) = [row for row in few["models"] if row["name"] == name]
    binary, graded = EXPECTED[name]
    assert cells(row) == {"int": graded, "lava": binary, f"lava {ALLOW_GRADED}": graded, "loihi2": binary}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_cell_of_the_matrix(name):
    (row,) = support("oheo_gulch", [name])["models"]
    binary, graded = EXPECTED.get(name, (YES, YES))
    assert cells(row) == {"int": graded, "lava": binary, f"lava {ALLOW_GRADED}": graded, "loihi2": binary}


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


def test_the_readme_gets_the_table_between_its_marks(monkeypatch, few):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
    script = importlib.import_module("readme_support")
    readme = f"before\n{script.BEGIN}old\n{script.END}after\n"
    assert script.updated(readme, few) == f"before\n{script.BEGIN}{markdown(few)}{script.END}after\n"
    with pytest.raises(ValueError, match="lacks the marks"):
        script.updated("no marks", few)


def test_the_command_prints_one_line_of_json(cli, monkeypatch, few):
    monkeypatch.setattr("neuroseg.commands.support.support", lambda system: few)
    code, out, _ = cli("support", "--json")
    assert code == 0 and json.loads(out) == few
    code, out, _ = cli("support", "--markdown")
    assert code == 0 and out == markdown(few)


def test_an_unknown_system_is_refused():
    with pytest.raises((NeurosegError, ValueError), match="nowhere"):
        support("nowhere", [])


def deployable(name):
    """Network, inputs of its input populations, and the compiled graph of a line that deploys on binary targets."""
    (model,) = [model for model in models() if model.name == name]
    found = attempt(model, graded=False)
    assert found.compiled is not None, found
    config, network = model.built(found.switches)
    _, spikes = record_spikes(network, noise(config)[:2])
    return found.compiled, {p.name: spikes[p.name] for p in found.compiled.graph.inputs}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "MFS-Seg, SEW-Res"])  # the only one that is refused
def test_what_is_deployed_fires_the_same_spikes_on_stock_lava(name, tmp_path):
    compiled, inputs = deployable(name)
    write_netx(compiled.graph, tmp_path / "net.net")
    expected = run_integer(compiled.graph, inputs)
    on_lava = run_lava(tmp_path / "net.net", inputs, fast=False)
    assert sum(int(np.count_nonzero(on_lava[n] != expected[n])) for n in on_lava) == 0
    rates = [float(spikes.mean()) for spikes in expected.values()]
    neurons = [spikes[0, 0].size for spikes in expected.values()]
    assert 0.01 <= np.average(rates, weights=neurons) <= 0.6
