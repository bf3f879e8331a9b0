"""The one place that imports SLAYER: `lava.lib.dl.slayer` announces two things on import that concern nobody here.

It prints that an event-camera toolbox is missing (used by one of its own demos only), and torch's extension loader logs
that CUDA_HOME is set without a GPU. Both are dropped; everything else that is printed is printed, and errors are raised.

SLAYER compiles its CUDA kernels when they are first used, on every card since 2020 for compute capability 8.0
(`jitconfig`): nothing that a card of a later generation, from Hopper on, can run. Here they are compiled for the cards of
this machine.
"""

import logging
import os
from contextlib import redirect_stdout
from io import StringIO

import torch

_KNOWN_NOTICES = (
    "WARNING: Prophesee Dataset Toolbox",
    "Only Prophesee DVS demo",
    "Please install it from https://github.com/",
)


def _without_cuda_home(record: logging.LogRecord) -> bool:
    return "No CUDA runtime is found" not in record.getMessage()


_extension_log = logging.getLogger("torch.utils.cpp_extension")
_extension_log.addFilter(_without_cuda_home)
_printed = StringIO()
try:
    with redirect_stdout(_printed):
        from lava.lib.dl.slayer import jitconfig
        from lava.lib.dl.slayer.neuron.cuba import Neuron as CubaNeuron
        from lava.lib.dl.slayer.synapse import Conv, ConvTranspose
finally:
    _extension_log.removeFilter(_without_cuda_home)
    for _line in _printed.getvalue().splitlines():
        if not _line.strip().startswith(_KNOWN_NOTICES):
            print(_line)


def compile_for_this_machine() -> None:
    """Tell SLAYER for which cards to compile: those of TORCH_CUDA_ARCH_LIST where that is set, else all that are here."""
    if not torch.cuda.is_available():
        return
    found = {torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
    here = ";".join(f"{major}.{minor}" for major, minor in sorted(found))
    jitconfig.TORCH_CUDA_ARCH_LIST = os.environ.get("TORCH_CUDA_ARCH_LIST") or here


compile_for_this_machine()

__all__ = ["Conv", "ConvTranspose", "CubaNeuron", "compile_for_this_machine", "jitconfig"]
