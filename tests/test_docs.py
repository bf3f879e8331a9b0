"""The documentation is built, complete and true: what it shows runs, and every command in it exists."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from docs_reading import Block, blocks_of, commands_of, group, keys_of, merged
from lively import make_run

from export.passes.trace import LEAVES
from neuroseg.commands.describe import describe
from neuroseg.commands.skips import skips
from neuroseg.config import load_config, shipped_configs
from neuroseg.config.schema import Config

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "notebooks" / "README.md"]
)
RUNNABLE = [page for page in PAGES if any(block.runs for block in blocks_of(page.read_text(encoding="utf-8")))]
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
# They train, or need a bundle, or run Lava on a whole network.
LONG = (
    "first-network.md",
    "studies.md",
    "check-a-bundle.md",
    "when-parity-fails.md",
    "read-the-report.md",
    "does-it-fit.md",
    "zoo.md",
)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def environment(**more: str) -> dict[str, str]:
    """Ours first on the path; one thread for torch."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    source = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return {**os.environ, "PATH": path, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "COLUMNS": "100", **more}


def run(command: list[str], folder: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=timeout)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built as `make docs` does: with --strict a warning is an error."""
    out = tmp_path_factory.mktemp("site")
    result = run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)], ROOT)
    assert result.returncode == 0, result.stderr
    assert "WARNING" not in result.stderr
    return out


def text_of(site: Path, page: str) -> str:
    return (site / page).read_text(encoding="utf-8")


def test_every_command_and_every_option_of_the_application_stands_in_the_reference(site):
    page = text_of(site, "reference/cli.html")
    for name, command in group().commands.items():
        assert f"neuroseg {name}" in page
        for option in (flag for p in command.params for flag in p.opts if flag.startswith("--")):
            assert option in page, f"{name} {option}"


def test_every_config_key_stands_in_the_reference(site):
    page = text_of(site, "reference/config.html")
    keys = keys_of(Config)
    assert {"name", "data.root", "data.augment.flip", "model.blocks", "train.qat_epochs"} <= keys
    assert [key for key in sorted(keys) if f"<code>{key}</code>" not in page] == []


def test_the_reference_has_every_pass_and_the_public_functions(site):
    passes = text_of(site, "reference/api/passes.html")
    for path in (ROOT / "export" / "passes").glob("[a-z]*.py"):
        assert f'id="export.passes.{path.stem}"' in passes
    for page, name in [
        ("compiler", "export.pipeline.compile_module"),
        ("compiler", "export.bundle.write_bundle"),
        ("compiler", "export.graph.Population"),
        ("running", "export.simulate.simulate"),
        ("running", "export.parity.compare.compare"),
        ("running", "export.verify.verify"),
        ("training", "neuroseg.models.families.build_model"),
        ("training", "neuroseg.train.fit.train"),
        ("training", "neuroseg.data.camvid.CamVid"),
        ("training", "neuroseg.metrics.segmentation.miou"),
        ("hardware", "hw_configs.reader.load"),
        ("errors", "export.errors.NeurosegError"),
    ]:
        assert f'id="{name}"' in text_of(site, f"reference/api/{page}.html"), name


def test_the_site_loads_nothing_from_elsewhere(site):
    loads = re.compile(
        r"""<(?:script|img|iframe|source)[^>]*\ssrc=["']?(?:https?:)?//|<link[^>]*href=["']?(?:https?:)?//"""
    )
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    assert [page.name for page in pages if loads.search(page.read_text(encoding="utf-8"))] == []
    styles = [
        path for path in site.rglob("*.css") if re.search(r"url\([\"']?https?:", path.read_text(encoding="utf-8"))
    ]
    assert styles == []


def test_every_decision_record_is_on_the_site(site):
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert records and all((site / "adr" / f"{path.stem}.html").is_file() for path in records)
    home = text_of(site, "index.html")
    assert [path.stem for path in records if f"adr/{path.stem}.html" not in home] == [], "add it to nav in mkdocs.yml"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_to_files_lead_somewhere(page):
    written = {"cli.md", "config.md"}  # by docs/hooks.py, and checked by mkdocs
    targets = [target for target in LINK.findall(page.read_text(encoding="utf-8")) if "reference/" not in target]
    assert [t for t in targets if not (page.parent / t).exists() and Path(t).name not in written] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_in_the_documentation_exist_with_their_options(page):
    for command in commands_of(page.read_text(encoding="utf-8")):
        problem = command.problem()
        assert problem is None, f"{command.line}: {problem}"
        config, *overrides = command.config
        if config in shipped_configs():
            load_config(config, overrides)


