"""Adapters between host and chip: names and ports of Intel's, with a delay that a test can choose."""

import os
from collections import deque

import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class _Adapter(AbstractProcess):
    def __init__(self, *, shape):
        super().__init__(shape=shape)
        self.inp = InPort(shape=shape)
        self.out = OutPort(shape=shape)


class PyToNxAdapter(_Adapter):
    pass


class PyToN3ConvAdapter(_Adapter):
    pass


class NxToPyAdapter(_Adapter):
    pass


class _Crossing(PyLoihiProcessModel):
    inp: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    direction = ""
    under_way = None

    def run_spk(self):
        if self.under_way is None:
            silence = np.zeros(self.proc_params["shape"], np.int32)
            self.under_way = deque([silence] * int(os.environ.get(f"STANDIN_{self.direction}_STEPS", "0")))
        self.under_way.append(self.inp.recv())
        self.out.send(self.under_way.popleft())


@implements(proc=PyToNxAdapter, protocol=LoihiProtocol)
@requires(CPU)
class PyToNxAdapterModel(_Crossing):
    direction = "INPUT"


@implements(proc=PyToN3ConvAdapter, protocol=LoihiProtocol)
@requires(CPU)
class PyToN3ConvAdapterModel(_Crossing):
    direction = "INPUT"


@implements(proc=NxToPyAdapter, protocol=LoihiProtocol)
@requires(CPU)
class NxToPyAdapterModel(_Crossing):
    direction = "OUTPUT"
