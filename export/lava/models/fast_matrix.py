"""Drop-in models for Lava's stock `Dense` and `Sparse`: event-driven, for weights that stock uses as they are.

`export.lava.build` makes no others: it refuses weights that stock would clip or round.
"""

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.dense.process import Dense
from lava.proc.sparse.process import Sparse
from scipy.sparse import csr_matrix

from export.lava.cells import DenseSynapses, SparseSynapses


class AbstractFastMatrix(PyLoihiProcessModel):  # type: ignore[misc]  # lava is untyped
    """What both have in common: send last step's sums, then compute this step's."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.uint8, precision=1)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=16)
    a_buff: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=16)  # type: ignore[type-arg]
    num_message_bits: np.ndarray = LavaPyType(np.ndarray, int, precision=5)  # type: ignore[type-arg]
    kind: Any = None
    synapses: Any = None

    def run_spk(self) -> None:
        """Send last step's sums, then compute this step's."""
        if self.synapses is None:
            self.synapses = self.kind(self.weights)
        self.a_out.send(self.a_buff)
        spikes = (self.s_in.recv() != 0).view(np.uint8)
        self.a_buff[:] = 0
        self.synapses.add(spikes, self.a_buff.reshape(1, 1, -1))


@implements(proc=Dense, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt", "fast")
class FastDense(AbstractFastMatrix):
    """Stock `PyDenseModelBitAcc`."""

    weights: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=8)  # type: ignore[type-arg]
    kind = DenseSynapses


@implements(proc=Sparse, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt", "fast")
class FastSparse(AbstractFastMatrix):
    """Stock `PySparseModelBitAcc`."""

    weights: csr_matrix = LavaPyType(csr_matrix, np.int32, precision=8)
    kind = SparseSynapses
