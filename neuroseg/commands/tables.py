"""`neuroseg tables`: the papers' tables, ours beside theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from neuroseg.commands.console import say, show
from neuroseg.commands.measured import Measurement, measurements, place
from neuroseg.commands.paper_energy import counted, energy_row, gain_row
from neuroseg.commands.papers import Paper, Row, Size, Table, read_papers
from neuroseg.config import Inputs, ModelSection
from neuroseg.models import NetworkSize, build_model, network_size, parameter_count

SCORES = {
    "miou": "mIoU",
    "f1": "F1",
    "jaccard": "Jaccard",
    "accuracy": "accuracy",
    "psnr_db": "PSNR dB",
    "ssim": "SSIM",
}
SHOWN = {"parameters_m", "gflops", "firing_rate", *SCORES}
REDUCED = "scores of ours: reduced networks and data, see below"


@dataclass(frozen=True)
class Ours:
    """Sizes of a network of ours."""

    parameters: int
    size: NetworkSize

    @property
    def torchstat_flops(self) -> int:
        """Operations as torchstat counts them: a norm has two for each value, a transposed convolution none."""
        return self.size.macs_per_step - self.size.transposed_macs + 2 * self.size.normed_values


def tables(results: Path | None = None) -> dict[str, Any]:
    """Every row of every table (JSON-ready): theirs, ours, deviation, bar, and why.

    results  folder of JSON files, as `measurements` reads it: any object in them with the key `paper_row` is our measurement of
             that row. None: `benchmarks/results`, if it is there

    not_met  ids of rows whose sizes or energy lie outside their bars
    by_their_own_rule   ids of rows that are held against their bars counted otherwise than the others (`counted_as`)
    Raises DataError for a result that cannot be read, or names no row.
    """
    papers = read_papers()
    measured = measurements(results)
    energies, gains, content = [], [], []
    for paper in papers:
        for row in paper.rows:
            ours = _ours(paper, row)
            energies.append(energy_row(row, None if ours is None else ours.size, _still(paper, row)))
            gains.append(gain_row(row))
        content.append(_paper(paper, measured))
    energy = [row for row in energies if row is not None]
    return {
        "schema_version": 1,
        "papers": content,
        "energy": energy,
        "energy_gains": [row for row in gains if row is not None],
        "not_met": [row["id"] for row in _rows(content) if False in row["met"].values()]
        + [f"energy of {row['id']}" for row in energy if row["met"] is False],
        "by_their_own_rule": [row["id"] for row in _rows(content) if row["by_the_common_rule"] is not None],
    }


def _ours(paper: Paper, row: Row) -> Ours | None:
    """Sizes of the row's network; None if it is not ours, or nothing is printed that sizes could be held against."""
    section = row.section
    if section is None or not row.prints_sizes:
        return None
    return _sizes(section, paper.settings[row.data].outputs, *paper.inputs(row))


@cache
def _sizes(section: ModelSection, outputs: int, inputs: Inputs, size: Size) -> Ours:
    """Rows of several tables mean one network, which is counted once."""
    one = section.model_copy(update={"steps": 1})  # sizes are per step; one is the fastest to look at
    model = build_model(one, outputs, inputs=inputs)
    # Of the families here, norms with a gain per step alone make T a matter of parameters.
    whole = build_model(section, outputs, inputs=inputs) if getattr(section, "norm", "") == "bntt" else model
    return Ours(parameter_count(whole), network_size(model, inputs.shape(size, 1)))


def _still(paper: Paper, row: Row) -> bool:
    """Whether the network looks at an image, the same at every step."""
    return paper.settings[row.data].kind == "image"


def _paper(paper: Paper, measured: dict[str, list[Measurement]]) -> dict[str, Any]:
    def listed(table: Table) -> dict[str, Any]:
        rows = [_row(paper, row, measured.get(row.id, [])) for row in table.rows]
        return {"table": table.table, "caption": table.caption, "rows": rows}

    return {
        "paper": paper.paper,
        "title": paper.title,
        "source": paper.source,
        "counting": paper.counting,
        "tables": [listed(table) for table in paper.tables],
    }


