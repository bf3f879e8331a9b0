"""`neuroseg report`: what a bundle's report says, on a terminal or as a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.bundle import check_outside, open_bundle
from export.errors import FileFormatError, UsageError
from export.files import check_parent, replacing
from neuroseg.commands.console import say, show

BUSIEST = 10
LEVELS = ("low", "nominal", "high")


def read_report(bundle: Path, *, verify: bool = True, html: Path | None = None) -> dict[str, Any]:
    """The content of a bundle's `report.json`; hashes are checked first.

    html    write the page there, and the certificate's beside it
    raises  UsageError, also for a page inside a bundle; FileFormatError, also when an older neuroseg wrote the bundle
    """
    from export.report.build import SCHEMA_VERSION

    if html is not None:
        if html.is_dir():
            raise UsageError(f"--html '{html}' is a folder; give the name of a file, such as {html / 'report.html'}.")
        check_outside(html)
        check_parent(html)
    opened = open_bundle(bundle, verify=verify)
    content = opened.json("report.json")
    version = content.get("schema_version")
    if version != SCHEMA_VERSION:
        raise FileFormatError(
            f"'{bundle / 'report.json'}' has schema version {version}; this neuroseg reads version {SCHEMA_VERSION}. "
            "Export the run again."
        )
    if html is not None:
        _write_pages(content, opened.json("certificate.json"), html)
    return content


def _write_pages(content: Mapping[str, Any], certificate: Mapping[str, Any], html: Path) -> None:
    """The report and, beside it, the certificate that it links to."""
    from export.report.pages import certificate_page, report_page

    beside = html.with_name(f"{html.stem}.certificate.html")
    with replacing(beside) as temporary:
        temporary.write_text(certificate_page(certificate, report=html.name), encoding="utf-8")
    with replacing(html) as temporary:
        temporary.write_text(report_page(content, certificate=beside.name), encoding="utf-8")


def show_report(content: Mapping[str, Any]) -> None:
    """The report as tables."""
    from neuroseg.commands.exporting import name_line

    say(name_line(content))
    say("made with " + ", ".join(f"{name} {version}" for name, version in content["versions"].items() if version))
    on = content["system"] or content["chip"]
    show(f"network on {on}, {content['test_vectors']} test vectors", ("what", "value"), _summary(content))
    columns = ("population", "neurons", "waiting", "cores", "binds", "rate", "synops")
    title = "populations: neurons, those of its relays and delay neurons, cores of both, synops per sample"
    show(title, columns, [_row(row) for row in content["populations"]])
    busiest = sorted(content["core_loads"], key=lambda row: -row["max_synops_per_step"])[:BUSIEST]
    keys = ("population", "core", "neurons", "synaptic_words", "synapses", "max_synops_per_step")
    heads = ("population", "core", "neurons", "words", "synapses", "most synops in a step")
    show(f"the {len(busiest)} busiest of {content['cores']:,} cores", heads, [[r[k] for k in keys] for r in busiest])
    _show_places(content)
    _show_energy(content)
    for warning in content["warnings"]:
        say(f"  warning: {warning}")


def _summary(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    from neuroseg.commands.exporting import cores_line

    return [
        ("neurons as trained", f"{content['neurons']:,} (+ {content['host_neurons']:,} on the host)"),
        ("neurons as deployed", f"{content['neurons_deployed']:,}"),
        ("of these wait for skips", _waiting(content)),
        ("cores", cores_line(content)),
        ("bounds used", "; ".join(content["bounds_used"])),
        ("not modelled", "; ".join(content["bounds_not_modelled"])),
        ("MACs per step as trained", f"{content['macs_per_step']:,}, of which {content['host_macs']:,} on the host"),
        ("host's linear read-out", f"{content.get('readout_host_macs', 0):,} MACs per sample"),
        ("without auxiliary heads", f"{content['macs_per_step_deployed']:,}"),
        ("mean firing rate", f"{content['firing_rate']:.4f}, of {content['firing_rate_of']}"),
        (
            "synops per sample",
            f"{content['synops_per_sample']:,.0f} ({content['synops_stored_per_sample']:,.0f} with zeros)",
        ),
        ("updates per sample", f"{content['updates_per_sample']:,.0f}"),
        ("latency", f"{content['latency_steps']} steps; one sample every {content['steps_per_sample']}"),
        ("a step is bound by", content["energy"][content["chip"]]["step_bound_by"]["nominal"]),
    ]


def _waiting(content: Mapping[str, Any]) -> str:
    """Neurons that align skips, by their kind, and their share."""
    cost, kinds = content["delays"]["cost"], content["neurons_by_kind"]
    return f"{kinds['relay']:,} relays, {kinds['delay']:,} delay neurons: {cost['neurons_share']:.0%}, on {cost['cores']:,} cores"


def _row(row: Mapping[str, Any]) -> tuple[object, ...]:
    counts = (row["neurons"], row["relay_neurons"], row["cores"] + row["relay_cores"])
    pool = "?" if row["pool_per_core"] is None else f"{row['pool_per_core']:.0%}" if row["cores"] else ""
    return (
        row["name"],
        *counts,
        row["binding"] or "",
        pool,
        round(row["firing_rate"], 3),
        round(row["synops_per_sample"]),
    )


def _show_places(content: Mapping[str, Any]) -> None:
    """How far packets travel, with cores at different places."""
    mapping = content["mapping"]
    rows = [
        (
            row["method"],
            f"{row['hop_weighted_packets']:,.0f}",
            "?" if row["times_lower_bound"] is None else f"{row['times_lower_bound']:.2f}",
            f"{row['inter_chip_crossings']:,.0f}",
            row["chips"],
        )
        for row in mapping["locations"]
    ]
    if rows:
        show(
            f"packets on {mapping['system']['name']}, per sample: {mapping['packets_per_sample']['between_cores']:,.0f}",
            ("order of cores", "hop-weighted", "times the bound", "between chips", "chips"),
            rows,
        )
    for note in mapping["notes"]:
        say(f"  {note}")


def _show_energy(content: Mapping[str, Any]) -> None:
    """Energies with their formulas, and what is only estimated."""
    from export.report.figures import energy_rows
    from export.report.pages import with_unit

    rows: list[tuple[str, ...]] = []
    for row in energy_rows(content):
        rows.append((row["name"], *("" if row[k] is None else with_unit(row[k], "J") for k in LEVELS), row["formula"]))
    model = content["energy"][content["chip"]]
    times = (("one step", model["step_time_s"]), ("one sample", model["time_per_sample_s"]))
    rows += [(f"{content['chip']}, {name}", *(with_unit(t[k], "s") for k in LEVELS), "") for name, t in times]
    show("energy and time per sample", ("what", *LEVELS, "formula"), rows)
    say(f"{content['chip']}'s figures are estimates. Not counted: {'; '.join(model['not_counted'])}.")
