"""Pass 3: the spike-only certificate.

Every value gets a type: `pixels` (real, on the host), `host current` (a convolution of pixels), `current` (a sum of
synaptic inputs, lives inside a neuron) or `spikes` (binary). Only spikes may travel. What breaks that is collected and
refused by name; otherwise the certificate lists every edge with the type that was proved.
"""

from __future__ import annotations

from typing import Any, Literal

from export.dataflow import (
    Add,
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
    TransposedConvolution,
)
from export.errors import CertificateError

Type = Literal["pixels", "host current", "current", "spikes"]

SEW = (
    "adds spikes to spikes (as SEW-ResNet does): the sum is 0, 1 or 2, no longer binary. "
    "Add membrane inputs before the neuron instead (EFS-Res, MS-Res)"
)


def check_spikes(flow: Dataflow) -> dict[str, Any]:
    """Prove that only binary spikes travel between neurons.

    needs    no Norm or Bias
    returns  the certificate (JSON-ready); the flow is left as it is
    raises   CertificateError that lists every offending module with the reason and the way out
    """
    types: dict[str, Type] = {}
    faults: list[str] = []
    for node in flow.nodes.values():
        given: list[Type] = [types[i] for i in node.inputs]
        kind, fault = _type(node, given)
        types[node.name] = kind
        if fault:
            faults.append(f"  {node.name}: {fault}.")
    if faults:
        raise CertificateError("the network is not spike-only:\n" + "\n".join(faults))
    return _certificate(flow, types)


def _type(node: Node, given: list[Type]) -> tuple[Type, str | None]:
    """Type of a node's value, and what is wrong with it."""
    binary = all(t == "spikes" for t in given)
    if isinstance(node, (Image, Host)):
        return "pixels", None if all(t == "pixels" for t in given) else "a host operation on something else than pixels"
    if isinstance(node, (Convolution, TransposedConvolution)):
        if given[0] == "pixels":
            return "host current", None
        fault = None if binary else "multiplies real values (a MAC); put a LIF before this convolution"
        return "current", fault
    if isinstance(node, Add):
        return _add(given)
    if isinstance(node, Fire):
        if given[0] in ("current", "host current"):
            return "spikes", None
        return "spikes", f"a neuron fed by {given[0]} directly; put a convolution before it"
    if isinstance(node, Product):
        return "spikes", None if binary else f"multiplies {' by '.join(given)}; only spikes may be multiplied (an AND)"
    if isinstance(node, (MaxPool, Concat, Nearest, ReadOut)):
        what = type(node).__name__.lower()
        return "spikes", None if binary else f"{what} of {' and '.join(given)}; move it behind the LIF"
    raise AssertionError(f"no spike rule for {type(node).__name__}")


def _add(given: list[Type]) -> tuple[Type, str | None]:
    if all(t == "spikes" for t in given):
        return "spikes", SEW
    if all(t == "current" for t in given):
        return "current", None
    if all(t == "host current" for t in given):
        return "host current", None
    return "current", f"adds {' to '.join(given)}; give each its own convolution of spikes first"


def _certificate(flow: Dataflow, types: dict[str, Type]) -> dict[str, Any]:
    edges = [
        {"source": i, "target": n.name, "type": "binary"}
        for n in flow.nodes.values()
        for i in n.inputs
        if types[i] == "spikes"
    ]
    return {
        "schema_version": 1,
        "spike_only": True,
        "edges": edges,
        "and": [n.name for n in flow.nodes.values() if isinstance(n, Product)],
        "or": [n.name for n in flow.nodes.values() if isinstance(n, MaxPool)],
        "on_host": [n.name for n in flow.nodes.values() if types[n.name] in ("pixels", "host current")],
        "input_populations": [
            n.name for n in flow.nodes.values() if isinstance(n, Fire) and types[n.inputs[0]] == "host current"
        ],
        "multiplications_on_chip": 0,
    }
