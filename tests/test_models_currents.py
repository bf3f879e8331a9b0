"""Fused currents, norms and neurons against convolution, batch norm and neuron as steps of plain autograd."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.errors import DataError, UsageError
from neuroseg.config import MfsConfig, TrainConfig
from neuroseg.models import build_model, lifs
from neuroseg.models.blocks import Cell, ConvNorm, EfsBlock
from neuroseg.models.currents import Currents, currents_of, tensor_of
from neuroseg.models.neuron import Lif
from neuroseg.models.norm import ChannelBias, Tdbn
from neuroseg.models.rounding import EVEN, WHOLE, rounded
from neuroseg.models.stages import FirstEncoder, StagePlan, Stream
from neuroseg.train.task import SegmentationTask

STEPS, SPAN = 4, 2


class _Rectangle(torch.autograd.Function):
    """Heaviside step with the rectangle surrogate, the reference's own."""

    @staticmethod
    def forward(ctx, v, v_th, width):
        ctx.save_for_backward(v)
        ctx.v_th, ctx.width = v_th, width
        return (v > v_th).to(v.dtype)

    @staticmethod
    def backward(ctx, grad):
        (v,) = ctx.saved_tensors
        return grad * ((v - ctx.v_th).abs() <= ctx.width / 2) / ctx.width, None, None


def reference_lif(x: Tensor, lif) -> Tensor:
    """Step by step; truncation to 1/4096 passes the gradient through."""

    def truncated(y: Tensor) -> Tensor:
        return y + ((y * 4096).trunc() / 4096 - y).detach()

    x = x if lif.steps is None else x.unsqueeze(1).expand(-1, lif.steps, -1, -1, -1)
    v_th, width = lif.v_th_mant / 64, lif.width
    if lif.weight_scale is not None:
        v_th, width = round(lif.threshold * lif.weight_scale) / 64, width * lif.weight_scale / 64
    kept, v, spikes = (4096 - lif.v_decay) / 4096, torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        before = spikes[-1] if spikes else torch.zeros_like(v)
        v = truncated(kept * v * (1 - before)) + truncated(x[:, t])
        spikes.append(_Rectangle.apply(v, v_th, width))
    return torch.stack(spikes, 1)


def reference_currents(x: Tensor, container: ConvNorm) -> Tensor:
    """Convolution, then batch norm as torch has it."""
    if container.weight_scale is not None:
        weight, bias = container.folded()
        y = container.conv.currents(x, rounded(weight, container.weight_scale, EVEN).to(x.dtype))
        return y + rounded(bias, container.weight_scale, WHOLE).to(x.dtype).view(-1, 1, 1)
    y, norm = container.conv(x), container.norm
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    flat = y.flatten(0, 1) if y.ndim == 5 else y
    batch = norm.training and not norm.frozen
    flat = F.batch_norm(flat, mean, var, norm.gain * norm.scale, norm.shift, training=batch, eps=norm.eps)
    return flat.unflatten(0, y.shape[:2]) if y.ndim == 5 else flat


