"""`neuroseg skips`: what aligning the skips of a network costs, by each way, and where it could take them instead."""

from __future__ import annotations

from itertools import product
from typing import Any

from export.errors import UsageError
from export.graph import Graph
from export.passes.schedule import arrival_steps
from export.passes.skip_costs import skip_costs, ways
from export.pipeline import check_layout, lower_module
from neuroseg.commands.console import progress, say, show
from neuroseg.config import Config, MfsConfig
from neuroseg.config.models import MEMBRANE_SHORTCUT, model_family
from neuroseg.models import build


def skips(config: Config, layout: str = "auto", *, search: bool = False) -> dict[str, Any]:
    """Neurons that wait, of an untrained config (JSON-ready).

    search  also cost the networks that take their skips elsewhere: `model.attention`, `model.shortcut_span`

    Keys: `ways` (whole network, per way), `skips` (per source, with the relays' schedule), `variants` (empty without search)
    """
    check_layout(layout)
    graph = _lowered(config, layout)
    rows = skip_costs(graph, arrival_steps(graph, "relay"))
    return {
        "schema_version": 1,
        "name": config.name,
        "input": list(config.input_shape),
        "neurons": graph.neurons(["lif"]),
        "ways": [way.to_json() for way in ways(graph)],
        "skips": [row.to_json() for row in rows],
        "variants": _variants(config, layout) if search else [],
    }


def _lowered(config: Config, layout: str) -> Graph:
    return lower_module(build(config), config.input_shape, layout=layout).graph


def _variants(config: Config, layout: str) -> list[dict[str, Any]]:
    """Every combination that changes something: attention matters from two scales on, a span below the most blocks."""
    model = config.model
    if not isinstance(model, MfsConfig):
        raise UsageError(
            f"--search moves the skips of MFS-Seg; model.family is {model_family(type(model))}, whose skips no key moves. "
            "Leave --search out"
        )
    attentions = ("output", "first") if model.scales > 1 else (model.attention,)
    longest = max(model.blocks_per_scale)
    spans = (None, *range(longest - 1, 0, -1)) if model.block in MEMBRANE_SHORTCUT else (model.shortcut_span,)
    found = []
    with progress("variants") as on_progress:
        choices = list(product(attentions, spans))
        for done, (attention, span) in enumerate(choices, 1):
            changed = model.model_copy(update={"attention": attention, "shortcut_span": span})
            graph = _lowered(config.model_copy(update={"model": changed}), layout)
            found.append(
                {
                    "attention": attention,
                    "shortcut_span": span,
                    "as_given": (attention, span) == (model.attention, model.shortcut_span),
                    "neurons": graph.neurons(["lif"]),
                    "ways": [way.to_json() for way in ways(graph)],
                }
            )
            on_progress(done, len(choices))
    return found


def show_skips(result: dict[str, Any]) -> None:
    """The same as tables."""
    shape = "x".join(map(str, result["input"]))
    title = f"{result['name']}: input {shape}, {result['neurons']:,} neurons as trained; with its skips aligned"
    rows = [
        (way["name"], _range(way["neurons_low"], way["neurons_high"]), _ratio(way), way["depth"], _stock(way))
        for way in result["ways"]
    ]
    show(title, ("skips wait in", "neurons deployed", "of trained", "depth", "needs"), rows)
    say(
        "ranges: a delay neuron for each source neuron, to one for each tap; synaptic delays: free, to a relay's room each"
    )
    columns = ("source", "neurons", "lags", "relays", "delay neurons", "per tap", "accumulators")
    show("what waits, and what each way would cost there (neurons)", columns, [_cells(row) for row in result["skips"]])
    if result["variants"]:
        _show_variants(result["variants"])


def _show_variants(variants: list[dict[str, Any]]) -> None:
    columns = ("attention", "shortcut_span", "with relays", "with delay neurons", "")
    rows = []
    for variant in variants:
        by_name = {way["name"]: way for way in variant["ways"]}
        span = "to the end" if variant["shortcut_span"] is None else variant["shortcut_span"]
        mark = "as given" if variant["as_given"] else ""
        rows.append((variant["attention"], span, _ratio(by_name["relay"]), _ratio(by_name["delay neuron"]), mark))
    show("where the network could take its skips: deployed neurons over trained ones", columns, rows)
    say("other skips are another network: it has to be trained, and its accuracy measured")


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    lags = ", ".join(map(str, row["lags"]))
    name, neurons = row["source"], short_count(row["neurons"])
    if row["host_sends"]:
        return name, neurons, lags, f"host: {row['host_sends']} sends", "", "", ""
    keys = ("relay_neurons", "delay_neurons", "delay_neurons_if_a_tap_is_a_neuron")
    accumulators = short_count(row["accumulators"]) if row["synaptic"] else "lag too long"
    return name, neurons, lags, *(short_count(row[key]) for key in keys), accumulators


def short_count(count: int) -> str:
    """1,382,400 -> '1.38 M'; the JSON has all digits."""
    if count >= 1_000_000:
        return f"{count / 1e6:.2f} M"
    return f"{count / 1e3:.1f} k" if count >= 10_000 else f"{count:,}"


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _ratio(way: dict[str, Any]) -> str:
    low, high = f"{way['ratio_low']:.2f}", f"{way['ratio_high']:.2f}"
    return low if low == high else f"{low} to {high}"


def _stock(way: dict[str, Any]) -> str:
    if way["stock"]:
        return "stock neurons"
    return "a programmable neuron" if way["name"] == "delay neuron" else "delaying synapses, which Conv has not"
