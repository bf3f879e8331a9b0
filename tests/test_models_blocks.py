"""MFS-Seg's other blocks, ablations and ANN twins: what they compute, and that what deploys does so exactly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lively import SIZE, images, lively_model
from pydantic import ValidationError
from torch import nn

from export.errors import CertificateError
from export.execute.integer import run_integer
from export.lava.supervise import run_lava
from export.netx.write import write_netx
from export.parity.compare import compare
from export.passes.check_spikes import check_spikes
from export.passes.fold_norm import fold_norm
from export.passes.quantize import scale_groups
from export.passes.trace import trace
from export.pipeline import compile_module
from neuroseg.config import MfsConfig, TrainConfig, load_config
from neuroseg.models import build_model, lifs, parameter_count, quantized, record_spikes
from neuroseg.models.blocks import Cell, EfsBlock, Inception
from neuroseg.models.neuron import Lif
from neuroseg.models.other_blocks import FireModule, MsBlock, Shuffle, ShuffleBlock
from neuroseg.models.quantize_aware import QuantizeAware
from neuroseg.train import load_run, train
from neuroseg.train.task import SegmentationTask

WIDTHS = {"efs": (4, 6), "ms": (4, 6), "fire": (4, 6), "shuffle": (16, 32), "sew": (4, 6)}
DEPLOYABLE = [
    {"block": "fire", "blocks": 2},
    {"block": "shuffle"},
    {"inception": False},
    {"inception": "point"},
    {"grouped": False},
    {"block": "ms", "blocks": 2, "shortcut_span": 1},
]
ANN = {"neuron": "relu", "steps": 1}


def model_of(seed: int = 0, **change) -> nn.Module:
    """A network of two scales whose neurons fire."""
    return lively_model(SIZE, seed, **({"scales": 2, "widths": WIDTHS[change.get("block", "efs")]} | change))


def both_ways(model: nn.Module, pictures: torch.Tensor, run):
    """Stock SLAYER's spikes of the quantised module, compared with those of `run(compiled, inputs)`."""
    compiled = compile_module(model, tuple(pictures.shape[1:]))
    reference = quantized(model, compiled.quantization.weight_scale, compiled.quantization.v_th)
    _, spikes = record_spikes(reference, pictures, stock=True)
    inputs = {p.name: spikes[p.name] for p in compiled.graph.inputs}
    return compare(compiled.graph, spikes, run(compiled.graph, inputs), ("slayer", "other"))


