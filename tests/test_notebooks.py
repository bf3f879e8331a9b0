"""The notebooks run from top to bottom as they are, and are kept without outputs."""

import json
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
KERNEL = "neuroseg-under-test"
LARGEST_BYTES = 30_000


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Run a notebook by this interpreter, in an empty folder; returns it with outputs."""
    spec = tmp_path / "kernels" / KERNEL
    spec.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(
        json.dumps({"argv": command, "display_name": KERNEL, "language": "python"}), encoding="utf-8"
    )
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))  # no start-up files of this user
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))

    def run(name: str) -> nbformat.NotebookNode:
        notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
        specs = KernelSpecManager(kernel_dirs=[str(tmp_path / "kernels")])
        manager = AsyncKernelManager(kernel_name=KERNEL, kernel_spec_manager=specs)
        client = NotebookClient(notebook, km=manager, timeout=500, resources={"metadata": {"path": str(work)}})
        client.execute()
        return notebook

    return run


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


def pictures(notebook: nbformat.NotebookNode) -> int:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_kept_small_and_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert path.stat().st_size < LARGEST_BYTES
    assert notebook.metadata.kernelspec.name == "python3"  # not the name of one machine's kernel


@pytest.mark.slow
def test_the_end_to_end_notebook_runs_and_no_spike_differs(execute):
    notebook = execute("01_end_to_end.ipynb")
    text = printed(notebook)
    for backend in ("int", "lava-fast"):
        assert f"\n{backend}: 0 of " in text
    assert "spike-only: True" in text
    assert "microjoule per sample, nominal" in text
    assert pictures(notebook) == 2
    for population in ("encoder0.output", "decoder0.output", "head0.output"):
        assert f"\n{population} " in text


@pytest.mark.slow
def test_the_notebook_on_fit_and_map_runs_and_says_what_fits(execute):
    notebook = execute("03_fit_and_map.ipynb")
    text = printed(notebook)
    assert "fits: True; 98 of 120 cores" in text and text.endswith("fits: True\n")
    assert "fits" in text and "--delays neuron" in text and "--system kapoho_point" in text
    assert "ranked by multiply-accumulates per step" in text
    assert "74 by Intel" in text and "layer10" in text
    assert pictures(notebook) == 4


@pytest.mark.slow
@pytest.mark.timeout(1200)  # on a machine with other work
def test_the_notebook_on_conversion_runs_and_only_one_threshold_with_a_hard_reset_deploys(execute):
    notebook = execute("04_conversion.ipynb")
    text = printed(notebook)
    scores = {
        way: float(score) for way, score in re.findall(r"^(ANN|mt|if, \w+ reset) +mIoU (0\.\d+)", text, re.MULTILINE)
    }
    assert scores["ANN"] > 0.75 and scores["ANN"] - 0.15 < scores["mt"]
    assert scores["mt"] > scores["if, hard reset"]
    curves = dict(re.findall(r"^(.+?) +(T=.+)$", text, re.MULTILINE))
    last = {way: float(curve.rpartition(": ")[2]) for way, curve in curves.items()}
    assert last["if, soft reset"] > last["if, hard reset, --no-match"] + 0.1
    tuned = re.findall(r"converted (0\.\d+), fine-tuned (0\.\d+)", text)
    assert tuned and all(float(after) > float(before) for before, after in tuned)
    assert len(re.findall(r"^refused for \d+ layers", text, re.MULTILINE)) == 2
    assert "(soft reset), but every Loihi LIF falls to zero" in text and "graded, of 4 bits" in text
    assert "connections: {'binary, 1 bit(s)': 18}; binary: True\nmultiplications on the chip: 0\n" in text
    assert "connections: {'graded, 4 bit(s)': 18}; binary: False" in text
    assert "(LeakyRelu) cannot be converted: train with ReLU" in text
    assert re.search(r"^lava-fast +mIoU 0\.\d+  0 neuron-steps differ from int$", text, re.MULTILINE)
    assert "\nint, graded: 0 of " in text
    assert pictures(notebook) == 5


@pytest.mark.slow
@pytest.mark.timeout(1200)  # on a machine with other work
def test_the_notebook_on_events_runs_and_learns_more_than_the_prior(execute):
    notebook = execute("05_events.ipynb")
    text = printed(notebook)
    scores = {name: float(score) for name, score in re.findall(r"^(\w+)[ \w]* mIoU (0\.\d+)", text, re.MULTILINE)}
    assert min(scores["binary"], scores["histogram"]) > scores["background"] + 0.05
    assert "binary     2 values from 0 to 1.00: the network reads spikes" in text
    for kind, population, macs in (("binary", "events0", "0"), ("histogram", "encoder0.image_lif", "82,944")):
        assert f"{kind}: binary spikes only: True; the host hands over ['{population}']" in text
        assert f"multiplications of the host per step: {macs}\n" in text
    assert text.count("  int: 0 of ") == 2 and "  lava-fast: 0 of " in text
    assert pictures(notebook) == 6


@pytest.mark.slow
def test_the_camvid_notebook_runs_where_the_data_are(execute, neuroseg_data, monkeypatch):
    if not (neuroseg_data / "camvid" / "train.txt").is_file():
        pytest.skip("CamVid is not in the folder of the data sets")
    monkeypatch.setenv("NEUROSEG_DATA", str(neuroseg_data))
    notebook = execute("02_camvid.ipynb")
    text = printed(notebook)
    assert "{'train': 367, 'val': 101, 'test': 233}" in text
    assert "        0 neuron-steps differ from int" in text
    assert pictures(notebook) == 3
