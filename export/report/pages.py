"""`report.html` and `certificate.html`: pages that need nothing but themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from export.report.core_map import core_map
from export.report.figures import draw, energy_rows
from export.report.matrix import CELL, chip_table, largest_flows, traffic_matrix
from export.report.sizes import cores_used

CERTIFICATE = "certificate.html"
MOST_CORES = 400  # rows of the core table; report.json has all
PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))
LEVELS = ("low", "nominal", "high")
MOST_CAUTIONS = 6  # warnings at the top; the others unfold
MOST_ROWS = 400  # populations of the table of what fills cores
RESOURCES = (
    ("neurons", "neurons"),
    ("synaptic_words", "words"),
    ("axon_in", "axon in"),
    ("axon_map", "axon map"),
    ("axon_mem", "axon mem"),
    ("pool", "shared pool"),
)
BINDING = {"words": "synaptic_words", "groups": "neuron_groups"}  # resource of the partitioner -> key of the report
BINDING_NAMES = {"words": "words", "axon_in": "axon in", "axon_map": "axon map", "axon_mem": "axon mem", "none": ""}
BOUND_NAMES = {"synops": "the slowest core's synops", "neuron updates": "the slowest core's neuron updates"}
BOUND_NAMES |= {"barrier": "the barrier", "busiest link": "the busiest link"}
LOCATION_NAMES = {"sequential": "core after core, as Lava", "hilbert": "along a Hilbert curve", "best": "searched"}
NEURON_PARTS = (
    ("as trained", ("lif",), "#1f5f99"),
    ("OR, AND, interleave", ("or", "and", "interleave"), "#8b3fa0"),
    ("relays", ("relay",), "#e08a3c"),
    ("delay neurons", ("delay",), "#c8b23c"),
)


def report_page(content: Mapping[str, Any], *, certificate: str = CERTIFICATE) -> str:
    """The report as HTML.

    content      of `report.json`
    certificate  where the page of the certificate lies, seen from this page
    """
    loads = sorted(content["core_loads"], key=lambda row: -row["max_synops_per_step"])
    shown = sorted(loads[:MOST_CORES], key=lambda row: row["core"])
    chip_model = content["energy"][content["chip"]]
    page = _environment().get_template("report.html.j2")
    return page.render(
        r=content,
        chip_model=chip_model,
        plots=draw(content),
        energies=energy_rows(content),
        cores=shown,
        levels=LEVELS,
        cores_used=cores_used(content),
        certificate=certificate,
        cautions=[text for text in content["warnings"] if text not in content["findings"]],
        most_cautions=MOST_CAUTIONS,
        slowest=next((row for row in content["core_loads"] if row["core"] == chip_model["slowest_core"]), None),
        neuron_parts=_neuron_parts(content),
        **_drawings(content),
        **_names(content),
    )


def _drawings(content: Mapping[str, Any]) -> dict[str, Any]:
    """The map of cores and the traffic."""
    return {
        "core_map": core_map(content, with_unit),
        "matrix": traffic_matrix(content),
        "cell_side": CELL,
        "chip_table": chip_table(content),
        "largest_flows": largest_flows(content),
    }


def _names(content: Mapping[str, Any]) -> dict[str, Any]:
    """What the tables of resources, times and places call things."""
    return {
        "filled": _filled(content),
        "resources": RESOURCES,
        "binding_names": BINDING_NAMES,
        "bound_names": BOUND_NAMES,
        "location_names": LOCATION_NAMES,
    }


def _filled(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Populations on cores, in the network's order, with the part of each resource that their fullest core takes."""
    rows = [row for row in content["populations"] if row["cores"]]
    kept = {row["name"] for row in sorted(rows, key=lambda row: -row["cores"])[:MOST_ROWS]}
    limits = content["core_limits"]
    return [
        row
        | {
            "shares": {key: _share(row[f"{key}_per_core"], limits[key]) for key, _ in RESOURCES},
            "binding_key": BINDING.get(row["binding"], row["binding"]),
        }
        for row in rows
        if row["name"] in kept
    ]


def _share(used: float | None, limit: float | None) -> float | None:
    return None if used is None or limit is None else used / limit


def _neuron_parts(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What deployed neurons are for."""
    counts = {name: sum(content["neurons_by_kind"][kind] for kind in kinds) for name, kinds, _ in NEURON_PARTS}
    total = max(1, sum(counts.values()))
    return [
        {"name": name, "neurons": counts[name], "share": counts[name] / total, "colour": colour}
        for name, _, colour in NEURON_PARTS
        if counts[name]
    ]


def certificate_page(certificate: Mapping[str, Any], *, report: str | None = "report.html") -> str:
    """The spike-only certificate as HTML; `report` is where the report lies, seen from this page."""
    return _environment().get_template("certificate.html.j2").render(c=certificate, report=report)


def with_unit(value: float, unit: str) -> str:
    """3.77e-05, 'J' -> '37.7 µJ'."""
    size = abs(value)
    factor, prefix = next((p for p in PREFIXES if size >= p[0]), PREFIXES[0] if size == 0 else PREFIXES[-1])
    return f"{value / factor:.3g} {prefix}{unit}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("export.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda value: "?" if value is None else f"{value:,.0f}"
    environment.filters["percent"] = lambda value: f"{value:.1%}"
    environment.filters["unit"] = with_unit
    return environment
