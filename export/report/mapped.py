"""Where the cores of a compiled network stand on a system, and what travels between them, as measured by test vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

import hw_configs
from export.errors import UsageError
from export.graph import Graph
from export.mapping.hops import Hops, measure_hops
from export.mapping.locate import Method, locate
from export.mapping.mesh import Location, Mesh, mesh_of
from export.mapping.placement import Placement
from export.mapping.summary import summarise
from export.mapping.traffic import Floats, Traffic, count_packets, measured_activity, population_traffic
from hw_configs import Chip, Quantity, System
from hw_configs.errors import HardwareConfigError
from hw_configs.quantity import Unit

SWEEPS = 6000  # of the search: about 7 % more hops than with ten times as many, in a tenth of the time
MOST_SEARCHED = 20_000  # cores; places of more follow a Hilbert curve
NO_SYSTEM = "no system was given: as many chips as the network needs, in a square"
Rows = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Mapped:
    """Cores on a system.

    system    that was asked for, or one that was made up, since none was or it is too small
    asked     name of the system that was asked for; None: none
    summary   of the placement on the system that was asked for, else on the made-up one
    traffic   packets per sample
    mesh      None: cores have no places, `notes` say why
    location  the one that the report shows
    hops      method -> hops of the same packets
    notes     sentences
    """

    system: System
    asked: str | None
    summary: dict[str, Any]
    traffic: Traffic
    mesh: Mesh | None
    location: Location | None
    hops: dict[str, Hops]
    notes: tuple[str, ...]

    @property
    def chosen(self) -> Hops | None:
        """Hops of the location that the report shows."""
        return self.hops[self.location.method] if self.location else None

    @property
    def usable(self) -> int:
        """Cores of a chip that the network may use."""
        return int(self.system.needed("usable_cores_per_chip"))

    @property
    def spots(self) -> NDArray[np.int64]:
        """(cores,) core of the system; core after core where they have no places."""
        return self.location.spot if self.location else np.arange(len(self.traffic.local))

    @property
    def chip_of(self) -> NDArray[np.int64]:
        """(cores,) chip of the system."""
        return np.asarray(self.spots // self.usable)

    @property
    def chips(self) -> int:
        """That hold a core."""
        return len(np.unique(self.chip_of))


def map_cores(
    graph: Graph,
    placement: Placement,
    spikes: Mapping[str, NDArray[Any]],
    system: System | None,
    name: str = "the network",
) -> Mapped:
    """Count packets, and give every core a place.

    spikes  of all populations but relays and delay neurons, (N, T, C, H, W), logical
    name    of the network, for findings
    raises  UsageError for a system of another chip than the placement's
    """
    if system is not None and hw_configs.load(system.chip) != placement.chip:
        raise UsageError(
            f"the network was placed on chip '{placement.chip.name}'; system '{system.name}' has chips "
            f"'{hw_configs.load(system.chip).name}'. Compile it for those."
        )
    traffic = count_packets(graph, placement, measured_activity(spikes))
    notes: list[str] = [] if system else [NO_SYSTEM]
    shown = system or _square(placement, placement.chips)
    summary = summarise(name, graph, placement, shown)
    summary |= {"findings": list(dict.fromkeys(summary["findings"]))}  # a forced export notes what does not fit, too
    if placement.cores > summary["system_cores"]:
        shown = _square(placement, placement.chips)
        notes.append(
            f"system '{summary['system']}' has too few cores: shown are {placement.chips:,} chips in a square instead"
        )
    try:
        mesh = mesh_of(_known(shown, placement.chip))
        methods: tuple[Method, ...] = ("sequential", "hilbert", "best")
        if placement.cores > MOST_SEARCHED:
            methods = methods[:2]
            notes.append(f"more than {MOST_SEARCHED:,} cores are too many to search for places: they follow the curve")
        places = {method: locate(traffic, shown, method, sweeps=SWEEPS) for method in methods}
    except (UsageError, HardwareConfigError) as error:  # a chip whose mesh is not known
        return Mapped(shown, _name(system), summary, traffic, None, None, {}, (*notes, str(error)))
    hops: dict[str, Hops] = {method: measure_hops(traffic, place, shown) for method, place in places.items()}
    best = places[methods[-1]]
    return Mapped(shown, _name(system), summary, traffic, mesh, best, hops, (*notes, *best.notes))


def _name(system: System | None) -> str | None:
    return system.name if system else None


def _square(placement: Placement, chips: int) -> System:
    """As many chips as needed, in a square."""
    chip, columns = placement.chip, 1 + isqrt(max(0, chips - 1))

    def fact(value: int, unit: Unit) -> Quantity:
        return Quantity(value=value, unit=unit, range=None, evidence="estimate", source=NO_SYSTEM)

    unknown = {"value": None, "range": None, "evidence": None, "source": NO_SYSTEM}
    return System(
        name=f"{chips} x {chip.name}",
        description=NO_SYSTEM,
        chip=chip.file or chip.name,
        chips=fact(chips, "chip"),
        cores=fact(chips * placement.limits.usable_cores, "core"),
        usable_cores_per_chip=fact(placement.limits.usable_cores, "core"),
        chip_columns=fact(columns, "chip"),
        chip_rows=fact(ceil(chips / columns), "chip"),
        neurons=Quantity(unit="neuron", **unknown),
        max_power=Quantity(unit="mW", **unknown),
    )


def _known(system: System, chip: Chip) -> System:
    """The same system; UsageError where the chip that it would load is not the placement's."""
    if hw_configs.load(system.chip) != chip:
        raise UsageError(f"chip '{chip.name}' is no file, or was changed since: its mesh of routers is not known.")
    return system


