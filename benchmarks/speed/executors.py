"""Rows (b): `lava-fast` and `int` beside stock Lava, and `int` beside a plain float forward, on equal spikes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.speed.kits import Flow, flow_of
from benchmarks.speed.measure import Plan, Row, in_process, in_turn, limit, versus
from benchmarks.speed.networks import compiled, images, network, stage
from benchmarks.speed.rivals import Folded
from export.execute.integer import run_integer
from export.graph import Array
from export.lava.supervise import run_lava
from export.netx.write import write_netx
from export.parity.compare import compare
from export.pipeline import Compiled
from neuroseg.commands.reference import slayer_spikes
from neuroseg.models import quantized

FAST_BAR, INT_BAR, FLOAT_BAR, CUDA_RATE = 100.0, 500.0, 0.5, 800.0
PEAK_BAR_GB = 3.0
LAVA_SAMPLES = {"lava": 1, "lava-fast": 32}  # stock takes seconds per step; a fast run needs steps enough to be timed
BATCH, CHECKED = 8, 2
DEADLINE_S = 1800.0


@dataclass
class LavaRun:
    """One backend on one file; keeps what its last run fired and how long its runs took to start."""

    network: Path
    inputs: Mapping[str, Array]
    fast: bool
    starts: list[float] = field(default_factory=list)
    spikes: dict[str, Array] = field(default_factory=dict)

    def step_s(self) -> float:
        """Seconds per Lava step, after the first: from the reports of how far the run is."""
        marks: list[tuple[float, int]] = []
        start = time.perf_counter()
        self.spikes = run_lava(
            self.network,
            self.inputs,
            fast=self.fast,
            deadline_s=DEADLINE_S,
            on_progress=lambda done, total: marks.append((time.perf_counter(), done)),
        )
        (first, one), (last, all_) = marks[0], marks[-1]
        self.starts.append(first - start)
        if all_ == one:  # over before a second look at it, as only the smallest networks are: its start counts, too
            return (last - start) / all_
        return (last - first) / (all_ - one)


def lava_rows(plan: Plan) -> Iterator[Row]:
    """The EFS stage, exported with relays, on stock Lava, on `lava-fast` and by `int`: RuntimeError unless spikes are equal."""
    model, size = stage(plan.quick)
    net = compiled(model, size)
    samples = {name: count if not plan.quick else 2 for name, count in LAVA_SAMPLES.items()}
    inputs, recorded = _recorded(model, net, size, BATCH)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stage.net"
        write_netx(net.graph, path)
        runs = {name: LavaRun(path, _first(inputs, count), name == "lava-fast") for name, count in samples.items()}
        mine: dict[str, Array] = {}

        def by_int() -> None:
            mine.update(run_integer(net.graph, inputs, batch=BATCH))

        sides = {name: run.step_s for name, run in runs.items()}
        by_int()  # compiles; a Lava run is a process of its own, for which nothing can be warmed up
        seconds = in_turn({**sides, "int": by_int}, plan.runs, warm_up=0)
    for name, run in runs.items():
        _demand_equal(net, _first(recorded, samples[name]), run.spikes, name)
    compared = _demand_equal(net, recorded, mine, "int")
    steps, populations = net.graph.steps, sum(p.kind == "lif" for p in net.graph.populations.values())
    what = f"EFS stage, {populations} populations"
    note = {"mismatches": 0, "compared": compared, "steps_per_sample": steps}
    starts = {"ours_start_s": median(runs["lava-fast"].starts), "theirs_start_s": median(runs["lava"].starts)}
    bar = None if plan.quick else FAST_BAR
    yield versus(f"lava-fast, {what}, a step: stock Lava", seconds["lava-fast"], seconds["lava"], bar, **note, **starts)
    stock_sample = [s * steps for s in seconds["lava"]]
    ours_sample = [s / len(next(iter(inputs.values()))) for s in seconds["int"]]
    bar = None if plan.quick else INT_BAR
    yield versus(f"int, {what}, a sample: stock Lava", ours_sample, stock_sample, bar, **note, batch=BATCH)


def _first(spikes: Mapping[str, Array], count: int) -> dict[str, Array]:
    """The first samples; from the start again where there are not as many."""
    return {name: values.take(range(count), axis=0, mode="wrap") for name, values in spikes.items()}


def _recorded(
    model: nn.Module, net: Compiled, size: tuple[int, int], samples: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs, and every population's spikes, by stock SLAYER on the folded, quantised module."""
    reference = quantized(model, net.quantization.weight_scale, net.quantization.v_th)
    spikes = slayer_spikes(reference, images(samples, size, seed=9))
    known = {name: values for name, values in spikes.items() if name in net.graph.populations}
    return {p.name: spikes[p.name] for p in net.graph.inputs}, known


