"""`neuroseg export`: a run becomes a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import hw_configs
from export.bundle import check_outside, is_bundle, write_bundle
from export.errors import NeurosegError, UsageError
from export.execute.integer import run_integer
from export.execute.neuron import Extremes
from export.files import check_writable
from export.mapping.placement import RESOURCES, Cut, Placement
from export.mapping.summary import WORST
from export.mapping.summary import summarise as summarise_placement
from export.parity.compare import compare
from export.passes.prove_range import prove_range
from export.passes.schedule import check_delays
from export.pipeline import Compiled, check_layout, compile_module
from export.report.about import About
from export.report.sizes import cores_used
from hw_configs import System
from neuroseg.commands.console import progress, say, show
from neuroseg.commands.reference import Samples, Spikes, inputs_of, load_samples, quantized_module, slayer_spikes
from neuroseg.config import Config
from neuroseg.train import load_run
from neuroseg.train.run_folder import scored_list
from neuroseg.zoo.card import has_card

TARGETS = ("loihi2",)
WEIGHTS, METRICS = "weights.safetensors", "metrics.json"
MODEL_FILES = ("config.yaml", WEIGHTS)


def export_run(
    run: Path,
    out: Path,
    *,
    target: str = "loihi2",
    layout: str = "auto",
    delays: str = "relay",
    vectors: int = 4,
    system: str | None = None,
    force: bool = False,
    allow_graded: bool = False,
) -> dict[str, Any]:
    """Compile the run and write the bundle with `vectors` test vectors; returns the content of `report.json`.

    The vectors are the spikes of the trained module, folded and quantised, run by stock SLAYER on the first test images. A
    network of the zoo whose data set is not on this machine gets photographs instead, and the report says so.

    delays  how skips wait: relay, neuron or auto
    system  a name in `hw_configs`, or the path of a YAML file: what does not fit it is refused, unless `force`; then the
            report says that it does not fit. Its chip takes the place of `target`. None: nothing is refused
    allow_graded   take neurons of several thresholds, too, whose graded spikes run on the simulators only
    """
    if target not in TARGETS:
        raise UsageError(f"unknown target '{target}'; supported: {', '.join(TARGETS)}.")
    check_layout(layout)
    check_delays(delays)
    if force and system is None:
        raise UsageError("--force needs --system: without one, nothing is refused.")
    board = None if system is None else hw_configs.load_system(system)
    check_outside(out.parent)
    check_writable(out, is_bundle)  # found out before minutes are spent
    config, model = load_run(run)
    samples = load_samples(config, vectors, "--vectors", replaceable=has_card(run))
    chip = target if board is None else board.chip
    compiled = compile_module(
        model, config.input_shape, layout=layout, delays=delays, target=chip, allow_graded=allow_graded
    )
    if board is not None:
        compiled = _held_against(
            compiled, board, config.name, None if force else f"{run / 'config.yaml'} --system {system}"
        )
    del model  # its weights are in the graph: room for the test vectors
    spikes = _recorded(run, compiled, samples)
    inputs = inputs_of(compiled.graph, spikes)
    known = {name: values for name, values in spikes.items() if name in compiled.graph.populations}
    compiled, computed = _checked(compiled, inputs, known)
    return write_bundle(
        compiled,
        out,
        model_files={name: run / name for name in MODEL_FILES},
        inputs=inputs,
        spikes=known,
        computed=computed,
        about=replace(_about(run, config), vectors_from=samples.source, vectors_stand_in=samples.stand_ins),
        system=board,
    )


def _held_against(compiled: Compiled, system: System, name: str, asked: str | None) -> Compiled:
    """The same if it fits the system, else an error that names arguments of `neuroseg fit`.

    asked  those arguments; None: no error, but what does not fit stands among the placement's findings
    """
    placement = compiled.placement
    found = summarise_placement(name, compiled.graph, placement, system)["findings"]
    if not found:
        return compiled
    if asked is None:
        return replace(compiled, placement=replace(placement, findings=tuple(found)))
    worst, others = _worst_first(placement), found[len(placement.findings) :]
    more = [f"and {len(worst) - WORST} more populations that no core holds"] if len(worst) > WORST else []
    lines = "".join(f"\n  {line}" for line in (*worst[:WORST], *more, *others))
    raise NeurosegError(
        f"'{name}' does not fit {system.name}; nothing was written:{lines}\n"
        f"  `neuroseg fit {asked}` finds out what would fit; --force exports it all the same."
    )


def _worst_first(placement: Placement) -> list[str]:
    """Findings on populations that no core holds, those that overdraw a limit most first."""

    def overdrawn(cut: Cut) -> float:
        used = {name: cut.load.of(name) for name in RESOURCES}
        caps = {name: placement.limits.cap(name) for name in RESOURCES}
        return max(float(load.max()) / cap for name, load in used.items() if load is not None and (cap := caps[name]))

    failing = [cut for cut in placement.cuts.values() if not cut.fits]
    ranked = sorted(zip(failing, placement.findings, strict=True), key=lambda pair: -overdrawn(pair[0]))
    return [finding for _, finding in ranked]


def _about(run: Path, config: Config) -> About:
    """The config's name, and the score of `metrics.json`, if it is there and bound to the weights (`load_run` checked)."""
    try:
        metrics = json.loads((run / METRICS).read_text(encoding="utf-8"))
        miou, split = float(metrics["miou"]), scored_list(metrics)
        bound = bool(metrics["sha256"][WEIGHTS])
    except (OSError, ValueError, KeyError, TypeError):
        return About(config.name)
    return About(config.name, miou, split) if bound and 0 <= miou <= 1 else About(config.name)


