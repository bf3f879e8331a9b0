"""Costs of single operations, from one named set of a chip: three levels each, in SI units.

Sets are never mixed: a term that a set lacks, or whose value is null, is unknown here even if another set knows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias, cast

from export.errors import UsageError
from hw_configs import Chip, Quantity
from hw_configs.chip import CostName

LEVELS = ("low", "nominal", "high")
Levels: TypeAlias = dict[str, float]
SI = {"pJ": 1e-12, "ns": 1e-9, "mW": 1e-3}  # J, s, W
STRENGTH = ("published", "measured", "derived", "estimate")  # from the strongest evidence to the weakest


@dataclass(frozen=True, eq=False)
class CostSet:
    """One set of a chip's costs."""

    chip: Chip
    name: str

    def quantity(self, term: str) -> Quantity | None:
        """The fact itself; None where the set has no such term."""
        return self.chip.costs[self.name].get(cast(CostName, term))

    def has(self, term: str) -> bool:
        """Whether the set knows anything of a term."""
        return self.levels(term) is not None

    def levels(self, term: str) -> Levels | None:
        """Low, nominal, high; None where the set has no such term or leaves it null."""
        quantity = self.quantity(term)
        return None if quantity is None else levels(quantity)

    def needed(self, term: str) -> Levels:
        """Low, nominal, high of a term without which nothing can be said; UsageError naming its key."""
        found = self.levels(term)
        if found is None:
            raise UsageError(
                f"hardware config '{self.chip.name}' has no costs.{self.name}.{term}, or leaves it null; add it, or use loihi2."
            )
        return found

    def update_terms(self, what: str) -> tuple[str, ...]:
        """Names of the terms of a neuron's update, `what` being 'energy' or 'time': one, or (active, inactive)."""
        both = (f"neuron_active_{what}", f"neuron_inactive_{what}")
        return both if all(self.has(term) for term in both) else (f"neuron_update_{what}",)

    def update(self, what: str) -> Levels:
        """A neuron's update. Of a set that tells active from inactive neurons: low if none were active, else if all were."""
        terms = [self.needed(term) for term in self.update_terms(what)]
        return {"low": terms[-1]["low"], "nominal": terms[0]["nominal"], "high": terms[0]["high"]}


def cost_set(chip: Chip, name: str | None = None) -> CostSet:
    """A set by its name, or the only one of a chip. UsageError names those that there are."""
    known = tuple(chip.costs)
    if name is None and len(known) == 1:
        return CostSet(chip, known[0])
    if name not in known:
        wanted = "needs a set of costs to be named" if name is None else f"has no set of costs '{name}'"
        raise UsageError(f"hardware config '{chip.name}' {wanted}: it has {', '.join(known) or 'none'}.")
    return CostSet(chip, name)


def levels(quantity: Quantity) -> Levels | None:
    """Low, nominal and high of a fact in SI units; None if it is unknown.

    Without a range all three are the value; with a range and no value the nominal level is the middle of the range.
    """
    if quantity.range is None and quantity.value is None:
        return None
    low, high = quantity.range or (cast(float, quantity.value),) * 2
    nominal = (low + high) / 2 if quantity.value is None else quantity.value
    return {level: value * SI[quantity.unit] for level, value in zip(LEVELS, (low, nominal, high), strict=True)}


def weakest(quantities: Iterable[Quantity]) -> str:
    """The weakest evidence among facts: what a figure made of them is worth."""
    found = [STRENGTH.index(quantity.evidence) for quantity in quantities if quantity.evidence is not None]
    return STRENGTH[max(found)] if found else "none"
