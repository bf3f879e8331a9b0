"""The schema of a chip, and of a set of energies for arithmetic. Leaves: hw_configs/quantity.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from pydantic import field_validator, model_validator

from hw_configs.quantity import (
    Area,
    Axons,
    Bits,
    Bytes,
    Cores,
    Energy,
    Frozen,
    Groups,
    HardwareConfig,
    Length,
    Neurons,
    Power,
    Quantity,
    Routers,
    Share,
    Steps,
    Time,
    Voltage,
    Words,
)

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
    "inter_chip_hop_time",
    "barrier_time",
]


class Core(Frozen):
    """Limits of one neuro-core.

    The four memories and the neurons share one pool:
    pool_memory_share * (axon_in + words + axon_map + axon_mem, each over its limit) + pool_neuron_share * neurons over
    its limit <= pool_limit.
    """

    neurons: Neurons  # what the compiler (Loihi 2) or the chip (Loihi 1) allows
    architectural_neurons: Neurons
    neuron_groups: Groups
    memory: Bytes
    synaptic_memory: Bytes
    synaptic_words: Words
    synaptic_word: Bits
    conv_synapse_overhead: Bits  # bits of a stored convolution weight beyond ceil(log2(largest magnitude))
    dense_synapse: Bits  # bits of a synapse between fully connected layers
    dense_index: Bits  # bits of a stored dense or single synapse beyond those of a convolution's: which neuron it meets
    axon_in: Axons
    axon_out: Axons
    axon_map: Axons
    axon_mem: Axons
    axon_pieces: Share  # axons of a pixel whose channels are no power of two; others take one
    axon_destinations: Share  # cores that an entry of axon memory names
    pool_memory_share: Share
    pool_neuron_share: Share
    pool_limit: Share
    neuron_state: Bytes  # state that one programmable neuron may hold
    synaptic_delay: Steps  # longest delay of a synapse
    dendritic_delay_cost: (
        Bits  # memory per neuron and step of synaptic delay: the ring buffer of what is still to arrive
    )


class Formats(Frozen):
    """Widths of numbers."""

    weight: Bits
    state: Bits
    graded_spike: Bits


class Chip(HardwareConfig):
    """One chip. Costs come in named sets that are never mixed; a set lacks the terms that its source does not have."""

    cores: Cores
    usable_cores: Cores
    x86_cores: Cores
    cores_per_router: Cores
    mesh_columns: Routers  # from west to east
    mesh_rows: Routers  # from north to south
    area: Area
    node: Length
    voltage: Voltage
    min_step_time: Time
    static_power: Power
    safe_conv_width: Neurons  # a wider convolution may lose spikes (erratum)
    core: Core
    formats: Formats
    costs: Mapping[str, Mapping[CostName, Quantity]]

    @field_validator("costs")
    @classmethod
    def _units(cls, costs: Mapping[str, Mapping[CostName, Quantity]]) -> Mapping[str, Mapping[CostName, Quantity]]:
        """A cost's name says its dimension."""
        for name, costs_of_set in costs.items():
            for key, cost in costs_of_set.items():
                unit = "pJ" if key.endswith("_energy") else "ns"
                if cost.unit != unit:
                    raise ValueError(f"{name}.{key}: unit '{cost.unit}' must be '{unit}'")
        return costs

    @model_validator(mode="after")
    def _consistent(self) -> Chip:
        """No more usable cores than cores, and routers for all of them. Nulls contradict nothing."""
        cores, usable = self.cores.value, self.usable_cores.value
        if cores and usable and usable > cores:
            raise ValueError(f"usable_cores: {usable:,.0f} are more than the {cores:,.0f} cores")
        columns, rows, each = self.mesh_columns.value, self.mesh_rows.value, self.cores_per_router.value
        if columns and rows and each and cores and columns * rows * each < cores:
            held = f"{columns:,.0f} x {rows:,.0f} routers of {each:,.0f} cores"
            raise ValueError(f"mesh_columns: {held} (mesh_rows, cores_per_router) do not hold {cores:,.0f} cores")
        return self


class Coefficients(HardwareConfig):
    """Energies of arithmetic, with which papers compare networks apart from any chip. Memory and wires are not in them."""

    node: Length
    voltage: Voltage
    number_width: Bits
    mac_energy: Energy  # multiply and accumulate
    ac_energy: Energy  # accumulate
