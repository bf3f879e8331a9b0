"""The README's figures are those that were measured."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def numbers():
    """scripts/readme_numbers.py as a module."""
    spec = importlib.util.spec_from_file_location("readme_numbers", ROOT / "scripts" / "readme_numbers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_camvid_paragraph_is_what_the_committed_result_says(numbers):
    content = json.loads(numbers.RESULT.read_text())
    readme = numbers.README.read_text()
    assert numbers.updated(readme, numbers.paragraph(content)) == readme, "run `make readme`"


def test_another_result_gives_another_paragraph(numbers):
    content = json.loads(numbers.RESULT.read_text())
    content["train"]["miou"] = 0.123456
    assert "0.123" in numbers.paragraph(content)
    with pytest.raises(ValueError, match="lacks the marks"):
        numbers.updated("no marks here", "text")
