"""Delay neurons: one neuron per source neuron whose state is a shift register of the spikes that it received.

CPU simulator only. On a Loihi 2 chip this is a neuron program in microcode, which Lava's public part cannot hold; a
neuron there may keep up to 4,096 bytes of state, so that a register of any lag met so far has room.
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

MOST_TAPS = 16


class DelayNeuron(AbstractProcess):  # type: ignore[misc]  # lava is untyped
    """Fires as a memoryless LIF does, at each tap as many steps later as the tap says.

        bit[t] = a[t] > vth;   spike at tap k = bit[t - taps[k]]

    shape  (W, H, C)
    vth    threshold on the sum that arrives, in weight units
    taps   steps, 0 or more, at most 16 of them; tap k is port `tap_out(k)`
    """

    def __init__(self, *, shape: tuple[int, int, int], vth: int, taps: tuple[int, ...]) -> None:
        super().__init__(shape=shape, vth=vth, taps=taps)
        if not 1 <= len(taps) <= MOST_TAPS or min(taps) < 0:
            raise ValueError(f"taps {taps}: 1 to {MOST_TAPS} numbers of steps are needed, none below 0")
        self.a_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)
        for k in range(1, MOST_TAPS):
            setattr(self, f"s_out_{k}", OutPort(shape=shape))

    def tap_out(self, k: int) -> OutPort:
        """The port of tap k."""
        return getattr(self, f"s_out_{k}" if k else "s_out")


@implements(proc=DelayNeuron, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyDelayNeuron(PyLoihiProcessModel):  # type: ignore[misc]  # lava is untyped
    """A ring of the last max(taps) + 1 maps of bits, each bit kept in a byte."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    s_out_1: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    s_out_2: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    s_out_3: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    s_out_4: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    s_out_5: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    s_out_6: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    s_out_7: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    s_out_8: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    s_out_9: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    s_out_10: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    s_out_11: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    s_out_12: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    s_out_13: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    s_out_14: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    s_out_15: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    register: np.ndarray | None = None  # type: ignore[type-arg]

    def run_spk(self) -> None:
        """Shift this step's spikes in, and send every tap."""
        taps = self.proc_params["taps"]
        if self.register is None:
            self.register = np.zeros((max(taps) + 1, *self.proc_params["shape"]), np.uint8)
        now = self.time_step % len(self.register)
        self.register[now] = self.a_in.recv() > self.proc_params["vth"]
        for k, tap in enumerate(taps):
            port = getattr(self, f"s_out_{k}" if k else "s_out")
            port.send(self.register[now - tap].astype(np.int32))
