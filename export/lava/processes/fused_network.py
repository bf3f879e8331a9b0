"""A whole network as one process of Lava: one Lava step takes all of its populations one step further."""

from typing import Any

from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class FusedNetwork(AbstractProcess):  # type: ignore[misc]  # lava is untyped
    """Sources, synapses, neurons and sinks of a network; it has no ports.

    program  `export.lava.program.Program`
    """

    def __init__(self, *, program: Any) -> None:
        super().__init__(program=program)


@implements(proc=FusedNetwork, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyFusedNetwork(PyLoihiProcessModel):  # type: ignore[misc]  # lava is untyped
    """Steps the program; its memory and threads are made in the process that Lava forked."""

    def run_spk(self) -> None:
        """One Lava step of all populations."""
        self.proc_params["program"].step(self.time_step)
