"""The reference side of parity: the trained module itself, folded and quantised, run by stock SLAYER."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.errors import FileFormatError, UsageError
from export.graph import Graph
from export.parity.compare import class_scores
from neuroseg.commands.console import Report
from neuroseg.config import Config
from neuroseg.metrics import VOID, class_map, confusion_matrix, miou, pixel_agreement
from neuroseg.models import quantized, record_spikes
from neuroseg.train import dataset, load_run

BATCH = 4
Spikes = dict[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Samples:
    """Test inputs (N, C, H, W), or (N, T, C, H, W) of frames or spikes, and their masks (N, H', W'), which may be larger; of a
    network that denoises, clean images (N, C, H, W).

    class_names  in mask order
    colours      (r, g, b) 0..255 per class, as the data set draws them; None: it has no custom
    """

    images: torch.Tensor
    masks: NDArray[Any]
    classes: int
    class_names: tuple[str, ...] = ()
    colours: tuple[tuple[int, int, int], ...] | None = None
    denoising: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(H', W') of the masks: class maps are compared and drawn at this size."""
        return self.masks.shape[-2], self.masks.shape[-1]

    def picture(self, index: int) -> NDArray[np.float32]:
        """(H, W, 3) in [0, 1] of an input: frames as their mean over time, one channel in grey, two as red and green."""
        image = self.images[index].float()
        frame = (image.mean(0) if image.ndim == 4 else image).permute(1, 2, 0).numpy()
        channels = frame.shape[2]
        if channels == 1:
            frame = np.repeat(frame, 3, axis=2)
        elif channels == 2:
            frame = np.concatenate([frame, np.zeros_like(frame[..., :1])], axis=2)
        shown: NDArray[np.float32] = np.clip(frame[..., :3] / max(1.0, float(frame.max())), 0.0, 1.0)
        return shown

    def first(self, count: int) -> Samples:
        """The first samples only."""
        return replace(self, images=self.images[:count], masks=self.masks[:count])


def load_samples(config: Config, count: int, flag: str = "--samples") -> Samples:
    """The first images of the test split; UsageError when it has fewer. Labels of several sizes are resized to the input's."""
    items = dataset(config.model_copy(update={"data": config.data.stackable}), "test")
    if not 1 <= count <= len(items):
        raise UsageError(
            f"{flag} {count} is out of range: the test split has {len(items)} images, at least 1 is needed."
        )
    pairs = [items[i] for i in range(count)]
    images = torch.stack([image for image, _ in pairs])
    denoising = config.data.task == "denoising"
    masks = np.stack([np.asarray(mask) for _, mask in pairs])
    masks = masks if denoising else masks.astype(np.int64)
    return Samples(images, masks, items.classes, tuple(items.class_names), getattr(items, "colours", None), denoising)


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
    return spikes_of(model, images, stock=True, on_progress=on_progress)


def spikes_of(model: nn.Module, images: torch.Tensor, *, stock: bool, on_progress: Report | None = None) -> Spikes:
    """Spikes of every population: name -> uint8 (N, T, C, H, W). stock: by SLAYER's own code, else by the training's."""
    parts: dict[str, list[NDArray[np.uint8]]] = {}
    for first in range(0, len(images), BATCH):
        _, spikes = record_spikes(model, images[first : first + BATCH], stock=stock)
        for name, values in spikes.items():
            parts.setdefault(name, []).append(values)
        if on_progress is not None:
            on_progress(min(first + BATCH, len(images)), len(images))
    return {name: np.concatenate(values) for name, values in parts.items()}


def inputs_of(graph: Graph, spikes: Spikes) -> Spikes:
    """What the host hands to the chip: the spikes of the input populations."""
    return {population.name: spikes[population.name] for population in graph.inputs}


def maps_of(graph: Graph, spikes: Mapping[str, NDArray[np.uint8]], samples: Samples) -> NDArray[Any]:
    """Class maps (N, H', W') at the masks' size; of a network that denoises, what its read-out gives (N, C, H, W)."""
    if samples.denoising:
        return class_scores(graph, spikes)
    maps: NDArray[np.int64] = class_map(class_scores(graph, spikes), samples.size).numpy()
    return maps


def score(maps: NDArray[Any], samples: Samples) -> float | None:
    """Data-set mIoU of class maps (N, H', W'); None where there are no classes."""
    if samples.denoising:
        return None
    return miou(confusion_matrix(maps, samples.masks[: len(maps)], samples.classes))


def agreement(left: NDArray[Any], right: NDArray[Any], samples: Samples) -> float:
    """Share of pixels, void aside, to which two sides give the same class; of what denoises, share of equal values."""
    if samples.denoising:
        return float(np.mean(left == right))
    known = samples.masks[: len(left)] != VOID
    return pixel_agreement(left[known], right[known])
