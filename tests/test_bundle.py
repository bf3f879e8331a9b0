"""Bundles: whole or not at all, and refused when a byte has changed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from lively import compiled_and_recorded

from export.bundle import (
    MANIFEST,
    NETWORK,
    check_outside,
    check_samples,
    count_vectors,
    open_bundle,
    sealed,
    write_bundle,
)
from export.errors import FileFormatError, UsageError
from export.execute.integer import run_integer
from export.files import check_writable, replacing, replacing_folder, write_json
from export.report.build import SCHEMA_VERSION


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Everything that `write_bundle` needs."""
    compiled, inputs, known = compiled_and_recorded()
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.yaml").write_text("name: x\n")
    return compiled, {"model_files": {"config.yaml": folder / "config.yaml"}, "inputs": inputs, "spikes": known}


@pytest.fixture(scope="module")
def written(parts, tmp_path_factory):
    """A bundle that no test changes."""
    compiled, files = parts
    out = tmp_path_factory.mktemp("written") / "bundle"
    write_bundle(compiled, out, **files)
    return out


@pytest.fixture
def bundle(written, tmp_path):
    """A copy of it."""
    shutil.copytree(written, tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_bundle_holds_all_files_and_its_vectors_replay(bundle):
    names = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()}
    assert names == {
        "network.net",
        "graph.json",
        "certificate.json",
        "quantization.json",
        "report.json",
        "report.html",
        "certificate.html",
        "vectors.npz",
        "model/config.yaml",
        MANIFEST,
    }
    opened = open_bundle(bundle)
    inputs, recorded = opened.vectors()
    replayed = run_integer(opened.graph, inputs)
    assert len(recorded) >= 30
    for name, spikes in recorded.items():
        np.testing.assert_array_equal(replayed[name], spikes)
    with np.load(bundle / "vectors.npz") as file:
        np.testing.assert_array_equal(file["readout"], recorded["head0.output"].sum(axis=1))
    for name in ("graph.json", "certificate.json", "quantization.json", MANIFEST):
        assert opened.json(name)["schema_version"] == 1
    assert opened.json("report.json")["schema_version"] == SCHEMA_VERSION
    assert {"report.html", "certificate.html"} <= set(opened.json(MANIFEST)["files"])


def test_the_report_counts_neurons_as_trained_and_as_deployed(bundle):
    report = open_bundle(bundle).json("report.json")
    graph = open_bundle(bundle).graph
    assert report["neurons"] == sum(p.neurons for p in graph.populations.values() if p.kind == "lif")
    assert report["neurons_deployed"] == sum(p.neurons for p in graph.populations.values() if p.kind != "input")
    assert report["neurons_by_kind"]["relay"] == report["delays"]["relay_neurons"] > 0
    assert report["latency_steps"] == graph.arrivals["head0.output"] + graph.steps - 1


@pytest.mark.parametrize("name", [NETWORK, "quantization.json", "vectors.npz", "report.html", "model/config.yaml"])
def test_one_changed_byte_is_refused_and_the_file_named(bundle, name):
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(FileFormatError, match=f"'{name}' was changed after the export.*--no-verify"):
        open_bundle(bundle)


def test_a_missing_file_is_named(bundle):
    (bundle / "certificate.json").unlink()
    with pytest.raises(FileFormatError, match=r"'certificate\.json' is missing"):
        open_bundle(bundle)


def test_truncated_files_are_named_also_without_verification(bundle):
    for name in (NETWORK, "vectors.npz"):
        path = bundle / name
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(FileFormatError, match=name):
            open_bundle(bundle, verify=False).vectors()
        path.write_bytes(whole)
    (bundle / "report.json").write_text("{")
    with pytest.raises(FileFormatError, match=r"report\.json.*cannot be read"):
        open_bundle(bundle, verify=False).json("report.json")
    (bundle / MANIFEST).write_text("[]")
    with pytest.raises(FileFormatError, match=r"manifest\.json' is damaged"):
        open_bundle(bundle)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is no bundle: it has no manifest"):
        open_bundle(tmp_path)


def test_an_export_replaces_an_older_bundle_but_nothing_else(parts, bundle, tmp_path):
    compiled, files = parts
    before = (bundle / MANIFEST).stat().st_mtime_ns
    write_bundle(compiled, bundle, **files)
    assert (bundle / MANIFEST).stat().st_mtime_ns > before
    web_app = tmp_path / "mine"
    web_app.mkdir()
    (web_app / MANIFEST).write_text('{"name": "my web app"}')
    for folder in (bundle, web_app):
        (folder / "thesis.tex").write_text("precious")
        with pytest.raises(UsageError, match="not a bundle of ours, or holds other files too"):
            write_bundle(compiled, folder, **files)
        assert (folder / "thesis.tex").read_text() == "precious"


def test_the_current_folder_is_never_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is the current or the root folder"):
        check_writable(Path())


def test_an_interruption_between_the_two_moves_puts_the_older_bundle_back(parts, bundle, monkeypatch):
    compiled, files = parts
    moved, rename = [], Path.rename

    def interrupted(self, target):
        moved.append(self)
        if len(moved) == 2:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bundle(compiled, bundle, **files)
    monkeypatch.undo()
    open_bundle(bundle)
    assert [p.name for p in bundle.parent.iterdir()] == [bundle.name]


@pytest.mark.parametrize("manifest", ['{"files": {}}', '{"files": {}, "versions": {"neuroseg": "1"}}'])
def test_a_manifest_that_lists_too_little_is_refused(bundle, manifest):
    write_json(bundle / MANIFEST, sealed(json.loads(manifest)))
    with pytest.raises(FileFormatError, match="is damaged"):
        open_bundle(bundle)


