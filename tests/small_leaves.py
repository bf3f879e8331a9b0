"""Leaves that describe themselves to the compiler, written for its tests alone: plain torch, nothing of `neuroseg`."""

import torch
import torch.nn.functional as F
from torch import nn


class Leaf(nn.Module):
    """A module that passes values on and describes itself as it is told."""

    def __init__(self, op, **description):
        super().__init__()
        self.description = {"op": op, **description}

    def forward(self, x):
        return x

    def describe(self):
        return self.description


class Conv(nn.Module):
    """A convolution of (N, C, H, W), or of each step of (N, T, C, H, W)."""

    def __init__(self, inputs, outputs, kernel=1, padding=0):
        super().__init__()
        generator = torch.Generator().manual_seed(inputs * outputs + kernel)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel, generator=generator))
        self.padding = padding

    def forward(self, x):
        y = F.conv2d(x.flatten(0, -4), self.weight, padding=self.padding)
        return y.unflatten(0, x.shape[:-3])

    def describe(self):
        pair = (self.padding, self.padding)
        one = (1, 1)
        return {"op": "conv", "weight": self.weight, "stride": one, "padding": pair, "dilation": one, "groups": 1}


class Spikes(Leaf):
    """Gives (N, T, C, H, W) of what may have no time axis; its numbers do not matter."""

    def __init__(self, steps=None, op="lif", **more):
        lif = {"v_th": 1.0, "u_decay": 4096, "v_decay": 0} if op == "lif" else {}
        super().__init__(op, **lif, **more)
        self.steps = steps

    def forward(self, x):
        return x if self.steps is None else x.unsqueeze(1).expand(-1, self.steps, -1, -1, -1)


class Norm(Leaf):
    """A norm that describes itself with the given numbers."""

    def __init__(self, **numbers):
        super().__init__("norm", eps=1e-5, **numbers)


class CountRead(nn.Module):
    """A read-out: the sum over time, through a linear map if there is one."""

    def __init__(self, weight=None, bias=None):
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x):
        counts = x.sum(1) if x.ndim == 5 else x
        return counts if self.weight is None else torch.einsum("kc,nchw->nkhw", self.weight, counts)

    def describe(self):
        return {"op": "readout", "weight": self.weight, "bias": self.bias}


def chain(*middle, channels=4, steps=3, readout=None, first=None):
    """Pixels, convolution, first neurons, what is asked for, last neurons, read-out."""
    head = [Conv(3, channels), first or Spikes(steps)]
    return nn.Sequential(*head, *middle, Spikes(), readout or CountRead()).eval()
