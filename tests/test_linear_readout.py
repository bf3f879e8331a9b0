"""The host's linear read-out: from the module to class scores, files, bundles and figures."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_flows import RandomFlow, interpret, lowered
from small_leaves import Conv, CountRead, Spikes, chain
from torch import nn

from export.bundle import describe_graph, open_bundle, write_bundle
from export.dataflow import ReadOut
from export.errors import TraceError
from export.execute.integer import run_integer
from export.graph import LinearReadOut
from export.parity.compare import class_maps, class_scores
from export.passes.trace import trace
from export.pipeline import compile_module
from export.report.build import build_report
from export.verify import verify

SHAPE = (3, 6, 8)
WEIGHT = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.25, 1.0, -1.0, 3.0]])
BIAS = torch.tensor([0.5, -0.125])


def network(weight=WEIGHT, bias=BIAS):
    return chain(Conv(4, 4, 3, padding=1), readout=CountRead(weight, bias))


@pytest.fixture(scope="module")
def compiled():
    return compile_module(network(), SHAPE)


@pytest.fixture(scope="module")
def inputs(compiled):
    rng = np.random.default_rng(0)
    return {p.name: (rng.random((3, 3, *p.shape)) < 0.4).astype(np.uint8) for p in compiled.graph.inputs}


def test_scores_are_the_weighted_counts_and_the_bias_of_every_step(compiled, inputs):
    spikes = run_integer(compiled.graph, inputs)
    (name,) = compiled.graph.outputs
    counts = torch.from_numpy(spikes[name].sum(axis=1)).double()
    expected = torch.einsum("kc,nchw->nkhw", WEIGHT.double(), counts) + 3 * BIAS.double()[:, None, None]
    scores = class_scores(compiled.graph, spikes)
    assert scores.dtype == np.float64 and scores.shape == (3, 2, 6, 8)
    np.testing.assert_array_equal(scores, expected.numpy())
    np.testing.assert_array_equal(class_maps(compiled.graph, spikes), expected.argmax(1).numpy())
    assert len(np.unique(class_maps(compiled.graph, spikes))) == 2


def test_without_a_weight_the_counts_are_the_scores():
    graph = compile_module(chain(Conv(4, 4)), SHAPE).graph
    assert graph.readout is None
    spikes = run_integer(graph, {"1": np.ones((1, 3, 4, 6, 8), np.uint8)})
    scores = class_scores(graph, spikes)
    assert scores.dtype == np.int64
    np.testing.assert_array_equal(scores, spikes[graph.outputs[0]].sum(axis=1))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), groups=st.sampled_from([1, 2, 5]), bias=st.booleans())
def test_concatenated_and_shuffled_outputs_keep_their_columns(seed, groups, bias):
    flow = RandomFlow(seed, size=4)
    spikes = flow.input(3)
    parts = [flow.fire(flow.conv(spikes, channels, 1)) for channels in (4, 6)]
    mixed = flow.shuffle(flow.concat(parts), groups)
    traced, given = flow.finish(mixed)
    weight, shift = flow.rng.integers(-9, 9, (3, 10)).astype(float), flow.rng.integers(-9, 9, 3).astype(float)
    traced.nodes["readout"] = ReadOut("readout", (mixed,), (3, 4, 4), weight, shift if bias else None)
    graph = lowered(traced)
    values = interpret(traced, given)
    counts = np.concatenate([values[p].sum(1) for p in parts], axis=1).astype(float)
    shuffled = nn.functional.channel_shuffle(torch.from_numpy(counts), groups).numpy()
    expected = np.einsum("kc,nchw->nkhw", weight, shuffled)
    expected += flow.steps * shift[:, None, None] if bias else 0
    np.testing.assert_array_equal(class_scores(graph, run_integer(graph, given)), expected)


def test_a_bundle_keeps_the_read_out_and_verifies(compiled, inputs, tmp_path):
    spikes = run_integer(compiled.graph, inputs)
    write_bundle(compiled, tmp_path / "bundle", model_files={}, inputs=inputs, spikes=spikes)
    opened = open_bundle(tmp_path / "bundle")
    np.testing.assert_array_equal(class_scores(opened.graph, spikes), class_scores(compiled.graph, spikes))
    assert opened.json("graph.json")["readout"] == {"classes": 2, "bias": True}
    recorded = opened.readout()
    np.testing.assert_array_equal(recorded, spikes[compiled.graph.outputs[0]].sum(axis=1))  # counts, not scores
    verdict = verify(tmp_path / "bundle", backends=("int",))
    assert verdict.holds, verdict.checks


def test_the_host_part_is_certified_and_counted_apart(compiled, inputs):
    assert compiled.certificate["on_host"][-1] == "4"
    spikes = run_integer(compiled.graph, inputs)
    report = build_report(compiled, inputs, spikes)
    once = 2 * 4 * 6 * 8
    assert report["readout_host_macs"] == once
    assert report["macs_per_step"] == (4 * 3 + 4 * 4 * 9 + 2 * 4) * 48
    assert report["host_macs"] == 4 * 3 * 48
    deployed = report["energy"]["papers_as_deployed"]
    assert deployed["readout_macs"] == once
    assert deployed["host_part_j"] == pytest.approx(4.6e-12 * (4 * 3 * 48 + once))


def test_describing_a_graph_without_a_read_out_says_so(compiled):
    from dataclasses import replace

    assert describe_graph(replace(compiled.graph, readout=None))["readout"] is None
    assert describe_graph(replace(compiled.graph, readout=LinearReadOut(np.ones((5, 4)))))["readout"]["classes"] == 5


def test_numbers_that_are_none_are_refused_by_name():
    with pytest.raises(TraceError, match="module '4': 1 of 8 values of its weight are NaN"):
        trace(
            network(WEIGHT.clone().index_fill(1, torch.tensor([0]), 1.0).masked_fill(WEIGHT == 3.0, float("nan"))),
            SHAPE,
        )


def test_a_weight_that_does_not_fit_what_it_reads_is_refused():
    with pytest.raises(TraceError, match=r"read-out '4' has weights \(2, 3\); what it reads has 4 channels"):
        trace(nn.Sequential(*network()[:-1], Wrong()), SHAPE)


class Wrong(CountRead):
    def __init__(self):
        super().__init__()

    def describe(self):
        return {"op": "readout", "weight": torch.ones(2, 3), "bias": None}


def test_frames_are_convolved_by_the_host_at_each_step():
    module = nn.Sequential(Conv(2, 4), Spikes(), Conv(4, 2), Spikes(), CountRead(torch.eye(2))).eval()
    compiled = compile_module(module, (5, 2, 6, 8))
    assert compiled.graph.steps == 5 and compiled.input_shape == (5, 2, 6, 8)
    inputs = {"1": (np.random.default_rng(1).random((1, 5, 4, 6, 8)) < 0.3).astype(np.uint8)}
    report = build_report(compiled, inputs, run_integer(compiled.graph, inputs))
    assert report["input"] == [5, 2, 6, 8]
    assert report["energy"]["papers_as_deployed"]["host_macs"] == 5 * report["host_macs"] == 5 * 2 * 4 * 48
