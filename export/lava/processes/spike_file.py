"""A source that plays spikes from a file and a sink that records them into one: no message per element.

Both files are `.npy`, uint8, (steps, W, H, C): Lava's axis order, so that a step is one contiguous copy.
"""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class SpikeSource(AbstractProcess):  # type: ignore[misc]  # lava is untyped
    """Plays row k of the file at Lava step first_step + k, and silence before and after.

    shape       (W, H, C)
    path        the `.npy` file
    first_step  1-based Lava step of row 0
    """

    def __init__(self, *, shape: tuple[int, int, int], path: str, first_step: int) -> None:
        super().__init__(shape=shape, path=path, first_step=first_step)
        self.s_out = OutPort(shape=shape)


class SpikeSink(AbstractProcess):  # type: ignore[misc]  # lava is untyped
    """Writes what arrives at Lava step first_step + k into row k of an existing file; other steps are dropped.

    shape       (W, H, C)
    path        the `.npy` file
    first_step  1-based Lava step of row 0
    """

    def __init__(self, *, shape: tuple[int, int, int], path: str, first_step: int) -> None:
        super().__init__(shape=shape, path=path, first_step=first_step)
        self.a_in = InPort(shape=shape)


@implements(proc=SpikeSource, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySpikeSource(PyLoihiProcessModel):  # type: ignore[misc]  # lava is untyped
    """Reads one row per step through a memory map, opened in the process that plays it."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    rows: np.ndarray | None = None  # type: ignore[type-arg]

    def run_spk(self) -> None:
        """Send this step's row."""
        if self.rows is None:
            self.rows = np.load(self.proc_params["path"], mmap_mode="r")
        row = self.time_step - self.proc_params["first_step"]
        if 0 <= row < len(self.rows):
            self.s_out.send(self.rows[row].astype(np.int32))
        else:
            self.s_out.send(np.zeros(self.proc_params["shape"], np.int32))


@implements(proc=SpikeSink, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySpikeSink(PyLoihiProcessModel):  # type: ignore[misc]  # lava is untyped
    """Writes one row per step through a memory map, opened in the process that records."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    rows: np.ndarray | None = None  # type: ignore[type-arg]

    def run_spk(self) -> None:
        """Receive this step's spikes."""
        if self.rows is None:
            self.rows = np.load(self.proc_params["path"], mmap_mode="r+")
        spikes = self.a_in.recv()
        row = self.time_step - self.proc_params["first_step"]
        if 0 <= row < len(self.rows):
            self.rows[row] = spikes
