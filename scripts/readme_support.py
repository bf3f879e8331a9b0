"""Write the README's table of models and targets from `neuroseg support`, so that no cell of it is typed by hand.

`make readme`; `python scripts/readme_support.py --check` only says whether the README is up to date. tests/test_support.py
compares the same: a line of `support.yaml`, or a cell, that changed fails there.
"""

from __future__ import annotations

import sys
from typing import Any

from readme_numbers import README

from neuroseg.commands.support import markdown, support

BEGIN, END = "<!-- support: written by scripts/readme_support.py -->\n", "<!-- support: end -->\n"


def updated(readme: str, result: dict[str, Any]) -> str:
    """The README with the table in its place."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md lacks the marks {BEGIN.strip()} and {END.strip()}")
    return before + BEGIN + markdown(result) + END + after


def main() -> int:
    """Update the README, or check it."""
    now = README.read_text(encoding="utf-8")
    wanted = updated(now, support())
    if "--check" in sys.argv[1:]:
        return int(now != wanted)
    README.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
