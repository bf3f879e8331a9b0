"""The reference side of parity: the trained module itself, folded and quantised, run by stock SLAYER."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.errors import FileFormatError, UsageError
from export.graph import Graph
from neuroseg.commands.console import Report
from neuroseg.config import Config
from neuroseg.metrics import confusion_matrix, miou
from neuroseg.models import quantized, record_spikes
from neuroseg.train import dataset, load_run

BATCH = 4
Spikes = dict[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Samples:
    """Test images (N, 3, H, W) and their masks (N, H, W)."""

    images: torch.Tensor
    masks: NDArray[np.int64]
    classes: int


def load_samples(config: Config, count: int, flag: str = "--samples") -> Samples:
    """The first images of the test split; UsageError when it has fewer."""
    items = dataset(config.data, "test")
    if not 1 <= count <= len(items):
        raise UsageError(
            f"{flag} {count} is out of range: the test split has {len(items)} images, at least 1 is needed."
        )
    pairs = [items[i] for i in range(count)]
    images = torch.stack([image for image, _ in pairs])
    masks = np.stack([np.asarray(mask) for _, mask in pairs]).astype(np.int64)
    return Samples(images, masks, config.data.classes)


def quantized_module(folder: Path, quantization: dict[str, Any]) -> tuple[Config, nn.Module]:
    """The trained module of a run or of a bundle's `model/`, with the weights that `quantization.json` prescribes."""
    config, model = load_run(folder)
    try:
        weight_scale = {name: float(entry["scale"]) for name, entry in quantization["synapses"].items()}
        v_th = {name: int(entry["v_th"]) for name, entry in quantization["populations"].items()}
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"quantization.json is damaged: {error!r}. Export the run again.") from error
    return config, quantized(model, weight_scale, v_th)


def slayer_spikes(model: nn.Module, images: torch.Tensor, on_progress: Report | None = None) -> Spikes:
    """Spikes of every population, computed by SLAYER's own code: name -> uint8 (N, T, C, H, W)."""
    parts: dict[str, list[NDArray[np.uint8]]] = {}
    for first in range(0, len(images), BATCH):
        _, spikes = record_spikes(model, images[first : first + BATCH], stock=True)
        for name, values in spikes.items():
            parts.setdefault(name, []).append(values)
        if on_progress is not None:
            on_progress(min(first + BATCH, len(images)), len(images))
    return {name: np.concatenate(values) for name, values in parts.items()}


def inputs_of(graph: Graph, spikes: Spikes) -> Spikes:
    """What the host hands to the chip: the spikes of the input populations."""
    return {population.name: spikes[population.name] for population in graph.inputs}


def score(maps: NDArray[np.int64], samples: Samples) -> float:
    """Data-set mIoU of class maps (N, H, W)."""
    return miou(confusion_matrix(maps, samples.masks[: len(maps)], samples.classes))
