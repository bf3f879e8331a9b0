"""A network that nobody has trained, on the cores of a system: what `neuroseg fit` weighs.

The compiler's own passes run on it. Its weights are not known, so each takes the full width of a trained network's
largest one, 8 bits and a sign, and none is zero: words of synaptic memory and synops are at most those after training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

import hw_configs
from export.dataflow import Macs
from export.graph import Array, Graph, Projection, Sparse
from export.mapping.partition import place
from export.mapping.placement import Placement
from export.mapping.summary import summarise
from export.passes.balance_delays import DelayReport, balance_delays
from export.passes.quantize import WEIGHT_MAX
from export.pipeline import lower_module
from export.report.sizes import network_counts
from hw_configs import Chip, System
from neuroseg.config import Config
from neuroseg.models import build, parameter_count

ASSUMED_WEIGHTS = f"weights of 8 bits and a sign, the largest of each projection {WEIGHT_MAX}, none zero"


@dataclass(frozen=True, eq=False)
class Untrained:
    """A config's network as the compiler lowers it, skips not yet aligned."""

    config: Config
    graph: Graph
    macs: Mapping[str, Macs]
    params: int


@dataclass(frozen=True, eq=False)
class Candidate:
    """An untrained network placed on a system.

    graph     balanced
    """

    untrained: Untrained
    graph: Graph
    delays: DelayReport
    placement: Placement
    system: System

    @cached_property
    def summary(self) -> dict[str, Any]:
        """As `neuroseg map` judges it: see `export.mapping.summary`."""
        return summarise(self.untrained.config.name, self.graph, self.placement, self.system)

    @property
    def fits(self) -> bool:
        """Whether every population can be placed, and the system has cores for all."""
        return bool(self.summary["fits"])

    def counts(self) -> dict[str, Any]:
        """Neurons, operations and latency, by the keys of `describe`."""
        return network_counts(self.graph, self.untrained.macs)


def lower_untrained(config: Config, layout: str) -> Untrained:
    """Trace, fold, check and lower a config's network. Raises what `export` would raise."""
    model = build(config)
    lowered = lower_module(model, config.input_shape, layout=layout)
    return Untrained(config, full_width(lowered.graph), lowered.macs, parameter_count(model))


def place_untrained(untrained: Untrained, delays: str, system: System, chip: Chip | None = None) -> Candidate:
    """Align the skips and place the network on the system's chip."""
    graph, report = balance_delays(untrained.graph, delays)
    placement = place(graph, chip or hw_configs.load(system.chip))
    return Candidate(untrained, graph, report, placement, system)


def full_width(graph: Graph) -> Graph:
    """Every trained weight but structural zeros as large as one can be; gates keep theirs.

    needs    grammar "lowered"
    """
    known: dict[int, Array] = {}
    trained = {p.name for p in graph.populations.values() if p.kind == "lif"}

    def widest(weight: Array) -> Array:
        key = id(weight)  # populations of a residual stream share their weights
        if key not in known:
            known[key] = np.where(weight != 0, np.int32(WEIGHT_MAX), np.int32(0))
        return known[key]

    def change(projection: Projection) -> Projection:
        if projection.target not in trained:
            return projection
        if isinstance(projection, Sparse):
            matrix = projection.matrix.copy()
            matrix.data = widest(projection.matrix.data)
            return replace(projection, matrix=matrix)
        return replace(projection, weight=widest(projection.weight))

    return graph.map_projections(change)
