"""Verification finds every kind of damage, names it, and needs no training code."""

import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace

import h5py
import numpy as np
import pytest
from damage import change_json, change_vectors, unhashed
from lively import make_run

from export import verify as module
from export.bundle import MANIFEST, NETWORK, VECTORS, sealed
from export.errors import RuntimeFailure, UsageError
from export.files import write_json
from export.graph import Conv
from export.netx.read import read_netx
from export.netx.write import write_netx
from export.verify import verify
from neuroseg.commands.exporting import export_run
from neuroseg.commands.verifying import show_verdict

CHECKS = [
    *("hashes", "versions", "network", "descriptions", "spike-only", "gates", "number formats", "delays"),
    *("vectors", "read-out", "replay int"),
]
LIF = "encoder1.block0.lif_wide"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A bundle with everything in it: OR, AND, relays, up-sampled stages."""
    folder = tmp_path_factory.mktemp("verify")
    export_run(make_run(folder / "run"), folder / "bundle", vectors=2)
    return folder / "bundle"


@pytest.fixture
def bundle(fresh, tmp_path):
    """A copy to damage."""
    return shutil.copytree(fresh, tmp_path / "bundle")


def change_graph(path, change):
    """Write the network with another graph."""
    write_netx(change(read_netx(path / NETWORK)), path / NETWORK)


def change_population(path, name, change):
    change_graph(path, lambda g: replace(g, populations={**g.populations, name: change(g.populations[name])}))


def threshold(v_th):
    return lambda p: replace(p, lif=replace(p.lif, v_th=v_th))


def test_all_holds_of_a_fresh_bundle(fresh):
    verdict = verify(fresh, backends=("int",))
    assert verdict.holds
    assert [check.name for check in verdict.checks] == CHECKS
    assert all(check.holds and check.detail for check in verdict.checks)
    (replay,) = verdict.replays
    assert (replay.backend, replay.samples, replay.mismatches, replay.first_divergence) == ("int", 2, 0, None)
    with np.load(fresh / VECTORS) as file:
        recorded = [file[name] for name in file.files if name.startswith("spikes/")]
    assert replay.compared == sum(spikes.size for spikes in recorded)
    assert np.mean([spikes.mean() > 0.01 for spikes in recorded]) > 0.9  # agreement of silence would say little


def test_one_changed_byte_of_any_file_is_found_and_nothing_further_is_believed(bundle):
    names = [p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file() and p.name != MANIFEST]
    assert len(names) >= 8
    for name in names:
        content = bytearray((bundle / name).read_bytes())
        content[len(content) // 2] ^= 1
        (bundle / name).write_bytes(content)
        (check,) = verify(bundle, backends=("int",)).checks
        assert (check.name, check.holds) == ("hashes", False)
        assert f"'{name}' was changed after the export" in check.detail
        content[len(content) // 2] ^= 1
        (bundle / name).write_bytes(content)
    assert verify(bundle, backends=("int",)).holds


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["files"]["graph.json"].update(sha256="0" * 64), "'graph.json' was changed"),
        (lambda m: m["files"]["graph.json"].update(size_bytes=1), "'graph.json' was changed"),
        (lambda m: m["files"].pop("certificate.json"), "'certificate.json' is not listed"),
        (lambda m: m["files"].update({"gone.txt": {"sha256": "0", "size_bytes": 0}}), "'gone.txt' is missing"),
        (lambda m: m.pop("files"), "manifest.json is damaged"),
        (lambda m: m.update(files=[]), "manifest.json is damaged"),
    ],
)
def test_a_changed_manifest_is_found(change, message, bundle):
    """By its own hash; and by the files, where somebody took the trouble to seal it again."""
    change_json(bundle, MANIFEST, change)
    (check,) = verify(bundle, backends=("int",)).checks
    assert not check.holds
    assert "manifest.json' was changed after the export" in check.detail
    write_json(bundle / MANIFEST, sealed(json.loads((bundle / MANIFEST).read_text())))
    (check,) = verify(bundle, backends=("int",)).checks
    assert not check.holds
    assert message in check.detail


def test_without_hashes_it_is_told_what_nothing_vouches_for(fresh, capsys):
    whole = verify(fresh, backends=("int",))
    assert whole.unchecked == [] == whole.to_json()["unchecked"]
    show_verdict(whole)
    said = " ".join(capsys.readouterr().err.split())
    assert "the bundle holds; " in said and "NOT checked" not in said
    verdict = verify(fresh, backends=("int",), hashes=False)
    assert verdict.holds
    assert verdict.unchecked[0] == "hashes"
    for part in ("model/", "report.html", "scales of quantization.json"):
        assert any(part in unchecked for unchecked in verdict.unchecked), part
    show_verdict(verdict)
    said = " ".join(capsys.readouterr().err.split())
    assert "what was checked holds; " in said and "the bundle holds" not in said
    assert "NOT checked: hashes; model/; the pages report.html" in said


def test_questions_that_were_not_reached_are_not_checked(bundle):
    (bundle / "graph.json").write_text("{}")
    verdict = verify(bundle, backends=("int",))
    assert verdict.unchecked == CHECKS[1:-1]


def test_a_file_that_the_manifest_does_not_cover_is_told(bundle):
    (bundle / "notes.txt").write_text("mine")
    verdict = verify(bundle, backends=("int",), samples=1)
    assert verdict.holds
    assert "not covered: notes.txt" in verdict.checks[0].detail


def test_other_versions_are_told_and_are_no_failure(bundle):
    change_json(bundle, MANIFEST, lambda m: m["versions"].update({"torch": "1.0", "unheard-of": "7"}))
    failed, verdict = unhashed(bundle, samples=1)
    assert not failed
    told = verdict.checks[1].detail
    assert "torch 1.0 there, " in told and "unheard-of 7 there, not installed here" in told


def test_one_changed_weight_is_found_at_its_population_with_its_cause(bundle):
    graph = read_netx(bundle / NETWORK)
    chosen = next(p for p in graph.projections if p.target == LIF and isinstance(p, Conv))
    at = np.unravel_index(np.abs(chosen.weight).argmax(), chosen.weight.shape)
    weight = chosen.weight.copy()
    weight[at] = -weight[at] // 2 * 2
    write_netx(graph.map_projections(lambda p: replace(p, weight=weight) if p is chosen else p), bundle / NETWORK)
    failed, verdict = unhashed(bundle)
    assert list(failed) == ["replay int"]
    first = verdict.replays[0].first_divergence
    assert (first["population"], first["index"][0]) == (LIF, at[0])
    causes = f"rounding: only channel(s) {at[0]} differ", f"bias: that of channel {at[0]} seems to differ"
    assert first["cause"].startswith(causes)
    assert f"first in '{LIF}', sample {first['sample']}" in failed["replay int"]


@pytest.mark.parametrize("by", [-150, 150])
def test_a_changed_bias_is_found_with_its_cause(bundle, by):
    def change(population):
        bias = population.bias.copy()
        bias[1] += by
        return replace(population, bias=bias)

    change_population(bundle, LIF, change)
    failed, verdict = unhashed(bundle)
    first = verdict.replays[0].first_divergence
    assert (list(failed), first["population"], first["index"][0]) == (["replay int"], LIF, 1)
    sign = "-" if by < 0 else "+"
    assert first["cause"].startswith(f"bias: that of channel 1 seems to differ by {sign}")


def test_a_changed_threshold_is_found_in_the_descriptions_and_in_the_replay(bundle):
    before = int(read_netx(bundle / NETWORK).populations[LIF].lif.v_th)
    change_population(bundle, LIF, threshold(before + 11))
    failed, verdict = unhashed(bundle)
    assert f"lif of '{LIF}'" in failed["descriptions"]
    assert f"threshold of '{LIF}' is {before}, {before + 11} in network.net" in failed["descriptions"]
    first = verdict.replays[0].first_divergence
    assert first["population"] == LIF
    found = int(first["cause"].removeprefix("rounding: the threshold differs by "))
    assert 1 <= found <= 11  # the smallest change that explains every spike


@pytest.mark.parametrize(
    ("name", "v_th", "message"),
    [
        ("encoder1.pool", 40, "OR population 'encoder1.pool' is not an OR"),
        ("encoder1.gate", 20, "AND population 'encoder1.gate' is not an AND"),
        ("encoder1.gate", 64, "AND population 'encoder1.gate' has memory: threshold 64"),
    ],
)
def test_a_gate_with_other_numbers_is_no_gate(name, v_th, message, bundle):
    change_population(bundle, name, threshold(v_th))
    failed, _ = unhashed(bundle)
    assert message in failed["gates"]


def test_relays_that_do_not_repeat_are_found_although_no_vector_shows_them(bundle):
    def change(graph):
        chosen = next(p for p in graph.projections if graph.populations[p.target].kind == "relay")
        weight = chosen.weight.copy()
        weight[0] = 14
        return graph.map_projections(lambda p: replace(p, weight=weight) if p is chosen else p)

    change_graph(bundle, change)
    failed, _ = unhashed(bundle)
    assert "does not repeat its source: weights 14 to 32, threshold 16" in failed["gates"]


def test_an_odd_weight_is_no_number_of_the_chip(bundle):
    def change(graph):
        chosen = next(p for p in graph.projections if p.target == LIF)
        weight = chosen.weight.copy()
        weight.flat[0] += 1
        return graph.map_projections(lambda p: replace(p, weight=weight) if p is chosen else p)

    change_graph(bundle, change)
    failed, _ = unhashed(bundle)
    assert "are not all even and within" in failed["number formats"]


def test_a_changed_arrival_step_is_found_by_projection(bundle):
    with h5py.File(bundle / NETWORK, "r+") as file:
        layer = next(g for g in file["layer"].values() if g.attrs.get("population") == LIF)
        layer.attrs["arrival"] = layer.attrs["arrival"] + 1
    failed, verdict = unhashed(bundle)
    assert list(failed) == ["network"]
    assert f"its target '{LIF}' starts at" in failed["network"]
    assert not verdict.replays


def swap(a, b):
    def change(content):
        content[a], content[b] = content[b], content[a]

    return change


def put(key, value):
    return lambda content: content.update({key: value(content[key])})


@pytest.mark.parametrize(
    ("change", "check", "message"),
    [
        (swap(f"spikes/{LIF}", "spikes/encoder1.block0.lif_depthwise"), "replay int", f"first in '{LIF}'"),
        (put(f"spikes/{LIF}", lambda v: v[::-1]), "replay int", f"first in '{LIF}'"),
        (put("inputs/encoder0.image_lif", lambda v: v[::-1]), "replay int", "given different inputs"),
        (put("inputs/encoder0.image_lif", lambda v: v + 2), "vectors", "other values than 0 and 1"),
        (put(f"spikes/{LIF}", lambda v: v[:1]), "vectors", f"spikes/{LIF} has shape"),
        (lambda c: c.pop(f"spikes/{LIF}"), "vectors", f"no spikes of population '{LIF}'"),
        (put("readout", lambda v: v[::-1]), "read-out", "differs from the spike counts at"),
        (lambda c: c.pop("readout"), "read-out", "read-out is missing"),
        (lambda c: c.pop("inputs/encoder0.image_lif"), "vectors", "holds inputs"),
        (put("inputs/encoder0.image_lif", lambda _: np.uint8(1)), "vectors", "has not the five axes"),
    ],
)
def test_exchanged_or_missing_vectors_are_found(change, check, message, bundle):
    change_vectors(bundle, change)
    failed, _ = unhashed(bundle)
    assert list(failed) == [check]
    assert message in failed[check]


def test_a_damaged_read_out_is_a_check_that_does_not_hold(bundle):
    with zipfile.ZipFile(bundle / VECTORS) as file:
        entry = file.getinfo("readout.npy")
    content = bytearray((bundle / VECTORS).read_bytes())
    first = entry.header_offset + 60
    content[first : first + entry.compress_size // 2] = b"\xff" * (entry.compress_size // 2)
    (bundle / VECTORS).write_bytes(content)
    failed, _ = unhashed(bundle)
    assert list(failed) == ["read-out"]
    assert "vectors.npz' cannot be read" in failed["read-out"]


def test_a_failed_lava_run_is_a_check_that_does_not_hold(fresh, monkeypatch):
    def fail(*_, **__):
        raise RuntimeFailure("the Lava run was killed.")

    monkeypatch.setattr(module, "simulate", fail)
    verdict = verify(fresh, backends=("lava",))
    assert not verdict.holds
    assert verdict.checks[-1] == module.Check("replay lava", False, "the Lava run was killed.")


def test_wrong_usage_is_refused(fresh, tmp_path):
    with pytest.raises(UsageError, match="is no bundle"):
        verify(tmp_path)
    with pytest.raises(UsageError, match="unknown backend 'gpu'"):
        verify(fresh, backends=("gpu",))
    with pytest.raises(UsageError, match="--board-timing is for backend loihi2 only"):
        verify(fresh, backends=("int",), board_timing=(0, 1))


@pytest.mark.parametrize("samples", [0, -1, 3])
def test_numbers_of_samples_are_refused_before_any_check(samples, bundle, monkeypatch):
    monkeypatch.setattr(module, "check_seal", lambda _: pytest.fail("a check began"))
    with pytest.raises(UsageError, match=f"--samples {samples} is out of range: the bundle holds 2 test vectors"):
        verify(bundle, backends=("int",), samples=samples)
    (bundle / VECTORS).write_bytes(b"")
    monkeypatch.undo()
    if samples > 0:
        assert not verify(bundle, backends=("int",), samples=samples).holds


def run_command(*arguments):
    """The command in a process of its own: (exit code, JSON, loaded modules)."""
    program = (
        "import json, sys\nfrom neuroseg.cli import main\ntry:\n    main()\nfinally:\n"
        "    print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, "verify", *map(str, arguments), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return ended.returncode, json.loads(ended.stdout), set(json.loads(ended.stderr.splitlines()[-1]))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A bundle that stock Lava runs in seconds."""
    folder = tmp_path_factory.mktemp("small")
    run = make_run(folder / "run", scales=1, widths=[3], blocks=0)
    export_run(run, folder / "bundle", vectors=1)
    return folder / "bundle"


