"""Neurons of several thresholds, whose spikes are graded (`export.graph.Population`, Spiking-UNet).

CPU simulator only. On a Loihi 2 chip this is a neuron program in microcode, which Lava's public part cannot hold.
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

STATE_LIMIT = 1 << 23
SHIFT = 6


class GradedNeuron(AbstractProcess):  # type: ignore[misc]  # lava is untyped
    """Integrates as a stock LIF, and hands on what its thresholds hold of the membrane.

        u[t] = trunc(u[t-1] (4096 - u_decay) / 4096) + (a[t] << 6)                  wrapped past +-2^23
        v    = trunc(v[t-1] (4096 - v_decay) / 4096) + u[t] + (bias << 6)           saturated at +-2^23
        for each r of ratios, from the largest:  if v > r vth << 6:  s[t] = s[t] + r,  v = v - (r vth << 6)

    shape     (W, H, C)
    vth       smallest threshold, mantissa;  ratios  thresholds in units of it, descending
    u_decay, v_decay   in 1/4096
    bias      (W, H, C) int32, weight units
    interval, offset   state is zero before the step t of t % interval == offset; interval 0: never
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int, int],
        vth: int,
        ratios: tuple[int, ...],
        u_decay: int,
        v_decay: int,
        bias: np.ndarray,  # type: ignore[type-arg]
        interval: int = 0,
        offset: int = 0,
    ) -> None:
        super().__init__(
            shape=shape,
            vth=vth,
            ratios=ratios,
            u_decay=u_decay,
            v_decay=v_decay,
            bias=bias,
            interval=interval,
            offset=offset,
        )
        self.a_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)


@implements(proc=GradedNeuron, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyGradedNeuron(PyLoihiProcessModel):  # type: ignore[misc]  # lava is untyped
    """State in the process that computes it."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    u: np.ndarray | None = None  # type: ignore[type-arg]
    v: np.ndarray | None = None  # type: ignore[type-arg]

    def run_spk(self) -> None:
        """Receive sums, integrate, send graded spikes."""
        given = self.proc_params
        if self.u is None or (given["interval"] and self.time_step % given["interval"] == given["offset"]):
            self.u = np.zeros(given["shape"], np.int64)
            self.v = np.zeros(given["shape"], np.int64)
        assert self.v is not None
        current = _decayed(self.u, given["u_decay"]) + (self.a_in.recv().astype(np.int64) << SHIFT)
        current[current > STATE_LIMIT] -= 2 * STATE_LIMIT
        current[current <= -STATE_LIMIT] += 2 * STATE_LIMIT
        membrane = _decayed(self.v, given["v_decay"]) + current + (given["bias"].astype(np.int64) << SHIFT)
        membrane = np.clip(membrane, -STATE_LIMIT + 1, STATE_LIMIT - 1)
        spikes = np.zeros(given["shape"], np.int32)
        for ratio in given["ratios"]:
            reached = membrane > (ratio * given["vth"]) << SHIFT
            membrane = membrane - reached * ((ratio * given["vth"]) << SHIFT)
            spikes += ratio * reached.astype(np.int32)
        self.u, self.v = current, membrane
        self.s_out.send(spikes)


def _decayed(x: np.ndarray, decay: int) -> np.ndarray:  # type: ignore[type-arg]
    """trunc(x (4096 - decay) / 4096), rounding toward zero."""
    kept = 4096 - decay
    decayed: np.ndarray = np.sign(x) * ((np.abs(x) * kept) >> 12)  # type: ignore[type-arg]
    return decayed
