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


def test_what_the_readme_measured_is_what_the_committed_results_and_cards_say(numbers):
    readme = numbers.README.read_text()
    assert numbers.as_measured(readme) == readme, "run `make readme`"


def test_the_table_of_networks_has_a_row_for_each_card_with_its_own_figures(numbers):
    cards = numbers.road_scenes()
    rows = numbers.zoo_table(cards).splitlines()[2:]
    assert len(rows) == len(cards) > 1
    for card, row in zip(cards, rows, strict=True):
        assert f"zoo/networks/{card.name}/card.md" in row and f"{card.deployment.neurons_deployed:,}" in row
        assert f" {card.score.miou:.3f}" in row and f"{-card.ladder.drop:+.4f}" in row


def test_another_result_gives_another_paragraph(numbers):
    content = json.loads(numbers.RESULT.read_text())
    content["train"]["miou"] = 0.123456
    assert "0.123" in numbers.paragraph(content)
    with pytest.raises(ValueError, match="lacks the marks"):
        numbers.updated("no marks here", "text")
