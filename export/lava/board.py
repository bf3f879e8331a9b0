"""What a Loihi 2 board asks for before a run starts: Intel's extension, a board that is named, integers that fit."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass

from lava.utils import loihi

from export.errors import GrammarError, MissingBackend, UsageError
from export.graph import Conv, Graph, Lif, Population, Projection

# No file of the open wheels; what of the extension we import is found by these names.
ADAPTERS = "lava.proc.embedded_io.spike"
V_TH_LIMIT = (1 << 17) - 1  # mantissa of 17 bits
BIAS_LIMIT = (1 << 12) - 1  # mantissa of 13 bits with its sign
DECAY_LIMIT = (1 << 12) - 1  # du and dv are registers of 12 bits; du counts from 1
WEIGHT_RANGE = (-256, 254)  # 8 bits with sign, one bit up: even
MISSING = (
    "backend 'loihi2' needs Intel's Lava extension for Loihi (lava-loihi), which is not installed here and not public: "
    "join the Intel Neuromorphic Research Community (write to inrc_interest@intel.com), install the extension beside "
    "lava-nc as the community's wiki says, and start again, or use int, lava or lava-fast, which need no board "
    "(docs/how-to/loihi2-board.md)."
)


@dataclass(frozen=True)
class Timing:
    """Lava steps that spikes spend between host and chip, beyond those of the simulator.

    input_steps   from the host's source to the chip's first synapse
    output_steps  from a chip's neuron to the host's sink

    0 and 0 is what lava-dl's own board tests show for the output (`test_hdf5_nx.py`: the same rows of the record as on
    the CPU) and imply for the input; neither was measured by us. The board guide says how to find them.
    """

    input_steps: int = 0
    output_steps: int = 0

    def __post_init__(self) -> None:
        if self.input_steps < 0 or self.output_steps < 0:
            raise UsageError(f"board timing {self.input_steps}, {self.output_steps}: steps cannot be negative.")


def require_extension() -> None:
    """Raise MissingBackend, in one sentence, where Intel's extension is not installed. Starts nothing."""
    if not loihi.is_installed():
        raise MissingBackend(MISSING)
    if not _found(ADAPTERS):
        raise MissingBackend(
            f"backend 'loihi2' needs '{ADAPTERS}', which Intel's extension installed here does not have: install the "
            "release of lava-loihi that belongs to lava-nc 0.10."
        )


def check_board(graph: Graph) -> None:
    """Raise GrammarError, by name, for what Lava's simulator takes and the chip cannot hold.

    The simulator does not enforce the widths of Loihi 2's registers; on a board they would wrap in silence.
    """
    for population in graph.populations.values():
        if population.kind == "delay":
            raise GrammarError(
                f"population '{population.name}' is made of delay neurons, which need a programmable neuron (microcode) on "
                "Loihi 2; neuroseg has a model of it for Lava's simulator only. Export with --delays relay for a board."
            )
        if population.thresholds:
            raise GrammarError(
                f"population '{population.name}' has several thresholds, which needs a programmable neuron (microcode) on Loihi "
                "2; neuroseg has a model of it for Lava's simulator only. Convert with a single threshold: --neuron if."
            )
        if population.kind != "input" and population.lif is not None:
            _check_decays(population.name, population.lif)
            _check_population(population, population.lif)
    for projection in graph.projections:
        _check_projection(projection, graph.populations[projection.source].kind == "input")


def chip_generation(environment: Mapping[str, str]) -> loihi.ChipGeneration:
    """The chip that LOIHI_GEN names; N3B3, the generation of most boards of the community, if it names none."""
    named = environment.get("LOIHI_GEN", loihi.ChipGeneration.N3B3.value)
    known = [generation.value for generation in loihi.ChipGeneration]
    if named not in known:
        raise UsageError(
            f"LOIHI_GEN={named} is no chip generation that Lava knows; set it to one of {', '.join(known)}."
        )
    return loihi.ChipGeneration(named)


def choose_host(environment: Mapping[str, str]) -> str:
    """Point Lava at the board that the environment names; returns how it is reached.

    SLURM=1, with BOARD or PARTITION  a cluster: Lava asks SLURM for a node
    NXSDKHOST, with HOST_BINARY       a host on the network
    neither                           whatever the extension finds by itself
    raises                            ValueError, ImportError from Lava, in its words
    """
    generation = chip_generation(environment)
    if environment.get("SLURM") == "1":
        board = environment.get("BOARD")
        loihi.use_slurm_host(None if board else environment.get("PARTITION"), board, generation)
        return "slurm"
    if environment.get("NXSDKHOST"):
        binary = environment.get("HOST_BINARY", "nxcore/bin/nx_driver_server")
        loihi.use_ethernet_host(environment["NXSDKHOST"], binary, generation)
        return "ethernet"
    os.environ["LOIHI_GEN"] = generation.value
    return "default"


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False


def _check_decays(name: str, lif: Lif) -> None:
    if not 0 <= lif.u_decay - 1 <= DECAY_LIMIT or not 0 <= lif.v_decay <= DECAY_LIMIT:
        raise GrammarError(
            f"population '{name}' decays its current by {lif.u_decay}/4096 and its membrane by {lif.v_decay}/4096; "
            f"Loihi 2 takes 1 to {DECAY_LIMIT + 1} and 0 to {DECAY_LIMIT}. Train with a decay in this range (4095 "
            "leaves less than 1/4096 of the membrane)."
        )


def _check_population(population: Population, lif: Lif) -> None:
    if not 0 <= lif.v_th <= V_TH_LIMIT:
        raise GrammarError(
            f"population '{population.name}' has the threshold {lif.v_th:,.0f}; Loihi 2 takes mantissas of 0 to "
            f"{V_TH_LIMIT:,} (17 bits). Use a smaller weight scale."
        )
    bias = population.bias
    if bias is not None and bias.size and max(bias.max(), -bias.min()) > BIAS_LIMIT:
        largest = int(max(bias.max(), -bias.min()))
        raise GrammarError(
            f"population '{population.name}' has a bias of magnitude {largest:,}; Loihi 2 takes {BIAS_LIMIT:,} at most "
            "(13 bits with the sign). Use a smaller weight scale."
        )


def _check_projection(projection: Projection, from_host: bool) -> None:
    if projection.delay and not from_host:
        raise GrammarError(
            f"projection '{projection.name}' waits {projection.delay} step(s) in a process of ours that runs on the CPU "
            "only. Export for loihi2, which puts relay populations there instead."
        )
    weight = projection.matrix.data if not hasattr(projection, "weight") else projection.weight
    if not weight.size:
        return
    low, high = int(weight.min()), int(weight.max())
    if low < WEIGHT_RANGE[0] or high > WEIGHT_RANGE[1] + (low >= 0):
        raise GrammarError(
            f"projection '{projection.name}' has weights from {low} to {high}; Loihi 2 holds {WEIGHT_RANGE[0]} to "
            f"{WEIGHT_RANGE[1]} (8 bits). Quantise with a smaller weight scale."
        )
    if isinstance(projection, Conv) and (weight % 2).any():
        raise GrammarError(
            f"projection '{projection.name}' has odd weights; signed weights of 8 bits are even on Loihi 2. "
            "Quantise to even weights."
        )