def _demand_equal(net: Compiled, wanted: Mapping[str, Array], found: Mapping[str, Array], name: str) -> int:
    """Neuron-steps that were compared and are equal; RuntimeError if one differs, or if the network is silent."""
    result = compare(net.graph, wanted, found, ("slayer", name))
    if result["mismatches"]:
        raise RuntimeError(
            f"{name} fires other spikes than stock SLAYER: {result['mismatches']:,}, {result['first_divergence']}"
        )
    if not any(wanted[output].any() for output in net.graph.outputs):
        raise RuntimeError("the network is silent: equal spikes would prove nothing.")
    return int(result["compared"])


def int_rows(plan: Plan) -> Iterator[Row]:
    """`int` beside a plain torch float forward of the network as trained, and the peak memory of a large one."""
    networks: dict[str, Callable[[], tuple[nn.Module, tuple[int, int]]]] = {
        "EFS stage": partial(stage, plan.quick),
        **{name: partial(network, name) for name in ("mfs-nano", "mfs-small", "demo")},
    }
    for name in list(networks)[: 1 if plan.quick else None]:
        yield from _beside_float(plan, name, *networks[name](), torch.device("cpu"))
        if torch.cuda.is_available():
            yield from _beside_float(plan, name, *networks[name](), torch.device("cuda"))
    name, size = ("mfs-tiny", (16, 16)) if plan.quick else ("mfs-efs72", (180, 240))
    one = in_process("int_sample", network=name, size=size)
    what = f"int, one sample of {name} {size[0]}x{size[1]}"
    yield limit(f"{what}: peak memory", one["peak_gb"], "GB", None if plan.quick else PEAK_BAR_GB, one["time_s"])
    if torch.cuda.is_available():
        many = in_process("int_sample", network=name, size=size, samples=BATCH, device="cuda")
        bar, rate = None if plan.quick else CUDA_RATE, BATCH / many["time_s"]
        yield limit(f"CUDA int, {name}", rate, "images/s", bar, many["time_s"], device="cuda")


def _beside_float(
    plan: Plan, name: str, model: nn.Module, size: tuple[int, int], device: torch.device
) -> Iterator[Row]:
    """From the spikes of the inputs to those of the classes, on both sides; checked against stock SLAYER."""
    net = compiled(model, size)
    inputs, recorded = _recorded(model, net, size, CHECKED)
    compared = _demand_equal(net, recorded, run_integer(net.unbalanced, inputs), "int")
    repeated = {k: v.repeat(BATCH // CHECKED, axis=0) for k, v in inputs.items()}
    flow = flow_of(model, (3, *size))
    starts = [f"net.{p.name}" for p in net.graph.inputs]
    given = [torch.from_numpy(v).float().transpose(0, 1).contiguous().to(device) for v in repeated.values()]
    outputs = [f"net.{o}" for o in net.graph.outputs]
    flows = [
        Flow(flow.nodes, starts, outputs, Folded(flow.steps, stored)).eval().to(device) for stored in (False, True)
    ]
    sides: dict[str, Any] = {f"float {i}": partial(_forward, f, given) for i, f in enumerate(flows)}
    sides["int"] = partial(_classes, net, repeated, device.type)
    seconds = in_turn(sides, plan.runs)
    theirs = min((seconds["float 0"], seconds["float 1"]), key=median)
    bar = None if plan.quick or device.type == "cuda" else FLOAT_BAR
    where = "CUDA int" if device.type == "cuda" else "int"
    note = {"mismatches": 0, "compared": compared, "batch": BATCH, "device": device.type}
    yield versus(f"{where}, {name}, a sample: plain torch float", seconds["int"], theirs, bar, per=BATCH, **note)


def _classes(net: Compiled, inputs: Mapping[str, Array], device: str) -> None:
    """The class neurons' spikes of all samples in one batch."""
    samples = len(next(iter(inputs.values())))
    run_integer(net.unbalanced, inputs, populations=list(net.graph.outputs), batch=samples, device=device)


def _forward(flow: Flow, given: list[Tensor]) -> None:
    with torch.inference_mode():
        out = flow(*given)
    if out[0].is_cuda:
        torch.cuda.synchronize()
