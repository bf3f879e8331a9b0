"""Ways to compile the training path's neurons on a CPU, beside the one that is taken: `python -m benchmarks.kernel_ways`.

First the whole EFS-Res block, its loops on torch's threads (taken) and on a pool of Python's. Then
norm and neurons of 64 channels on 90x120 maps, T = 5, batch 2, forward and backward: numba's loops (taken), torch.compile of the
same equations, and torch's operations one by one. All sides in turn; medians of 9 rounds. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.speed.measure import in_turn
from benchmarks.speed.networks import efs_block
from export.compute import threads as split_threads
from neuroseg.models.kernels import STATE_UNIT, Kernels, Neuron, Terms, kernels_for
from neuroseg.models.kernels.plain import KERNELS as PLAIN

SHAPE = (2, 5, 90 * 120, 64)
NEURON = Neuron(SHAPE[1], 0.25, STATE_UNIT // 2, 1.0)


def fired(y: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """`Kernels.fire` of one term as torch.compile sees it: one graph, time unrolled."""
    v, spikes = torch.zeros_like(y[:, 0]), []
    for t in range(NEURON.steps):
        u = torch.trunc(v * NEURON.kept) + torch.trunc((scale * y[:, t] + shift) * STATE_UNIT)
        fires = u > NEURON.v_th
        spikes.append(fires.to(y.dtype))
        v = torch.where(fires, torch.zeros_like(u), u)
    return torch.stack(spikes, 1)


def gradient(y: Tensor, scale: Tensor, shift: Tensor, to_spikes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`Kernels.backward` of one term, in the same way."""
    v, membranes = torch.zeros_like(y[:, 0]), []
    for t in range(NEURON.steps):
        u = torch.trunc(v * NEURON.kept) + torch.trunc((scale * y[:, t] + shift) * STATE_UNIT)
        membranes.append(u)
        v = torch.where(u > NEURON.v_th, torch.zeros_like(u), u)
    g, grads = torch.zeros_like(v), []
    for t in reversed(range(NEURON.steps)):
        real = membranes[t] / STATE_UNIT
        slope = ((real - NEURON.v_th / STATE_UNIT).abs() <= NEURON.width / 2).to(y.dtype) / NEURON.width
        g = to_spikes[:, t] * slope + g * NEURON.kept * ((membranes[t] <= NEURON.v_th).to(y.dtype) - real * slope)
        grads.append(g)
    grad = torch.stack(grads[::-1], 1)
    return grad, grad.sum((0, 1, 2)), (grad * y).sum((0, 1, 2))


def main() -> None:
    """Check that all ways agree, then print medians and ratios."""
    threads()
    torch.manual_seed(0)
    y, to_spikes = torch.randn(SHAPE), torch.randn(SHAPE)
    scale, shift = torch.rand(SHAPE[-1]) + 0.5, torch.randn(SHAPE[-1]) * 0.1
    terms = Terms((y,), scale[None], shift)
    compiled = torch.compile(fired), torch.compile(gradient)
    sets: dict[str, Kernels] = {"numba (taken)": kernels_for(y), "torch, one by one": PLAIN}
    forward: dict[str, Callable[[], Tensor]] = {n: lambda k=k: k.fire(terms, NEURON, False)[0] for n, k in sets.items()}
    backward = {n: lambda k=k: k.backward(terms, NEURON, to_spikes, None) for n, k in sets.items()}
    forward["torch.compile"] = lambda: compiled[0](y, scale, shift)
    backward["torch.compile"] = lambda: compiled[1](y, scale, shift, to_spikes)
    first = forward["numba (taken)"]()
    for name, run in forward.items():
        print(f"{name}: {float((run() != first).float().mean()):.1e} of the spikes differ from numba's")
    for what, ways in (("forward", forward), ("backward", backward)):
        seconds = {n: median(s) for n, s in in_turn({n: _timed(f) for n, f in ways.items()}, 9, warm_up=2).items()}
        for name, taken in seconds.items():
            print(f"{what}, {name}: {taken * 1e3:.1f} ms, {taken / seconds['numba (taken)']:.2f} of numba's")


def threads() -> None:
    """Forward and backward of the block: the threads that share a sweep."""
    block = efs_block(32)
    x = torch.randn(2, NEURON.steps, 32, 90, 120, requires_grad=True)

    def step() -> None:
        block.zero_grad(set_to_none=True)
        block(x).tensor().mean().backward()

    def by_pool() -> None:
        with patch.object(split_threads, "_openmp", lambda: None):
            step()

    seconds = in_turn({"torch's threads (taken)": _timed(step), "a pool of Python's": _timed(by_pool)}, 15, warm_up=2)
    taken = median(seconds["torch's threads (taken)"])
    for name, values in seconds.items():
        print(f"block, {name}: {median(values) * 1e3:.1f} ms, {median(values) / taken:.2f} of the one taken")


def _timed(run: Callable[[], object]) -> Callable[[], None]:
    def timed() -> None:
        run()

    return timed


if __name__ == "__main__":
    main()