def _row(paper: Paper, row: Row, measured: list[Measurement]) -> dict[str, Any]:
    ours = _ours(paper, row)
    theirs = {"parameters": row.parameters, "macs": row.macs}
    found = {} if ours is None else {"parameters": ours.parameters, "macs": counted(row, ours.size)}
    deviation = {key: _percent(found.get(key), value) for key, value in theirs.items()}
    bars = {"parameters": row.bars.parameters, "macs": row.bars.macs}
    return {
        "id": row.id,
        "data": row.data,
        "name": row.name,
        "kind": row.kind,
        "steps": row.steps,
        "is_ours": row.model is not None,
        "printed": row.printed.model_dump(exclude_none=True) | {"halved": row.halved},
        "theirs": {"parameters": row.parameters, "macs_per_step": row.macs},
        "ours": None if ours is None else _sizes_json(row, ours),
        "counted_as": list(row.counted_as),
        "by_the_common_rule": None if ours is None else _by_the_common_rule(row, ours, _still(paper, row)),
        "measured": measured,
        "deviation_percent": deviation,
        "bar_percent": bars,
        "met": {key: _met(row, key, value, bars[key]) for key, value in deviation.items()},
        "contradictions": {key: _filled(text, deviation, bars) for key, text in row.contradictions.items()},
        "cause": row.cause,
    }


def _by_the_common_rule(row: Row, ours: Ours, still: bool) -> dict[str, Any] | None:
    """By how many per cent a row with switches of its own would deviate without them; None for the others."""
    common = row.by_the_common_rule
    if common is None:
        return None
    energy = energy_row(common, ours.size, still) or {}
    return {
        "macs_percent": _percent(counted(common, ours.size), common.macs),
        "energy_percent": energy.get("deviation_percent"),
        "energy_from_their_numbers_percent": energy.get("own_deviation_percent"),
    }


def _filled(text: str, deviation: dict[str, float | None], bars: dict[str, float]) -> str:
    """The text with the deviations and bars that it asks for, in per cent."""
    return text.format(**deviation, **{f"{key}_bar": bar for key, bar in bars.items()})


def _sizes_json(row: Row, ours: Ours) -> dict[str, Any]:
    return {
        "parameters": ours.parameters,
        "macs_per_step": counted(row, ours.size),
        "host_macs": ours.size.host_macs,
        "torchstat_flops": ours.torchstat_flops,
        "neurons": ours.size.neurons,
    }


def _met(row: Row, key: str, deviation: float | None, bar: float) -> bool | None:
    return None if deviation is None or key in row.contradictions else abs(deviation) <= bar


