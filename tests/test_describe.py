"""`describe`: sizes of the named networks without training, equal to what the compiler counts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from lively import make_run

from export.errors import CertificateError, UsageError
from export.pipeline import compile_module
from neuroseg.commands.describe import describe
from neuroseg.commands.exporting import export_run
from neuroseg.config import load_config
from neuroseg.models import build_model, network_size, parameter_count

ROOT = Path(__file__).parents[1]
COUNTS = (
    *("macs_per_step", "macs_per_step_deployed", "host_macs", "depth", "latency_steps"),
    *("neurons", "neurons_deployed", "neurons_by_kind", "host_neurons"),
)


PAPERS = {"mfs-efs72": (1.11e6, 8.85e9), "mfs-efs54": (0.92e6, 7.66e9), "mfs-efs36": (0.74e6, 6.46e9)}


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_networks_have_the_papers_sizes(name):
    config, (params, macs) = load_config(name), PAPERS[name]
    assert config.data.size == (180, 240) and config.model.steps == 5
    model = build_model(config.model, config.data.classes)
    assert parameter_count(model) == pytest.approx(params, rel=0.02)
    assert network_size(model, config.input_shape).macs_per_step == pytest.approx(macs, rel=0.05)


@pytest.mark.slow  # tests/test_pipeline.py compiles it
def test_the_papers_largest_network_is_described():
    config = load_config("mfs-efs72")
    result = describe(config)
    model = build_model(config.model, config.data.classes)
    size = network_size(model, config.input_shape)
    assert result["input"] == [3, 180, 240] and result["steps"] == 5
    assert result["params"] == parameter_count(model)
    assert (result["macs_per_step"], result["host_macs"]) == (size.macs_per_step, size.host_macs)
    # 470 M of the design, less the lines behind the host's inputs, which it sends again instead
    relays_of_inputs = 12 * 32 * 180 * 240
    assert result["neurons_deployed"] + relays_of_inputs + result["host_neurons"] == pytest.approx(470e6, rel=0.01)


def test_describe_and_report_give_the_same_numbers_for_one_config(tmp_path):
    run = make_run(tmp_path / "run")
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(metrics | {"miou": 0.5, "split": "test"}))
    described = describe(load_config(run / "config.yaml"))
    reported = export_run(run, tmp_path / "bundle", vectors=1)
    assert described["macs_per_step_deployed"] < described["macs_per_step"], "it has auxiliary heads"
    for key in (*COUNTS, "name", "input", "params"):
        assert described[key] == reported[key], key
    assert described["steps"] == reported["steps_per_sample"]
    assert reported["miou"] == 0.5 and reported["miou_split"] == "test"


def test_a_score_that_is_not_bound_to_the_weights_is_not_reported(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "metrics.json").write_text(json.dumps({"miou": 0.9, "split": "test"}))
    assert export_run(run, tmp_path / "bundle", vectors=1)["miou"] is None


def test_an_unknown_layout_is_refused_before_anything_is_built():
    with pytest.raises(UsageError, match="unknown layout 'zz'; choose one of auto, nested, interleave"):
        describe(load_config("mfs-tiny"), "zz")


def test_describing_loads_nothing_of_training():
    code = (
        "import sys, neuroseg.commands.describe; "
        "print([n for n in sys.modules if n.startswith(('neuroseg.train', 'lightning'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("name", "neurons"), [("mfs-nano", 416_000), ("mfs-small", 3_600_000)])
def test_nano_and_small_fit_as_deployed_even_with_the_hosts_populations(name, neurons):
    result = describe(load_config(name))
    assert result["neurons"] < result["neurons_deployed"]
    assert result["neurons_deployed"] + result["host_neurons"] <= neurons


@pytest.mark.parametrize(("layout", "delays"), [("nested", "neuron"), ("interleave", "relay")])
def test_the_counts_are_those_of_a_compiled_network(layout, delays):
    config = load_config("mfs-tiny", ["model.stem=2", "model.blocks=[0, 1, 2]", "data.size=[24, 16]"])
    result = describe(config, layout, delays)
    compiled = compile_module(build_model(config.model, 2), (3, 24, 16), layout=layout, delays=delays)
    assert result["neurons"] == compiled.graph.neurons(["lif"])
    assert result["neurons_deployed"] == sum(
        p.neurons for p in compiled.graph.populations.values() if p.kind != "input"
    )
    assert result["host_neurons"] == compiled.graph.neurons(["input"])
    assert result["depth"] == max(compiled.graph.arrivals.values())
    rows = {row["name"]: row for row in result["populations"]}
    assert set(rows) == set(compiled.unbalanced.populations)
    assert sum(row["relay_neurons"] for row in rows.values()) == result["neurons_by_kind"]["relay"]
    assert sum(row["delay_neurons"] for row in rows.values()) == result["neurons_by_kind"]["delay"]
    assert result["neurons_by_kind"][delays if delays == "relay" else "delay"] > 0
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
