"""JSON files of a bundle that do not describe its network are found, by file and number."""

import shutil

import pytest
from damage import change_json, unhashed
from lively import make_run

from export.bundle import MANIFEST
from neuroseg.commands.exporting import export_run

LIF, SYNAPSE = "encoder1.block0.lif_wide", "encoder1.block0.expand.conv"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A bundle with everything in it: OR, AND, relays, up-sampled stages."""
    folder = tmp_path_factory.mktemp("claims")
    export_run(make_run(folder / "run"), folder / "bundle", vectors=1)
    return folder / "bundle"


@pytest.fixture
def bundle(fresh, tmp_path):
    """A copy to damage."""
    return shutil.copytree(fresh, tmp_path / "bundle")


def test_nothing_is_found_where_all_is_true(bundle):
    failed, verdict = unhashed(bundle)
    assert not failed
    assert verdict.holds


def scale(kind, name, **values):
    return lambda content: content[kind][name].update(values)


@pytest.mark.parametrize(
    ("name", "change", "check", "message"),
    [
        ("certificate.json", lambda c: c.update(spike_only=False), "spike-only", "does not say that"),
        ("certificate.json", lambda c: c["edges"][0].update(type="real"), "spike-only", "sends real values"),
        ("certificate.json", lambda c: c["and"].append("x"), "spike-only", "calls 'x' and"),
        ("certificate.json", lambda c: c.update(edges=c["edges"][1:]), "spike-only", "which is not certified"),
        ("certificate.json", lambda c: c.update(edges=3), "spike-only", "a JSON list is needed"),
        ("certificate.json", lambda c: c.update({"and": 5}), "spike-only", "'and' in certificate.json is damaged"),
        ("certificate.json", lambda c: c.pop("input_populations"), "spike-only", "a JSON list of names is needed"),
        ("graph.json", lambda c: c["populations"].pop(), "descriptions", "does not list"),
        ("graph.json", lambda c: c.update(steps=9), "descriptions", "steps is 9, 3 in network.net"),
        ("report.json", lambda c: c.update(neurons=9), "descriptions", "report.json: neurons is 9, "),
        ("report.json", lambda c: c.update(neurons_deployed=9), "descriptions", "neurons_deployed is 9, "),
        ("report.json", lambda c: c.update(host_neurons=9), "descriptions", "host_neurons is 9, "),
        ("report.json", lambda c: c["neurons_by_kind"].update(relay=9), "descriptions", "relay neurons are 9, "),
        ("report.json", lambda c: c.update(neurons_by_kind=9), "descriptions", "a JSON object is needed"),
        ("quantization.json", scale("populations", LIF, v_th=40.0), "descriptions", f"threshold of '{LIF}' is 40.0"),
        (
            "quantization.json",
            scale("populations", LIF, scale=-1),
            "descriptions",
            f"scale of population '{LIF}' is -1",
        ),
        ("quantization.json", scale("populations", LIF, scale="x"), "descriptions", "a positive number is needed"),
        (
            "quantization.json",
            scale("synapses", SYNAPSE, scale=0),
            "descriptions",
            f"scale of synapse '{SYNAPSE}' is 0",
        ),
        ("quantization.json", scale("synapses", SYNAPSE, scale=3.5), "descriptions", "is 3.5, that of"),
        ("quantization.json", lambda c: c["populations"].pop(LIF), "descriptions", f"no threshold of '{LIF}'"),
        ("quantization.json", lambda c: c["synapses"].update(x={"scale": 1}), "descriptions", "lists synapse 'x'"),
        ("quantization.json", lambda c: c.update(populations=[]), "descriptions", "a JSON object is needed"),
    ],
)
def test_descriptions_that_are_not_of_this_network_are_found(name, change, check, message, bundle):
    change_json(bundle, name, change)
    failed, _ = unhashed(bundle)
    assert list(failed) == [check]
    assert message in failed[check]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        (MANIFEST, "versions"),
        ("graph.json", "descriptions"),
        ("quantization.json", "descriptions"),
        ("report.json", "descriptions"),
        ("certificate.json", "spike-only"),
    ],
)
@pytest.mark.parametrize("content", ["[]", "5", "{"])
def test_a_file_that_is_no_json_object_fails_the_check_that_reads_it(name, check, content, bundle):
    (bundle / name).write_text(content)
    failed, verdict = unhashed(bundle)
    assert list(failed) == [check]
    assert name in failed[check]
    names = [c.name for c in verdict.checks]
    assert len(names) == len(set(names))