def test_verification_on_lava_imports_no_training_code(small):
    code, result, loaded = run_command(small, "--backend", "int", "--backend", "lava")
    assert code == 0, result
    assert set(result) == {"schema_version", "bundle", "holds", "unchecked", "checks", "replays"}
    assert result["holds"] is True
    assert [replay["backend"] for replay in result["replays"]] == ["int", "lava"]
    assert all(replay["mismatches"] == 0 < replay["compared"] for replay in result["replays"])
    assert "export.verify" in loaded
    for name in ("lightning", "lava.lib.dl.slayer", "neuroseg.train", "neuroseg.models", "neuroseg.data"):
        assert name not in loaded


def test_the_command_exits_with_1_and_names_the_divergence(small, tmp_path):
    copy = shutil.copytree(small, tmp_path / "bundle")
    name = read_netx(copy / NETWORK).outputs[0]
    change_population(copy, name, lambda p: replace(p, lif=replace(p.lif, v_th=p.lif.v_th // 2)))
    code, result, _ = run_command(copy, "--backend", "int")
    assert (code, result["holds"], len(result["checks"])) == (1, False, 1)
    code, result, _ = run_command(copy, "--backend", "int", "--no-verify")
    assert (code, result["holds"]) == (1, False)
    assert result["checks"][0] == {"name": "hashes", "holds": None, "detail": "not checked (--no-verify)"}
    assert result["replays"][0]["first_divergence"]["population"] == name
