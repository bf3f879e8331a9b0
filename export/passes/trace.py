"""Pass 1: a torch module becomes a Dataflow.

The module is traced with torch.fx. Its leaves are the modules that describe themselves: `describe() -> dict` with the
key "op" (see `LEAVES`). Between them only `+`, `*` and module calls may stand; anything else is refused by its dotted
name. The first value that the module returns is the class map; whatever does not lead to it (auxiliary heads) is left
out, but for the count of its multiply-accumulates. `export` knows no model: the protocol is all it needs.

Keys beside "op" that may be left out: bias of "conv", "conv_transpose" and "readout"; weight of "readout" (None: spike
counts are the scores); "reset" ("hard" or "soft") and "thresholds" of "lif": from the largest, the module then gives the sum of
those reached, in units of the smallest.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import redirect_stderr
from copy import deepcopy
from io import StringIO
from threading import RLock
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.hub import tqdm  # type: ignore[attr-defined]  # what torch.fx itself takes

from export.dataflow import (
    Add,
    AveragePool,
    Bias,
    Concat,
    Convolution,
    Dataflow,
    Fire,
    Host,
    Image,
    Macs,
    MaxPool,
    Nearest,
    Node,
    Norm,
    Product,
    ReadOut,
    Relu,
    Shuffle,
    SpikeSource,
    SumPool,
    TransposedConvolution,
)
from export.errors import TraceError
from export.graph import Array, Lif, Shape

Description = Mapping[str, Any]
Build = Callable[[str, tuple[str, ...], Shape, Description], Node]


def trace(module: nn.Module, input_shape: Sequence[int]) -> Dataflow:
    """Read the network out of a module.

    input_shape  (C, H, W) of an image that is the same at every step, or (T, C, H, W) of frames or spikes
    needs    every leaf describes itself and is called once; the module takes batches (N, *input_shape)
    ensures  nodes in topological order, all of them lead to the read-out, all numbers are finite
    raises   TraceError naming the module (dotted path) or operation that cannot be expressed
    """
    was_training = module.training
    module.eval()
    try:
        traced = _symbolic(module)
        _propagate(module, traced, tuple(input_shape))
    finally:
        module.train(was_training)
    output = _first_output(traced.graph)
    wanted = _ancestors(output)
    nodes: dict[str, Node] = {}
    names: dict[fx.Node, str] = {}
    steps: set[int] = set()
    for fx_node in traced.graph.nodes:
        if fx_node in wanted:
            node = _node(traced, fx_node, names, nodes)
            names[fx_node] = node.name
            nodes[node.name] = node
            steps |= _steps(node, fx_node)
    if len(steps) != 1:
        raise TraceError(f"all neurons must run the same number of time steps; found {sorted(steps)}.")
    readout = nodes[names[output]]
    if not isinstance(readout, ReadOut):
        raise TraceError(f"the first output must be a read-out; found '{names[output]}'. Return the class map first.")
    _check_readout(readout, nodes[readout.inputs[0]].shape[0])
    return Dataflow(nodes, names[output], steps.pop(), _left_out(traced, wanted))


def _check_readout(readout: ReadOut, channels: int) -> None:
    """TraceError unless a linear read-out has a column for each channel that it reads, and a bias for each row."""
    weight, bias = readout.weight, readout.bias
    if weight is not None and (weight.ndim != 2 or weight.shape[1] != channels):
        raise TraceError(
            f"read-out '{readout.name}' has weights {weight.shape}; what it reads has {channels} channels: (classes, {channels})."
        )
    if bias is not None and (weight is None or bias.shape != weight.shape[:1]):
        raise TraceError(
            f"read-out '{readout.name}' has a bias {bias.shape}; one for each row of its weight is needed."
        )


def _steps(node: Node, fx_node: fx.Node) -> set[int]:
    """Time steps of what has a time axis for certain; 1 for an activation of an ANN, which has none."""
    shape = fx_node.meta["tensor_meta"].shape
    if isinstance(node, Relu) and len(shape) == len(node.shape) + 1:
        return {1}
    return {int(shape[1])} if isinstance(node, (Fire, SpikeSource, Relu)) else set()


class _Tracer(fx.Tracer):
    """Stops at modules that describe themselves; refuses leaves of torch.nn that do not."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if hasattr(m, "describe"):
            return True
        if m.__module__.startswith("torch.nn") and not isinstance(m, nn.Sequential):
            raise TraceError(_unsupported(module_qualified_name, type(m).__name__))
        return False


