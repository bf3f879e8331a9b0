"""The compiler: reading this from top to bottom is reading the product.

trace -> fold_norm -> check_spikes -> compose_pools -> lower -> quantize -> prove_range -> balance_delays -> place -> write
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

import hw_configs
from export.dataflow import Macs
from export.errors import UsageError
from export.graph import Graph
from export.mapping.partition import place
from export.mapping.placement import Placement
from export.passes.balance_delays import DelayReport, balance_delays
from export.passes.check_spikes import check_spikes
from export.passes.compose_pools import compose_pools
from export.passes.count_macs import count_macs
from export.passes.fold_norm import fold_norm
from export.passes.lower import lower
from export.passes.prove_range import prove_range
from export.passes.quantize import Quantization, quantize
from export.passes.schedule import check_delays
from export.passes.trace import trace
from export.spec import check

LAYOUTS = ("auto", "nested", "interleave")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Compiled:
    """A network ready to be written.

    graph         quantised and balanced: what runs on Lava
    unbalanced    the same before relays: neurons as trained
    certificate, ranges   JSON-ready reports; seconds: time spent in each pass
    macs          module of the synapses -> multiply-accumulates of the network as trained, auxiliary heads included
    placement     cores of every population
    input_shape   (C, H, W), or (T, C, H, W); params: trained parameters of the module, auxiliary heads included
    """

    graph: Graph
    unbalanced: Graph
    certificate: dict[str, Any]
    quantization: Quantization
    ranges: dict[str, Any]
    delays: DelayReport
    macs: Mapping[str, Macs]
    placement: Placement
    input_shape: tuple[int, ...]
    params: int
    seconds: dict[str, float] = field(default_factory=dict)


def compile_module(
    module: nn.Module,
    input_shape: Sequence[int],
    *,
    layout: str = "auto",
    delays: str = "relay",
    allow_graded: bool = False,
    target: str | Path = "loihi2",
    on_stage: Callable[[str], None] | None = None,
) -> Compiled:
    """Compile a trained module whose leaves describe themselves (see `export.passes.trace`).

    input_shape  (C, H, W) of an image that is the same at every step, or (T, C, H, W) of frames or spikes
    layout       how up-sampled stages are stored: "auto", "nested" or "interleave"
    delays       how skips wait: "relay" (stock neurons), "neuron" (delay neurons), "auto" (delay neurons where they are fewer)
    allow_graded neurons of several thresholds may stand, whose graded spikes no stock LIF fires
    target       chip to place it on: a name in `hw_configs`, or the path of a YAML file
    on_stage     called with each pass's name before it runs
    raises       TraceError, CertificateError, QuantizeError, GrammarError, UsageError: all of them NeurosegError;
                 HardwareConfigError for a target that is unknown or wrong
    """
    check_layout(layout)
    check_delays(delays)
    chip = hw_configs.load(target)
    seconds: dict[str, float] = {}

    def stage(run: Callable[..., Result], *args: Any) -> Result:
        name = getattr(run, "__name__", "stage")
        if on_stage is not None:
            on_stage(name)
        start = time.perf_counter()
        result = run(*args)
        seconds[name] = time.perf_counter() - start
        return result

    flow = stage(trace, module, input_shape)
    flow = stage(fold_norm, flow)
    certificate = stage(check_spikes, flow, allow_graded)
    composed = stage(compose_pools, flow)
    real = check(stage(lower, composed, layout), "lowered", "lower")
    integer, quantization = stage(quantize, real)
    check(integer, "quantized", "quantize")
    ranges = stage(prove_range, integer)
    balanced, delay_report = stage(balance_delays, integer, delays)
    check(balanced, "balanced", "balance_delays")
    placement = stage(place, balanced, chip)
    return Compiled(
        graph=balanced,
        unbalanced=integer,
        certificate=certificate,
        quantization=quantization,
        ranges=ranges,
        delays=delay_report,
        macs=count_macs(flow),
        placement=placement,
        input_shape=tuple(input_shape),
        params=sum(p.numel() for p in module.parameters() if p.requires_grad),
        seconds=seconds,
    )


@dataclass(frozen=True)
class Lowered:
    """A network as populations and projections of real weights: what can be said of one that nobody has trained.

    certificate, macs   as in `Compiled`
    """

    graph: Graph
    certificate: dict[str, Any]
    macs: Mapping[str, Macs]


def lower_module(
    module: nn.Module, input_shape: Sequence[int], *, layout: str = "auto", allow_graded: bool = False
) -> Lowered:
    """The first passes, up to `lower`: none of them looks at the values of weights. Raises what `compile_module` would raise."""
    check_layout(layout)
    flow = fold_norm(trace(module, input_shape))
    certificate = check_spikes(flow, allow_graded)
    return Lowered(lower(compose_pools(flow), layout), certificate, count_macs(flow))


def check_layout(layout: str) -> None:
    """UsageError for an unknown layout of up-sampled stages."""
    if layout not in LAYOUTS:
        raise UsageError(f"unknown layout '{layout}'; choose one of {', '.join(LAYOUTS)}.")
