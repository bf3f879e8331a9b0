"""`report.html` and `certificate.html`: pages that need nothing but themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from export.report.figures import draw, energy_rows
from export.report.sizes import cores_used

CERTIFICATE = "certificate.html"
MOST_CORES = 400  # rows of the core table; report.json has all
PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))
LEVELS = ("low", "nominal", "high")


def report_page(content: Mapping[str, Any], *, certificate: str = CERTIFICATE) -> str:
    """The report as HTML.

    content      of `report.json`
    certificate  where the page of the certificate lies, seen from this page
    """
    loads = sorted(content["core_loads"], key=lambda row: -row["max_synops_per_step"])
    shown = sorted(loads[:MOST_CORES], key=lambda row: row["core"])
    page = _environment().get_template("report.html.j2")
    return page.render(
        r=content,
        chip_model=content["energy"][content["chip"]],
        plots=draw(content),
        energies=energy_rows(content),
        cores=shown,
        levels=LEVELS,
        cores_used=cores_used(content),
        certificate=certificate,
    )


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
    environment.filters["count"] = lambda value: f"{value:,.0f}"
    environment.filters["percent"] = lambda value: f"{value:.1%}"
    environment.filters["unit"] = with_unit
    return environment