def _symbolic(module: nn.Module) -> fx.GraphModule:
    tracer = _Tracer()
    try:
        return fx.GraphModule(module, tracer.trace(module))
    except TraceError:
        raise
    except (fx.proxy.TraceError, TypeError, ValueError, AttributeError) as error:
        raise TraceError(
            f"'{type(module).__name__}' cannot be traced: {error}. Its forward must be a fixed chain of modules, "
            "without branches on values."
        ) from error


def _propagate(module: nn.Module, traced: fx.GraphModule, input_shape: tuple[int, ...]) -> None:
    """Give every traced node the shape of its value.

    Shapes alone go through a copy on torch's meta device, which takes no time and no memory. A module that needs numbers
    for its shapes (or holds tensors that `to` does not move) runs once on a black image instead; so does one that
    fails, since its error is clearer there.
    """
    _leave_start_method()
    with torch.no_grad():
        try:
            shapes = fx.GraphModule(deepcopy(module).to("meta"), traced.graph)
            with redirect_stderr(StringIO()):  # ShapeProp prints a traceback when something fails
                ShapeProp(shapes).propagate(torch.empty(1, *input_shape, device="meta"))
        except (RuntimeError, TypeError, ValueError, AttributeError):
            _propagate_numbers(module, traced, input_shape)


def _leave_start_method() -> None:
    """torch.fx counts nodes with tqdm, whose first lock is one of processes and fixes their start method: Lava, which sets it
    when it is imported, could not be imported any more. A lock of threads fixes nothing.
    """
    if hasattr(tqdm, "set_lock") and not hasattr(tqdm, "_lock"):
        tqdm.set_lock(RLock())


def _propagate_numbers(module: nn.Module, traced: fx.GraphModule, input_shape: tuple[int, ...]) -> None:
    image = torch.zeros(1, *input_shape)
    try:
        module(image)  # its own error, before ShapeProp wraps and prints it
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise TraceError(f"the module does not run on one image {input_shape}: {reason}") from error
    ShapeProp(traced).propagate(image)


def _unsupported(name: str, kind: str) -> str:
    return (
        f"module '{name}' ({kind}) cannot be expressed as neurons and synapses. Supported are "
        f"{', '.join(sorted(LEAVES))}, '+' of currents and '*' of spikes; replace the module, or give it a describe()."
    )


def _first_output(graph: fx.Graph) -> fx.Node:
    result = next(n for n in reversed(graph.nodes) if n.op == "output").args[0]
    while isinstance(result, (tuple, list)):
        result = result[0]
    if not isinstance(result, fx.Node):
        raise TraceError("the module's first output must be the class map (a tensor).")
    return result


def _ancestors(node: fx.Node) -> set[fx.Node]:
    found: set[fx.Node] = set()
    queue = [node]
    while queue:
        current = queue.pop()
        if current not in found:
            found.add(current)
            queue.extend(current.all_input_nodes)
    return found


def _left_out(traced: fx.GraphModule, wanted: Collection[fx.Node]) -> dict[str, Macs]:
    """Module -> MACs of the convolutions of auxiliary heads. Nothing else there has to be expressible."""
    found: dict[str, Macs] = {}
    for node in traced.graph.nodes:
        description = _description(traced, node)
        if node in wanted or description.get("op") not in ("conv", "conv_transpose"):
            continue
        source = node.all_input_nodes[0]
        _, height, width = _shape(source if description["op"] == "conv_transpose" else node)
        on_host = source.op == "placeholder" or _description(traced, source).get("op") == "host"
        count = int(np.prod(tuple(description["weight"].shape))) * height * width
        found[str(node.target)] = Macs(count, on_host, deployed=False)
    return found


