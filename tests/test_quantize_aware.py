"""Quantisation-aware mode: what it computes is what the chip computes, and its gradient is that of the real weights."""

import numpy as np
import pytest
import torch
from lively import SIZE, images, lively_model

from export.execute.integer import run_integer
from export.passes.quantize import scale_groups
from export.pipeline import compile_module
from neuroseg.models import quantized, record_spikes
from neuroseg.models.blocks import ConvNorm
from neuroseg.models.norm import Tdbn
from neuroseg.models.quantize_aware import QuantizeAware
from neuroseg.models.rounding import EVEN, rounded
from neuroseg.models.synapse import SynapseConv, SynapseConvT

UP = ConvNorm(SynapseConvT(4, 6, 2, stride=2, groups=2), Tdbn(6, 0.5))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_network_in_integer_mode_fires_exactly_as_its_export(seed):
    model = lively_model(seed=seed)
    compiled = compile_module(model, (3, *SIZE))
    reference = quantized(model, compiled.quantization.weight_scale, compiled.quantization.v_th)
    _, wanted = record_spikes(reference, images(3), stock=True)
    aware = QuantizeAware(model, scale_groups(compiled.unbalanced))
    aware.start()
    _, got = record_spikes(model, images(3))
    assert all(np.array_equal(got[name], wanted[name]) for name in wanted)
    assert {name: m.weight_scale for name, m in model.named_modules() if getattr(m, "weight_scale", None)} == {
        **compiled.quantization.scale,
        **{name.rpartition(".")[0]: s for name, s in compiled.quantization.weight_scale.items()},
    }
    again = quantized(model, compiled.quantization.weight_scale, compiled.quantization.v_th)  # of one in integer mode
    _, same = record_spikes(again, images(3), stock=True)
    assert all(np.array_equal(same[name], wanted[name]) for name in wanted)
    inputs = {p.name: got[p.name] for p in compiled.graph.inputs}
    on_chip = run_integer(compiled.graph, inputs)
    trained = [name for name in on_chip if not name.endswith(".interleave")]  # of which no module knows
    assert len(trained) > 20 and all(np.array_equal(on_chip[name], got[name]) for name in trained)


def test_rounding_changes_the_spikes_of_the_real_network():
    model = lively_model()
    _, before = record_spikes(model, images(3))
    QuantizeAware(model, scale_groups(compile_module(model, (3, *SIZE)).unbalanced)).start()
    _, after = record_spikes(model, images(3))
    assert any(not np.array_equal(before[name], after[name]) for name in before)  # else the test above shows nothing


def test_the_gradient_passes_the_rounding_and_reaches_weights_and_norms():
    weight = torch.tensor([0.1, -0.33], dtype=torch.float64, requires_grad=True)
    rounded(weight, 100.0, EVEN).backward(torch.tensor([1.0, 2.0], dtype=torch.float64))
    assert torch.allclose(weight.grad, torch.tensor([1.0, 2.0], dtype=torch.float64) * 100 / 64)

    model = lively_model().train()
    QuantizeAware(model, scale_groups(compile_module(lively_model(), (3, *SIZE)).unbalanced)).start()
    sum(scores.sum() for scores in model(images(2))).backward()
    silent = [name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert silent == []


def test_statistics_stand_still_in_integer_mode():
    model = lively_model().train()
    before = {name: b.clone() for name, b in model.named_buffers()}
    QuantizeAware(model, scale_groups(compile_module(lively_model(), (3, *SIZE)).unbalanced)).start()
    model.train()(images(4))
    assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())


@pytest.mark.parametrize("container", [ConvNorm(SynapseConv(4, 6, 3, padding=1, groups=2), Tdbn(6, 0.5)), UP])
def test_folding_agrees_with_norm_after_convolution_for_plain_and_transposed(container):
    container = container.eval()
    with torch.no_grad():
        container.norm.running_mean.uniform_(-1, 1)
        container.norm.running_var.uniform_(0.5, 2)
        container.norm.gain.uniform_(0.5, 2)
        container.norm.shift.uniform_(-1, 1)
        x = torch.rand(1, 2, 4, 5, 5)
        weight, bias = container.folded()
        y = container.conv.currents(x, weight.float()) + bias.float().view(-1, 1, 1)
        assert torch.allclose(y, container(x).tensor(), atol=1e-5)
