"""The networks that are measured, with weights whose neurons fire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.networks import benchmark_config
from benchmarks.speed.measure import ROOT
from export.dataflow import Add, Node
from export.graph import Array, Graph, Shape
from export.passes.trace import LEAVES
from export.pipeline import Compiled, compile_module
from neuroseg.models import build_model
from neuroseg.models.blocks import Cell, EfsBlock
from neuroseg.models.norm import Tdbn
from neuroseg.models.stages import FirstEncoder, StagePlan
from neuroseg.models.wiring import ImageInput, ReadOut
from neuroseg.train import load_run

TRAINED_NANO = ROOT / "tests" / "data" / "mfs-nano"
BATCHES, FIRST_IMAGES = 2, 4  # that settle the norms of an untrained network


class Stage(nn.Module):
    """An EFS stage from images to spikes: a stem, Inception, blocks on one membrane stream, and their output neurons.

    It has 3 populations per block and the one at its end; the stem's neurons are the chip's input.
    """

    def __init__(self, channels: int, blocks: int, steps: int, expansion: int = 2) -> None:
        super().__init__()
        self.steps = steps
        self.images = ImageInput(1)
        self.encoder = FirstEncoder(StagePlan(Cell(), "efs", blocks, expansion, steps), 3, channels)
        self.readout = ReadOut(1.0)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> firing rates (N, channels, H, W)."""
        return (self.readout(self.encoder(self.images(images))[1]),)


def images(count: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    """Smooth random images (N, 3, H, W) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, max(2, size[0] // 8), max(2, size[1] // 8), generator=generator)
    return nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=False)


def enlivened(model: nn.Module, size: tuple[int, int], seed: int = 0) -> nn.Module:
    """The model in eval mode, its norms settled on images and shifted, so that untrained neurons fire."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, Tdbn):
            module.shift.data.uniform_(0.02, 0.3, generator=generator)
    model.train()
    with torch.no_grad():
        for batch in range(BATCHES):
            model(images(FIRST_IMAGES, size, seed + batch))
    return model.eval()


def stage(quick: bool = False) -> tuple[nn.Module, tuple[int, int]]:
    """The EFS stage of 4 blocks, 32 channels, 60x80, T = 5, and its image size."""
    channels, blocks, steps, size = (4, 1, 3, (8, 12)) if quick else (32, 4, 5, (60, 80))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return enlivened(Stage(channels, blocks, steps), size), size


def network(name: str, size: tuple[int, int] | None = None) -> tuple[nn.Module, tuple[int, int]]:
    """A network of `benchmarks.networks`: mfs-nano trained, the others with random weights; and its image size."""
    if name == "mfs-nano":
        config, model = load_run(Path(TRAINED_NANO))
        return model, config.data.size
    config = benchmark_config(name)
    size = size or config.data.size
    return enlivened(build_model(config.model, config.data.classes), size), size


def compiled(model: nn.Module, size: tuple[int, int], delays: str = "relay") -> Compiled:
    """The network through the compiler."""
    return compile_module(model, (3, *size), delays=delays)


def random_spikes(graph: Graph, samples: int, rate: float = 0.2, seed: int = 0) -> dict[str, Array]:
    """Spikes (N, T, C, H, W) for every input of a graph."""
    rng = np.random.default_rng(seed)
    return {p.name: (rng.random((samples, graph.steps, *p.shape)) < rate).astype(np.uint8) for p in graph.inputs}


def efs_block(channels: int, seed: int = 0) -> EfsBlock:
    """One EFS-Res block of expansion 2, training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        block = EfsBlock(Cell(), channels, 2)
    for module in block.modules():
        if isinstance(module, Tdbn):
            module.shift.data.fill_(0.1)
    return block.train()


def efs_nodes(block: EfsBlock, shape: Shape) -> dict[str, Node]:
    """The block as nodes, from `x` to `y`, for the kits of other frameworks."""
    wide = (block.expand.conv.out_channels, *shape[1:])
    nodes: dict[str, Node] = {"x": Node("x", (), shape)}
    before = "x"
    for name in ("lif_in", "expand", "lif_wide", "depthwise", "lif_depthwise", "project"):
        part: Any = block.get_submodule(name)
        leaves = {name: part} if name.startswith("lif") else {f"{name}.conv": part.conv, f"{name}.norm": part.norm}
        for path, leaf in leaves.items():
            described = leaf.describe()
            out = shape if name in ("lif_in", "project") else wide
            nodes[path] = LEAVES[described["op"]](path, (before,), out, described)
            before = path
    nodes["y"] = Add("y", ("x", before), shape)
    return nodes
