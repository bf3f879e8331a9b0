"""The LIF neuron against SLAYER's stock neuron, and its surrogate gradient against plain autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from export.errors import UsageError
from neuroseg.models.neuron import Lif
from neuroseg.models.slayer import CubaNeuron


def stock_spikes(x: Tensor, v_th: float, voltage_decay: float) -> Tensor:
    """SLAYER's CUBA neuron on (N, T, C, H, W)."""
    neuron = CubaNeuron(threshold=v_th, current_decay=1.0, voltage_decay=voltage_decay)
    spikes: Tensor = neuron(x.permute(0, 2, 3, 4, 1).contiguous())
    return spikes.permute(0, 4, 1, 2, 3)


def currents(kind: str, shape: tuple[int, ...] = (2, 9, 3, 7, 5)) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    if kind == "real":
        return torch.randn(shape, generator=generator)
    if kind == "negative":
        return -3 * torch.rand(shape, generator=generator) + 0.7
    # Multiples of 1/64 around the threshold 0.5 = 32/64: many membranes land exactly on it.
    return torch.randint(-16, 40, shape, generator=generator) / 64


@pytest.mark.parametrize("kind", ["real", "negative", "ties"])
@pytest.mark.parametrize("tau", [0.25, 0.5, 0.0, 0.3, 1.0])
def test_forward_equals_stock_slayer_spike_for_spike(kind: str, tau: float) -> None:
    x = currents(kind)
    lif = Lif(0.5, tau)
    expected = stock_spikes(x, 0.5, 1 - tau)
    assert 0.01 < expected.mean() < 0.9
    assert torch.equal(lif(x), expected)
    lif.stock = True
    assert torch.equal(lif(x), expected)


def test_a_membrane_exactly_at_threshold_does_not_spike() -> None:
    x = torch.tensor([32 / 64, 32 / 64 + 1 / 4096]).view(1, 1, 2, 1, 1)
    assert Lif(0.5)(x).flatten().tolist() == [0.0, 1.0]


def test_stock_mode_accepts_images_of_another_size() -> None:
    lif = Lif()
    lif.stock = True
    for size in (4, 6):
        assert lif(torch.ones(2, 3, 1, size, size)).shape == (2, 3, 1, size, size)


def test_a_constant_current_is_expanded_over_steps() -> None:
    x = currents("real", (2, 3, 4, 4))
    assert torch.equal(Lif(steps=5)(x), Lif()(x.unsqueeze(1).repeat(1, 5, 1, 1, 1)))


class _Spike(torch.autograd.Function):
    """Heaviside step with a surrogate, the reference's own."""

    @staticmethod
    def forward(ctx, v, v_th, width, surrogate):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(v)
        ctx.v_th, ctx.width, ctx.surrogate = v_th, width, surrogate
        return (v > v_th).to(v.dtype)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        (v,) = ctx.saved_tensors
        distance = (v - ctx.v_th).abs()
        if ctx.surrogate == "rectangle":
            return grad * (distance <= ctx.width / 2) / ctx.width, None, None, None
        return grad * torch.relu(1 - distance / ctx.width) / ctx.width, None, None, None


def reference_spikes(x: Tensor, v_th: float, tau: float, width: float, reset: str, surrogate: str) -> Tensor:
    """The papers' neurons step by step in autograd; truncation to 1/4096 passes the gradient through."""

    def truncated(y: Tensor) -> Tensor:
        return y + ((y * 4096).trunc() / 4096 - y).detach()

    v = torch.zeros_like(x[:, 0])
    s = torch.zeros_like(v)
    spikes = []
    for t in range(x.shape[1]):
        rest = v * (1 - s) if reset == "hard" else v - v_th * s.detach()
        v = truncated(tau * rest) + truncated(x[:, t])
        s = _Spike.apply(v, v_th, width, surrogate)
        spikes.append(s)
    return torch.stack(spikes, 1)


@pytest.mark.parametrize("tau", [0.25, 0.3])
@pytest.mark.parametrize("width", [1.0, 0.5])
@pytest.mark.parametrize("surrogate", ["rectangle", "triangle"])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_surrogate_gradient_goes_through_decay_and_reset(tau: float, width: float, reset, surrogate) -> None:
    kept = (4096 - round(4096 * (1 - tau))) / 4096
    x = currents("real").double()
    weights = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    ours, reference = x.clone().requires_grad_(), x.clone().requires_grad_()
    spikes = Lif(0.5, tau, width, reset=reset, surrogate=surrogate)(ours)
    expected = reference_spikes(reference, 0.5, kept, width, reset, surrogate)
    assert torch.equal(spikes, expected) and 0.05 < expected.mean() < 0.9
    (spikes * weights).sum().backward()
    (expected * weights).sum().backward()
    assert ours.grad is not None and reference.grad is not None
    assert reference.grad.count_nonzero() > 100
    torch.testing.assert_close(ours.grad, reference.grad, rtol=1e-12, atol=1e-12)


def test_the_triangle_is_the_papers_at_its_threshold() -> None:
    """Equation 6 of Kim et al. 2022, max(0, 1 - |u - theta| / theta), at theta = 1."""
    u = torch.tensor([-0.5, 0.0, 0.25, 0.75, 1.0, 1.5, 2.0, 2.5])
    x = u.view(1, 1, -1, 1, 1).clone().requires_grad_()
    Lif(1.0, 0.99, 1.0, reset="soft", surrogate="triangle")(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad.flatten(), torch.tensor([0, 0, 0.25, 0.75, 1, 0.5, 0, 0]))


def test_soft_reset_keeps_what_hard_reset_forgets() -> None:
    """Without a leak, a neuron with soft reset has fired as often as its summed current holds thresholds."""
    steps = 64
    x = torch.tensor([0.125, 0.375, 0.75, 1.0]).view(1, 1, 4, 1, 1).expand(1, steps, 4, 1, 1)
    soft = Lif(1.0, 1.0, reset="soft")(x).sum(1).flatten().tolist()
    hard = Lif(1.0, 1.0)(x).sum(1).flatten().tolist()
    # A membrane exactly at threshold waits for the next current, hence 1 less.
    assert soft == [7.0, 23.0, 47.0, 63.0]
    assert hard == [7.0, 21.0, 32.0, 32.0]


def test_soft_reset_is_told_and_refused_by_slayer() -> None:
    soft = Lif(1.0, 0.99, reset="soft")
    assert soft.describe()["reset"] == "soft" and "reset" not in Lif().describe()
    soft.stock = True
    with pytest.raises(UsageError, match=r"resets its membrane to zero.*model\.reset=hard"):
        soft(torch.zeros(1, 2, 1, 1, 1))


@pytest.mark.parametrize("v_th", [0.3, 0.0, -0.5])
def test_a_threshold_off_slayers_grid_is_refused_with_the_nearest(v_th: float) -> None:
    with pytest.raises(UsageError, match="multiple of 1/64.*nearest one is 0"):
        Lif(v_th)


def test_describe_gives_the_chips_parameters() -> None:
    assert Lif().describe() == {"op": "lif", "v_th": 0.5, "u_decay": 4096, "v_decay": 3072}
    assert Lif(steps=4).describe()["steps"] == 4


def test_no_parameter_of_the_neuron_is_trained() -> None:
    assert not [p for p in Lif().parameters() if p.requires_grad]
