"""A drop-in model for Lava's stock `Conv`: same integers, hundreds of times faster on large maps.

Chosen by `exception_proc_model_map={Conv: FastConv}`, so the process graph stays the stock one.
"""

import numpy as np
import torch
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.conv import utils
from lava.proc.conv.models import AbstractPyConvModel
from lava.proc.conv.process import Conv
from torch.nn import functional as F

EXACT_FLOAT32 = 1 << 24  # integers below this are exact in float32, in whatever order they are added


def _pair(values: np.ndarray) -> tuple[int, int]:  # type: ignore[type-arg]
    """Two plain integers, in stock's (x, y) order."""
    return int(values[0]), int(values[1])


@implements(proc=Conv, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt", "fast")
class FastConv(AbstractPyConvModel):  # type: ignore[misc]  # lava is untyped
    """Stock `PyConvModelFixed` with torch's convolution; binary spikes only, as `num_message_bits=0` has it.

    Stock keeps `groups` and the geometry in 8 bits; here they are wide, so that depthwise layers of 128 channels and
    more need no merging of groups.
    """

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    a_buf: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)  # type: ignore[type-arg]
    weight: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=8)  # type: ignore[type-arg]
    stride: np.ndarray = LavaPyType(np.ndarray, np.int32)  # type: ignore[type-arg]
    padding: np.ndarray = LavaPyType(np.ndarray, np.int32)  # type: ignore[type-arg]
    dilation: np.ndarray = LavaPyType(np.ndarray, np.int32)  # type: ignore[type-arg]
    groups: np.ndarray = LavaPyType(np.ndarray, np.int32)  # type: ignore[type-arg]
    kernel: torch.Tensor | None = None

    def run_spk(self) -> None:
        """Send last step's sums, then compute this step's."""
        if self.kernel is None:
            self.kernel = self._prepared_kernel()
        self.a_out.send(self.a_buf)
        spikes = torch.from_numpy(self.s_in.recv() != 0)  # (W, H, C)
        if not spikes.any():
            self.a_buf = np.zeros(self.a_out.shape, np.int32)
            return
        sums = F.conv2d(
            spikes.to(self.kernel.dtype).permute(2, 0, 1)[None],
            self.kernel,
            stride=_pair(self.stride),
            padding=_pair(self.padding),
            dilation=_pair(self.dilation),
            groups=int(self.groups[0]),
        )
        self.a_buf = utils.signed_clamp(sums[0].permute(1, 2, 0).to(torch.int32).numpy(), bits=24)

    def _prepared_kernel(self) -> torch.Tensor:
        """Stock's (O, kx, ky, I), a true convolution's, as torch's flipped (O, I, kx, ky), in a dtype that is exact."""
        torch.set_num_threads(1)  # torch's thread pool does not survive the fork: any call before this one hangs
        weight = self.weight[:, ::-1, ::-1, :].transpose(0, 3, 1, 2).copy()  # torch takes no negative strides
        largest = np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(axis=1).max(initial=0)
        return torch.from_numpy(weight).to(torch.float32 if largest < EXACT_FLOAT32 else torch.float64)
