"""How long a time step takes: all cores wait for the slowest of them, for the network and for the barrier.

    step  = max(slowest core, busiest link, barrier)
    core  = synops * synop_time + neurons * neuron_update_time
    link  = packets over the busiest link, per step * link_packet_time

Shape: arXiv 2601.10035, a maximum of terms that are linear in the work of a core or a link. Within a core the terms are
added, as if one followed the other; `overlapped` is the same with the largest of them, as if all ran at once, which is
that paper's lower bound. Cores work at the same time on different steps of a sample, and on different samples: their
work is compared on Lava's clock (`Work.synops`). Packets are known per sample only, so each step gets an equal share.
The time of a hop is no link_packet_time: it says how long a packet is on its way, not how soon the next one may follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from export.mapping.coefficients import LEVELS, CostSet, Levels, levels
from export.mapping.hops import Hops
from export.mapping.work import Work

LINK_TIME = "link_packet_time"
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StepTime:
    """Seconds, each at its low, nominal and high level.

    mean         over the steps of a sample: T of them are the time between two samples
    slowest      step of a sample
    overlapped   mean, if the terms of a core ran at the same time
    terms        of the core that is slowest at the nominal level, in its slowest step; None: no coefficient, not counted
    bound_by     level -> which term makes the slowest step as long as it is
    core         number of that core
    not_counted  what would make a step longer, and is unknown
    link_packets over the busiest link, per step; None: cores have no places
    """

    mean: Levels
    slowest: Levels
    overlapped: Levels
    terms: dict[str, Levels | None]
    bound_by: dict[str, str]
    core: int
    not_counted: tuple[str, ...]
    link_packets: float | None

    def to_json(self) -> dict[str, Any]:
        """With units in the names of keys."""
        return {
            "step_time_s": self.mean,
            "slowest_step_time_s": self.slowest,
            "overlapped_step_time_s": self.overlapped,
            "step_terms_s": self.terms,
            "step_bound_by": self.bound_by,
            "slowest_core": self.core,
            "busiest_link_packets_per_step": self.link_packets,
        }


def step_time(work: Work, costs: CostSet, hops: Hops | None = None) -> StepTime:
    """Time of a step.

    hops    where cores have places on the mesh; None: the network is left out, and said so
    raises  UsageError where the set of costs lacks the time of a synop or of a neuron's update
    """
    synop, update = costs.needed("synop_time"), costs.update("time")
    link, floor = _link(work, costs, hops), _barrier(costs)
    mean, slowest, overlapped, bound_by = {}, {}, {}, {}
    for level in LEVELS:
        least = max(link[level] if link else 0.0, floor[level] if floor else 0.0)
        parts = work.synops * synop[level], work.neurons * update[level]
        steps = np.maximum(_longest(np.add(*parts)), least)  # (N, T)
        mean[level], slowest[level] = float(steps.mean()), float(steps.max())
        overlapped[level] = float(np.maximum(_longest(np.maximum(*parts)), least).mean())
        bound_by[level] = _bound_by(parts, link, floor, level)
    packets = None if hops is None else hops.busiest_link / work.steps
    core, synops = _slowest_core(work, synop["nominal"], update["nominal"])
    terms: dict[str, Levels | None] = {
        "synops": {level: synops * synop[level] for level in LEVELS},
        "neuron updates": {level: float(work.neurons[core]) * update[level] for level in LEVELS} if core >= 0 else None,
        "synaptic-memory reads": None,
        "busiest link": link,
        "barrier": floor,
    }
    return StepTime(mean, slowest, overlapped, terms, bound_by, core, _unknown(terms, costs, hops), packets)


def _longest(times: Floats) -> Floats:
    """(N, T) longest of (N, T, cores)."""
    return np.asarray(times.max(axis=2, initial=0.0))


def _link(work: Work, costs: CostSet, hops: Hops | None) -> Levels | None:
    """Time in which the busiest link passes on its packets."""
    price = costs.levels(LINK_TIME)
    if hops is None or price is None:
        return None
    return {level: hops.busiest_link / work.steps * price[level] for level in LEVELS}


def _barrier(costs: CostSet) -> Levels | None:
    """The chip's shortest step, or its barrier, whichever is known and longer."""
    known = [found for found in (levels(costs.chip.min_step_time), costs.levels("barrier_time")) if found]
    return {level: max(one[level] for one in known) for level in LEVELS} if known else None


def _bound_by(parts: tuple[Floats, Floats], link: Levels | None, floor: Levels | None, level: str) -> str:
    """Name of what makes the slowest step so long."""
    busy = np.add(*parts)
    candidates = {"slowest core": float(busy.max(initial=0.0))}
    candidates |= {name: one[level] for name, one in (("busiest link", link), ("barrier", floor)) if one}
    name = max(candidates, key=candidates.__getitem__)
    if name != "slowest core" or not busy.size:
        return name
    where = np.unravel_index(busy.argmax(), busy.shape)
    return "synops" if parts[0][where] >= parts[1][where[2]] else "neuron updates"


def _slowest_core(work: Work, synop: float, update: float) -> tuple[int, float]:
    """Its number and its synops in its slowest step; (-1, 0) where there is no core."""
    busy = work.synops * synop + work.neurons * update
    if not busy.size:
        return -1, 0.0
    where = np.unravel_index(busy.argmax(), busy.shape)
    return int(where[2]), float(work.synops[where])


def _unknown(terms: dict[str, Levels | None], costs: CostSet, hops: Hops | None) -> tuple[str, ...]:
    """What was left out of the step's time, and why."""
    unplaced = "cores have no place on the mesh yet"
    reasons = {
        "synaptic-memory reads": "no time per read is published",
        "busiest link": f"no {LINK_TIME} in {costs.name}" if not costs.has(LINK_TIME) else unplaced,
        "barrier": "its time is unknown",
    }
    missing = [f"{name} ({reason})" for name, reason in reasons.items() if terms[name] is None]
    if hops is not None and hops.inter_chip:
        missing.append("links between chips (no time is published)")
    return (*(f"in the time of a step: {one}" for one in missing), "the time that stored zeros may take")
