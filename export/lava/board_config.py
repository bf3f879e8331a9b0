"""Which process model runs where on a Loihi 2 board, and the adapters between host and chip."""

from __future__ import annotations

import importlib
from typing import Any

from lava.magma.core.model.py.model import AbstractPyProcessModel
from lava.magma.core.run_configs import AbstractNcProcessModel, Loihi2HwCfg

from export.errors import MissingBackend, RuntimeFailure
from export.lava.board import ADAPTERS, Timing
from export.lava.build import Bridge
from export.lava.processes.spike_file import PySpikeSink, PySpikeSource, SpikeSink, SpikeSource

HOST_MODELS = {SpikeSource: PySpikeSource, SpikeSink: PySpikeSink}
ADAPTER_PACKAGE = ADAPTERS.rpartition(".")[0]


class BoardConfig(Loihi2HwCfg):  # type: ignore[misc]  # lava is untyped
    """Stock's `Loihi2HwCfg` with our spike files pinned to the host, and its choices checked.

    Stock falls back to a Python model, in silence, for a process without a chip model; a neuron or synapse would then
    run on the host and the run would prove nothing. No tag is asked for, as in lava-dl's own board tests: the first
    chip model is taken.
    """

    def __init__(self) -> None:
        super().__init__(exception_proc_model_map=dict(HOST_MODELS))

    def select(self, process: Any, proc_models: list[Any]) -> Any:
        """Stock's choice; RuntimeFailure if it puts a neuron or synapse on the host."""
        model = super().select(process, proc_models)
        python_only = issubclass(model, AbstractPyProcessModel) and not issubclass(model, AbstractNcProcessModel)
        if python_only and not may_run_on_host(process):
            raise RuntimeFailure(
                f"Intel's extension has no Loihi 2 model for the process {type(process).__name__} '{process.name}'; Lava "
                f"would run {model.__name__} on the host instead. Install the release of lava-loihi that belongs to "
                "lava-nc 0.10, or use --backend lava"
            )
        return model


def may_run_on_host(process: Any) -> bool:
    """True for the spike files and for whatever Intel's adapters consist of."""
    return type(process) in HOST_MODELS or type(process).__module__.startswith(ADAPTER_PACKAGE)


def board_bridge(timing: Timing) -> Bridge:
    """Intel's adapters: `PyToN3ConvAdapter` in front of convolutions, as in lava-dl's tests, `PyToNxAdapter` elsewhere.

    raises  MissingBackend if the installed extension lacks one
    """
    spike = importlib.import_module(ADAPTERS)
    names = ("PyToN3ConvAdapter", "PyToNxAdapter", "NxToPyAdapter")
    missing = [name for name in names if not hasattr(spike, name)]
    if missing:
        raise MissingBackend(
            f"Intel's extension installed here has no {' and no '.join(missing)} in {ADAPTERS}: install the release of "
            "lava-loihi that belongs to lava-nc 0.10"
        )
    to_conv, to_flat, to_host = (getattr(spike, name) for name in names)
    return Bridge(to_conv, to_flat, to_host, timing.input_steps, timing.output_steps)