@pytest.mark.parametrize("change", [{"block": block} for block in WIDTHS] + DEPLOYABLE[2:5] + [ANN], ids=str)
def test_every_weight_of_a_variant_gets_a_gradient(change) -> None:
    settings = {"widths": (16, 16, 32), "blocks": 2, "steps": 3} | change
    model = build_model(MfsConfig(**settings), classes=5)
    outputs = model(images(2))
    assert [tuple(o.shape) for o in outputs] == [(2, 5, 16 // 2**i, 16 // 2**i) for i in range(3)]
    sum((o * torch.randn_like(o)).sum() for o in outputs).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("change", DEPLOYABLE, ids=str)
def test_what_deploys_does_so_exactly(change) -> None:
    result = both_ways(model_of(**change), images(3), run_integer)
    assert result["mismatches"] == 0, result["first_divergence"]
    rates = [row["rate_left"] for row in result["populations"]]
    assert result["compared"] > 10_000 and sum(0.01 <= rate <= 0.6 for rate in rates) >= 0.8 * len(rates), rates


@pytest.mark.slow  # tests/test_random_graphs_lava.py has shuffles and spike sources
@pytest.mark.parametrize("block", ["ms", "fire", "shuffle"])
def test_stock_lava_fires_the_same_spikes(block, tmp_path) -> None:
    widths = (32,) if block == "shuffle" else (4,)  # 8 channels in 4 groups are shuffled
    model = lively_model(SIZE, block=block, scales=1, widths=widths, steps=3)

    def run(graph, inputs):
        write_netx(graph, tmp_path / "network.net")
        return run_lava(tmp_path / "network.net", inputs, fast=False)

    result = both_ways(model, images(1), run)
    assert result["mismatches"] == 0, result["first_divergence"]
    assert sum(row["rate_left"] > 0.01 for row in result["populations"]) >= 0.8 * len(result["populations"])


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    block=st.sampled_from(["efs", "ms", "fire", "shuffle"]),
    inception=st.sampled_from([True, False, "point"]),
    scales=st.integers(1, 2),
    blocks=st.integers(0, 2),
    seed=st.integers(0, 1000),
)
def test_the_quantised_module_equals_the_integers(block, inception, scales, blocks, seed) -> None:
    widths = WIDTHS[block][:scales]
    model = model_of(seed, block=block, inception=inception, scales=scales, widths=widths, blocks=blocks, steps=3)
    result = both_ways(model, images(1), run_integer)
    assert result["mismatches"] == 0, result["first_divergence"]


@pytest.mark.parametrize("block", ["ms", "fire", "shuffle"])
def test_a_network_in_integer_mode_fires_as_its_export(block) -> None:
    model, pictures = model_of(block=block), images(2)
    compiled = compile_module(model, (3, *SIZE))
    QuantizeAware(model, scale_groups(compiled.unbalanced)).start()
    _, spikes = record_spikes(model, pictures)
    on_chip = run_integer(compiled.graph, {p.name: spikes[p.name] for p in compiled.graph.inputs})
    result = compare(compiled.graph, spikes, on_chip, ("integer mode", "int"))
    assert result["mismatches"] == 0, result["first_divergence"]


def test_a_shuffle_deals_the_groups_out_in_turn() -> None:
    x = torch.arange(2 * 3 * 8 * 2 * 2.0).view(2, 3, 8, 2, 2)
    expected = nn.ChannelShuffle(4)(x.flatten(0, 1)).unflatten(0, (2, 3))
    assert torch.equal(Shuffle(4)(x), expected) and not torch.equal(Shuffle(4)(x), x)


@pytest.mark.parametrize("block", [MsBlock, ShuffleBlock])
def test_a_membrane_shortcut_adds_currents_to_currents(block) -> None:
    module = block(Cell(residual_gain=0.0), 16).eval()
    x = torch.randn(1, 3, 16, 5, 5)
    assert torch.equal(module(x).tensor(), x)  # a residual path of gain zero leaves the stream as it is


def test_a_fire_module_concatenates_spikes_of_its_two_branches() -> None:
    module = FireModule(Cell(), 8).train()
    spikes = (torch.rand(2, 3, 8, 6, 6) > 0.5).float()
    seen = {}
    for name in ("lif_point", "lif_square"):
        module.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    out = module(spikes)
    assert torch.equal(out, torch.cat([seen["lif_point"], seen["lif_square"]], dim=2))
    assert module.squeeze.conv.weight.shape[:2] == (6, 8) and module.square.conv.weight.shape[:4] == (4, 6, 3, 3)


@pytest.mark.parametrize(("inception", "kernels"), [(True, {1, 3}), (False, {3}), ("point", {1})])
def test_inception_has_the_branches_that_are_asked_for(inception, kernels) -> None:
    convs = [m for name, m in Inception(Cell(inception=inception), 3, 4).named_modules() if name.endswith("conv")]
    assert {conv.weight.shape[2] for conv in convs} == kernels


def test_without_groups_the_3x3_of_efs_is_dense() -> None:
    grouped, dense = (EfsBlock(Cell(grouped=grouped), 4, 2) for grouped in (True, False))
    assert parameter_count(dense) - parameter_count(grouped) == 8 * 8 * 9 - 8 * 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"neuron": "relu"}, "neuron = relu is an ANN, which has no time, but steps = 5; set steps = 1"),
        ({"block": "ms", "grouped": False}, "grouped = false .* block is ms"),
        ({"block": "shuffle", "widths": (2, 4, 8)}, r"widths = \[2, 4, 8\]: block shuffle .* at least 4"),
        ({"block": "fire", "shortcut_span": 1}, "shortcut_span = 1 needs block = efs, ms or shuffle.* block is fire"),
        ({"inception": "square"}, "inception"),
    ],
)
def test_what_makes_no_sense_together_is_refused(change, message) -> None:
    with pytest.raises(ValidationError, match=message):
        MfsConfig(**change)


