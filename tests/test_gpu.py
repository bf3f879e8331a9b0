"""What has to hold on CUDA: a CPU's spikes and gradients, mixed precision; and, checked without a card, why it can."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import triton_checks
from lively import compiled_and_recorded, lively_model
from torch import Tensor, nn

from export.compute.floats import exact_floats
from export.errors import QuantizeError
from export.execute.integer import run_integer
from neuroseg.models import lifs, quantized, record_spikes, slayer
from neuroseg.models.kernels import Neuron
from neuroseg.models.neuron import Lif
from neuroseg.models.norm import ChannelBias
from neuroseg.models.synapse import SynapseConv, SynapseConvT

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CUDA = "cuda"


@pytest.fixture
def slayer_on_cuda() -> None:
    """SLAYER compiles its CUDA kernels when they are first used."""
    missing = [name for name in ("nvcc", "ninja") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"SLAYER compiles its CUDA kernels with {' and '.join(missing)}, not to be found in PATH")


@pytest.mark.parametrize(
    ("capabilities", "chosen", "expected"),
    [
        ([(9, 0)], None, "9.0"),
        ([(12, 0), (8, 6), (12, 0)], None, "8.6;12.0"),
        ([(7, 5)], None, "7.5"),
        ([(9, 0)], "8.9+PTX", "8.9+PTX"),
        ([], None, "as it was"),
    ],
)
def test_slayer_is_compiled_for_the_cards_that_are_here(monkeypatch, capabilities, chosen, expected) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(capabilities))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda i: capabilities[i])
    monkeypatch.setattr(slayer.jitconfig, "TORCH_CUDA_ARCH_LIST", "as it was")
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    if chosen is not None:
        monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", chosen)
    slayer.compile_for_this_machine()
    assert expected == slayer.jitconfig.TORCH_CUDA_ARCH_LIST


def as_tf32(x: Tensor) -> Tensor:
    """Rounded to TF32's 10 bits after the leading one, ties away from zero, as the tensor cores' inputs are."""
    mantissa, exponent = torch.frexp(x.double())
    bits = 1 << 11
    return torch.ldexp((mantissa * bits).abs().add(0.5).floor().mul(mantissa.sign()) / bits, exponent).to(x.dtype)


def test_quantised_weights_and_spikes_are_exact_in_tf32_and_trained_ones_are_not() -> None:
    """TF32 keeps 11 significant bits of a factor, and adds products in float32.

    A quantised weight is an even integer in [-256, 254], over 64: 7 significant bits. A spike is 0 or 1. So products are
    exact, and sums too while their sizes stay below 2^24 units, as for float32; `export.execute` guards that.
    """
    integers = torch.arange(-256, 255, 2) / 64
    assert torch.equal(as_tf32(integers), integers)
    spikes = torch.tensor([0.0, 1.0])
    assert torch.equal(as_tf32(spikes), spikes)
    assert as_tf32(torch.tensor(1 + 2.0**-10)) == 1 + 2.0**-10  # the rounding is TF32's: its last bit stays
    assert as_tf32(torch.tensor(1 + 2.0**-12)) == 1.0
    trained = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    error = (as_tf32(trained) / trained - 1).abs()
    assert 2**-12 < error.max() <= 2**-11  # so float networks fire a little differently while TF32 is allowed


def quantized_model(tau: float = 0.25, even: bool = False) -> nn.Module:
    """All weights, thresholds and biases are multiples of 1/64; `even`: no membrane of memoryless neurons can be at threshold."""
    model = lively_model(tau=tau)
    synapses = [n for n, m in model.named_modules() if isinstance(m, SynapseConv | SynapseConvT)]
    network = quantized(model, dict.fromkeys(synapses, 40.0), dict.fromkeys(lifs(model), 19))
    for module in network.modules():
        if even and isinstance(module, ChannelBias):
            module.bias = torch.round(module.bias * 32) / 32
    return network


def pixels(count: int, levels: int) -> Tensor:
    """Images (count, 3, 16, 16) of pixels whose sums with quantised weights are exact: multiples of 1/levels."""
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, levels + 1, (count, 3, 16, 16), generator=generator) / levels


def assert_same_spikes(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    assert [name for name in expected if (found[name] != expected[name]).any()] == []
    assert np.mean([0.01 < s.mean() < 0.9 for s in expected.values()]) > 0.8


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("tau", [0.25, 0.3])
def test_a_quantised_network_fires_the_same_spikes_on_cuda_as_on_a_cpu(tf32: bool, tau: float) -> None:
    network, images = quantized_model(tau), pixels(2, 256)
    _, expected = record_spikes(network, images)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=tf32):
        logits, found = record_spikes(network.to(CUDA), images.to(CUDA))
    assert_same_spikes(found, expected)
    assert logits.device.type == CUDA


@pytest.mark.gpu
@needs_gpu
def test_slayers_own_cuda_kernels_fire_the_same_where_no_membrane_is_at_threshold(slayer_on_cuda) -> None:
    """Memoryless neurons, binary pixels, even weights and biases, and odd thresholds: v == v_th is impossible."""
    network, images = quantized_model(tau=0.0, even=True), pixels(2, 1)
    _, expected = record_spikes(network, images)
    _, stock = record_spikes(network, images, stock=True)
    assert_same_spikes(stock, expected)
    _, found = record_spikes(network.to(CUDA), images.to(CUDA), stock=True)
    assert_same_spikes(found, expected)


@pytest.mark.gpu
@needs_gpu
def test_slayers_own_cuda_neuron_forgets_a_membrane_at_threshold_and_ours_does_not(slayer_on_cuda) -> None:
    """Its CUDA kernel compares integers and drops the epsilon: at v == v_th it resets without a spike (SLAYER 0.6.0)."""
    x = torch.tensor([32.0, 26.0]).view(1, 2, 1, 1, 1) / 64  # threshold 32/64; a quarter of it stays: 8 + 26 = 34
    lif = Lif(0.5)
    assert lif(x).flatten().tolist() == [0.0, 1.0]
    lif = lif.to(CUDA)
    assert lif(x.to(CUDA)).flatten().tolist() == [0.0, 1.0]
    lif.stock = True
    assert lif(x.to(CUDA)).flatten().tolist() == [0.0, 0.0]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("shape", [(2, 10_801, 72), (1, 333, 11)])
@pytest.mark.parametrize("dtypes", [(torch.float32,), (torch.float32, torch.bfloat16), (torch.float16,)])
@pytest.mark.parametrize("kept", [0.25, 1229 / 4096])
@pytest.mark.parametrize("same", [False, True])
def test_the_cuda_kernels_equal_the_plain_ones(shape, dtypes, kept: float, same: bool) -> None:
    for ties in (False, True):
        triton_checks.check_against_plain(dtypes, shape, Neuron(5, kept, 2048, 1.0), same, ties, 3, CUDA)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("mixed", [False, True])
def test_a_blocks_gradients_on_cuda_equal_those_of_the_plain_kernels(mixed: bool) -> None:
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        triton_checks.check_block(mixed, CUDA)


def gradients(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    targets = torch.ones(len(images), 16, 16, dtype=torch.long, device=images.device)
    F.cross_entropy(model(images)[0], targets).backward()
    return {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.gpu
@needs_gpu
def test_gradients_on_cuda_equal_those_on_a_cpu() -> None:
    """In float64, so that no rounding of a convolution flips a spike."""
    model, images = lively_model().double().train(), pixels(2, 256).double()
    expected = gradients(model, images)
    found = gradients(model.to(CUDA), images.to(CUDA))
    assert set(found) == set(expected) and len(expected) > 50
    for name, reference in expected.items():
        assert (found[name] - reference).norm() <= 1e-8 * reference.norm() + 1e-14, name


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_two_steps_in_mixed_precision_move_every_parameter(dtype: torch.dtype) -> None:
    model, images = lively_model().train().to(CUDA), pixels(2, 256).to(CUDA)
    targets = torch.randint(0, 2, (2, 16, 16), generator=torch.Generator().manual_seed(3)).to(CUDA)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scaler = torch.amp.GradScaler(CUDA, init_scale=64.0, enabled=dtype == torch.float16)
    seen: set[torch.dtype] = set()
    for module in model.modules():
        if isinstance(module, SynapseConv):
            module.register_forward_hook(lambda _m, _i, out: seen.add(out.dtype))
    for _ in range(2):
        optimizer.zero_grad()
        with torch.autocast(CUDA, dtype):
            logits = model(images)
        loss = F.cross_entropy(logits[0].float(), targets)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        assert torch.isfinite(loss)
    assert seen == {dtype}
    moved = {name for name, p in model.named_parameters() if p.requires_grad and not torch.equal(p, before[name])}
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved >= with_gradient and len(with_gradient) > 0.8 * len(before)
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.gpu
@needs_gpu
def test_the_integer_executor_fires_the_same_spikes_on_cuda() -> None:
    compiled, inputs, known = compiled_and_recorded()
    found = run_integer(compiled.graph, inputs, populations=list(known), device=CUDA)
    assert_same_spikes(found, known)
    assert_same_spikes(found, run_integer(compiled.graph, inputs, populations=list(known)))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("tf32", [False, True])
def test_synapses_of_integers_are_exact_on_cuda_with_tf32_and_without(tf32: bool) -> None:
    generator = torch.Generator().manual_seed(4)
    synapse = SynapseConv(96, 32, 3, padding=1)
    synapse.weight.data = torch.randint(-128, 128, synapse.weight.shape, generator=generator) / 32
    spikes = torch.randint(0, 2, (2, 3, 96, 20, 20), generator=generator).float()
    expected = synapse.double()(spikes.double())
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=tf32):
        found = synapse.float().to(CUDA)(spikes.to(CUDA))
    assert torch.equal(found.cpu().double(), expected)


@pytest.mark.gpu
@needs_gpu
def test_within_exact_floats_a_convolution_of_real_numbers_is_float32() -> None:
    generator = torch.Generator().manual_seed(5)
    x, w = torch.randn(2, 64, 20, 20, generator=generator), torch.randn(32, 64, 3, 3, generator=generator)
    expected = F.conv2d(x.double(), w.double())
    with exact_floats():
        found = F.conv2d(x.to(CUDA), w.to(CUDA)).cpu()
    assert float((found - expected).abs().max()) < 1e-4  # TF32 would be off by 1e-2: 2^-11 of sums of 576 products


@pytest.mark.gpu
@needs_gpu
def test_a_threshold_whose_epsilon_float32_loses_is_refused_on_cuda_too() -> None:
    with pytest.raises(QuantizeError, match=r"4096.*\[1, 4095\]"):
        quantized(lively_model().to(CUDA), {}, {"ffm0.output": 4096})
