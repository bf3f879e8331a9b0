"""Multiply-accumulates of the trained network, as the papers count them: every convolution once per time step."""

from __future__ import annotations

from collections.abc import Mapping

from export.dataflow import Convolution, Dataflow, Macs, ReadOut, TransposedConvolution, reads_pixels


def count_macs(flow: Dataflow) -> Mapping[str, Macs]:
    """Module -> MACs of the network as trained: what is deployed, and the auxiliary heads that are not.

    Every weight meets each output pixel once, of a transposed convolution each input pixel; pooling counts nothing. The
    linear map of a read-out is driven by spikes as trained; deployed, the host computes it once per sample.
    """
    found: dict[str, Macs] = {}
    for node in flow.nodes.values():
        if isinstance(node, (Convolution, TransposedConvolution)):
            source = flow.nodes[node.inputs[0]]
            _, height, width = source.shape if isinstance(node, TransposedConvolution) else node.shape
            found[node.name] = Macs(node.weight.size * height * width, reads_pixels(flow.nodes, node))
        elif isinstance(node, ReadOut) and node.weight is not None:
            _, height, width = flow.nodes[node.inputs[0]].shape
            found[node.name] = Macs(node.weight.size * height * width, on_host=False, by_readout=True)
    return found | dict(flow.left_out)