def _description(traced: fx.GraphModule, node: fx.Node) -> Description:
    """What a module says of itself; nothing for other nodes."""
    module = traced.get_submodule(str(node.target)) if node.op == "call_module" else None
    description: Description = module.describe() if module is not None else {}  # type: ignore[operator]  # a leaf
    return description


def _node(traced: fx.GraphModule, node: fx.Node, names: Mapping[fx.Node, str], nodes: Mapping[str, Node]) -> Node:
    shape = _shape(node)
    if node.op == "placeholder":
        return Image(f"({node.name})", (), shape)  # brackets: no module can be called that
    if node.op == "call_module":
        name = str(node.target)
        if name in nodes:
            raise TraceError(f"module '{name}' is called twice; give each use a module of its own.")
        description = _description(traced, node)
        build = LEAVES.get(str(description.get("op")))
        if build is None:
            raise TraceError(_unsupported(name, f"describes itself as {description.get('op')!r}"))
        return build(name, tuple(names[n] for n in _operands(name, node)), shape, description)
    kind = OPERATORS.get(node.target) if node.op == "call_function" else None
    owner = _owner(node)
    if kind is None:
        raise TraceError(_unsupported(owner, f"operation {getattr(node.target, '__name__', node.target)}"))
    if node.kwargs or len(node.args) != 2 or not all(isinstance(a, fx.Node) for a in node.args):
        raise TraceError(f"'{owner}' adds or multiplies with a constant; fold it into a weight.")
    if any(_shape(a) != shape for a in node.args if isinstance(a, fx.Node)):
        shapes = " and ".join(str(_shape(a)) for a in node.args if isinstance(a, fx.Node))
        raise TraceError(f"'{owner}' broadcasts {shapes}; give both the same channels, height and width.")
    operands = tuple(names[a] for a in node.args)  # type: ignore[index]  # both operands, also when they are one value
    count = sum(isinstance(n, kind) and n.name.startswith(f"{owner}.{kind.__name__.lower()}") for n in nodes.values())
    suffix = f"[{count}]" if count else ""
    return kind(f"{owner}.{kind.__name__.lower()}{suffix}", operands, shape)


def _operands(name: str, node: fx.Node) -> list[fx.Node]:
    """Values that a module is called with, in order; the same value may stand there twice."""
    given: list[Any] = [*node.args, *node.kwargs.values()]
    flat = [v for value in given for v in (value if isinstance(value, (tuple, list)) else (value,))]
    for value in flat:
        if not isinstance(value, fx.Node):
            raise TraceError(
                f"module '{name}' is called with the constant {value!r}; pass it to its constructor instead."
            )
    return flat


def _owner(node: fx.Node) -> str:
    """Dotted path of the module in whose forward an operator stands."""
    stack = node.meta.get("nn_module_stack") or {}
    last = list(stack.values())[-1] if stack else ("", None)
    return (last[0] if isinstance(last, tuple) else str(last)) or "model"


def _shape(node: fx.Node) -> Shape:
    meta = node.meta.get("tensor_meta")
    if meta is None or not hasattr(meta, "shape") or len(meta.shape) < 4:
        raise TraceError(f"'{_owner(node)}' computes something that is not a map (N, ..., C, H, W).")
    channels, height, width = meta.shape[-3:]
    return int(channels), int(height), int(width)


def _finite(name: str, key: str, value: Any) -> Array:
    array = np.asarray(value.detach().cpu().double().numpy() if torch.is_tensor(value) else value, dtype=np.float64)
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise TraceError(
            f"module '{name}': {bad} of {array.size} values of its {key} are NaN or infinite. "
            "The training diverged there; restart from an earlier checkpoint or lower the learning rate."
        )
    return array


