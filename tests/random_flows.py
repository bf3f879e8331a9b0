"""Random networks for the property tests, and an interpreter of Dataflow that knows nothing of the compiler.

`random_flow` builds a Dataflow with even integer weights and integer biases (so every comparison is exact), calibrated so
that its neurons fire. `interpret` runs one with plain torch operators and its own neuron: no layouts, no delays.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from export.dataflow import (
    Add,
    Concat,
    Convolution,
    Dataflow,
    Fire,
    Image,
    MaxPool,
    Nearest,
    Node,
    Product,
    ReadOut,
    Shuffle,
    SpikeSource,
    SumPool,
    TransposedConvolution,
)
from export.graph import Conv, Dense, Graph, Lif
from export.passes.compose_pools import compose_pools
from export.passes.lower import lower

MOVES = (
    *("conv", "grouped", "dilated", "strided", "residual", "concat", "or", "and", "up", "nearest"),
    *("averaged", "shuffled"),
)
# (kernel, padding, output padding, dilation), stride 2: all double the size
TRANSPOSED = ((2, 0, 0, 1), (4, 1, 0, 1), (3, 1, 1, 1), (2, 1, 0, 3), (3, 2, 1, 2))


def neuron(a, lif, bias):
    """Reference LIF on (N, T, ...) int64 sums: the equations of export.graph.Lif, written once more with numpy."""
    u = np.zeros_like(a[:, 0])
    v = np.zeros_like(u)
    out = np.zeros(a.shape, np.uint8)
    for t in range(a.shape[1]):
        u = np.sign(u) * (np.abs(u) * (4096 - lif.u_decay) // 4096) + a[:, t] * 64
        v = np.sign(v) * (np.abs(v) * (4096 - lif.v_decay) // 4096) + u + bias * 64
        out[:, t] = v > int(lif.v_th) * 64
        v = np.where(out[:, t] == 1, 0, v)
    return out


def _fold(x, op):
    """Apply a torch operator to every (sample, step) of (N, T, C, H, W)."""
    y = op(torch.from_numpy(np.ascontiguousarray(x.reshape(-1, *x.shape[2:]), dtype=np.float64)))
    return y.numpy().reshape(*x.shape[:2], *y.shape[1:])


def _current(node, x):
    weight = torch.from_numpy(np.asarray(node.weight, dtype=np.float64))
    if isinstance(node, Convolution):
        y = _fold(x, lambda s: F.conv2d(s, weight, None, node.stride, node.padding, node.dilation, node.groups))
    else:
        geometry = (node.stride, node.padding, node.output_padding, node.groups, node.dilation)
        y = _fold(x, lambda s: F.conv_transpose2d(s, weight, None, *geometry))
    bias = np.zeros(y.shape[2]) if node.bias is None else node.bias
    return np.rint(y).astype(np.int64), bias.astype(np.int64)


def evaluate(node: Node, given: list, inputs: dict):
    """Value of one node: spikes (N, T, C, H, W), or a (current, bias) pair."""
    if isinstance(node, (Convolution, TransposedConvolution)):
        return _current(node, given[0]) if given[0] is not None else None
    if isinstance(node, Add):
        return given[0][0] + given[1][0], given[0][1] + given[1][1]
    if isinstance(node, SpikeSource):
        return inputs[node.name]
    if isinstance(node, Fire):
        if given[0] is None:
            return inputs[node.name]
        current, bias = given[0]
        return neuron(current, node.lif, bias[:, None, None])
    if isinstance(node, Concat):
        return np.concatenate(given, axis=2)
    if isinstance(node, Product):
        return given[0] * given[1]
    if isinstance(node, MaxPool):
        return _fold(given[0], lambda s: F.max_pool2d(s, node.kernel, node.stride, node.padding)).astype(np.uint8)
    return _moved(node, given)


def _moved(node: Node, given: list):
    """Values of what stands between spikes and synapses."""
    if isinstance(node, SumPool):
        area = node.kernel[0] * node.kernel[1]
        return _fold(given[0], lambda s: area * F.avg_pool2d(s, node.kernel, node.stride, node.padding))
    if isinstance(node, Shuffle):
        samples, steps, channels, *size = given[0].shape
        split = given[0].reshape(samples, steps, node.groups, channels // node.groups, *size)
        return split.swapaxes(2, 3).reshape(given[0].shape)
    if isinstance(node, Nearest):
        factor = node.up / node.down
        return _fold(given[0], lambda s: F.interpolate(s, scale_factor=factor, mode="nearest")).astype(np.uint8)
    return given[0] if isinstance(node, ReadOut) else None


def interpret(flow: Dataflow, inputs: dict) -> dict:
    """Spikes of every neuron, OR, AND and spike source of a flow: name -> uint8 (N, T, C, H, W)."""
    values: dict = {}
    for node in flow.nodes.values():
        values[node.name] = evaluate(node, [values[i] for i in node.inputs], inputs)
    kept = (Fire, MaxPool, Product, SpikeSource)
    return {n.name: values[n.name] for n in flow.nodes.values() if isinstance(n, kept)}


def as_integers(graph: Graph) -> Graph:
    """Take the even integer weights of a random flow for what they are (no scale is chosen)."""

    def projection(p):
        if isinstance(p, (Conv, Dense)):
            return replace(p, weight=p.weight.astype(np.int32), **({"bias": None} if isinstance(p, Conv) else {}))
        return replace(p, matrix=p.matrix.astype(np.int32))

    def population(p):
        biases = [q.bias for q in graph.into(p.name) if isinstance(q, Conv) and q.bias is not None]
        return replace(p, bias=np.asarray(sum(biases), dtype=np.int32) if biases else None)

    return graph.map_populations(population).map_projections(projection)


def lowered(flow: Dataflow, layout: str = "auto") -> Graph:
    """Pools composed, lowered and in integers."""
    return as_integers(lower(compose_pools(flow), layout))


class RandomFlow:
    """Grows a network node by node, evaluating as it goes so that thresholds suit the currents."""

    def __init__(self, seed: int, samples: int = 3, steps: int | None = None, size: int = 8) -> None:
        self.rng = np.random.default_rng(seed)
        self.steps = steps or int(self.rng.integers(2, 5))
        self.samples = samples
        self.nodes: dict[str, Node] = {}
        self.values: dict = {}
        self.inputs: dict = {}
        self.size = size
        self._add(Image("image", (), (3, size, size)))

    def _add(self, node: Node) -> str:
        self.nodes[node.name] = node
        self.values[node.name] = evaluate(node, [self.values[i] for i in node.inputs], self.inputs)
        return node.name

    def _weight(self, *shape: int) -> np.ndarray:
        return self.rng.integers(-31, 32, shape).astype(np.float64) * 2 + 2 * self.rng.integers(0, 6)

    def _bias(self, channels: int) -> np.ndarray:
        return self.rng.integers(-25, 40, channels).astype(np.float64)

    def shape(self, name: str):
        return self.nodes[name].shape

    def input(self, channels: int, stride: int = 1) -> str:
        """An input population: a convolution of the image, then a neuron whose spikes are drawn."""
        side = self.size // stride
        name = f"in{len(self.inputs)}"
        shape = (channels, side, side)
        conv = Convolution(
            f"{name}.conv",
            ("image",),
            shape,
            self._weight(channels, 3, 1, 1),
            None,
            (stride, stride),
            (0, 0),
            (1, 1),
            1,
        )
        self._add(conv)
        drawn = self.rng.random((self.samples, self.steps, *shape)) < self.rng.uniform(0.1, 0.35)
        self.inputs[name] = drawn.astype(np.uint8)
        return self._add(Fire(name, (conv.name,), shape, Lif(1.0, 4096, 3072)))

    def source(self, channels: int) -> str:
        """Spikes that the host makes, behind which convolutions are the chip's."""
        name, shape = f"source{len(self.inputs)}", (channels, self.size, self.size)
        drawn = self.rng.random((self.samples, self.steps, *shape)) < self.rng.uniform(0.1, 0.35)
        self.inputs[name] = drawn.astype(np.uint8)
        return self._add(SpikeSource(name, ("image",), shape))

    def conv(self, source: str, channels: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1) -> str:
        ins, height, width = self.shape(source)
        pad = dilation * (kernel // 2)
        out = [(n + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for n in (height, width)]
        name = f"conv{len(self.nodes)}"
        weight = self._weight(channels, ins // groups, kernel, kernel)
        pairs = [(stride, stride), (pad, pad), (dilation, dilation)]
        return self._add(Convolution(name, (source,), (channels, *out), weight, self._bias(channels), *pairs, groups))

    def transposed(self, source: str, channels: int, groups: int = 1) -> str:
        kernel, pad, extra, dilation = TRANSPOSED[self.rng.integers(len(TRANSPOSED))]
        ins, height, width = self.shape(source)
        name = f"up{len(self.nodes)}"
        weight = self._weight(ins, channels // groups, kernel, kernel)
        shape = (channels, 2 * height, 2 * width)
        pairs = [(2, 2), (pad, pad), (extra, extra), (dilation, dilation)]
        return self._add(TransposedConvolution(name, (source,), shape, weight, self._bias(channels), *pairs, groups))

    def fire(self, current: str) -> str:
        """A neuron whose threshold makes it fire in some 6 % to 32 % of its steps."""
        sums, bias = self.values[current]
        decay = int(self.rng.choice([3072, 4096, 2048, 1000]))
        u_decay = int(self.rng.choice([4096, 4096, 3000]))
        goal = self.rng.uniform(0.06, 0.32)
        low, high = 1, 1 << 17
        while high - low > 1:
            middle = (low + high) // 2
            rate = neuron(sums, Lif(middle, u_decay, decay), bias[:, None, None]).mean()
            low, high = (middle, high) if rate > goal else (low, middle)
        return self._add(
            Fire(f"lif{len(self.nodes)}", (current,), self.shape(current), Lif(float(high), u_decay, decay))
        )

    def lively(self, name: str) -> bool:
        """Whether a value fires between 2 % and 55 % of its steps."""
        return bool(0.02 <= self.values[name].mean() <= 0.55)

    def quietest(self, names: list[str]) -> str | None:
        """The value that fires least, so that an OR of several of its neurons does not fire always."""
        return min(names, key=lambda name: self.values[name].mean(), default=None)

    def residual(self, source: str, blocks: int) -> str:
        """A membrane stream: blocks of neuron, convolution, neuron, convolution, added to the stream."""
        channels = int(self.rng.integers(2, 4))
        stream = self.conv(source, channels, 3)
        for _ in range(blocks):
            wide = self.fire(self.conv(self.fire(stream), 2 * channels, 1))
            deep = self.fire(self.conv(wide, 2 * channels, 3, groups=2 * channels))
            branch = self.conv(deep, channels, 1)
            stream = self._add(Add(f"add{len(self.nodes)}", (stream, branch), self.shape(stream)))
        return self.fire(stream)

    def concat(self, sources: list[str]) -> str:
        channels = sum(self.shape(s)[0] for s in sources)
        return self._add(Concat(f"cat{len(self.nodes)}", tuple(sources), (channels, *self.shape(sources[0])[1:])))

    def product(self, a: str, b: str) -> str:
        return self._add(Product(f"and{len(self.nodes)}", (a, b), self.shape(a)))

    def pool(self, source: str) -> str:
        kernel, pad = [(2, 0), (3, 1)][self.rng.integers(2)]
        channels, *sides = self.shape(source)
        out = [(n + 2 * pad - kernel) // 2 + 1 for n in sides]
        pairs = [(kernel, kernel), (2, 2), (pad, pad)]
        return self._add(MaxPool(f"pool{len(self.nodes)}", (source,), (channels, *out), *pairs))

    def sum_pool(self, source: str, size: int | tuple[int, int] = 2, stride: int = 0, padding: int = 0) -> str:
        kernel = (size, size) if isinstance(size, int) else size
        channels, *sides = self.shape(source)
        strides = (stride, stride) if stride else kernel
        out = [(n + 2 * padding - k) // s + 1 for n, k, s in zip(sides, kernel, strides, strict=True)]
        name = f"average{len(self.nodes)}"
        return self._add(SumPool(name, (source,), (channels, *out), kernel, strides, (padding, padding)))

    def shuffle(self, source: str, groups: int) -> str:
        return self._add(Shuffle(f"shuffle{len(self.nodes)}", (source,), self.shape(source), groups))

    def nearest(self, source: str, up: int = 1, down: int = 1) -> str:
        channels, height, width = self.shape(source)
        shape = (channels, height * up // down, width * up // down)
        return self._add(Nearest(f"size{len(self.nodes)}", (source,), shape, up, down))

    def finish(self, source: str) -> tuple[Dataflow, dict]:
        """Keep what leads to the read-out."""
        self._add(ReadOut("readout", (source,), self.shape(source)))
        wanted, queue = set(), ["readout"]
        while queue:
            name = queue.pop()
            if name not in wanted:
                wanted.add(name)
                queue.extend(self.nodes[name].inputs)
        kept = {name: node for name, node in self.nodes.items() if name in wanted}
        return Dataflow(kept, "readout", self.steps), {n: v for n, v in self.inputs.items() if n in wanted}


def random_flow(seed: int, samples: int = 3, steps: int | None = None, size: int = 8, moves: int = 4):
    """(flow, inputs): a random network of several moves, most of them with skips."""
    flow = RandomFlow(seed, samples, steps, size)
    rng = flow.rng
    spikes = [flow.source(int(rng.integers(2, 4))) if rng.random() < 0.3 else flow.input(int(rng.integers(2, 4)))]
    if rng.random() < 0.4:
        spikes.append(flow.input(2, stride=2))
    for _ in range(moves):
        spikes.append(_move(flow, spikes))
    join = [s for s in spikes[:-1] if flow.shape(s)[1:] == flow.shape(spikes[-1])[1:]]
    last = flow.concat([spikes[-1], join[rng.integers(len(join))]]) if join else spikes[-1]
    return flow.finish(flow.fire(flow.conv(last, 2, 1)))


def _move(flow: RandomFlow, spikes: list[str]) -> str:
    rng = flow.rng
    source = spikes[-1] if rng.random() < 0.7 else spikes[rng.integers(len(spikes))]
    channels, side = int(rng.integers(2, 5)), min(flow.shape(source)[1:])
    move = rng.choice(MOVES)
    if move == "grouped":
        wide = flow.fire(flow.conv(source, 4, 1))
        return flow.fire(flow.conv(wide, 8, 3, groups=int(rng.choice([2, 4]))))
    if move in ("shuffled", "averaged") and (rearranged := _rearranged(flow, source, move)):
        return rearranged
    if move == "dilated" or (move == "strided" and side >= 4):
        kernel, stride = (3, 1) if move == "dilated" else (int(rng.choice([1, 2, 3])), 2)
        return flow.fire(flow.conv(source, channels, kernel, stride, dilation=3 - stride))
    if move == "residual":
        return flow.residual(source, int(rng.integers(1, 3)))
    if move == "or" and (pooled := _pooled(flow, spikes)):
        return pooled
    if move in ("up", "nearest") and side <= 8:
        if move == "nearest":
            return flow.fire(flow.conv(flow.nearest(source, up=2), channels, 1))
        return flow.fire(flow.transposed(source, 4, int(rng.choice([1, 2])) if flow.shape(source)[0] % 2 == 0 else 1))
    partner = flow.fire(flow.conv(source, flow.shape(source)[0], 3))
    if move == "and" and flow.lively(both := flow.product(source, partner)):
        return both
    if move == "concat":
        return flow.fire(flow.conv(flow.concat([source, partner]), channels, 3))
    return flow.fire(flow.conv(source, channels, 3))


def _rearranged(flow: RandomFlow, source: str, move: str) -> str | None:
    """A neuron behind a channel shuffle or an average pool, where windows divide the map."""
    rng = flow.rng
    if move == "shuffled":
        mixed = flow.shuffle(flow.concat([flow.fire(flow.conv(source, 4, 1)), flow.fire(flow.conv(source, 2, 3))]), 2)
        return flow.fire(flow.conv(mixed, 6, 3, groups=int(rng.choice([1, 2, 6]))))
    if any(side % 2 or side < 4 for side in flow.shape(source)[1:]):
        return None
    kernel, dilation = int(rng.choice([1, 3])), int(rng.choice([1, 2]))
    return flow.fire(flow.conv(flow.sum_pool(source), 3, kernel, dilation=dilation))


def _pooled(flow: RandomFlow, spikes: list[str]) -> str | None:
    """An OR that does not fire always, if there is one."""
    quiet = flow.quietest([s for s in spikes if min(flow.shape(s)[1:]) >= 4])
    return pooled if quiet and flow.lively(pooled := flow.pool(quiet)) else None
