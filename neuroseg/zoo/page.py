"""`card.md`: the card for people."""

from __future__ import annotations

from statistics import mean, stdev

from jinja2 import Environment, PackageLoader, StrictUndefined

from neuroseg.zoo.card import Card

PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def card_page(card: Card) -> str:
    """The card in Markdown; pictures are linked relative to it. It depends on the card alone."""
    scores = card.seed_scores
    spread = (mean(scores), stdev(scores)) if len(scores) > 1 else None
    return _environment().get_template("card.md.j2").render(c=card, spread=spread)


def with_unit(value: float, unit: str) -> str:
    """3.77e-05, 'J' -> '37.7 µJ'."""
    factor, prefix = next((p for p in PREFIXES if abs(value) >= p[0]), PREFIXES[-1])
    return f"{value / factor:.3g} {prefix}{unit}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("neuroseg.zoo", ""),
        autoescape=False,  # Markdown
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["count"] = lambda value: f"{value:,.0f}"
    environment.filters["score"] = lambda value: "does not occur" if value is None else f"{value:.4f}"
    environment.filters["unit"] = with_unit
    return environment
