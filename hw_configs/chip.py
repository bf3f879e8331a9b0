"""The schema of a chip: every leaf is a number with its unit, its range, how it is known and from where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, model_validator

Number: TypeAlias = Annotated[StrictFloat, Field(gt=0, allow_inf_nan=False)]  # a whole number is accepted, text is not
Evidence: TypeAlias = Literal["published", "measured", "derived", "estimate"]
# One unit per dimension: two files cannot differ by a power of ten.
Unit: TypeAlias = Literal[
    "1", "bit", "byte", "word", "core", "axon", "neuron", "group", "mm2", "V", "nm", "pJ", "ns", "mW"
]
CostName: TypeAlias = Literal[
    "synop_energy",
    "synop_time",
    "neuron_active_energy",  # update of a neuron whose state changes
    "neuron_inactive_energy",
    "neuron_active_time",
    "neuron_inactive_time",
    "neuron_access_energy",  # every neuron, every step, before its update
    "neuron_update_energy",
    "neuron_update_time",
    "neuron_fire_energy",
    "spike_energy",  # within a tile
    "spike_time",
    "message_energy",
    "hop_east_west_energy",
    "hop_east_west_time",
    "hop_north_south_energy",
    "hop_north_south_time",
    "inter_chip_hop_energy",
    "barrier_time",
]


class _Frozen(BaseModel):
    """Immutable; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Quantity(_Frozen):
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


class Core(_Frozen):
    """Limits of one neuro-core.

    The four memories and the neurons share one pool:
    pool_memory_share * (axon_in + words + axon_map + axon_mem, each over its limit) + pool_neuron_share * neurons over
    its limit <= pool_limit.
    """

    neurons: Quantity  # what the compiler (Loihi 2) or the chip (Loihi 1) allows
    architectural_neurons: Quantity
    neuron_groups: Quantity
    memory: Quantity
    synaptic_memory: Quantity
    synaptic_words: Quantity
    synaptic_word: Quantity
    conv_synapse_overhead: Quantity  # bits of a stored convolution weight beyond ceil(log2(largest magnitude))
    dense_synapse: Quantity  # bits of a synapse between fully connected layers
    axon_in: Quantity
    axon_out: Quantity
    axon_map: Quantity
    axon_mem: Quantity
    pool_memory_share: Quantity
    pool_neuron_share: Quantity
    pool_limit: Quantity


class Formats(_Frozen):
    """Widths of numbers."""

    weight: Quantity
    state: Quantity
    graded_spike: Quantity


class Chip(_Frozen):
    """One chip. Costs come in named sets that are never mixed; a set lacks the terms that its source does not have."""

    name: str
    description: str
    cores: Quantity
    usable_cores: Quantity
    x86_cores: Quantity
    cores_per_router: Quantity
    area: Quantity
    node: Quantity
    voltage: Quantity
    min_step_time: Quantity
    static_power: Quantity
    safe_conv_width: Quantity  # a wider convolution may lose spikes (erratum)
    core: Core
    formats: Formats
    costs: Mapping[str, Mapping[CostName, Quantity]]


class Coefficients(_Frozen):
    """Energies of arithmetic, with which papers compare networks apart from any chip. Memory and wires are not in them."""

    name: str
    description: str
    node: Quantity
    voltage: Quantity
    number_width: Quantity
    mac_energy: Quantity  # multiply and accumulate
    ac_energy: Quantity  # accumulate
