"""`neuroseg export`: a run becomes a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from export.bundle import check_outside, is_bundle, write_bundle
from export.errors import NeurosegError, UsageError
from export.execute.integer import run_integer
from export.execute.neuron import Extremes
from export.files import check_writable
from export.parity.compare import compare
from export.passes.prove_range import prove_range
from export.pipeline import Compiled, check_layout, compile_module
from export.report.about import About
from export.report.sizes import cores_used
from neuroseg.commands.console import progress, say, show
from neuroseg.commands.reference import Spikes, inputs_of, load_samples, quantized_module, slayer_spikes
from neuroseg.config import Config
from neuroseg.train import load_run

TARGETS = ("loihi2",)
WEIGHTS, METRICS = "weights.safetensors", "metrics.json"
MODEL_FILES = ("config.yaml", WEIGHTS)


def export_run(
    run: Path, out: Path, *, target: str = "loihi2", layout: str = "auto", vectors: int = 4
) -> dict[str, Any]:
    """Compile the run and write the bundle with `vectors` test vectors; returns the content of `report.json`.

    The vectors are the spikes of the trained module, folded and quantised, run by stock SLAYER on the first test images.
    """
    if target not in TARGETS:
        raise UsageError(f"unknown target '{target}'; supported: {', '.join(TARGETS)}.")
    check_layout(layout)
    check_outside(out.parent)
    check_writable(out, is_bundle)  # found out before minutes are spent
    config, model = load_run(run)
    samples = load_samples(config, vectors, "--vectors")
    compiled = compile_module(model, (3, *config.data.size), layout=layout, target=target)
    _, reference = quantized_module(run, compiled.quantization.to_json())
    with progress("test vectors") as on_progress:
        spikes = slayer_spikes(reference, samples.images, on_progress)
    inputs = inputs_of(compiled.graph, spikes)
    known = {name: values for name, values in spikes.items() if name in compiled.graph.populations}
    compiled = _checked(compiled, inputs, known)
    return write_bundle(
        compiled,
        out,
        model_files={name: run / name for name in MODEL_FILES},
        inputs=inputs,
        spikes=known,
        about=_about(run, config),
    )


def _about(run: Path, config: Config) -> About:
    """The config's name, and the score of `metrics.json`, if it is there and bound to the weights (`load_run` checked)."""
    try:
        metrics = json.loads((run / METRICS).read_text(encoding="utf-8"))
        miou, split = float(metrics["miou"]), str(metrics["split"])
        bound = bool(metrics["sha256"][WEIGHTS])
    except (OSError, ValueError, KeyError, TypeError):
        return About(config.name)
    return About(config.name, miou, split) if bound and 0 <= miou <= 1 else About(config.name)


def _checked(compiled: Compiled, inputs: Spikes, spikes: Spikes) -> Compiled:
    """The test vectors through the integer executor: ranges that were seen, and a first proof that the spikes are equal."""
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
    return replace(compiled, ranges=prove_range(compiled.unbalanced, extremes))


def summarise(content: dict[str, Any], out: Path) -> None:
    """A short table of what was exported."""
    delays = content["delays"]
    skip = delays["longest_skip"]
    verdicts = [row["verdict"] for row in content["ranges"]["populations"]]
    rows = [
        ("neurons as trained", f"{content['neurons']:,} (+ {content['host_neurons']:,} on the host)"),
        ("neurons as deployed", f"{content['neurons_deployed']:,}"),
        ("of these relays", f"{delays['relay_neurons']:,} in {sum(delays['relays'].values())} relay populations"),
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


def cores_line(content: Mapping[str, Any]) -> str:
    """Cores and chips, how many are to spare, and what the count leaves out."""
    fits = "" if content["fits"] else f"; {len(content['findings'])} population(s) do NOT fit"
    return (
        f"{cores_used(content)} ({content['chip']}), {content['cores_to_spare']:,} to spare; at least "
        f"{content['cores_lower_bound']:,}; axons and the shared pool are not modelled{fits}"
    )


def name_line(content: Mapping[str, Any]) -> str:
    """Name, input size, T, parameters and score of the network."""
    size = "x".join(map(str, content["input"]))
    text = f"{content['name'] or 'network'}: input {size}, T = {content['steps_per_sample']}, {content['params']:,} parameters"
    if content["miou"] is not None:
        text += f", mIoU {content['miou']:.4f} on the {content['miou_split']} split as trained"
    return text