def test_sew_is_refused_by_the_line_that_adds_spikes() -> None:
    model = model_of(block="sew")
    with pytest.raises(CertificateError, match=r"encoder0.block0.add: adds spikes to spikes \(as SEW-ResNet does\)"):
        compile_module(model, (3, *SIZE))


def test_the_anns_twin_is_refused_by_its_activations() -> None:
    flow = fold_norm(trace(model_of(**ANN), (3, *SIZE)))
    with pytest.raises(CertificateError, match=r"encoder0.image_lif: is a real activation .*model.neuron=lif"):
        check_spikes(flow)


def test_an_ann_twin_has_the_same_weights_and_no_neurons() -> None:
    snn, ann = model_of(), model_of(**ANN)
    assert lifs(ann) == {} and parameter_count(ann) == parameter_count(snn)
    assert {k: v.shape for k, v in ann.named_parameters()} == {
        k: v.shape for k, v in snn.named_parameters() if v.requires_grad
    }
    logits = ann(images(2))[0]
    assert torch.equal(ann.class_scores(logits), logits) and len(logits.unique()) > 100  # real scores, no spike counts


def test_an_ann_computes_relu_of_normed_sums() -> None:
    ann = model_of(**ANN)
    seen = {}
    encoder = ann.encoder0
    encoder.image_lif.register_forward_hook(lambda _m, _i, out: seen.update(out=out))
    pictures = images(2)
    ann(pictures)
    raw, norm = torch.nn.functional.conv2d(pictures, encoder.image.conv.weight[..., 0], padding=1), encoder.image.norm
    expected = torch.nn.functional.batch_norm(
        raw, norm.running_mean, norm.running_var, norm.gain, norm.shift, eps=norm.eps
    ).relu()
    torch.testing.assert_close(seen["out"], expected)


def test_an_ann_twin_trains_with_the_same_config(tmp_path) -> None:
    config = load_config("mfs-tiny", ["model.neuron=relu", "model.steps=1", "train.epochs=1", "train.qat_epochs=0"])
    metrics = train(config, tmp_path / "run")
    assert 0 <= metrics["miou"] <= 1 and metrics["firing_rate"] is None and metrics["firing_rates"] == {}
    assert lifs(load_run(tmp_path / "run")[1]) == {}


@pytest.mark.parametrize("multi_scale", [True, False])
def test_the_loss_at_full_scale_alone_gives_the_other_heads_no_gradient(multi_scale) -> None:
    task = SegmentationTask(model_of(), TrainConfig(multi_scale=multi_scale))
    outputs = task.model(images(2))
    batch = images(2), torch.randint(0, 2, (2, *SIZE), generator=torch.Generator().manual_seed(0))
    task.loss(outputs, batch).backward()
    gradients = [task.model.get_submodule(f"head{i}").classify.conv.weight.grad for i in (0, 1)]
    assert gradients[0].count_nonzero() and bool(gradients[1].count_nonzero()) is multi_scale


def test_a_short_shortcut_is_read_once_by_every_block_that_has_one() -> None:
    for block in ("efs", "ms", "shuffle"):
        plain, short = (model_of(block=block, blocks=2, shortcut_span=span) for span in (None, 1))
        readers = [
            [module.shared for name, module in model.named_modules() if isinstance(module, Lif) and "lif_in" in name]
            for model in (plain, short)
        ]
        assert all(readers[0]) and not any(readers[1])
        with torch.no_grad():
            assert not torch.equal(plain(images(1))[0], short(images(1))[0])