def reference_encoder(
    encoder: FirstEncoder, pixels: Tensor, given: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Spikes of every population of an encoder with EFS blocks, by name; each reads the `given` spikes of those before it."""
    spikes: dict[str, Tensor] = {}

    def fire(name: str, x: Tensor) -> Tensor:
        spikes[name] = reference_lif(x, encoder.get_submodule(name))
        return spikes[name] if given is None else given[name]

    image = fire("image_lif", reference_currents(pixels, encoder.image))
    point, square = encoder.inception.point, encoder.inception.square
    sources = [reference_currents(image, point) + reference_currents(image, square)]
    reach = len(encoder.block_names) + 1 if encoder.span is None else encoder.span + 1
    for name in encoder.block_names:
        x = sum(sources[-reach:])
        for lif, synapse in (("lif_in", "expand"), ("lif_wide", "depthwise"), ("lif_depthwise", "project")):
            x = reference_currents(fire(f"{name}.{lif}", x), encoder.get_submodule(f"{name}.{synapse}"))
        sources.append(x)
    fire("output", sum(sources[-reach:]))
    return spikes


def encoder_of(mode: str = "train", span: int | None = None, tau: float = 0.25, channels: int = 4) -> FirstEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        plan = StagePlan(Cell(tau=tau, residual_gain=0.7), "efs", 3, 2, STEPS, span=span)
        encoder = FirstEncoder(plan, 3, channels).train(mode != "eval")
        for norm in encoder.modules():
            if isinstance(norm, Tdbn):
                norm.gain.data.uniform_(0.7, 1.3)
                norm.shift.data.uniform_(0.0, 0.2)
                norm.running_mean.uniform_(-0.1, 0.1)
                norm.running_var.uniform_(0.05, 0.3)
                norm.frozen = mode in ("frozen", "integers")
        if mode == "integers":
            for module in encoder.modules():
                if isinstance(module, ConvNorm) or module in lifs(encoder).values():
                    module.weight_scale = 40.0
    return encoder


def pixels(n: int = 2, side: int = 10) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1))


def spikes_and_gradients(outputs, module: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Spikes, and gradients of the input and of all parameters, for a fixed loss."""
    module.zero_grad()
    image, end = outputs
    generator = torch.Generator().manual_seed(2)
    loss = sum((y * torch.randn(y.shape, generator=generator, dtype=y.dtype)).sum() for y in (image, end))
    grads = torch.autograd.grad(loss, [x, *(p for p in module.parameters() if p.requires_grad)])
    names = ["pixels", *(name for name, p in module.named_parameters() if p.requires_grad)]
    return end.detach(), dict(zip(names, grads, strict=True))


@pytest.mark.parametrize(("dtype", "share"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("span", [None, SPAN])
@pytest.mark.parametrize("mode", ["train", "frozen", "eval", "integers"])
def test_spikes_and_every_gradient_equal_plain_autograd(mode, span, dtype, share):
    encoder, x = encoder_of(mode, span).to(dtype), pixels().to(dtype).requires_grad_()
    end, grads = spikes_and_gradients(encoder(x), encoder, x)
    spikes = reference_encoder(encoder, x)
    expected, references = spikes_and_gradients((spikes["image_lif"], spikes["output"]), encoder, x)
    assert torch.equal(end, expected) and 0.02 < expected.mean() < 0.9
    for name, reference in references.items():
        assert reference.norm() > 0, name
        assert (grads[name] - reference).norm() <= share * reference.norm(), name


def test_a_decay_that_is_no_power_of_two_trains_alike():
    encoder, x = encoder_of(tau=0.3).double(), pixels().double().requires_grad_()
    _, grads = spikes_and_gradients(encoder(x), encoder, x)
    spikes = reference_encoder(encoder, x)
    _, references = spikes_and_gradients((spikes["image_lif"], spikes["output"]), encoder, x)
    assert all((grads[n] - r).norm() <= 1e-10 * r.norm() for n, r in references.items())


def test_on_real_weights_and_equal_inputs_at_most_one_spike_in_100000_differs():
    encoder, seen = encoder_of(channels=8), {}
    for name, lif in lifs(encoder).items():
        lif.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    with torch.no_grad():
        encoder(pixels(2, 64))
        expected = reference_encoder(encoder, pixels(2, 64), seen)
    assert set(seen) == set(expected)
    total = sum(s.numel() for s in expected.values())
    assert total > 3_000_000
    assert sum(int((seen[name] != s).sum()) for name, s in expected.items()) <= 1e-5 * total


@pytest.mark.parametrize("shape", [(3, 4, 5, 6, 7), (3, 5, 6, 7)])
def test_running_statistics_are_those_of_torchs_batch_norm(shape):
    x, norm = 2 + 3 * torch.randn(shape, generator=torch.Generator().manual_seed(6)), Tdbn(5, 0.5)
    mean, var = torch.zeros(5), torch.ones(5)
    flat = x.flatten(0, 1) if x.ndim == 5 else x
    expected = F.batch_norm(flat, mean, var, torch.full((5,), 0.5), torch.zeros(5), training=True, momentum=1.0)
    y = norm(x)
    torch.testing.assert_close(y.flatten(0, 1) if x.ndim == 5 else y, expected)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, var)


def test_a_shared_sum_is_written_down_once_by_the_neurons_that_read_it():
    block, raw = EfsBlock(Cell(), 3, 2), torch.randn(2, STEPS, 3, 5, 5)
    stream = block.expand.norm.__class__(3, 0.5)(currents_of(raw)) + raw
    expected = (Currents(stream.terms)).tensor()
    assert len(stream.terms) == 2
    block.lif_in(stream)
    assert len(stream.terms) == 1
    torch.testing.assert_close(stream.tensor(), expected)
    lone = currents_of(raw) + raw
    block.lif_wide(lone)
    assert len(lone.terms) == 2


def test_currents_add_up_with_tensors_on_either_side():
    a, b = torch.randn(1, 2, 3, 4, 4), torch.randn(1, 2, 3, 4, 4)
    for total in (currents_of(a) + b, a + currents_of(b), currents_of(a) + currents_of(b)):
        assert isinstance(total, Currents) and total.shape == a.shape
        torch.testing.assert_close(tensor_of(total), a + b)


@pytest.mark.parametrize("shape", [(1, 3, 4, 5, 5), (4, 4, 5, 5), (4, 3, 4, 1, 1), (4, 3, 4, 5, 6)])
@pytest.mark.parametrize("left", [False, True])
def test_currents_of_other_shapes_are_refused_not_read_beyond_their_end(shape, left):
    currents, other = currents_of(torch.zeros(4, 3, 4, 5, 5)), torch.zeros(shape)
    with pytest.raises(UsageError) as error:
        (other + currents) if left else (currents + other)
    assert "(4, 3, 4, 5, 5)" in str(error.value) and str(shape) in str(error.value)
    with pytest.raises(UsageError, match="do not add up"):
        currents + currents_of(other)


def test_currents_on_another_device_are_refused():
    with pytest.raises(UsageError, match="on cpu .* on meta"):
        currents_of(torch.zeros(1, 2, 3, 4, 4)) + torch.zeros(1, 2, 3, 4, 4, device="meta")


def test_what_is_no_current_does_not_add_up():
    currents = currents_of(torch.zeros(1, 2, 3, 4, 4))
    for add in (lambda: currents + 1.0, lambda: 1.0 + currents):
        with pytest.raises(TypeError):
            add()


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("training", [False, True])
def test_a_norm_or_bias_of_other_channels_is_refused(channels, training):
    for module in (Tdbn(channels, 0.5).train(training), ChannelBias(torch.zeros(channels))):
        with pytest.raises(UsageError, match=f"have 3 channels.*shape \\({channels},\\)"):
            module(currents_of(torch.zeros(2, 4, 3, 5, 5)))


@pytest.mark.parametrize("stock", [False, True])
@pytest.mark.parametrize(("steps", "shape"), [(5, (2, 3, 4, 6, 6)), (None, (2, 4, 6, 6)), (5, (4, 6, 6))])
def test_neurons_refuse_currents_of_other_axes(steps, shape, stock):
    lif = Lif(steps=steps)
    lif.stock = stock
    for currents in (torch.zeros(shape), *([currents_of(torch.zeros(shape))] if len(shape) > 3 else [])):
        with pytest.raises(UsageError, match="these neurons read"):
            lif(currents)


def readings(shared: bool, look: bool) -> dict[str, Tensor]:
    """Gradients through a normed stream that neurons and a sum read; before them, somebody may look without gradients."""
    x = torch.randn(2, STEPS, 3, 5, 5, generator=torch.Generator().manual_seed(7), requires_grad=True)
    norm, lif = Tdbn(3, 0.5), Lif()
    lif.shared = shared
    stream = norm(currents_of(x)) + x
    if look:
        with torch.no_grad():
            assert not tensor_of(stream).requires_grad and not lif(stream).requires_grad
    loss = lif(stream).square().sum() + tensor_of(stream).pow(3).sum()
    names, inputs = zip(*{"x": x, **dict(norm.named_parameters())}.items(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, inputs), strict=True))


@pytest.mark.parametrize("shared", [False, True])
def test_who_looks_without_gradients_does_not_stop_training(shared):
    expected, found = readings(shared, False), readings(shared, True)
    assert all(grad.norm() > 0 and torch.equal(found[name], grad) for name, grad in expected.items())


def test_without_anything_to_train_a_sum_is_computed_once():
    with torch.no_grad():
        stream = currents_of(torch.ones(1, 2, 3, 4, 4)) + torch.ones(1, 2, 3, 4, 4)
        assert stream.tensor() is stream.tensor() and len(stream.terms) == 1


def test_statistics_that_move_on_do_not_change_the_gradient_of_what_was_computed():
    x = torch.randn(2, STEPS, 3, 5, 5, generator=torch.Generator().manual_seed(8), requires_grad=True)
    grads = []
    for move in (False, True):
        norm = Tdbn(3, 0.5).eval()
        y = tensor_of(norm(x)).square().sum()
        if move:
            norm.train()(torch.randn(2, STEPS, 3, 5, 5) * 9)
        grads.append(torch.autograd.grad(y, [x, norm.gain, norm.shift]))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("shape", [(0, STEPS, 3, 5, 5), (1, 1, 3, 1, 1), (1, 3, 1, 1)])
def test_a_norm_refuses_to_train_on_fewer_than_two_values_a_channel(shape):
    norm = Tdbn(3, 0.5)
    with pytest.raises(DataError) as error:
        norm(currents_of(torch.ones(shape)))
    assert "3 channels" in str(error.value) and str(shape) in str(error.value)
    assert norm.batches == 0 and torch.equal(norm.running_var, torch.ones(3))
    assert tensor_of(norm.eval()(torch.ones(1, 1, 3, 1, 1))).isfinite().all()


@pytest.mark.parametrize("fires", [False, True])
def test_no_two_gradients_share_memory(fires):
    def channels_last() -> Tensor:  # as the kernels write them: autograd keeps such a gradient without a copy
        return torch.rand(2, STEPS, 5, 5, 3, dtype=torch.float64).permute(0, 1, 4, 2, 3)

    a, b, c, d = (channels_last().requires_grad_() for _ in range(4))
    norms = [Tdbn(3, 0.5).double() for _ in range(2)]
    y = norms[0](currents_of(a)) + b + c + norms[1](currents_of(d))
    y = Lif()(y) if fires else tensor_of(y)
    given = channels_last()
    before = given.clone()
    y.backward(given)
    tensors = [given, *(x.grad for x in (a, b, c, d)), *(p.grad for norm in norms for p in (norm.gain, norm.shift))]
    assert len({x.untyped_storage().data_ptr() for x in tensors}) == len(tensors)
    assert torch.equal(given, before)


@pytest.mark.parametrize("fires", [False, True])
def test_a_second_derivative_is_refused(fires):
    x = torch.randn(2, STEPS, 3, 5, 5, requires_grad=True)
    y = Tdbn(3, 0.5)(currents_of(x))
    y = Lif()(y) if fires else tensor_of(y)
    (grad,) = torch.autograd.grad(y.pow(2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def bytes_kept(module: nn.Module, x: Tensor) -> tuple[int, tuple[Tensor, dict[str, Tensor]], dict[str, Tensor]]:
    """Bytes that autograd holds between forward and backward; spikes and gradients; buffers afterwards."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = module(x)
    held = sum(kept.values())
    return held, spikes_and_gradients(outputs, module, x), {name: b.clone() for name, b in module.named_buffers()}


@pytest.mark.parametrize("span", [None, SPAN])
def test_activation_checkpointing_changes_memory_only(span):
    results = []
    for checkpointing in (False, True):
        encoder, x = encoder_of(span=span), pixels().requires_grad_()
        encoder.checkpointing = checkpointing
        results.append(bytes_kept(encoder, x))
    (held, (end, grads), buffers), (less, (same_end, same_grads), same_buffers) = results
    assert less < 0.6 * held
    assert torch.equal(end, same_end)
    assert all(torch.equal(buffers[name], same_buffers[name]) for name in buffers)
    assert all(buffers[name] == 1 for name in buffers if name.endswith("batches"))
    for name, grad in grads.items():
        assert (grad - same_grads[name]).norm() <= 1e-5 * grad.norm(), name


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_config_switches_activation_checkpointing(checkpointing):
    model = build_model(MfsConfig(scales=2, widths=(3, 4), blocks=1, steps=2, head_norm=True), 2)
    SegmentationTask(model, TrainConfig(activation_checkpointing=checkpointing))
    streams = [module for module in model.modules() if isinstance(module, Stream)]
    assert len(streams) == 4 and all(stream.checkpointing == checkpointing for stream in streams)
