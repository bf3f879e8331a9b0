"""Pass 2: normalisations disappear into the synapses before them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from export.dataflow import Bias, Convolution, Dataflow, Node, Norm, TransposedConvolution, reads_pixels
from export.errors import TraceError


def fold_norm(flow: Dataflow) -> Dataflow:
    """Fold each Norm or Bias into the convolution before it.

    needs    every Norm follows exactly one convolution, and is its only reader; it is the same at all time steps, unless
             that convolution is the host's
    ensures  no Norm or Bias is left; w' = w * gain / sqrt(var + eps), b' = shift + (b - mean) * gain / sqrt(var + eps).
             Behind a convolution of pixels a norm that differs from step to step is dropped: the host computes both as trained
    raises   TraceError naming the norm that stands elsewhere, or that no neuron of a chip can hold

    Source of the equation: Ioffe and Szegedy 2015 at inference; TDBN (Zheng et al. 2021) only changes `gain`.
    """
    nodes: dict[str, Node] = {}
    folded_into: dict[str, str] = {}
    for node in flow.nodes.values():
        inputs = tuple(folded_into.get(i, i) for i in node.inputs)
        if not isinstance(node, (Norm, Bias)):
            nodes[node.name] = replace(node, inputs=inputs)
            continue
        before, readers = nodes[inputs[0]], len(flow.users(node.inputs[0]))
        if not isinstance(before, (Convolution, TransposedConvolution)) or readers != 1:
            raise TraceError(
                f"normalisation '{node.name}' must follow one convolution that nobody else reads; "
                f"before it stands '{before.name}' ({type(before).__name__}, {readers} readers)."
            )
        folded_into[node.name] = before.name
        norm = _constant(node)
        if norm is not None:
            nodes[before.name] = _folded(before, norm)
        elif not reads_pixels(nodes, before):
            raise TraceError(_per_step(node))
    return replace(flow, nodes=nodes, output=folded_into.get(flow.output, flow.output))


def _constant(norm: Norm | Bias) -> Norm | Bias | None:
    """The norm with one set of numbers for all time steps; None if its steps differ."""
    if isinstance(norm, Bias):
        return norm
    first = {}
    for key in ("gain", "shift", "mean", "var"):
        values = getattr(norm, key)
        if values.ndim == 2 and (values != values[0]).any():
            return None
        first[key] = values[0] if values.ndim == 2 else values
    return replace(norm, **first)


def _per_step(norm: Node) -> str:
    return (
        f"normalisation '{norm.name}' has another gain or other statistics at each time step (BNTT): folded, its weights would "
        "change from step to step, but a Loihi synapse has one weight and a LIF one threshold and one bias for all steps. "
        "Train with a norm that all steps share: model.norm=tdbn."
    )


def _folded(conv: Convolution | TransposedConvolution, norm: Norm | Bias) -> Node:
    channels = conv.shape[0]
    bias = np.zeros(channels) if conv.bias is None else conv.bias
    if isinstance(norm, Bias):
        return replace(conv, bias=bias + norm.bias)
    factor = norm.gain / np.sqrt(norm.var + norm.eps)
    if isinstance(conv, Convolution):
        weight = conv.weight * factor[:, None, None, None]
    else:  # (in, out / groups, kH, kW): input channels of group g meet output channels of group g
        ins, outs = conv.weight.shape[:2]
        per_group = factor.reshape(conv.groups, 1, outs, 1, 1)
        weight = (conv.weight.reshape(conv.groups, ins // conv.groups, *conv.weight.shape[1:]) * per_group).reshape(
            conv.weight.shape
        )
    return replace(conv, weight=weight, bias=norm.shift + (bias - norm.mean) * factor)