def _optional(name: str, d: Description, key: str) -> Array | None:
    return None if d.get(key) is None else _finite(name, key, d[key])


def _convolution(name: str, inputs: tuple[str, ...], shape: Shape, d: Description) -> Node:
    weight, bias = _finite(name, "weight", d["weight"]), _optional(name, d, "bias")
    return Convolution(name, inputs, shape, weight, bias, d["stride"], d["padding"], d["dilation"], d["groups"])


def _transposed(name: str, inputs: tuple[str, ...], shape: Shape, d: Description) -> Node:
    weight, bias = _finite(name, "weight", d["weight"]), _optional(name, d, "bias")
    padding, extra, dilation = d["padding"], d["output_padding"], d["dilation"]
    return TransposedConvolution(name, inputs, shape, weight, bias, d["stride"], padding, extra, dilation, d["groups"])


def _norm(name: str, inputs: tuple[str, ...], shape: Shape, d: Description) -> Node:
    gain, shift, mean, var = (_finite(name, key, d[key]) for key in ("gain", "shift", "mean", "var"))
    return Norm(name, inputs, shape, gain, shift, mean, var, float(d["eps"]))


def _fire(name: str, inputs: tuple[str, ...], shape: Shape, d: Description) -> Node:
    thresholds, reset = tuple(float(v) for v in d.get("thresholds") or ()), d.get("reset", "hard")
    if reset not in ("hard", "soft"):
        raise TraceError(f"module '{name}' describes its reset as {reset!r}; there are hard and soft.")
    if sorted(thresholds, reverse=True) != list(thresholds):
        raise TraceError(f"module '{name}' describes thresholds {thresholds}; list the largest first.")
    lif = Lif(thresholds[-1] if thresholds else float(d["v_th"]), int(d["u_decay"]), int(d["v_decay"]))
    return Fire(name, inputs, shape, lif, reset, thresholds)


def _readout(name: str, inputs: tuple[str, ...], shape: Shape, d: Description) -> Node:
    return ReadOut(name, inputs, shape, _optional(name, d, "weight"), _optional(name, d, "bias"))


def _sum_pool(name: str, inputs: tuple[str, ...], shape: Shape, d: Description) -> Node:
    return SumPool(name, inputs, shape, d["kernel"], d["stride"], d["padding"], d.get("fix", ""))


LEAVES: dict[str, Build] = {
    "conv": _convolution,
    "conv_transpose": _transposed,
    "norm": _norm,
    "bias": lambda name, inputs, shape, d: Bias(name, inputs, shape, _finite(name, "bias", d["bias"])),
    "lif": _fire,
    "and": lambda name, inputs, shape, d: Product(name, inputs, shape),
    "concat": lambda name, inputs, shape, d: Concat(name, inputs, shape),
    "max_pool": lambda name, inputs, shape, d: MaxPool(name, inputs, shape, d["kernel"], d["stride"], d["padding"]),
    "nearest": lambda name, inputs, shape, d: Nearest(name, inputs, shape, int(d["up"]), int(d["down"])),
    "host": lambda name, inputs, shape, d: Host(name, inputs, shape),
    "sum_pool": _sum_pool,
    "average_pool": lambda name, inputs, shape, d: AveragePool(name, inputs, shape),
    "shuffle": lambda name, inputs, shape, d: Shuffle(name, inputs, shape, int(d["groups"])),
    "spike_source": lambda name, inputs, shape, d: SpikeSource(name, inputs, shape),
    "relu": lambda name, inputs, shape, d: Relu(name, inputs, shape),
    "readout": _readout,
}

OPERATORS: dict[Any, type[Node]] = {operator.add: Add, operator.mul: Product, torch.add: Add, torch.mul: Product}
