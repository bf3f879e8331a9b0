"""Chip models of the stand-in; the one for Loihi 1 comes first and must not be taken."""

from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import Loihi1NeuroCore, Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.models import PyLifModelBitAcc, PyLifResetModelBitAcc
from lava.proc.lif.process import LIF, LIFReset


@implements(proc=LIF, protocol=LoihiProtocol)
@requires(Loihi1NeuroCore)
class NcL1ModelLif(AbstractNcProcessModel, PyLifModelBitAcc):
    pass


@implements(proc=LIF, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcL2ModelLif(AbstractNcProcessModel, PyLifModelBitAcc):
    pass


@implements(proc=LIFReset, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcL2ModelLifReset(AbstractNcProcessModel, PyLifResetModelBitAcc):
    pass
