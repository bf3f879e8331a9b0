"""Tables that benchmarks write into pages of the documentation, between two marks."""

from __future__ import annotations

from pathlib import Path


def fill(page: Path, begin: str, end: str, text: str) -> None:
    """Put `text` between the marks of a page. Raises ValueError for a page without them."""
    before, first, rest = page.read_text(encoding="utf-8").partition(begin)
    _, last, after = rest.partition(end)
    if not first or not last:
        raise ValueError(
            f"'{page}' lacks the marks {begin.strip()} and {end.strip()}: put them where the table is to stand"
        )
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
