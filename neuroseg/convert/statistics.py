"""How large an ANN's activations get: the scales by which weights are normalised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from math import floor
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from export.errors import DataError, UsageError
from neuroseg.convert.ann import Ann, network

Method: TypeAlias = Literal["layer", "channel", "connection"]


@dataclass(frozen=True)
class Scales:
    """Layer -> (C,) real activation that one unit of spike rate stands for; of neurons, and of concatenations."""

    of: Mapping[str, Tensor]


def activation_scales(ann: Ann, batches: Iterable[Tensor], samples: int, method: Method, percentile: float) -> Scales:
    """The percentile of each layer's activations over all pixels, channels and calibration images.

    batches     images (N, C, H, W), all of one size, `samples` of them together
    method      channel: of each channel by itself; else one for the layer. A channel (or layer) that is silent at the
                percentile takes its maximum, and one that is silent altogether its layer's scale, or 1

    Source: Rueckauer et al. 2017 (the percentile, 99.9, of layers), Kim et al. 2020 (channels).
    """
    if samples < 1:
        raise UsageError(f"{samples} calibration images; at least 1 is needed: --calibrate 32")
    model = network(ann)
    tops: dict[str, _Top] = {}
    hooks = []
    for layer in ann.layers:
        if layer.op in ("fire", "concat"):
            tops[layer.name] = _Top(samples, percentile, by_channel=method == "channel")
            hooks.append(model.get_submodule(layer.name).register_forward_hook(partial(_see, tops[layer.name])))
    seen = 0
    try:
        with torch.no_grad():
            for images in batches:
                seen += len(images)
                model(images)
    finally:
        for hook in hooks:
            hook.remove()
    if seen != samples:
        raise DataError(f"{seen} calibration images came, {samples} were announced")
    return Scales({name: top.scale() for name, top in tops.items()})


def _see(top: _Top, _module: Any, _inputs: Any, output: Tensor) -> None:
    top.see(output)


class _Top:
    """The largest values of a stream whose length is known: enough of them for a percentile, exactly.

    samples     maps that will come;  by_channel: one percentile each
    """

    def __init__(self, samples: int, percentile: float, by_channel: bool) -> None:
        self.samples, self.percentile, self.by_channel = samples, percentile, by_channel
        self.values: Tensor | None = None  # (rows, k), descending; rows are channels, or one for all
        self.channels = 0
        self.position = 0.0  # of the percentile, counted from the largest

    def see(self, x: Tensor) -> None:
        """Activations (N, C, H, W)."""
        self.channels = x.shape[1]
        rows = x.detach().transpose(0, 1).flatten(1) if self.by_channel else x.detach().reshape(1, -1)
        count = rows.shape[1] // len(x) * self.samples
        self.position = (count - 1) * (1 - self.percentile / 100)
        keep = min(count, floor(self.position) + 2)
        together = rows if self.values is None else torch.cat([self.values, rows], 1)
        self.values = together.topk(min(keep, together.shape[1]), dim=1).values

    def scale(self) -> Tensor:
        """(C,) float64."""
        if self.values is None:
            raise DataError("no calibration image came")
        values = self.values.double()
        below = min(floor(self.position), values.shape[1] - 1)
        above = min(below + 1, values.shape[1] - 1)
        found = values[:, below] + (values[:, above] - values[:, below]) * (self.position - below)
        found = torch.where(found > 0, found, values[:, 0])
        of_layer = found[found > 0].max() if bool((found > 0).any()) else torch.ones((), dtype=torch.float64)
        found = torch.where(found > 0, found, of_layer)
        return found if self.by_channel else found.expand(self.channels)
