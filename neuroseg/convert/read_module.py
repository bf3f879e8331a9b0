"""Reading an ANN of ours: a module whose leaves describe themselves."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from export.errors import UsageError
from neuroseg.config.converted import IMAGE
from neuroseg.convert.ann import Ann, Builder
from neuroseg.models.wiring import ImageInput

WINDOWS = ("average_pool", "sum_pool", "max_pool")


def read_module(module: nn.Module) -> Ann:
    """The layers of a trained ANN (ReLU neurons), norms folded with their running statistics.

    raises  UsageError naming the module that a converted network has no layer for
    """
    was_training = module.training
    module.eval()
    try:
        return _Reader(module).read()
    finally:
        module.train(was_training)


class _Leaves(fx.Tracer):
    """Stops at modules that describe themselves."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return hasattr(m, "describe")


class _Reader:
    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.builder = Builder()
        self.names: dict[fx.Node, str] = {}

    def read(self) -> Ann:
        graph = _Leaves().trace(self.module)
        result: Any = next(node for node in reversed(graph.nodes) if node.op == "output").args[0]
        while isinstance(result, (tuple, list)):
            result = result[0]
        for node in graph.nodes:
            self.names[node] = self._visit(node)
            if node is result:
                return self.builder.finish(self.names[node])
        raise AssertionError("a graph has an output")

    def _visit(self, node: fx.Node) -> str:
        given = tuple(self.names[n] for n in node.all_input_nodes)
        if node.op == "placeholder":
            return IMAGE
        if node.op == "call_function" and node.target in (operator.add, torch.add) and len(given) == 2:
            return self.builder.add(f"{node.name}", "add", given)
        if node.op != "call_module":
            raise UsageError(
                f"the network computes '{node.target}' between its modules; convolutions, transposed convolutions, batch "
                "norms, ReLUs, pools, concatenations and sums can be converted"
            )
        leaf = self.module.get_submodule(str(node.target))
        return self._leaf(str(node.target), leaf, leaf.describe(), node, given)  # type: ignore[operator]

    def _leaf(self, name: str, leaf: nn.Module, d: dict[str, Any], node: fx.Node, given: tuple[str, ...]) -> str:
        op = d["op"]
        if isinstance(leaf, ImageInput):
            return given[0]
        if op in ("conv", "conv_transpose"):
            geometry = {
                key: d[key] for key in ("stride", "padding", "dilation", "groups", "output_padding") if key in d
            }
            return self.builder.add_weighted(
                name.removesuffix(".conv"), op, given[0], d["weight"], d["bias"], **geometry
            )
        if op in ("norm", "bias"):
            self._fold(name, d, node, given[0])
            return given[0]
        if op == "readout" and d.get("weight") is not None:
            weight: Tensor = d["weight"]
            return self.builder.add_weighted(name, "readout", given[0], weight[:, :, None, None], d["bias"])
        if op == "relu":
            return self.builder.add(name, "fire", given)
        if op == "concat":
            return self.builder.add(name, "concat", given)
        if op in WINDOWS:
            windows = {key: d[key] for key in ("kernel", "stride", "padding")}
            return self.builder.add(name, op, given, **windows)
        why = "it spikes already" if op == "lif" else f"a converted network has no layer for '{op}'"
        raise UsageError(
            f"module '{name}' cannot be converted: {why}. Train the ANN, with model.neuron=relu, and convert it"
        )

    def _fold(self, name: str, d: dict[str, Any], node: fx.Node, source: str) -> None:
        if len(node.all_input_nodes[0].users) > 1:
            raise UsageError(f"normalisation '{name}' reads '{source}', which others read, too: it cannot be folded")
        if d["op"] == "bias":
            self.builder.fold(name, source, torch.ones_like(d["bias"]), d["bias"])
            return
        factor = d["gain"].double() / torch.sqrt(d["var"].double() + d["eps"])
        if factor.ndim > 1:
            if len(factor) > 1:
                raise UsageError(f"normalisation '{name}' has another set of values at each of {len(factor)} steps")
            d = {**d, "shift": d["shift"][0], "mean": d["mean"][0]}
            factor = factor[0]
        self.builder.fold(name, source, factor, d["shift"].double() - d["mean"].double() * factor)
