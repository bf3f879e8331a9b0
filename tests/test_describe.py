"""`describe`: sizes of the named networks without training, equal to what the compiler counts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from export.errors import CertificateError
from export.pipeline import compile_module
from neuroseg.commands.describe import describe
from neuroseg.config import load_config
from neuroseg.models import build_model

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("name", "params", "giga_macs"),
    [("mfs-efs72", 1.11e6, 8.85), ("mfs-efs54", 0.92e6, 7.66), ("mfs-efs36", 0.74e6, 6.46)],
)
def test_the_papers_networks_have_the_papers_sizes(name, params, giga_macs):
    result = describe(load_config(name))
    assert result["input"] == [3, 180, 240] and result["steps"] == 5
    assert result["params"] == pytest.approx(params, rel=0.02)
    assert result["macs_per_step"] == pytest.approx(giga_macs * 1e9, rel=0.05)


@pytest.mark.parametrize(("name", "neurons"), [("mfs-nano", 416_000), ("mfs-small", 3_600_000)])
def test_nano_and_small_fit_as_deployed_even_with_the_hosts_populations(name, neurons):
    result = describe(load_config(name))
    assert result["neurons"] < result["neurons_deployed"]
    assert result["neurons_deployed"] + result["host_neurons"] <= neurons


@pytest.mark.parametrize("layout", ["nested", "interleave"])
def test_the_counts_are_those_of_a_compiled_network(layout):
    config = load_config("mfs-tiny", ["model.stem=2", "model.blocks=[0, 1, 2]", "data.size=[24, 16]"])
    result = describe(config, layout)
    compiled = compile_module(build_model(config.model, 2), (3, 24, 16), layout=layout)
    assert result["neurons"] == compiled.graph.neurons(["lif"])
    assert result["neurons_deployed"] == sum(
        p.neurons for p in compiled.graph.populations.values() if p.kind != "input"
    )
    assert result["host_neurons"] == compiled.graph.neurons(["input"])
    assert result["depth"] == max(compiled.graph.arrivals.values())
    rows = {row["name"]: row for row in result["populations"]}
    assert set(rows) == set(compiled.unbalanced.populations)
    assert sum(row["relay_neurons"] for row in rows.values()) == result["neurons_by_kind"]["relay"]
    assert all(row["arrival"] == compiled.graph.arrivals[name] for name, row in rows.items())
    blocks = [name for name in rows if name.endswith("lif_depthwise")]
    assert len([n for n in blocks if n.startswith("encoder2")]) == 2 and not [
        n for n in blocks if n.startswith("encoder0")
    ]


def test_fan_in_counts_the_synapses_of_one_neuron():
    config = load_config("mfs-tiny", ["model={scales: 1, widths: [4], blocks: 0, steps: 2}"])
    rows = {row["name"]: row for row in describe(config)["populations"]}
    assert rows["encoder0.image_lif"]["fan_in"] == 0  # the host's
    assert rows["encoder0.output"]["fan_in"] == 4 * (9 + 1)  # Inception: 3x3 and 1x1
    assert rows["head0.output"]["fan_in"] == 4 * 9


def test_a_network_that_is_not_spike_only_is_refused_before_training():
    with pytest.raises(CertificateError, match="adds spikes to spikes"):
        describe(load_config("mfs-tiny", ["model.block=sew"]))


def test_the_command_prints_json_of_the_promised_keys():
    done = subprocess.run(
        [sys.executable, "-m", "neuroseg.cli", "describe", "mfs-nano", "model.steps=3", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    result = json.loads(done.stdout)
    promised = {"params", "macs_per_step", "host_macs", "neurons", "neurons_deployed", "depth", "populations"}
    assert promised <= set(result) and result["steps"] == 3
