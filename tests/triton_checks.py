"""Checks of the Triton kernels: on a CUDA device, or in Triton's interpreter without one, which TRITON_INTERPRET=1 starts.

Triton reads that variable when it is imported; `test_kernels_triton` starts such a process and calls these in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from neuroseg.models import currents
from neuroseg.models.blocks import Cell, EfsBlock
from neuroseg.models.kernels import Neuron, Terms, plain
from neuroseg.models.neuron import Lif
from neuroseg.models.norm import Tdbn

REFERENCE = plain.KERNELS


def triton_kernels():
    from neuroseg.models.kernels.triton_set import TritonKernels

    return TritonKernels()


def make_terms(dtypes: tuple[torch.dtype, ...], shape: tuple[int, ...], ties: bool, seed: int, device="cpu") -> Terms:
    """Random terms (N, Ti, P, C); with `ties` their sums are multiples of 1/64 around 0.5: many membranes land on it."""
    generator = torch.Generator().manual_seed(seed)
    channels, wide = shape[-1], torch.promote_types(torch.float32, dtypes[0])
    if ties:
        values = [torch.randint(-8, 24, shape, generator=generator) / 64 for _ in dtypes]
        scale, shift = torch.ones(len(dtypes), channels), torch.randint(-8, 9, (channels,), generator=generator) / 64
    else:
        values = [torch.randn(shape, generator=generator) for _ in dtypes]
        scale, shift = (
            torch.randn(len(dtypes), channels, generator=generator),
            torch.randn(channels, generator=generator),
        )
    typed = tuple(y.to(device, dtype) for y, dtype in zip(values, dtypes, strict=True))
    return Terms(typed, scale.to(device, wide), shift.to(device, wide))


def check_against_plain(dtypes, shape, neuron: Neuron, same: bool, ties: bool, seed: int, device="cpu") -> None:
    """Every kernel equals the plain one: spikes and currents to the bit, gradients and sums within rounding."""
    n, positions, channels = shape
    terms = make_terms(dtypes, (n, 1 if same else neuron.steps, positions, channels), ties, seed, device)
    ours = triton_kernels()
    x = check_forward(ours, terms, neuron)
    generator = torch.Generator().manual_seed(seed + 1)
    grad_spikes = torch.randn((n, neuron.steps, positions, channels), generator=generator).to(device, dtypes[-1])
    grad_currents = torch.randn(x.shape, generator=generator).to(device, x.dtype)
    tolerance = 1e-13 if x.dtype == torch.float64 else 2e-6
    for more in (None, grad_currents):
        found = ours.backward(terms, neuron, grad_spikes, more)
        expected = REFERENCE.backward(terms, neuron, grad_spikes, more)
        close(found[0], expected[0], tolerance)
        for sums, reference in zip(found[1:], expected[1:], strict=True):
            close(sums, reference, tolerance * positions**0.5)
    for sums, reference in zip(
        ours.products(terms, grad_currents), REFERENCE.products(terms, grad_currents), strict=True
    ):
        close(sums, reference, 1e-13 * positions)
    factors = torch.randn((3, channels), generator=generator).to(device, x.dtype)
    for y in terms.values:
        check_rescaled(ours, grad_currents, y, factors, tolerance)


def check_forward(ours, terms: Terms, neuron: Neuron) -> Tensor:
    """Statistics, sums and spikes; returns the currents."""
    for y in terms.values:
        for found, expected in zip(ours.statistics(y), REFERENCE.statistics(y), strict=True):
            close(found, expected, 1e-13 if y.dtype == torch.float64 else 1e-5)
    expected_spikes, x = REFERENCE.fire(terms, neuron, keep=True)
    spikes, kept = ours.fire(terms, neuron, keep=True)
    assert torch.equal(spikes, expected_spikes) and spikes.dtype == terms.values[-1].dtype
    assert torch.equal(kept, x) and kept.dtype == terms.scale.dtype
    alone, nothing = ours.fire(terms, neuron, keep=False)
    assert torch.equal(alone, spikes) and nothing is None
    assert torch.equal(ours.summed(terms), x)
    return x


def check_rescaled(ours, grad: Tensor, y: Tensor, factors: Tensor, tolerance: float) -> None:
    expected = REFERENCE.rescaled(grad, y, factors, in_place=False)
    # The interpreter cuts bits off where it makes a bfloat16; the GPU rounds.
    allowed = {torch.bfloat16: 2**-7, torch.float16: 2**-10}.get(y.dtype, tolerance)
    mine = grad.clone()
    for in_place in (False, True):
        found = ours.rescaled(mine, y, factors, in_place=in_place)
        assert found.dtype == y.dtype
        torch.testing.assert_close(found, expected, rtol=allowed, atol=allowed)
        assert (found.data_ptr() == mine.data_ptr()) == (in_place and grad.dtype == y.dtype)


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Equal within a fraction of the largest value, and of the same dtype."""
    assert found.dtype == expected.dtype and found.shape == expected.shape
    size = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max(size, 1e-30))


def check_spikes_at_threshold() -> None:
    """A membrane exactly at threshold neither spikes nor is reset; one unit above, it does both."""
    x = torch.tensor([2048.0, 1.0, 2049.0, 1.0, 2047.9999]).view(1, 5, 1, 1) / 4096
    terms = Terms((x,), torch.ones(1, 1), torch.zeros(1))
    spikes, _ = triton_kernels().fire(terms, Neuron(5, 1.0, 2048, 1.0), keep=False)
    assert spikes.flatten().tolist() == [0.0, 1.0, 1.0, 0.0, 0.0]


@contextmanager
def kernels_in_models(kernels) -> Iterator[None]:
    """Within: the models compute with these kernels."""
    before = currents.kernels_for
    currents.kernels_for = lambda *_: kernels
    try:
        yield
    finally:
        currents.kernels_for = before


def check_block(mixed: bool, device="cpu") -> None:
    """A residual block's output and all its gradients, in training mode; `mixed`: convolutions under bfloat16 autocast."""
    torch.manual_seed(17)
    block = EfsBlock(Cell(), 6, 2).train().to(device)
    for module in block.modules():
        if isinstance(module, Tdbn):
            module.gain.data.uniform_(0.5, 1.5)
            module.shift.data.normal_()
    x = torch.randn(2, 3, 6, 5, 4).to(device)
    results = []
    for kernels in (REFERENCE, triton_kernels()):
        block.zero_grad()
        given = x.clone().requires_grad_()
        with kernels_in_models(kernels):
            with torch.autocast(device, torch.bfloat16, enabled=mixed):
                out = currents.tensor_of(block(given))
                spikes = Lif().to(device)(out)
            (spikes * x + out * x.square()).sum().backward()
        parameters = {name: p.grad for name, p in block.named_parameters() if p.grad is not None}
        results.append({"out": out.detach(), "spikes": spikes.detach(), "x": given.grad, **parameters})
    expected, found = results
    assert set(expected) == set(found) and len(expected) > 10
    assert torch.equal(found["spikes"], expected["spikes"]) and 0.05 < found["spikes"].mean() < 0.7
    for name, reference in expected.items():
        close(found[name], reference, 3e-2 if mixed else 1e-5)
