"""One fact about hardware, and one file of facts: every leaf is a number with its unit, its range, how it is known and
from where.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, StrictFloat, model_validator

from hw_configs.errors import HardwareConfigError

Number: TypeAlias = Annotated[StrictFloat, Field(gt=0, allow_inf_nan=False)]  # a whole number is accepted, text is not
Evidence: TypeAlias = Literal["published", "measured", "derived", "estimate"]
# One unit per dimension: two files cannot differ by a power of ten.
Unit: TypeAlias = Literal[
    "1", "bit", "byte", "word", "axon", "step", "chip", "router", "core", "group", "neuron", "mm2", "V", "nm", "pJ", "ns", "mW"
]  # fmt: skip
WHOLE: tuple[Unit, ...] = (  # things that do not come in parts
    *("bit", "byte", "word", "axon"),
    *("step", "chip", "router", "core", "group", "neuron"),
)


class Frozen(BaseModel):
    """Immutable; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Quantity(Frozen):
    """One fact. What is not known is null, never 0.

    value     the nominal value; null where only a range, or nothing, is known
    unit      see `Unit`; energies in pJ, times in ns, powers in mW
    range     (low, high), or null
    evidence  published (by Intel, or peer-reviewed), measured (printed in Intel's public notebooks), derived (exactly,
              from those), estimate; null exactly when value and range are
    source    where it comes from, or why it is unknown
    """

    value: Number | None
    unit: Unit
    range: tuple[Number, Number] | None
    evidence: Evidence | None
    source: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Quantity:
        """The range is ordered and holds the value; there is evidence for what is known, and for nothing else."""
        if self.range is not None:
            low, high = self.range
            if low > high:
                raise ValueError(f"range [{low:g}, {high:g}] is in the wrong order; write [{high:g}, {low:g}]")
            if self.value is not None and not low <= self.value <= high:
                raise ValueError(f"value {self.value:g} lies outside its range [{low:g}, {high:g}]; widen the range")
        if self.unit in WHOLE and self.value is not None and self.value % 1:
            raise ValueError(f"value {self.value:g} must be a whole number, since its unit is {self.unit}")
        known = self.value is not None or self.range is not None
        if known and self.evidence is None:
            raise ValueError("a known value needs evidence: published, measured, derived or estimate")
        if not known and self.evidence is not None:
            raise ValueError(f"value and range are null, so evidence '{self.evidence}' must be null, too")
        return self

    def __str__(self) -> str:
        """For tables: '81 pJ (10.8 to 81)', 'unknown'."""
        unit = "" if self.unit == "1" else f" {self.unit}"
        interval = f"{self.range[0]:g} to {self.range[1]:g}" if self.range else ""
        if self.value is None:
            return f"{interval}{unit}" if interval else "unknown"
        return f"{self.value:,.6g}{unit}" + (f" ({interval})" if interval else "")


def in_unit(unit: Unit) -> AfterValidator:
    """For `Annotated[Quantity, in_unit('core')]`: a leaf that has this unit and no other."""

    def check(quantity: Quantity) -> Quantity:
        if quantity.unit != unit:
            raise ValueError(f"unit '{quantity.unit}' must be '{unit}'")
        return quantity

    return AfterValidator(check)


Share: TypeAlias = Annotated[Quantity, in_unit("1")]
Bits: TypeAlias = Annotated[Quantity, in_unit("bit")]
Bytes: TypeAlias = Annotated[Quantity, in_unit("byte")]
Words: TypeAlias = Annotated[Quantity, in_unit("word")]
Axons: TypeAlias = Annotated[Quantity, in_unit("axon")]
Steps: TypeAlias = Annotated[Quantity, in_unit("step")]
Chips: TypeAlias = Annotated[Quantity, in_unit("chip")]
Routers: TypeAlias = Annotated[Quantity, in_unit("router")]
Cores: TypeAlias = Annotated[Quantity, in_unit("core")]
Groups: TypeAlias = Annotated[Quantity, in_unit("group")]
Neurons: TypeAlias = Annotated[Quantity, in_unit("neuron")]
Area: TypeAlias = Annotated[Quantity, in_unit("mm2")]
Length: TypeAlias = Annotated[Quantity, in_unit("nm")]
Voltage: TypeAlias = Annotated[Quantity, in_unit("V")]
Energy: TypeAlias = Annotated[Quantity, in_unit("pJ")]
Time: TypeAlias = Annotated[Quantity, in_unit("ns")]
Power: TypeAlias = Annotated[Quantity, in_unit("mW")]


class HardwareConfig(Frozen):
    """One file of facts. Two are equal if their contents are, wherever they were read."""

    name: str
    description: str
    _file: str = PrivateAttr(default="")

    @property
    def file(self) -> str:
        """The file it was read from; '' for one made in code."""
        return self._file

    def read_from(self, file: str) -> None:
        """Note the file, for errors that come later."""
        self._file = file

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HardwareConfig) and type(self) is type(other) and self.__dict__ == other.__dict__

    def leaves(self) -> dict[str, Quantity]:
        """Dotted key -> fact, in the order of the schema: 'cores', 'core.neurons', 'costs.davies2018.synop_energy'."""
        return dict(_leaves(self, ""))

    def needed(self, key: str) -> float:
        """The value of a dotted key where no null will do; HardwareConfigError if it is null, or no key of this config."""
        leaf = self.leaves().get(key)
        if leaf is None:
            raise HardwareConfigError(f"hardware config '{self.file or self.name}' has no key {key}; add it there.")
        if leaf.value is None:
            raise HardwareConfigError(
                f"hardware config '{self.file or self.name}': {key} is null ({leaf.source}), and a number is needed here. "
                f"Copy the file, give {key} a value in {leaf.unit} with evidence and source, and use the copy by its path."
            )
        return leaf.value


def _leaves(part: Any, key: str) -> list[tuple[str, Quantity]]:
    """Quantities below a part of a config."""
    if isinstance(part, Quantity):
        return [(key, part)]
    if isinstance(part, BaseModel):
        part = {name: getattr(part, name) for name in type(part).model_fields}
    if not isinstance(part, Mapping):
        return []  # a name
    return [leaf for name, inner in part.items() for leaf in _leaves(inner, f"{key}.{name}".lstrip("."))]