def mapping_section(
    mapped: Mapped, placement: Placement, core_rows: Rows, repeats: Mapping[str, str]
) -> dict[str, Any]:
    """The part "mapping" of `report.json`.

    core_rows  of all cores
    repeats    relay or delay neurons -> the population whose spikes they repeat
    """
    traffic, system = mapped.traffic, mapped.system
    names = {key: getattr(system, key).value for key in ("chips", "chip_columns", "chip_rows")}
    mesh = mapped.mesh
    return {
        "system": {
            "name": system.name,
            "asked": mapped.asked,
            **{key: None if value is None else int(value) for key, value in names.items()},
            "usable_cores_per_chip": mapped.usable,
            "mesh_columns": mesh.columns if mesh else None,
            "mesh_rows": mesh.rows if mesh else None,
            "cores_per_router": mesh.per_router if mesh else None,
        },
        "notes": list(mapped.notes),
        "method": mapped.location.method if mapped.location else None,
        "locations": [_hops_row(method, hops) for method, hops in mapped.hops.items()],
        "packets_per_sample": {
            "between_cores": traffic.total,
            "within_cores": float(traffic.local.sum()),
            "host_in": float(traffic.host_in.sum()),
        },
        "populations": [row | {"repeats": repeats.get(row["name"])} for row in mapped.summary["populations"]],
        "chips": _chips(mapped, core_rows),
        "traffic_between_chips": _between_chips(mapped),
        "traffic_between_populations": [
            {"from": source, "to": target, "packets_per_sample": packets}
            for (source, target), packets in population_traffic(traffic, placement).items()
        ],
        "traffic_from_host": _from_host(traffic, placement),
    }


def _hops_row(method: str, hops: Hops) -> dict[str, Any]:
    return {
        "method": method,
        "hop_weighted_packets": hops.hops,
        "hops_east_west": hops.hops_east_west,
        "hops_north_south": hops.hops_north_south,
        "inter_chip_crossings": hops.inter_chip,
        "packets_between_chips": hops.between_chips,
        "busiest_link_packets": hops.busiest_link,
        "busiest_border_packets": hops.busiest_border,
        "lower_bound": hops.lower_bound,
        "times_lower_bound": None if np.isinf(hops.times_lower_bound) else hops.times_lower_bound,
        "chips": hops.chips,
    }


def _chips(mapped: Mapped, core_rows: Rows) -> Rows:
    """One row per chip that holds a core."""
    columns = mapped.mesh.chip_columns if mapped.mesh else max(1, mapped.chips)
    sums = ("neurons", "synops_per_sample", "updates_per_sample", "energy_nominal_j")
    rows = []
    of_chip: dict[int, Rows] = {}
    for row in core_rows:
        of_chip.setdefault(row["chip"], []).append(row)
    for chip, held in sorted(of_chip.items()):
        place = {"chip": int(chip), "column": int(chip) % columns, "row": int(chip) // columns}
        most = max((row["pool"] for row in held if row["pool"] is not None), default=None)
        rows.append(place | {"cores": len(held), **{key: sum(r[key] for r in held) for key in sums}, "max_pool": most})
    return rows


def _between_chips(mapped: Mapped) -> Rows:
    """Packets per sample from a chip to another one."""
    entries, chip = mapped.traffic.packets.tocoo(), mapped.chip_of
    pairs = np.stack([chip[entries.row], chip[entries.col]], axis=1)
    apart = pairs[:, 0] != pairs[:, 1]
    found, at = np.unique(pairs[apart], axis=0, return_inverse=True)
    packets = np.bincount(at.ravel(), entries.data[apart], len(found))
    return [
        {"from": int(a), "to": int(b), "packets_per_sample": float(n)} for (a, b), n in zip(found, packets, strict=True)
    ]


def _from_host(traffic: Traffic, placement: Placement) -> Rows:
    """Packets per sample from the host to each population that reads an input."""
    sums = {name: float(_own(traffic.host_in, cut.first, cut.cores).sum()) for name, cut in placement.cuts.items()}
    return [{"to": name, "packets_per_sample": packets} for name, packets in sums.items() if packets]


def _own(values: Floats, first: int, cores: int) -> Floats:
    return values[first : first + cores]
