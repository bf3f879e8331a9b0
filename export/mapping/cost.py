"""What a sample costs on the chip: energy of each core and in all, low, nominal and high; dynamic and static apart.

    dynamic   sum over operations of  count * energy of one, all from one set of costs
    static    static_power * chips * T * step time
    host      input and output are counted, and have no known price

Operations: synops, accesses and updates of neurons, fired spikes, messages (a spike, once per destination core) and
their hops, crossings between chips. What has no coefficient in the set, or was not counted, is named in `not_counted`
and never taken for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from export.mapping.coefficients import LEVELS, CostSet, Levels, cost_set, levels, weakest
from export.mapping.hops import Hops
from export.mapping.step_time import LINK_TIME, StepTime, step_time
from export.mapping.traffic import Traffic
from export.mapping.work import Work
from hw_configs import Chip, Quantity

Floats: TypeAlias = NDArray[np.float64]
MESSAGES = {"message_energy": "packets * message_energy", "spike_energy": "packets * spike_energy"}
HOPS = {
    "hops east-west": "hop_east_west_energy",
    "hops north-south": "hop_north_south_energy",
    "crossings between chips": "inter_chip_hop_energy",
}


@dataclass(frozen=True, eq=False)
class Energy:
    """Joule per sample.

    parts        operation -> level -> J; None: no coefficient, or not counted
    cores        level -> (cores,) what can be laid at a core: synops, neurons, fired spikes, and messages with the sender
    stored       level -> J, if stored zeros cost as much as other synapses: `dynamic` with them
    formula      of what was counted
    used         key -> coefficient that was used
    not_counted  what costs energy and is not in the sum
    """

    parts: dict[str, Levels | None]
    cores: dict[str, Floats]
    stored: Levels
    formula: str
    used: dict[str, Quantity]
    not_counted: tuple[str, ...]

    @property
    def dynamic(self) -> Levels:
        """Sum of the parts that are known."""
        return {level: sum(part[level] for part in self.parts.values() if part) for level in LEVELS}


@dataclass(frozen=True, eq=False)
class Cost:
    """Energy and time of a sample.

    static  level -> J while a sample passes, of all chips that hold a core
    power   level -> W, static
    host    counts of what goes in and out; the host's own energy is unknown
    """

    costs: CostSet
    energy: Energy
    time: StepTime
    static: Levels
    power: Levels
    steps: int
    host: dict[str, float | None]

    @property
    def used(self) -> dict[str, Quantity]:
        """Every coefficient in these figures, by its dotted key."""
        chip, name = self.costs.chip, self.costs.name
        times = ["synop_time", *self.costs.update_terms("time"), "barrier_time"]
        times += [LINK_TIME] if self.time.terms["busiest link"] else []
        found = {f"{chip.name}.min_step_time": chip.min_step_time, f"{chip.name}.static_power": chip.static_power}
        found |= {f"{chip.name}.costs.{name}.{t}": q for t in times if (q := self.costs.quantity(t)) is not None}
        return found | self.energy.used

    def to_json(self) -> dict[str, Any]:
        """As reports carry it: units in the names of keys, three levels each; null is unknown."""
        return {
            "cost_set": self.costs.name,
            "evidence": weakest(self.used.values()),
            "formula_dynamic": self.energy.formula,
            "formula_static": "static_power * chips * T * step_time",
            "formula_step": "mean over steps of max(barrier, busiest link, slowest core's synops * synop_time"
            " + updates * neuron_update_time)",
            "dynamic_energy_j": self.energy.dynamic,
            "dynamic_parts_j": self.energy.parts,
            "dynamic_energy_stored_zeros_j": self.energy.stored,
            "static_energy_j": self.static,
            "static_power_w": self.power,
            **self.time.to_json(),
            "time_per_sample_s": {level: self.steps * self.time.mean[level] for level in LEVELS},
            "host": self.host,
            "not_counted": [*self.energy.not_counted, *self.time.not_counted],
        }


def cost(
    work: Work,
    chip: Chip,
    costs: str | None = None,
    traffic: Traffic | None = None,
    hops: Hops | None = None,
    output_spikes: float | None = None,
) -> Cost:
    """Energy and time of a sample.

    costs          name of the chip's set; None: its only one
    traffic        messages; None: not counted, and said so
    hops           of `measure_hops`, where the cores have places on the mesh
    output_spikes  per sample, that the host reads
    raises         HardwareConfigError where the chip lacks a number without which nothing can be said
    """
    chosen = cost_set(chip, costs)
    time = step_time(work, chosen, hops)
    power = levels(chip.static_power)
    if power is None:
        chip.needed("static_power")  # raises, naming file, key and fix
        raise AssertionError("a known static power has levels")
    return Cost(
        chosen,
        energy(work, chosen, traffic, hops),
        time,
        {level: power[level] * work.chips * work.steps * time.mean[level] for level in LEVELS},
        {level: power[level] * work.chips for level in LEVELS},
        work.steps,
        {
            "input_packets_per_sample": None if traffic is None else float(traffic.host_in.sum()),
            "output_spikes_per_sample": output_spikes,
            "energy_j": None,
        },
    )


def energy(work: Work, costs: CostSet, traffic: Traffic | None = None, hops: Hops | None = None) -> Energy:
    """Dynamic energy of a sample; arguments as for `cost`."""
    bill = _Bill(costs)
    bill.charge("synops", "synops", ("synop_energy",), work.core_synops)
    bill.neurons(work)
    sent = None if traffic is None else np.asarray(traffic.packets.sum(axis=1)).ravel() + traffic.local
    bill.messages(sent)
    for name, term in HOPS.items():
        counts = (hops.hops_east_west, hops.hops_north_south, hops.inter_chip) if hops else (None, None, None)
        bill.charge_total(name, term, dict(zip(HOPS, counts, strict=True))[name])
    synop = costs.needed("synop_energy")
    more = work.synops_stored - work.synops_per_sample
    total = {level: sum(part[level] for part in bill.parts.values() if part) for level in LEVELS}
    stored = {level: total[level] + more * synop[level] for level in LEVELS}
    cores = {level: sum(bill.cores[level], np.zeros(len(work.neurons))) for level in LEVELS}
    unknown = (*bill.not_counted, "the x86 cores, the host and input and output")
    return Energy(bill.parts, cores, stored, " + ".join(bill.formula), bill.used, unknown)


class _Bill:
    """Collects what operations cost, from one set of costs."""

    def __init__(self, costs: CostSet) -> None:
        self.costs = costs
        self.parts: dict[str, Levels | None] = {}
        self.cores: dict[str, list[Floats]] = {level: [] for level in LEVELS}
        self.formula: list[str] = []
        self.used: dict[str, Quantity] = {}
        self.not_counted: list[str] = []

    def charge(self, name: str, count: str, terms: tuple[str, ...], per_core: Floats) -> None:
        """An operation of a core, at a price that must be known; two terms: an update of active and inactive neurons."""
        price = self.costs.needed(terms[0]) if len(terms) == 1 else self.costs.update("energy")
        self.parts[name] = {level: float(per_core.sum()) * price[level] for level in LEVELS}
        for level in LEVELS:
            self.cores[level].append(per_core * price[level])
        self.formula.append(f"{count} * {terms[0]}")
        self._use(terms)

    def charge_total(self, name: str, term: str, count: float | None) -> None:
        """An operation of the network, at a price that may be unknown."""
        price = self.costs.levels(term)
        if price is not None and count is not None:
            self.parts[name] = {level: count * price[level] for level in LEVELS}
            self.formula.append(f"{name.replace(' ', '_')} * {term}")
            self._use((term,))
        elif count == 0:
            self.parts[name] = dict.fromkeys(LEVELS, 0.0)  # nothing to pay, whatever the price
        else:
            self.parts[name] = None
        if self.parts[name] is None:
            reason = f"no {term} in {self.costs.name}" if price is None else "cores have no place on the mesh yet"
            self.not_counted.append(f"{name} ({reason})")

    def neurons(self, work: Work) -> None:
        """Updates; in sets that tell them apart, also accesses and fired spikes."""
        every = work.neurons * work.steps
        updated = every
        if self.costs.has("neuron_access_energy"):
            self.charge("neuron accesses", "neurons * T", ("neuron_access_energy",), every)
            if work.changed is None:
                self.not_counted.append("how many updates find nothing to do: all neurons are charged in all steps")
            else:
                updated = work.changed
        self.charge("neuron updates", "updates", self.costs.update_terms("energy"), updated)
        if self.costs.has("neuron_fire_energy"):
            self.charge("fired spikes", "spikes", ("neuron_fire_energy",), work.spikes)

    def messages(self, sent: Floats | None) -> None:
        """A spike on its way, once per destination core, the sender's own included."""
        terms = [term for term in MESSAGES if self.costs.has(term)]
        if sent is not None and terms:
            self.charge("messages", "packets", (terms[0],), sent)
            return
        self.parts["messages"] = None
        reason = (
            f"no message_energy in {self.costs.name}" if sent is not None or not terms else "packets were not counted"
        )
        self.not_counted.append(f"messages between cores ({reason})")

    def _use(self, terms: tuple[str, ...]) -> None:
        for term in terms:
            quantity = self.costs.quantity(term)
            assert quantity is not None
            self.used[f"{self.costs.chip.name}.costs.{self.costs.name}.{term}"] = quantity
