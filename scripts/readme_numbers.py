"""Write what the README measured from benchmarks/results/camvid_nano.json and the zoo's cards: no figure is typed by hand.

`make readme`; `python scripts/readme_numbers.py --check` only says whether the README is up to date.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from jinja2 import Environment, StrictUndefined

from neuroseg.zoo import NETWORKS, network_names
from neuroseg.zoo.card import Card, read_card
from neuroseg.zoo.page import with_unit

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
RESULT = ROOT / "benchmarks" / "results" / "camvid_nano.json"
BEGIN, END = "<!-- camvid-nano: written by scripts/readme_numbers.py -->\n", "<!-- camvid-nano: end -->\n"
TEMPLATE = ROOT / "benchmarks" / "camvid_nano.md.j2"
ZOO_BEGIN, ZOO_END = "<!-- zoo: written by scripts/readme_numbers.py -->\n", "<!-- zoo: end -->\n"
ZOO_TEMPLATE = ROOT / "benchmarks" / "readme_zoo.md.j2"
WIDTH = 125


def paragraph(content: dict[str, Any]) -> str:
    """The README's paragraph for the content of `camvid_nano.json`."""
    exact = [rung for rung in content["ladder"]["rungs"] if rung["name"] in ("int", "lava-fast")]
    energy = content["energy"]
    values = {
        **content,
        "test": content["eval"]["test"],
        "real": content["eval"]["test_real"],
        "exact": {key: sum(rung[key] for rung in exact) for key in ("mismatches", "compared")},
        "joule": {level: _micro(j) for level, j in energy["loihi2"]["dynamic_energy_j"].items()},
        "trained_j": _micro(energy["papers_as_trained"]["energy_j"]),
        "deployed_j": _micro(energy["papers_as_deployed"]["energy_j"]),
    }
    template = Environment(undefined=StrictUndefined).from_string(TEMPLATE.read_text(encoding="utf-8"))
    return textwrap.fill(" ".join(template.render(values).split()), WIDTH, break_on_hyphens=False) + "\n"


def road_scenes() -> list[Card]:
    """Cards of the zoo's networks for CamVid, the smallest first."""
    cards = [read_card(NETWORKS / name) for name in network_names()]
    return sorted((card for card in cards if card.data.name == "camvid"), key=lambda card: card.score.parameters)


def zoo_table(cards: list[Card]) -> str:
    """The README's table of these networks."""
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"mean": mean, "deviation": stdev, "unit": with_unit}
    return environment.from_string(ZOO_TEMPLATE.read_text(encoding="utf-8")).render(cards=cards)


def updated(readme: str, text: str, marks: tuple[str, str] = (BEGIN, END)) -> str:
    """The README with a text between its marks."""
    first, last = marks
    before, begin, rest = readme.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"README.md lacks the marks {first.strip()} and {last.strip()}")
    return before + first + text + last + after


def as_measured(readme: str) -> str:
    """The README with everything in it that was measured."""
    told = updated(readme, paragraph(json.loads(RESULT.read_text(encoding="utf-8"))))
    return updated(told, zoo_table(road_scenes()), (ZOO_BEGIN, ZOO_END))


def _micro(joule: float) -> str:
    return f"{joule * 1e6:.3g}"


def main() -> int:
    """Update the README, or check it."""
    now = README.read_text(encoding="utf-8")
    wanted = as_measured(now)
    if "--check" in sys.argv[1:]:
        return int(now != wanted)
    README.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
