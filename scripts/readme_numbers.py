"""Write the measured paragraph of the README from benchmarks/results/camvid_nano.json, so that no figure is typed by hand.

`make readme`; `python scripts/readme_numbers.py --check` only says whether the README is up to date.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
RESULT = ROOT / "benchmarks" / "results" / "camvid_nano.json"
BEGIN, END = "<!-- camvid-nano: written by scripts/readme_numbers.py -->\n", "<!-- camvid-nano: end -->\n"
TEMPLATE = ROOT / "benchmarks" / "camvid_nano.md.j2"
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


def updated(readme: str, text: str) -> str:
    """The README with the paragraph in its place."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md lacks the marks {BEGIN.strip()} and {END.strip()}")
    return before + BEGIN + text + END + after


def _micro(joule: float) -> str:
    return f"{joule * 1e6:.3g}"


def main() -> int:
    """Update the README, or check it."""
    now = README.read_text(encoding="utf-8")
    wanted = updated(now, paragraph(json.loads(RESULT.read_text(encoding="utf-8"))))
    if "--check" in sys.argv[1:]:
        return int(now != wanted)
    README.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
