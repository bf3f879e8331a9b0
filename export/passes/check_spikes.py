"""Pass 3: the spike-only certificate.

Every value gets a type: `pixels` (real, on the host), `host current` (a convolution of pixels), `current` (a sum of
synaptic inputs, lives inside a neuron), `spikes`, or `sums` of spikes (a pool that becomes part of the next kernel, so that
it never exists). Only spikes may travel, binary ones unless graded ones are allowed. What breaks that is collected and
refused by name; otherwise the certificate lists every edge with the type that was proved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isclose
from typing import Any, Literal, TypeAlias

from export.dataflow import (
    Add,
    AveragePool,
    Concat,
    Convolution,
    Dataflow,
    Fire,
    Host,
    Image,
    MaxPool,
    Nearest,
    Node,
    Product,
    ReadOut,
    Relu,
    Shuffle,
    SpikeSource,
    SumPool,
    TransposedConvolution,
)
from export.errors import CertificateError

Type = Literal["pixels", "host current", "current", "spikes", "sums"]
Verdict: TypeAlias = tuple[Type, str | None]  # of a node's value, and what is wrong with it
Rule: TypeAlias = Callable[[Any, list[Type]], Verdict]
HOST: tuple[Type, ...] = ("pixels", "host current")

SEW = (
    "adds spikes to spikes (as SEW-ResNet does): the sum is 0, 1 or 2, no longer binary. "
    "Add membrane inputs before the neuron instead (EFS-Res, MS-Res)"
)
RELU = (
    "is a real activation (ReLU) of an ANN: what leaves it is no spike. Train with model.neuron=lif, or turn the trained ANN "
    "into a spiking network with `neuroseg convert`"
)
SOFT = (
    "subtracts its threshold when it fires (soft reset), but every Loihi LIF falls to zero. Train with model.reset=hard, or "
    "convert with --reset hard"
)
AVERAGE = "averages spikes, and a mean of spikes is none; sum them (sum_pool) and leave the factor to the next norm"
POOLED = "reads sums of spikes (an average pool); only a convolution may, whose kernel takes the pool in"


def check_spikes(flow: Dataflow, allow_graded: bool = False) -> dict[str, Any]:
    """Prove that only spikes travel between neurons.

    needs    no Norm or Bias
    allow_graded   neurons of several thresholds may stand; else they are refused, and all spikes are binary
    returns  the certificate (JSON-ready); the flow is left as it is
    raises   CertificateError that lists every offending module with the reason and the way out
    """
    _refuse_ann(flow)
    types: dict[str, Type] = {}
    bits: dict[str, int] = {}
    faults: list[str] = []
    for node in flow.nodes.values():
        given = [types[i] for i in node.inputs]
        types[node.name], fault = RULES[type(node)](node, given)
        bits[node.name] = max([_own_bits(node), *(bits[i] for i in node.inputs)]) if _carries(node) else _own_bits(node)
        fault = fault or _graded_fault(node, [bits[i] for i in node.inputs], allow_graded)
        if fault:
            faults.append(f"  {node.name}: {fault}.")
    if faults:
        raise CertificateError("the network is not spike-only:\n" + "\n".join(faults))
    return _certificate(flow, types, bits)


def _refuse_ann(flow: Dataflow) -> None:
    """An ANN is refused as a whole: what else is wrong with it says nothing."""
    names = [node.name for node in flow.nodes.values() if isinstance(node, Relu)]
    if names:
        more = f"; so are {len(names) - 1} more, the last '{names[-1]}'" if len(names) > 1 else ""
        raise CertificateError(f"the network is not spike-only:\n  {names[0]}: {RELU}{more}.")


def threshold_ratios(thresholds: Sequence[float]) -> tuple[int, ...] | None:
    """Thresholds in units of the smallest, as a graded population holds them; None unless these are whole."""
    ratios = [value / thresholds[-1] for value in thresholds]
    whole = tuple(round(ratio) for ratio in ratios)
    return whole if all(isclose(a, b, rel_tol=1e-6) for a, b in zip(ratios, whole, strict=True)) else None


def spike_bits(largest: int) -> int:
    """Bits of spikes from 0 to `largest`."""
    return largest.bit_length()


def _carries(node: Node) -> bool:
    """Whether a value is made of the spikes it reads, so that it is graded where they are."""
    return isinstance(node, (Concat, Nearest, Shuffle, SumPool, ReadOut))


def _own_bits(node: Node) -> int:
    if not isinstance(node, Fire) or not node.thresholds:
        return 1
    return spike_bits(sum(threshold_ratios(node.thresholds) or (1,)))


def _graded_fault(node: Node, given: list[int], allowed: bool) -> str | None:
    if isinstance(node, Fire) and node.thresholds:
        listed = ", ".join(f"{value:g}" for value in node.thresholds)
        if threshold_ratios(node.thresholds) is None:
            return (
                f"has thresholds {listed}, which are not whole multiples of the smallest; use such as 2, 1, 0.5, 0.25"
            )
        if not allowed:
            return (
                f"has several thresholds ({listed}): its spikes are graded, of {_own_bits(node)} bits, and no Loihi LIF fires "
                "them. Convert with a single threshold (--neuron if), or run it on the CPU's simulators with --allow-graded"
            )
    if isinstance(node, (Product, MaxPool)) and max(given) > 1:
        gate = "an AND" if isinstance(node, Product) else "an OR"
        return f"is {gate} of binary spikes only, and reads graded ones of {max(given)} bits; put a convolution and a LIF between"
    return None


def _host(node: Node, given: list[Type]) -> Verdict:
    return "pixels", None if all(
        t == "pixels" for t in given
    ) else "a host operation on something else than pixels; put it before the first neuron"


def _source(node: SpikeSource, given: list[Type]) -> Verdict:
    fault = (
        None
        if all(t in HOST for t in given)
        else f"makes spikes on the host, but reads {given[0]} of the chip; put it before the first neuron"
    )
    return "spikes", fault


def _convolution(node: Node, given: list[Type]) -> Verdict:
    if given[0] == "pixels":
        return "host current", None
    if given[0] == "sums" and isinstance(node, TransposedConvolution):
        return "current", "is a transposed convolution of an average pool; put a convolution and a LIF between them"
    real = given[0] in ("current", "host current")
    return "current", "multiplies real values (a MAC); put a LIF before this convolution" if real else None


def _add(node: Node, given: list[Type]) -> Verdict:
    if all(t == "spikes" for t in given):
        return "spikes", SEW
    if "sums" in given:
        return "current", POOLED
    if all(t == "current" for t in given):
        return "current", None
    if all(t == "host current" for t in given):
        return "host current", None
    return "current", f"adds {' to '.join(given)}; give each its own convolution of spikes first"


def _fire(node: Fire, given: list[Type]) -> Verdict:
    if given[0] not in ("current", "host current"):
        return "spikes", POOLED if given[
            0
        ] == "sums" else f"a neuron fed by {given[0]} directly; put a convolution before it"
    soft = node.reset == "soft" and not node.thresholds and given[0] == "current"  # the host can do anything
    return "spikes", SOFT if soft else None


def _product(node: Node, given: list[Type]) -> Verdict:
    binary = all(t == "spikes" for t in given)
    return "spikes", None if binary else f"multiplies {' by '.join(given)}; only spikes may be multiplied (an AND)"


def _of_spikes(node: Node, given: list[Type]) -> Verdict:
    """Operations on spikes, pixel by pixel."""
    if "sums" in given:
        return "spikes", POOLED
    binary = all(t == "spikes" for t in given)
    return (
        "spikes",
        None if binary else f"{type(node).__name__.lower()} of {' and '.join(given)}; move it behind the LIF",
    )


def _channels(node: Node, given: list[Type]) -> Verdict:
    """What only moves channels takes sums, too, if all are sums."""
    return ("sums", None) if all(t == "sums" for t in given) else _of_spikes(node, given)


def _sum_pool(node: Node, given: list[Type]) -> Verdict:
    if given[0] in ("pixels", "sums"):
        return given[0], None
    fault = None if given[0] == "spikes" else f"sums {given[0]}; move the pool behind the LIF"
    return "sums", fault


def _average(node: Node, given: list[Type]) -> Verdict:
    return ("pixels", None) if given[0] == "pixels" else ("sums", AVERAGE)


RULES: Mapping[type[Node], Rule] = {
    Image: _host,
    Host: _host,
    SpikeSource: _source,
    Convolution: _convolution,
    TransposedConvolution: _convolution,
    Add: _add,
    Fire: _fire,
    Product: _product,
    MaxPool: _of_spikes,
    Nearest: _of_spikes,
    ReadOut: _of_spikes,
    Concat: _channels,
    Shuffle: _channels,
    SumPool: _sum_pool,
    AveragePool: _average,
}


def _certificate(flow: Dataflow, types: dict[str, Type], bits: dict[str, int]) -> dict[str, Any]:
    nodes = flow.nodes.values()
    travels = ("spikes", "sums")  # of a pool the spikes below it travel
    edges = [_edge(i, n.name, bits[i]) for n in nodes for i in n.inputs if types[i] in travels]
    readout = flow.nodes[flow.output]
    linear = [readout.name] if isinstance(readout, ReadOut) and readout.weight is not None else []
    return {
        "schema_version": 1,
        "spike_only": True,
        "binary": max(edge.get("bits", 1) for edge in edges) == 1 if edges else True,
        "edges": edges,
        "and": [n.name for n in nodes if isinstance(n, Product)],
        "or": [n.name for n in nodes if isinstance(n, MaxPool)],
        "graded": [{"population": n.name, "bits": _own_bits(n)} for n in nodes if isinstance(n, Fire) and n.thresholds],
        "composed_pools": [n.name for n in nodes if types[n.name] == "sums"],
        "on_host": [n.name for n in nodes if types[n.name] in HOST] + linear,
        "input_populations": [
            n.name
            for n in nodes
            if isinstance(n, SpikeSource) or (isinstance(n, Fire) and types[n.inputs[0]] == "host current")
        ],
        "multiplications_on_chip": sum(edge["type"] == "graded" for edge in edges),  # a graded spike scales the weight
    }


def _edge(source: str, target: str, bits: int) -> dict[str, Any]:
    kind = {"type": "binary"} if bits == 1 else {"type": "graded", "bits": bits}
    return {"source": source, "target": target, **kind}
