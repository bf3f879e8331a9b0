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

from export.errors import FileFormatError, MissingData, UsageError
from export.graph import Graph
from export.parity.compare import class_scores
from neuroseg.commands.console import Report, say
from neuroseg.config import Config
from neuroseg.data.stand_ins import PHOTOGRAPHS, stand_ins
from neuroseg.metrics import VOID, class_map, confusion_matrix, miou, pixel_agreement
from neuroseg.models import quantized, record_spikes
from neuroseg.train import dataset, load_run
from neuroseg.train.run_folder import listed_split

BATCH = 4
Spikes = dict[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Samples:
    """Test inputs (N, C, H, W), or (N, T, C, H, W) of frames or spikes, and their masks (N, H', W'), which may be larger; of a
    network that denoises, clean images (N, C, H, W).

    class_names  in mask order
    colours      (r, g, b) 0..255 per class, as the data set draws them; None: it has no custom
    source       what they are, in words
    stand_ins    photographs in the place of images that are not here: every mask is void, no score means anything
    """

    images: torch.Tensor
    masks: NDArray[Any]
    classes: int
    class_names: tuple[str, ...] = ()
    colours: tuple[tuple[int, int, int], ...] | None = None
    denoising: bool = False
    source: str = ""
    stand_ins: bool = False

    @property
    def scored(self) -> bool:
        """Whether class maps can be held against masks."""
        return not self.denoising and not self.stand_ins

    @property
    def compared(self) -> NDArray[np.bool_]:
        """(N, H', W'): pixels on which two class maps are compared: those that are not void; of stand-ins all."""
        known: NDArray[np.bool_] = self.masks != VOID
        return np.ones_like(known) if self.stand_ins else known

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


def load_samples(config: Config, count: int, flag: str = "--samples", *, replaceable: bool = False) -> Samples:
    """The first images of the test split; UsageError when it has fewer. Labels of several sizes are resized to the input's.

    replaceable  a data set that is not on this machine is replaced by photographs, and the user told so; else MissingData
    """
    try:
        items = dataset(config.model_copy(update={"data": config.data.stackable}), "test")
    except MissingData as error:
        if not replaceable or not can_stand_in(config):
            raise
        return _photographs(config, count, flag, error)
    if not 1 <= count <= len(items):
        raise UsageError(
            f"{flag} {count} is out of range: the test split has {len(items)} images, at least 1 is needed."
        )
    pairs = [items[i] for i in range(count)]
    images = torch.stack([image for image, _ in pairs])
    denoising = config.data.task == "denoising"
    masks = np.stack([np.asarray(mask) for _, mask in pairs])
    masks = masks if denoising else masks.astype(np.int64)
    names, colours = tuple(items.class_names), getattr(items, "colours", None)
    first = "the first image" if count == 1 else f"the first {count} images"
    source = f"{first} of the {listed_split(config, 'test')} split of '{config.data.name}'"
    return Samples(images, masks, items.classes, names, colours, denoising, source)


def can_stand_in(config: Config) -> bool:
    """Whether photographs can take the place of a network's images: not of frames and spikes, nor of pairs that are denoised."""
    inputs = config.data.inputs
    return config.data.task == "segmentation" and inputs.kind == "image" and inputs.channels in (1, 3)


def _photographs(config: Config, count: int, flag: str, error: MissingData) -> Samples:
    """Stand-ins, and a word to the user on why."""
    if count < 1:
        raise UsageError(f"{flag} {count} is out of range: at least 1 is needed.")
    name = config.data.name
    source = f"{PHOTOGRAPHS}, since the data set '{name}' was not on the machine that made them"
    say(f"data set '{name}' is not here ({error})")
    say(
        f"{count} {PHOTOGRAPHS} take its place: spikes are compared on them, but there is no mIoU, and rates are theirs."
    )
    images = stand_ins(count, config.data.inputs.channels, config.data.size)
    masks = np.full((count, *config.data.size), VOID, dtype=np.int64)
    return Samples(images, masks, config.data.classes, source=source, stand_ins=True)


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
    """Data-set mIoU of class maps (N, H', W'); None where there are no classes, or no true ones."""
    if not samples.scored:
        return None
    return miou(confusion_matrix(maps, samples.masks[: len(maps)], samples.classes))


def agreement(left: NDArray[Any], right: NDArray[Any], samples: Samples) -> float:
    """Share of the pixels that are compared to which two sides give the same class; of what denoises, share of equal values."""
    if samples.denoising:
        return float(np.mean(left == right))
    known = samples.compared[: len(left)]
    return pixel_agreement(left[known], right[known])