def _recorded(run: Path, compiled: Compiled, samples: Samples) -> Spikes:
    """Spikes of the trained module, folded and quantised, on the samples."""
    _, reference = quantized_module(run, compiled.quantization.to_json())
    with progress("test vectors") as on_progress:
        return slayer_spikes(reference, samples.images, on_progress)


def _checked(compiled: Compiled, inputs: Spikes, spikes: Spikes) -> tuple[Compiled, Spikes]:
    """The test vectors through the integer executor: ranges that were seen, and a first proof that the spikes are equal.

    returns  the network with these ranges, and the spikes of populations that stand in no trained module
    """
    extremes: dict[str, Extremes] = {}
    got = run_integer(compiled.graph, inputs, extremes=extremes)
    result = compare(compiled.graph, spikes, got, ("slayer", "int"))
    if result["mismatches"]:
        first = result["first_divergence"]
        raise NeurosegError(
            f"the compiled network does not fire as the trained module does: {result['mismatches']} of {result['compared']} "
            f"neuron-steps differ, first in '{first['population']}' ({first['cause']}). Nothing was written. This is a bug "
            "of neuroseg, or the module computes something else than it describes."
        )
    computed = {name: values for name, values in got.items() if name not in spikes}
    return replace(compiled, ranges=prove_range(compiled.unbalanced, extremes)), computed


def summarise(content: dict[str, Any], out: Path) -> None:
    """A short table of what was exported."""
    delays = content["delays"]
    skip = delays["longest_skip"]
    verdicts = [row["verdict"] for row in content["ranges"]["populations"]]
    rows = [
        ("neurons as trained", f"{content['neurons']:,} (+ {content['host_neurons']:,} on the host)"),
        ("neurons as deployed", f"{content['neurons_deployed']:,}"),
        *waiting_lines(delays),
        ("longest skip", "none" if skip is None else f"{skip['lag']} steps, {skip['source']} -> {skip['target']}"),
        ("latency", f"{content['latency_steps']} steps; one sample every {content['steps_per_sample']}"),
        ("cores", cores_line(content)),
        ("synops per sample", f"{content['synops_per_sample']:,.0f} on {content['test_vectors']} test vectors"),
        ("24-bit range", f"proved for {verdicts.count('cannot overflow')} of {len(verdicts)} populations"),
    ]
    say(name_line(content))
    show(f"exported to {out}", ("what", "value"), rows)
    for row in content["ranges"]["populations"]:
        if row["verdict"] != "cannot overflow":
            say(f"  {row['name']}: {row['verdict']} (sums {row['a'][0]:,} to {row['a'][1]:,})")
    for warning in content["warnings"]:
        say(f"  warning: {warning}")


def waiting_lines(delays: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How skips wait: relays, delay neurons, inputs that the host sends again."""
    lines = [("of these relays", f"{delays['relay_neurons']:,} in {sum(delays['relays'].values())} relay populations")]
    if delays["delay_neurons"]:
        taps = sum(len(lags) for lags in delays["delay_taps"].values())
        lines.append(
            (
                "of these delay neurons",
                f"{delays['delay_neurons']:,} behind {len(delays['delay_taps'])} populations, {taps} taps",
            )
        )
    if delays["input_sends"]:
        sends = ", ".join(f"{name} {count} times" for name, count in delays["input_sends"].items())
        lines.append(("the host sends", sends))
    return lines


def cores_line(content: Mapping[str, Any]) -> str:
    """Cores and chips, how many are to spare, and what the count leaves out."""
    fits = "" if content["fits"] else f"; does NOT fit, {len(content['findings'])} finding(s)"
    return (
        f"{cores_used(content)} ({content['chip']}), {content['cores_to_spare']:,} to spare; at least "
        f"{content['cores_lower_bound']:,}{fits}"
    )


def name_line(content: Mapping[str, Any]) -> str:
    """Name, input size, T, parameters and score of the network."""
    size = "x".join(map(str, content["input"]))
    text = f"{content['name'] or 'network'}: input {size}, T = {content['steps_per_sample']}, {content['params']:,} parameters"
    if content["miou"] is not None:
        text += f", mIoU {content['miou']:.4f} on the {content['miou_split']} split as trained"
    return text
