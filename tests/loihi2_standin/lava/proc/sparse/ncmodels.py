"""Chip models of the stand-in."""

from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.sparse.models import PySparseModelBitAcc
from lava.proc.sparse.process import Sparse


@implements(proc=Sparse, protocol=LoihiProtocol)
@requires(NeuroCore)
class NcModelSparse(AbstractNcProcessModel, PySparseModelBitAcc):
    pass
