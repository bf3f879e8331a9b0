"""MFS-Seg: structure, sizes, traceability, and equality with stock SLAYER spike for spike."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn

from export.errors import DataError, QuantizeError
from neuroseg.config import MfsConfig
from neuroseg.models import build_model, lifs, network_size, parameter_count, quantized, record_spikes, stock_slayer
from neuroseg.models.blocks import Cell, ConvNorm, EfsBlock
from neuroseg.models.norm import ChannelBias, Tdbn
from neuroseg.models.quantized import folded
from neuroseg.models.record import evaluating
from neuroseg.models.slayer import Conv, CubaNeuron
from neuroseg.models.synapse import SynapseConv, SynapseConvT

SMALL = MfsConfig(widths=(4, 6, 8), blocks=1, steps=4, head_norm=True)


def with_random_norms(model: nn.Module) -> nn.Module:
    """Statistics and affine parameters as training leaves them: none is trivial."""
    generator = torch.Generator().manual_seed(7)
    for module in model.modules():
        if isinstance(module, Tdbn):
            for tensor, centre in ((module.gain, 1.0), (module.shift, 0.1), (module.running_mean, 0.0)):
                tensor.data = centre + 0.2 * torch.randn(tensor.shape, generator=generator)
            module.running_var = 0.1 + torch.rand(module.running_var.shape, generator=generator)
    return model.eval()


def plan(model: nn.Module) -> tuple[dict[str, float], dict[str, int]]:
    """Scales for every synapse that carries spikes, and thresholds of the neurons behind them."""
    scales = {
        name: 20.0
        for name, module in model.named_modules()
        if isinstance(module, SynapseConv | SynapseConvT) and ".image" not in name
    }
    return scales, {name: 10 for name, lif in lifs(model).items() if lif.steps is None}


def images(n: int = 2, side: int = 16) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(11))


@pytest.mark.parametrize(("blocks", "millions", "giga_macs"), [(4, 1.11, 8.85), (3, 0.92, 7.66), (2, 0.74, 6.46)])
def test_the_papers_sizes_are_met(blocks: int, millions: float, giga_macs: float) -> None:
    model = build_model(MfsConfig(blocks=blocks), classes=11)
    assert parameter_count(model) / 1e6 == pytest.approx(millions, rel=0.02)
    assert network_size(model, (3, 180, 240)).macs_per_step / 1e9 == pytest.approx(giga_macs, rel=0.05)


def test_macs_and_neurons_are_counted_by_hand_for_a_plain_net() -> None:
    model = build_model(MfsConfig(scales=1, widths=(4,), blocks=0, head_norm=True), classes=2)
    size = network_size(model, (3, 6, 8))
    host = 3 * 4 * 9
    assert size.host_macs == 48 * host
    assert size.macs_per_step == 48 * (host + 4 * 4 * 10 + 4 * 4 // 4 + 4 * 2 * 9)
    assert size.neurons == 48 * (4 + 4 + 4 + 2)


@pytest.mark.parametrize(("scales", "widths"), [(1, (4,)), (2, (4, 6)), (3, (4, 6, 8))])
@pytest.mark.parametrize("block", ["efs", "sew"])
def test_every_scale_gives_a_class_map_and_every_weight_gets_a_gradient(
    scales: int, widths: tuple[int, ...], block: str
) -> None:
    model = build_model(MfsConfig(scales=scales, widths=widths, blocks=1, steps=3, block=block), classes=5)
    outputs = model(images())
    assert [tuple(o.shape) for o in outputs] == [(2, 5, 16 // 2**i, 16 // 2**i) for i in range(scales)]
    sum((o * torch.randn_like(o)).sum() for o in outputs).backward()
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing


def test_one_scale_has_no_attention_fusion_or_transposed_convolution() -> None:
    names = [name for name, _ in build_model(MfsConfig(scales=1, widths=(4,)), 2).named_children()]
    assert names == ["images", "encoder0", "decoder0", "head0"]


def test_the_seed_alone_decides_the_weights() -> None:
    state = torch.random.get_rng_state()
    a, b, c = (build_model(SMALL, 2, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["head0.classify.conv.weight"], c["head0.classify.conv.weight"])


def test_a_fresh_network_without_head_norm_is_not_silent() -> None:
    model = build_model(MfsConfig(widths=(8, 12, 16), blocks=1), classes=3).train()
    rates: dict[str, float] = {}
    for name, lif in lifs(model).items():
        lif.register_forward_hook(lambda _m, _i, out, name=name: rates.update({name: float(out.mean())}))
    model(images(4))
    assert {name: rate for name, rate in rates.items() if not 0.01 < rate < 0.6} == {}


@pytest.mark.parametrize("block", ["efs", "sew"])
def test_the_network_is_traceable_and_every_leaf_is_called_once(block: str) -> None:
    model = with_random_norms(build_model(SMALL.model_copy(update={"block": block}), 2))

    class Tracer(fx.Tracer):
        def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
            return hasattr(module, "describe")

    graph = Tracer().trace(model)
    called = [node.target for node in graph.nodes if node.op == "call_module"]
    leaves = [name for name, module in model.named_modules() if hasattr(module, "describe")]
    assert sorted(called) == sorted(leaves)
    functions = {node.target.__name__ for node in graph.nodes if node.op == "call_function"}
    assert functions == {"add"}
    assert not [node for node in graph.nodes if node.op in ("call_method", "get_attr")]


def test_an_image_size_that_does_not_halve_twice_is_refused() -> None:
    with pytest.raises(DataError, match="18 x 16 does not divide by 4"):
        build_model(SMALL, 2)(torch.zeros(1, 3, 18, 16))


def test_folding_a_norm_changes_nothing() -> None:
    for synapse in (SynapseConv(4, 6, 3, padding=1, groups=2), SynapseConvT(4, 6, 2, stride=2, groups=2)):
        container = with_random_norms(ConvNorm(synapse, Tdbn(6, 0.5))).double()
        x = torch.randn(2, 3, 4, 6, 6, dtype=torch.float64)
        expected = container(x).tensor()
        weight, bias = folded(container)
        container.conv.weight = nn.Parameter(weight)
        torch.testing.assert_close(container.conv(x) + bias.view(-1, 1, 1), expected)


def test_a_quantised_block_equals_one_of_stock_slayer_parts_spike_for_spike() -> None:
    block = with_random_norms(EfsBlock(Cell(), 6, 2))
    scales, thresholds = plan(block)
    ours = quantized(block, scales, thresholds)
    x = torch.randint(-20, 40, (3, 6, 6, 9, 9), generator=torch.Generator().manual_seed(13)) / 64
    seen: dict[str, Tensor] = {}
    for name in ("lif_in", "lif_wide", "lif_depthwise"):
        ours.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    with torch.no_grad():
        stream = ours(x).tensor()
        expected = stock_block(ours, x.permute(0, 2, 3, 4, 1))
    for name, reference in expected.items():
        found = stream if name == "stream" else seen[name]
        assert torch.equal(found, reference.permute(0, 4, 1, 2, 3)), name
    assert all(0.01 < s.mean() < 0.6 for s in seen.values())


def stock_block(block: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The block put together from stock SLAYER synapses and neurons, on (N, C, H, W, T)."""
    neuron = {"threshold": 10 / 64, "current_decay": 1.0, "voltage_decay": 0.75}

    def synapse(name: str, spikes: Tensor) -> Tensor:
        container = block.get_submodule(name)
        weight: Tensor = container.conv.weight  # type: ignore[union-attr, assignment]
        groups = spikes.shape[1] // weight.shape[1]
        conv = Conv(spikes.shape[1], weight.shape[0], weight.shape[2], padding=weight.shape[2] // 2, groups=groups)
        conv.weight = nn.Parameter(weight)
        return conv(spikes) + container.norm.bias.view(-1, 1, 1, 1)  # type: ignore[union-attr]

    first = CubaNeuron(**neuron)(x)
    wide = CubaNeuron(**neuron)(synapse("expand", first))
    depthwise = CubaNeuron(**neuron)(synapse("depthwise", wide))
    stream = x + synapse("project", depthwise)
    return {"lif_in": first, "lif_wide": wide, "lif_depthwise": depthwise, "stream": stream}


def test_the_quantised_network_computes_the_same_in_stock_slayer() -> None:
    model = with_random_norms(build_model(SMALL, 3))
    network = quantized(model, *plan(model))
    logits, fast = record_spikes(network, images())
    stock_logits, stock = record_spikes(network, images(), stock=True)
    assert torch.equal(logits, stock_logits)
    gates = {f"encoder{i}.{gate}" for i in (1, 2) for gate in ("pool", "gate")}
    assert set(fast) == set(lifs(model)) | gates
    assert [name for name in fast if (fast[name] != stock[name]).any()] == []
    silent = [name for name, s in fast.items() if not 0.005 < s.mean() < 0.7]
    assert len(silent) < len(fast) / 10


def test_quantised_weights_are_even_integers_over_64_and_norms_are_biases() -> None:
    model = with_random_norms(build_model(SMALL, 3))
    network = quantized(model, *plan(model))
    for name, module in network.named_modules():
        if isinstance(module, ConvNorm) and ".image" not in name:
            weight = module.conv.weight * 32
            assert torch.equal(weight, weight.round())
            assert isinstance(module.norm, ChannelBias) and module.norm.bias.count_nonzero()
    assert isinstance(network.get_submodule("encoder0.image.norm"), Tdbn)
    assert network.get_submodule("encoder0.image_lif").threshold == 0.5
    assert isinstance(model.get_submodule("ffm0.mix.norm"), Tdbn)


@pytest.mark.parametrize(
    ("scales", "thresholds", "message"),
    [
        ({"ffm0.mix.conv": 5000.0}, {}, r"weight of synapse 'ffm0.mix.conv'.*\[-256, 254\].*at most"),
        ({"ffm0.mix.conv": -1.0}, {}, "not positive"),
        ({"ffm0.nothing": 1.0}, {}, "no synapse named 'ffm0.nothing'"),
        ({}, {"ffm0.output": 4096}, r"'ffm0.output'.*4096.*\[1, 4095\]"),
        ({}, {"head9.output": 3}, "no neuron named"),
    ],
)
def test_what_the_chip_cannot_hold_is_refused_by_name(
    scales: dict[str, float], thresholds: dict[str, int], message: str
) -> None:
    with pytest.raises(QuantizeError, match=message):
        quantized(with_random_norms(build_model(SMALL, 3)), scales, thresholds)


def test_nan_weights_are_refused_by_name() -> None:
    model = with_random_norms(build_model(SMALL, 3))
    model.get_submodule("ffm0.mix.conv").weight.data[0] = float("nan")  # type: ignore[union-attr, operator]
    with pytest.raises(QuantizeError, match="'ffm0.mix.conv' is not a finite number"):
        quantized(model, {"ffm0.mix.conv": 20.0}, {})


def test_recording_and_stock_mode_leave_the_model_as_it_was() -> None:
    model = build_model(SMALL, 2).train()
    model.encoder0.eval()
    with stock_slayer(model), evaluating(model):
        assert model.encoder0.output.stock
        assert not model.training
    record_spikes(model, images(1), stock=True)
    assert model.training and not model.encoder0.training
    assert not model.encoder0.output.stock
    assert not model.encoder0.output._forward_hooks
