"""What skips cost by each way, and where a network could take them instead."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lively import SIZE, images, lively_model
from pydantic import ValidationError
from random_flows import lowered, random_flow

from export.passes.balance_delays import balance_delays
from export.passes.fold_norm import fold_norm
from export.passes.lower import lower
from export.passes.schedule import arrival_steps
from export.passes.skip_costs import skip_costs, ways
from export.passes.trace import trace
from neuroseg.commands.skips import short_count, skips
from neuroseg.config import MfsConfig, load_config


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_costs_are_those_of_the_balanced_network(seed):
    graph = lowered(random_flow(seed)[0])
    relay, neuron, synaptic = ways(graph)
    on_chip = graph.neurons() - graph.neurons(["input"])
    by_relays, lines = balance_delays(graph, "relay")
    by_neurons, registers = balance_delays(graph, "neuron")
    assert relay.neurons_low == relay.neurons_high == by_relays.neurons() - graph.neurons(["input"])
    assert neuron.neurons_low == by_neurons.neurons() - graph.neurons(["input"])
    assert neuron.neurons_high == on_chip + registers.neurons_if_a_tap_is_a_neuron
    assert synaptic.neurons_low == on_chip <= synaptic.neurons_high
    rows = {row.source: row for row in skip_costs(graph, arrival_steps(graph, "relay"))}
    assert {n: row.lags[-1] for n, row in rows.items() if not row.host_sends} == lines.relays
    assert {n: row.host_sends for n, row in rows.items() if row.host_sends} == lines.resends


@pytest.mark.slow
def test_the_paper_network_costs_1_6_with_tapped_delay_neurons_and_3_3_with_relays_only_if_its_skips_go_elsewhere():
    given_net = skips(load_config("mfs-efs72"))
    by_name = {way["name"]: way for way in given_net["ways"]}
    assert given_net["neurons"] == 109_339_200
    assert by_name["delay neuron"]["ratio_low"] <= 1.6 < by_name["delay neuron"]["ratio_high"] < 1.8
    assert 4.0 < by_name["relay"]["ratio_low"] < 4.2
    elsewhere = skips(load_config("mfs-efs72", ["model.attention=first", "model.shortcut_span=3"]))
    assert elsewhere["neurons"] == given_net["neurons"]
    assert {way["name"]: way for way in elsewhere["ways"]}["relay"]["ratio_low"] <= 3.3


def test_the_search_lists_every_place_and_marks_the_given_one():
    result = skips(load_config("mfs-tiny", ["model.blocks=3", "data.size=[16,16]"]), search=True)
    places = [(v["attention"], v["shortcut_span"]) for v in result["variants"]]
    assert places == [(a, s) for a in ("output", "first") for s in (None, 2, 1)]
    assert [v["as_given"] for v in result["variants"]] == [True] + [False] * 5
    neurons = [v["ways"][0]["neurons_low"] for v in result["variants"]]
    assert neurons[0] > neurons[1] > neurons[2] and neurons[3] < neurons[0]
    assert len({v["neurons"] for v in result["variants"]}) == 1  # the same neurons are trained


def graph_of(**model):
    network = lively_model(**model)
    return lower(fold_norm(trace(network, (3, *SIZE))))


def test_attention_from_the_first_spikes_lets_the_encoders_run_side_by_side():
    late, early = graph_of(), graph_of(attention="first")
    assert {p.source for p in late.into("encoder1.pool")} == {"encoder0.output"}
    assert {p.source for p in early.into("encoder1.pool")} == {"encoder0.image_lif"}
    steps = [max(arrival_steps(graph, "relay").values()) for graph in (late, early)]
    assert steps[1] < steps[0]


def test_a_short_shortcut_reaches_as_many_blocks_as_it_says():
    graph = graph_of(scales=1, widths=(4,), blocks=3, shortcut_span=1)
    sources = {n: {p.source for p in graph.into(n)} for n in graph.populations}
    assert sources["encoder0.block2.lif_in"] == {"encoder0.block0.lif_depthwise", "encoder0.block1.lif_depthwise"}
    assert sources["encoder0.output"] == {"encoder0.block1.lif_depthwise", "encoder0.block2.lif_depthwise"}


def test_a_span_of_all_blocks_computes_what_no_span_does():
    plain, spanned, short = (lively_model(blocks=2, shortcut_span=span) for span in (None, 2, 1))
    with torch.no_grad():
        logits = [model(images(2))[0] for model in (plain, spanned, short)]
    assert torch.equal(logits[0], logits[1]) and not torch.equal(logits[0], logits[2])


def test_a_span_needs_a_block_with_a_membrane_shortcut():
    with pytest.raises(ValidationError, match="shortcut_span = 1 needs block = efs"):
        MfsConfig(block="sew", shortcut_span=1)


@pytest.mark.parametrize(("count", "text"), [(999, "999"), (12_345, "12.3 k"), (1_382_400, "1.38 M")])
def test_counts_are_short(count, text):
    assert short_count(count) == text


def test_the_command_prints_tables_and_json(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    code, out, _ = cli("skips", "mfs-nano", "--json")
    told = json.loads(out)
    assert code == 0 and told["schema_version"] == 1 and told["ways"][0]["name"] == "relay"
    assert told["ways"][0]["neurons_low"] == 332_640 and told["ways"][1]["stock"] is False
    assert told["skips"][0]["source"] == "encoder0.image_lif"
