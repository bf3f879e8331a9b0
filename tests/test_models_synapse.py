"""Synapses, norms and wiring against SLAYER's and torch's own."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.errors import DataError
from neuroseg.models.norm import ChannelBias, Tdbn
from neuroseg.models.slayer import Conv, ConvTranspose
from neuroseg.models.synapse import SynapseConv, SynapseConvT
from neuroseg.models.wiring import And, Concat, ImageInput, ImageResize, MaxPool, Nearest, ReadOut


def spikes(*shape: int) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.3).float()


def integer_weights(synapse: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    weight: Tensor = synapse.weight  # type: ignore[assignment]
    return torch.randint(-128, 128, weight.shape, generator=generator) * 2 / 64


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (1, 3), "padding": (0, 1), "stride": (2, 1)},
        {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 2},
        {"kernel_size": 3, "padding": 1, "groups": 4},
    ],
)
def test_convolution_equals_stock_slayers(arguments: dict[str, object]) -> None:
    check_synapse(SynapseConv(4, 8, **arguments), Conv(4, 8, **arguments))


@pytest.mark.parametrize(
    "arguments",
    [{"kernel_size": 2, "stride": 2}, {"kernel_size": 3, "stride": (2, 1), "padding": 1, "groups": 2}],
)
def test_transposed_convolution_equals_stock_slayers(arguments: dict[str, object]) -> None:
    check_synapse(SynapseConvT(4, 8, **arguments), ConvTranspose(4, 8, **arguments))


def check_synapse(ours: nn.Module, stock: nn.Module) -> None:
    weight = integer_weights(ours)
    ours.weight = nn.Parameter(weight)
    stock.weight = nn.Parameter(weight.clone())
    x = spikes(2, 3, 4, 9, 7)
    expected = stock(x.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)
    assert torch.equal(ours(x), expected)
    ours.stock = True  # type: ignore[assignment]
    assert torch.equal(ours(x), expected)


def test_descriptions_rebuild_the_synapses_with_torch() -> None:
    x = spikes(1, 4, 6, 6)
    conv = SynapseConv(4, 6, 3, stride=2, padding=2, dilation=2, groups=2)
    conv.weight = nn.Parameter(integer_weights(conv))
    d = conv.describe()
    assert torch.equal(
        F.conv2d(x, d["weight"], d["bias"], d["stride"], d["padding"], d["dilation"], d["groups"]), conv(x)
    )
    up = SynapseConvT(4, 6, 2, stride=2, groups=2)
    up.weight = nn.Parameter(integer_weights(up))
    d = up.describe()
    geometry = (d["stride"], d["padding"], d["output_padding"], d["groups"], d["dilation"])
    assert torch.equal(F.conv_transpose2d(x, d["weight"], d["bias"], *geometry), up(x[:, None])[:, 0])
    assert not d["weight"].requires_grad


def test_tdbn_in_training_is_its_equation_over_batch_space_and_time() -> None:
    norm = Tdbn(3, v_th=0.5, alpha=2.0, gain=0.7)
    nn.init.normal_(norm.shift)
    x = torch.randn(4, 5, 3, 6, 6) * 3 + 1
    mean = x.mean((0, 1, 3, 4), keepdim=True)
    var = x.var((0, 1, 3, 4), unbiased=False, keepdim=True)
    expected = 0.7 * 2.0 * 0.5 * (x - mean) / (var + 1e-5).sqrt() + norm.shift.view(3, 1, 1)
    torch.testing.assert_close(norm(x), expected)


def test_running_statistics_are_a_plain_average_first_and_an_exponential_one_later() -> None:
    norm = Tdbn(1, v_th=0.5)
    means = torch.arange(1.0, 13.0)
    for centre in means:
        norm(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1, 1) + centre)
    expected = float(means[:10].mean())
    for centre in means[10:]:
        expected += 0.1 * (float(centre) - expected)
    assert float(norm.running_mean) == pytest.approx(expected)
    assert float(norm.running_var) == pytest.approx(2.0)  # the unbiased variance of -1, 1


def test_tdbn_in_evaluation_is_what_it_describes() -> None:
    norm = Tdbn(3, v_th=0.5)
    for _ in range(3):
        norm(torch.randn(4, 5, 3, 6, 6) * 3 + 1)
    norm.eval()
    x = torch.randn(2, 5, 3, 4, 4)
    d = norm.describe()
    gain, shift, mean, var = (d[key].view(3, 1, 1) for key in ("gain", "shift", "mean", "var"))
    torch.testing.assert_close(norm(x), gain * (x - mean) / torch.sqrt(var + d["eps"]) + shift)


def test_tdbn_of_a_constant_current_needs_no_time_axis() -> None:
    with_time, without = Tdbn(3, 0.5), Tdbn(3, 0.5)
    x = torch.randn(4, 3, 6, 6)
    torch.testing.assert_close(with_time(x[:, None].repeat(1, 5, 1, 1, 1))[:, 2], without(x))
    torch.testing.assert_close(with_time.running_mean, without.running_mean)


def test_a_channel_bias_carries_no_quantiser_hook() -> None:
    bias = ChannelBias(torch.tensor([1.0, -2.0]))
    assert not hasattr(bias, "pre_hook_fx")
    assert bias(torch.zeros(1, 1, 2, 2, 2))[0, 0, :, 1, 1].tolist() == [1.0, -2.0]


def test_spikes_stay_binary_through_gates_and_resizes() -> None:
    a, b = spikes(2, 3, 4, 8, 8), 1 - spikes(2, 3, 4, 8, 8)
    assert torch.equal(And()(a, a), a)
    assert And()(a, b).sum() == 0
    assert Concat()(a, b, a).shape == (2, 3, 12, 8, 8)
    assert torch.equal(MaxPool(2)(a)[1, 2], F.max_pool2d(a[1, 2], 2))


@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (4, 1), (1, 2), (1, 4), (2, 4)])
def test_nearest_resize_equals_torchs(up: int, down: int) -> None:
    x = spikes(2, 3, 4, 8, 12)
    per_step = x.flatten(0, 1)
    small = F.interpolate(per_step, scale_factor=1 / down, mode="nearest")
    expected = F.interpolate(small, scale_factor=up, mode="nearest")
    assert torch.equal(Nearest(up, down)(x).flatten(0, 1), expected)


def test_readout_is_the_spike_rate_times_the_gain() -> None:
    x = spikes(2, 4, 3, 5, 5)
    torch.testing.assert_close(ReadOut(5.0)(x), 5 * x.sum(1) / 4)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 30, 32), "30 x 32 does not divide by 4.*(28 or 32) x 32"),
        ((1, 3, 3, 2), r"\(?4\)? x 4"),
        ((1, 1, 32, 32), r"shape \(1, 1, 32, 32\).*\(N, 3, H, W\)"),
        ((3, 32, 32), r"shape \(3, 32, 32\)"),
    ],
)
def test_an_image_that_does_not_fit_is_refused_with_the_sizes_that_do(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(DataError) as caught:
        ImageInput(4)(torch.zeros(shape))
    pattern = message.replace("(28 or 32)", r"\(28 or 32\)")
    assert re.search(pattern, str(caught.value))


def test_the_pyramid_averages_pixels() -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert ImageResize(2)(image).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