def test_a_wrong_command_in_the_documentation_would_be_found():
    wrong = "```sh\n.venv/bin/neuroseg verify b --samples 2 --bakend int\n```\n`neuroseg exprt RUN`, `neuroseg parity --left=x`"
    assert [bool(command.problem()) for command in commands_of(wrong)] == [True, True, False]


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A folder with runs/first and runs/first.bundle, as the how-to pages have them."""
    folder = tmp_path_factory.mktemp("pages")
    make_run(folder / "runs" / "first")
    made = run(["neuroseg", "export", "runs/first", "--out", "runs/first.bundle"], folder)
    assert made.returncode == 0, made.stderr
    return folder


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=[pytest.mark.slow] if p.name in LONG else [], id=named(p)) for p in RUNNABLE],
)
def test_what_a_page_shows_runs(page, tmp_path, request):
    folder = tmp_path
    if page.parent.name == "how-to" and "runs/first" in page.read_text(encoding="utf-8"):
        folder = request.getfixturevalue("exported")
    for block in merged(blocks_of(page.read_text(encoding="utf-8"))):
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
            continue
        result = run_block(block, folder)
        assert result.returncode == 0, f"{block.text}\n{result.stdout}\n{result.stderr}"
        said = [" ".join(line.split()) for line in f"{result.stdout}\n{result.stderr}".splitlines()]
        for line in block.expects:
            assert " ".join(line.split()) in said, f"{line}\nis not among\n{said}"


def run_block(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    if block.language == "python":
        (folder / "page.py").write_text(block.text, encoding="utf-8")
        return run([sys.executable, "page.py"], folder)
    assert block.language == "sh", f"a block of '{block.language}' cannot run"
    return run(["bash", "-euo", "pipefail", "-c", block.text], folder)


ROW_OF_DESCRIBE = re.compile(r"^\|(.*)\| `neuroseg describe (\S+)` \|$", re.M)


@pytest.mark.parametrize(
    ("page", "numbers", "name"),
    [
        pytest.param(page, numbers, name, id=f"{page.name}-{name}")
        for page in PAGES
        for numbers, name in ROW_OF_DESCRIBE.findall(page.read_text(encoding="utf-8"))
    ],
)
def test_numbers_beside_a_describe_command_are_what_it_gives(page, numbers, name):
    result = describe(load_config(name))
    now = [result["neurons"], result["neurons_by_kind"]["relay"], result["neurons_deployed"]]
    assert [cell.strip() for cell in numbers.split("|")][-3:] == [f"{number:,}" for number in now]


def test_the_table_of_leaves_is_complete():
    page = (ROOT / "docs" / "how-to" / "your-own-network.md").read_text(encoding="utf-8")
    heading, *leaves = re.findall(r"^\| `(\w+)` \|", page, re.M)
    assert heading == "op" and sorted(leaves) == sorted(LEAVES)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_goals_of_make_in_the_documentation_exist(page):
    goals = re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    shown = re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.M)
    assert [goal for goal in shown if goal not in goals] == []


@pytest.mark.parametrize(
    ("script", "figure"),
    [
        ("draw_arrivals", "arrival_steps.svg"),
        pytest.param("draw_skips", "cheap_skips.svg", marks=pytest.mark.slow),
    ],
)
def test_the_figure_is_the_one_that_the_compiler_gives_today(script, figure, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    importlib.import_module(script).draw(tmp_path / "now.svg")
    now, kept = (path.read_text() for path in (tmp_path / "now.svg", ROOT / "docs" / "images" / figure))
    words = re.compile(r"<text[^>]*>([^<]*)")  # names, neurons and steps; the places of points follow from these
    assert len(words.findall(kept)) > 40
    assert words.findall(now) == words.findall(kept), f"the network changed: run python docs/{script}.py"


@pytest.mark.slow
def test_the_table_of_places_is_what_the_search_gives():
    page = (ROOT / "docs" / "explanation" / "cheap-skips.md").read_text(encoding="utf-8")
    told = [line.split("|")[1:-1] for line in page.splitlines() if re.match(r"\| (output|first) ", line)]
    told = [cells for cells in told if len(cells) == 4]
    found = skips(load_config("mfs-efs72"), search=True)["variants"]
    assert len(told) == len(found) == 8
    for cells, variant in zip(told, found, strict=True):
        span = "to the end" if variant["shortcut_span"] is None else str(variant["shortcut_span"])
        ways = {way["name"]: way for way in variant["ways"]}
        assert [c.strip().replace(" (the paper)", "") for c in cells[:2]] == [variant["attention"], span]
        assert [c.strip() for c in cells[2:]] == [
            f"{ways['relay']['ratio_low']:.2f}",
            f"{ways['delay neuron']['ratio_low']:.2f} to {ways['delay neuron']['ratio_high']:.2f}",
        ]


def test_the_trained_networks_with_other_skips_are_told_as_measured():
    page = (ROOT / "docs" / "explanation" / "cheap-skips.md").read_text(encoding="utf-8")
    kept = json.loads((ROOT / "benchmarks" / "results" / "skips_nano.json").read_text())
    for attention in ("output", "first"):
        ways, scores = kept[attention]["ways"], kept[attention]["eval"]
        cells = [attention, f"{ways['relay']:,}", f"{ways['delay neuron']:,}"]
        cells += [f"{scores[split]['miou']:.3f}" for split in ("val", "test")]
        assert f"| {' | '.join(cells)} |" in page


@pytest.mark.parametrize(
    ("docstring", "markdown"),
    [
        ("Plain text\nof two lines.", "Plain text\nof two lines."),
        ("What.\n\nname   long\n       more\nb  x < 3", "What.\n\n\n* **name**: long\n  more\n* **b**: x &lt; 3"),
        ("What.\n\n    v[t] = u < 1\n\nMore.", "What.\n\n\n```text\nv[t] = u < 1\n\n```\n\nMore."),
        ("A [link] of a_b*c, `a_b[<x>]`.", r"A \[link\] of a\_b\*c, `a_b[<x>]`."),
    ],
)
def test_docstrings_in_the_style_of_the_house_become_markdown(docstring, markdown, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    from docstrings import as_markdown

    assert as_markdown(docstring) == markdown


def test_rows_of_a_docstring_are_the_meanings_of_names(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    from docstrings import rows_of

    found = rows_of("What.\n\nheight, width  in pixels\nseed  0 or\n      more\n\nLast words.")
    assert found == {"height": "height, width: in pixels", "width": "height, width: in pixels", "seed": "0 or more"}
