"""A drop-in model for Lava's stock `Conv`: same integers, a thousand times faster on large maps.

Chosen by `exception_proc_model_map={Conv: FastConv}`, so the process graph stays the stock one.
"""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.conv.models import AbstractPyConvModel
from lava.proc.conv.process import Conv

from export.lava.cells import ConvSynapses


@implements(proc=Conv, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt", "fast")
class FastConv(AbstractPyConvModel):  # type: ignore[misc]  # lava is untyped
    """Stock `PyConvModelFixed` with compiled loops; binary spikes only, as `num_message_bits=0` has it.

    Stock keeps `groups` and the geometry in 8 bits; here they are wide, so that depthwise layers of 128 channels and
    more need no merging of groups.
    """

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.uint8, precision=1)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    a_buf: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)  # type: ignore[type-arg]
    weight: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=8)  # type: ignore[type-arg]
    stride: np.ndarray = LavaPyType(np.ndarray, np.int32)  # type: ignore[type-arg]
    padding: np.ndarray = LavaPyType(np.ndarray, np.int32)  # type: ignore[type-arg]
    dilation: np.ndarray = LavaPyType(np.ndarray, np.int32)  # type: ignore[type-arg]
    groups: np.ndarray = LavaPyType(np.ndarray, np.int32)  # type: ignore[type-arg]
    synapses: ConvSynapses | None = None

    def run_spk(self) -> None:
        """Send last step's sums, then compute this step's."""
        if self.synapses is None:
            self.synapses = ConvSynapses(self.weight, self.stride, self.padding, self.dilation, self.groups[0])
        self.a_out.send(self.a_buf)
        spikes = np.ascontiguousarray(self.s_in.recv() != 0).view(np.uint8)
        self.a_buf[:] = 0
        self.synapses.add(spikes, self.a_buf)
