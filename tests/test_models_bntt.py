"""Batch norm through time against torch's batch norm, one per step; folding where it folds."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from export.errors import DataError, QuantizeError, UsageError
from neuroseg.models.blocks import ConvNorm
from neuroseg.models.bntt import Bntt
from neuroseg.models.currents import Currents, currents_of, tensor_of
from neuroseg.models.norm import Norm
from neuroseg.models.synapse import SynapseConv

STEPS, CHANNELS = 3, 4


def currents(seed: int = 0, shape: tuple[int, ...] = (2, STEPS, CHANNELS, 5, 6)) -> Tensor:
    """Other means and deviations at every step."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if len(shape) == 5:
        x = x * torch.arange(1, shape[1] + 1).view(-1, 1, 1, 1) + torch.arange(shape[1]).view(-1, 1, 1, 1)
    return x


def norm_of(**settings) -> Bntt:
    norm = Bntt(STEPS, CHANNELS, **settings).double()
    with torch.no_grad():
        norm.gain.copy_(torch.rand(STEPS, CHANNELS, generator=torch.Generator().manual_seed(9)) + 0.5)
    return norm


def reference(x: Tensor, norm: Bntt) -> Tensor:
    """torch's batch norm of every step by itself, without a shift."""
    return torch.stack(
        [F.batch_norm(x[:, t], None, None, norm.gain[t], training=True, eps=norm.eps) for t in range(x.shape[1])], 1
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_step_is_normed_by_itself_and_so_are_all_gradients(dtype):
    norm = norm_of().to(dtype).train()
    x, again = (currents().to(dtype).requires_grad_() for _ in range(2))
    weights = currents(1).to(dtype)
    found, expected = norm(x), reference(again, norm)
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad((found * weights).sum(), [x, norm.gain])
    wanted = torch.autograd.grad((expected * weights).sum(), [again, norm.gain])
    for ours, theirs in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4 if dtype == torch.float32 else 1e-9, atol=1e-4)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_gradients_agree_with_finite_differences(training, constant):
    norm = norm_of().train(training)
    norm.tracking = False
    shape = (2, CHANNELS, 3, 2) if constant else (2, STEPS, CHANNELS, 3, 2)
    x = currents(2, shape).requires_grad_()
    gain = norm.gain.detach().clone().requires_grad_()

    def normed(x: Tensor, gain: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(norm, {"gain": gain}, (x,))
        return result

    assert torch.autograd.gradcheck(normed, (x, gain), atol=1e-6)


def test_a_constant_current_is_normed_as_if_repeated():
    norm, x = norm_of().train(), currents(3, (2, CHANNELS, 5, 6))
    found = norm(x)
    assert found.shape == (2, STEPS, CHANNELS, 5, 6)
    torch.testing.assert_close(found, reference(x.unsqueeze(1).expand(-1, STEPS, -1, -1, -1), norm))


def test_running_statistics_are_those_of_each_step_averaged_over_the_first_batches():
    norm, batches = norm_of().train(), [currents(seed) for seed in range(3)]
    for x in batches:
        norm(x)
    mean = torch.stack([x.mean((0, 3, 4)) for x in batches]).mean(0)
    var = torch.stack([x.transpose(0, 1).flatten(3).transpose(1, 2).flatten(2).var(2) for x in batches]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, var)
    x = currents(7)
    expected = (x - mean[..., None, None]) / (var + norm.eps).sqrt()[..., None, None] * norm.gain[..., None, None]
    torch.testing.assert_close(norm.eval()(x), expected)
    assert norm.batches == 3


def test_currents_in_currents_out_without_a_shift_to_learn():
    norm = norm_of()
    assert isinstance(norm(currents_of(currents())), Currents)
    torch.testing.assert_close(tensor_of(norm(currents_of(currents()))), norm(currents()))
    assert [name for name, _ in norm.named_parameters()] == ["gain"]


def test_another_number_of_steps_is_refused_with_the_way_out():
    with pytest.raises(UsageError, match="4 time steps, and this norm has parameters for 3.*model.norm=tdbn"):
        norm_of()(currents(0, (1, 4, CHANNELS, 2, 2)))


def test_one_value_per_channel_has_no_variance():
    with pytest.raises(DataError, match="1 values per channel"):
        norm_of().train()(currents(0, (1, STEPS, CHANNELS, 1, 1)))


def container(norm: Norm) -> ConvNorm:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return ConvNorm(SynapseConv(2, CHANNELS, 3, padding=1), norm).double().eval()


def test_norms_that_differ_between_steps_do_not_fold():
    with pytest.raises(QuantizeError, match="model.norm=bntt.*does not fold.*model.norm=tdbn"):
        container(norm_of()).folded()


def test_norms_that_are_equal_at_all_steps_fold():
    norm = Bntt(STEPS, CHANNELS, 1.3).double()
    norm.running_mean.copy_(torch.linspace(-1, 1, CHANNELS))
    norm.running_var.copy_(torch.linspace(0.5, 2, CHANNELS))
    conv, x = container(norm), currents(1, (2, STEPS, 2, 5, 5))
    weight, bias = conv.folded()
    assert bias is not None
    folded = conv.conv.currents(x, weight) + bias.view(-1, 1, 1)
    torch.testing.assert_close(folded, tensor_of(conv(x)))


def test_describe_has_an_axis_of_steps():
    d = norm_of().describe()
    assert d["op"] == "norm" and all(d[key].shape == (STEPS, CHANNELS) for key in ("gain", "shift", "mean", "var"))
