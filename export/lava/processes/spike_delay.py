"""Axonal delay for projections onto stock `Conv`, `Dense` and `Sparse`, none of which can delay a whole map.

CPU simulator only: the chip has no such process. Files for the chip carry relay populations instead.
"""

from collections import deque

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class SpikeDelay(AbstractProcess):  # type: ignore[misc]  # lava is untyped
    """Hands on what it receives `delay` steps later; silence until then.

    shape   (W, H, C)
    delay   steps, 1 or more
    """

    def __init__(self, *, shape: tuple[int, int, int], delay: int) -> None:
        super().__init__(shape=shape, delay=delay)
        self.s_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)


@implements(proc=SpikeDelay, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySpikeDelay(PyLoihiProcessModel):  # type: ignore[misc]  # lava is untyped
    """A queue of the last `delay` maps, kept as bytes."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    waiting: deque[np.ndarray] | None = None  # type: ignore[type-arg]

    def run_spk(self) -> None:
        """Take this step's spikes in and send those of `delay` steps ago."""
        if self.waiting is None:
            silence = np.zeros(self.proc_params["shape"], np.uint8)
            self.waiting = deque([silence] * self.proc_params["delay"])
        self.waiting.append(self.s_in.recv().astype(np.uint8))
        self.s_out.send(self.waiting.popleft().astype(np.int32))