def _percent(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else 100 * (ours / theirs - 1)


def _rows(papers: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (row for paper in papers for table in paper["tables"] for row in table["rows"])


def show_tables(content: dict[str, Any]) -> None:
    """The same as tables, with the reasons below."""
    for paper in content["papers"]:
        say(f"\n{paper['title']}. {paper['source']}. {paper['counting']}")
        for table in paper["tables"]:
            if any(row["printed"].keys() & SHOWN for row in table["rows"]):
                _show_table(table)
    _show_measured(content)
    _show_energies(content)
    counted_as = ((row["id"], note) for row in _rows(content["papers"]) for note in _ways(row))
    _show_reasons("rows that are counted in their own way", _grouped(counted_as), "way")
    _show_reasons("why ours deviates", _reasons(content, lambda row: row["cause"] if _deviates(row) else None))
    for quantity in ("parameters", "macs", "energy"):
        wrong = _reasons(content, lambda row, q=quantity: row["contradictions"].get(q))  # type: ignore[misc]
        _show_reasons(f"printed {quantity} that cannot be met", wrong)
    say(
        f"held against their bars by a rule of their own, see above: {', '.join(content['by_their_own_rule']) or 'none'}"
    )
    say(f"outside their bars: {', '.join(content['not_met']) or 'none'}")


def _ways(row: dict[str, Any]) -> list[str]:
    """In which ways a row is counted; last, what the common rule would give where it has switches of its own."""
    common = row["by_the_common_rule"]
    if common is None:
        return list(row["counted_as"])
    told = f"operations {_signed(common['macs_percent'])} %, energy {_signed(common['energy_percent'])} %"
    return [*row["counted_as"], f"by the rule of the other rows ours would deviate: {told}"]


def _show_table(table: dict[str, Any]) -> None:
    columns = ["data", "network", "T", "params M", "ours", "%", "MACs G", "ours", "%", "FR"]
    columns += [column for score in SCORES.values() for column in (score, "ours")]
    rows = [_cells(row) for row in table["rows"]]
    filled = [i for i in range(len(columns)) if any(cells[i] != "" for cells in rows)]  # terminals are narrow
    ours = any(row["measured"] for row in table["rows"])
    title = f"Table {table['table']}: {table['caption']}" + (f" ({REDUCED})" if ours else "")
    show(title, [columns[i] for i in filled], [[cells[i] for i in filled] for cells in rows])


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    theirs, ours, printed = row["theirs"], row["ours"] or {}, row["printed"]
    name = row["name"] + (" (ANN)" if row["kind"] == "ann" else "") + ("" if row["is_ours"] else " *")
    sizes = (
        (theirs["parameters"], ours.get("parameters"), "parameters", 1e6),
        (theirs["macs_per_step"], ours.get("macs_per_step"), "macs", 1e9),
    )
    cells: list[object] = [row["data"], name, row["steps"] or ""]
    for value, own, key, unit in sizes:
        cells += [_number(value, unit), _number(own, unit), _deviation(row, key)]
    cells.append(_score(printed, "firing_rate"))
    for key in SCORES:
        cells += [_score(printed, key), ", ".join(_score(found, key) for found in row["measured"] if key in found)]
    return tuple(cells)


def _score(values: dict[str, Any], key: str) -> str:
    return f"{values[key]:.{2 if key == 'psnr_db' else 3}f}" if key in values else ""


def _number(value: float | None, unit: float) -> str:
    return "" if value is None else f"{value / unit:.2f}"


def _deviation(row: dict[str, Any], key: str) -> str:
    """+1.2; in brackets where the printed number cannot be met; with ! where it should have been."""
    value = row["deviation_percent"][key]
    if value is None:
        return ""
    text = _signed(value)
    return {True: text, False: f"{text} !", None: f"({text})"}[row["met"][key]]


def _show_measured(content: dict[str, Any]) -> None:
    rows = [
        (row["id"], place(found), _told(found), found.get("steps", ""), found.get("seed", ""), found.get("note", ""))
        for row in _rows(content["papers"])
        for found in row["measured"]
    ]
    if rows:
        columns = ("row", "result", "scores", "T", "seed", "note")
        show("What we measured, on reduced networks and data: the result file says which", columns, rows)


def _told(found: Measurement) -> str:
    names = {**SCORES, "miou_per_image": "mIoU per image"}
    return "\n".join(f"{name} {_score(found, key)}" for key, name in names.items() if key in found)


def _show_energies(content: dict[str, Any]) -> None:
    columns = ("row", "printed mJ", "their numbers (host: ours)", "%", "our operations", "%", "")
    rows = []
    for row in content["energy"]:
        verdict = "contradicts itself" if row["consistent"] is False else {False: "!", True: "", None: ""}[row["met"]]
        rows.append(
            (
                row["id"],
                f"{row['theirs_j'] * 1e3:.3f}",
                _number(row["own_arithmetic_j"], 1e-3),
                _signed(row["own_deviation_percent"]),
                _number(row["ours_j"], 1e-3),
                _signed(row["deviation_percent"]),
                verdict,
            )
        )
    title = "Energy per image: printed; from their numbers and our host's MACs; from our operations at their rate"
    show(title, columns, rows)
    gains = [
        (r["id"], r["theirs"], r["implied_spikes_per_neuron"], r["implied_firing_rate"])
        for r in content["energy_gains"]
    ]
    show("Energy ratios, and the spikes that they imply", ("row", "printed", "spikes per neuron", "per step"), gains)


def _signed(value: float | None) -> str:
    return "" if value is None else f"{round(value, 1) + 0.0:+.1f}"  # never -0.0


def _deviates(row: dict[str, Any]) -> bool:
    return any(value is not None and abs(value) >= 1 for value in row["deviation_percent"].values())


def _reasons(content: dict[str, Any], reason_of: Callable[[dict[str, Any]], str | None]) -> dict[str, list[str]]:
    """Reason -> ids of the rows it holds for."""
    return _grouped((row["id"], reason_of(row)) for row in _rows(content["papers"]))


def _grouped(pairs: Iterable[tuple[str, str | None]]) -> dict[str, list[str]]:
    """Text -> ids of the rows it is said of."""
    found: dict[str, list[str]] = {}
    for name, text in pairs:
        if text:
            found.setdefault(text, []).append(name)
    return found


def _show_reasons(title: str, reasons: dict[str, list[str]], column: str = "reason") -> None:
    if reasons:
        show(title, ("rows", column), [("\n".join(ids), reason) for reason, ids in reasons.items()])