def test_one_changed_byte_of_the_manifest_is_refused(bundle):
    whole = (bundle / MANIFEST).read_bytes()
    places = [0, len(whole) - 1, *range(3, len(whole), len(whole) // 40)]
    for at in places:
        changed = bytearray(whole)
        changed[at] ^= 1
        (bundle / MANIFEST).write_bytes(changed)
        with pytest.raises(FileFormatError, match=r"manifest\.json' (was changed|cannot be read|holds no SHA-256)"):
            open_bundle(bundle)
    (bundle / MANIFEST).write_text(json.dumps(json.loads(whole)))  # the same content in other bytes
    with pytest.raises(FileFormatError, match="was changed after the export"):
        open_bundle(bundle)
    (bundle / MANIFEST).write_bytes(whole)
    open_bundle(bundle)


def test_a_bundle_of_an_older_version_is_refused_with_the_way_out_and_may_be_exported_over(parts, bundle):
    manifest = json.loads((bundle / MANIFEST).read_text())
    del manifest["sha256"]
    write_json(bundle / MANIFEST, manifest)
    with pytest.raises(FileFormatError, match=r"holds no SHA-256 of its own: .* older neuroseg.*Export the run again"):
        open_bundle(bundle)
    open_bundle(bundle, verify=False)
    compiled, files = parts
    write_bundle(compiled, bundle, **files)
    open_bundle(bundle)


@pytest.mark.parametrize("inside", ["", "x.npz", "model/deep/er/x.npz", "network.net"])
def test_no_output_may_go_inside_a_bundle(bundle, inside, monkeypatch):
    with pytest.raises(UsageError, match=f"lies inside the bundle '{bundle}'.*Choose a place outside, such as"):
        check_outside(bundle / inside)
    monkeypatch.chdir(bundle)
    with pytest.raises(UsageError, match="lies inside the bundle"):
        check_outside(Path(inside))
    (bundle / MANIFEST).write_text("damaged")
    with pytest.raises(UsageError, match="lies inside the bundle"):
        check_outside(bundle / inside)


def test_outputs_beside_a_bundle_and_in_folders_of_others_are_fine(bundle, tmp_path):
    check_outside(bundle.with_name("bundle.npz"))
    check_outside(bundle.parent)
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / MANIFEST).write_text("{}")
    check_outside(tmp_path / "web" / "x.npz")


@pytest.mark.parametrize("content", ["[]", "5", "null", '"x"'])
def test_a_json_file_that_is_no_object_is_named(bundle, content):
    (bundle / "report.json").write_text(content)
    with pytest.raises(FileFormatError, match=r"report\.json' is damaged: a JSON object is needed"):
        open_bundle(bundle, verify=False).json("report.json")


def test_vectors_that_are_damaged_anywhere_end_in_an_error_of_ours_or_are_whole(bundle):
    whole = (bundle / "vectors.npz").read_bytes()
    opened, found = open_bundle(bundle, verify=False), 0
    directory = whole.rfind(b"PK\x01\x02")  # its headers hold what a zip reader believes
    for at in (*range(0, len(whole), len(whole) // 150), *range(60), *range(directory, directory + 60)):
        changed = bytearray(whole)
        changed[at] ^= 0xFF
        (bundle / "vectors.npz").write_bytes(changed)
        try:
            opened.vectors()
            opened.readout()
        except FileFormatError as error:
            found += "vectors.npz" in str(error)
    assert found > 100


def test_vectors_without_five_axes_are_refused(bundle):
    with np.load(bundle / "vectors.npz") as file:
        content = dict(file)
    name = next(n for n in content if n.startswith("inputs/"))
    np.savez(bundle / "vectors.npz", **{**content, name: np.uint8(1)})
    with pytest.raises(FileFormatError, match=f"{name} has not the five axes"):
        open_bundle(bundle, verify=False).vectors()


def test_the_vectors_are_counted_and_the_number_asked_for_is_checked(bundle):
    assert count_vectors(bundle) == 2
    assert [check_samples(n, 2) for n in (None, 1, 2)] == [2, 1, 2]
    for wrong in (-1, 0, 3):
        with pytest.raises(UsageError, match=f"--samples {wrong} is out of range: the bundle holds 2 test vectors"):
            check_samples(wrong, 2)


def test_vectors_of_another_network_are_refused(bundle):
    np.savez(bundle / "vectors.npz", readout=np.zeros(1))
    with pytest.raises(FileFormatError, match=r"holds inputs \[\], the network has"):
        open_bundle(bundle, verify=False).vectors()


def test_a_failed_export_leaves_the_older_bundle_and_no_debris(parts, bundle):
    compiled, files = parts
    before = (bundle / MANIFEST).read_bytes()
    broken = {**files, "model_files": {"weights.safetensors": bundle / "nowhere"}}
    with pytest.raises(UsageError, match="cannot write"):
        write_bundle(compiled, bundle, **broken)
    assert (bundle / MANIFEST).read_bytes() == before
    assert [p.name for p in bundle.parent.iterdir()] == [bundle.name]


def test_files_are_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "a.json"
    write_json(target, {"x": 1})

    def fail_half_way():
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert json.loads(target.read_text()) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def enter(path):
    """Try to replace a folder."""
    with replacing_folder(path, lambda _: True):
        pass


@pytest.mark.parametrize("write", [lambda p: write_json(p, 1), check_writable, enter])
def test_a_place_that_cannot_be_written_is_a_usage_error(write, tmp_path):
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "below" / "x"
    with pytest.raises(UsageError, match="cannot write .*Choose a folder"):
        write(target)
