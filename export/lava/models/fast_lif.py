"""Drop-in models for Lava's stock `LIF` and `LIFReset`: one pass over the state, spikes sent as bytes."""

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.process import LIF, LIFReset

from export.lava.cells import Neurons


class AbstractFastLif(PyLoihiProcessModel):  # type: ignore[misc]  # lava is untyped
    """Stock `PyLifModelBitAcc` and `PyLifResetModelBitAcc` for maps (W, H, C), with the same variables."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=16)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.uint8, precision=1)
    u: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)  # type: ignore[type-arg]
    v: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)  # type: ignore[type-arg]
    bias_mant: np.ndarray = LavaPyType(np.ndarray, np.int16, precision=13)  # type: ignore[type-arg]
    bias_exp: np.ndarray = LavaPyType(np.ndarray, np.int16, precision=3)  # type: ignore[type-arg]
    du: int = LavaPyType(int, np.uint16, precision=12)
    dv: int = LavaPyType(int, np.uint16, precision=12)
    vth: int = LavaPyType(int, np.int32, precision=17)
    neurons: Neurons | None = None

    def run_spk(self) -> None:
        """Receive sums, integrate, send spikes."""
        if self.neurons is None:
            self.neurons = self._neurons()
            self.spikes = np.zeros(self.v.shape, np.uint8)
        sums = np.ascontiguousarray(self.a_in.recv(), dtype=np.int32)
        self.neurons.fire(sums, self.spikes, self.time_step)
        self.s_out.send(self.spikes)

    def _neurons(self) -> Neurons:
        numbers = {name: int(np.asarray(getattr(self, name)).item()) for name in ("du", "dv", "vth")}
        neurons = Neurons(
            self.v.shape, **numbers, bias_mant=self.bias_mant, bias_exp=self.bias_exp, **self.reset_parameters()
        )
        neurons.u, neurons.v = self.u, self.v  # they are variables of the process: kept even where nothing needs them
        return neurons

    def reset_parameters(self) -> dict[str, Any]:
        """Interval and offset of a reset, if there is one."""
        return {}


@implements(proc=LIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt", "fast")
class FastLif(AbstractFastLif):
    """Stock `PyLifModelBitAcc`."""


@implements(proc=LIFReset, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt", "fast")
class FastLifReset(AbstractFastLif):
    """Stock `PyLifResetModelBitAcc`."""

    def reset_parameters(self) -> dict[str, Any]:
        """Interval and offset of the process."""
        return {"interval": int(self.proc_params["reset_interval"]), "offset": int(self.proc_params["reset_offset"])}
