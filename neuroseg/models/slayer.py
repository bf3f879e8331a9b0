"""The one place that imports SLAYER: `lava.lib.dl.slayer` announces two things on import that concern nobody here.

It prints that an event-camera toolbox is missing (used by one of its own demos only), and torch's extension loader logs
that CUDA_HOME is set without a GPU. Both are dropped; everything else that is printed is printed, and errors are raised.
"""

import logging
from contextlib import redirect_stdout
from io import StringIO

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
        from lava.lib.dl.slayer.neuron.cuba import Neuron as CubaNeuron
        from lava.lib.dl.slayer.synapse import Conv, ConvTranspose
finally:
    _extension_log.removeFilter(_without_cuda_home)
    for _line in _printed.getvalue().splitlines():
        if not _line.strip().startswith(_KNOWN_NOTICES):
            print(_line)

__all__ = ["Conv", "ConvTranspose", "CubaNeuron"]
