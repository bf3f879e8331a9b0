"""Conversion: rates stand for activations, whatever the network, the better the longer it runs."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from export.errors import UsageError
from neuroseg.config import DeepLabConfig, FcnConfig, Inputs, UNetConfig, dump_config, load_config
from neuroseg.config.converted import IMAGE, ConvertedConfig
from neuroseg.convert import activation_scales, network, normalised, read_module
from neuroseg.convert.ann import Ann, Builder
from neuroseg.convert.match import rate_matched
from neuroseg.convert.statistics import Scales, _Top
from neuroseg.models import build_model
from neuroseg.models.converted import Converted
from neuroseg.models.integrate_fire import IntegrateFire
from neuroseg.models.neuron import Lif

MT = (2.0, 1.0, 0.5, 0.25)


def random_ann(seed: int, pool: str = "average_pool", levels: int = 2) -> Ann:
    """A small U: convolutions, a pool, a transposed convolution, a concatenation, random weights."""
    generator = torch.Generator().manual_seed(seed)

    def weights(*shape):
        return torch.randn(shape, generator=generator) / float(np.sqrt(np.prod(shape[1:])))

    def biases(count):
        return torch.randn(count, generator=generator) * 0.2

    b = Builder()

    def conv(name, source, ins, outs, side=3):
        b.add_weighted(
            f"{name}.conv", "conv", source, weights(outs, ins, side, side), biases(outs), padding=(side // 2,) * 2
        )
        return b.add(f"{name}.fire", "fire", (f"{name}.conv",))

    top = conv("top", IMAGE, 2, 3)
    down = b.add("pool", pool, (top,), kernel=(2, 2), stride=(2, 2))
    for i in range(levels - 1):
        down = conv(f"bottom{i}", down, 3 if not i else 4, 4)
    b.add_weighted("up.conv", "conv_transpose", down, 3 * weights(4, 2, 2, 2), biases(2), stride=(2, 2))
    up = b.add("up.fire", "fire", ("up.conv",))
    both = b.add("concat", "concat", (top, up))
    last = conv("last", both, 5, 3)
    b.add_weighted("head", "readout", last, weights(2, 3, 1, 1), biases(2))
    return b.finish("head")


def spiking(ann, images, method="connection", thresholds=(1.0,), steps=64, reset="soft", percentile=100.0) -> Converted:
    scales = activation_scales(ann, [images], len(images), method, percentile)
    config = ConvertedConfig(
        family="converted",
        neuron="if" if len(thresholds) == 1 else "mt",
        reset=reset,
        thresholds=thresholds,
        steps=steps,
        layers=(scaled := normalised(ann, scales, method, thresholds[-1])).layers,
    )
    return network(scaled, config)


def error(ann, images, **how) -> float:
    """Mean distance between the outputs, in units of the ANN's mean output."""
    with torch.no_grad():
        ours, theirs = spiking(ann, images, **how)(images)[0], network(ann)(images)[0]
    return float((ours - theirs).abs().mean() / theirs.abs().mean())


@given(st.integers(0, 10_000), st.sampled_from(["connection", "channel"]), st.sampled_from([(1.0,), MT]))
@settings(max_examples=8, deadline=None)
def test_the_error_falls_as_one_over_the_steps(seed, method, thresholds):
    ann, images = random_ann(seed), torch.rand(2, 2, 8, 8, generator=torch.Generator().manual_seed(seed))
    short, long = (error(ann, images, method=method, thresholds=thresholds, steps=steps) for steps in (16, 512))
    assert long < max(short / 8, 4e-3)  # 32 times the steps
    assert long < 0.04


def test_layer_wise_scales_lose_a_concatenation_whose_parts_differ():
    b = Builder()
    eye = torch.eye(1)[:, :, None, None]
    for name, size in (("small", 0.5), ("large", 20.0)):
        b.add_weighted(f"{name}.conv", "conv", IMAGE, size * eye, None)
        b.add(f"{name}.fire", "fire", (f"{name}.conv",))
    b.add("concat", "concat", ("small.fire", "large.fire"))
    b.add_weighted("head", "readout", "concat", torch.tensor([[1.0, 0.05]])[:, :, None, None], None)
    ann, images = b.finish("head"), torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    by_connection = error(ann, images, method="connection", steps=256)
    by_layer = error(ann, images, method="layer", steps=256)
    assert by_connection < 0.02 < 1 < by_layer


def test_several_thresholds_need_fewer_steps_than_one():
    images = torch.rand(2, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    pairs = [[error(random_ann(s), images, thresholds=th, steps=8) for th in ((1.0,), MT)] for s in range(5)]
    one, several = np.mean(pairs, axis=0)
    assert several < one / 2


@pytest.mark.parametrize(
    "together", [2**16, 72, 1]
)  # neurons; a row here has 24: all 4 rows, 3 and 1, or one at a time
@pytest.mark.parametrize("thresholds", [(1.0,), (2.0, 1.0), MT, (2.0, 1.0, 0.5, 0.25, 0.125)])
def test_neurons_hand_on_what_the_thresholds_hold_and_keep_the_rest(thresholds, together, monkeypatch):
    monkeypatch.setattr("neuroseg.models.integrate_fire.CACHED", together)
    x = torch.randn(3, 7, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 2
    unit = thresholds[-1]
    out = IntegrateFire([threshold / unit for threshold in thresholds])(x / unit) * unit
    v = np.zeros((3, 2, 4, 4), np.float32)
    for t in range(7):
        v = v + x[:, t].numpy()
        handed = np.zeros_like(v)
        for threshold in thresholds:
            fires = v > threshold
            v = np.where(fires, v - np.float32(threshold), v)
            handed += threshold * fires
        assert np.array_equal(out[:, t].numpy(), handed)


def test_a_hard_reset_forgets_and_is_the_chip_s_own_neuron():
    images = torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(2))
    ann = random_ann(3)
    model = spiking(ann, images, reset="hard")
    neurons = [m for m in model.modules() if isinstance(m, Lif | IntegrateFire)]
    assert neurons and all(isinstance(m, Lif) and m.v_decay == 0 and m.threshold == 1 for m in neurons)
    same = IntegrateFire(reset="hard")
    x = torch.round(torch.randn(1, 20, 2, 4, 4) * 64) / 64  # both exact
    assert torch.equal(Lif(1.0, tau=1.0)(x), same(x))
    assert error(ann, images, reset="soft", steps=256) < error(ann, images, reset="hard", steps=256)


@given(st.integers(1, 400), st.floats(1, 100), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_the_percentile_of_a_stream_is_numpy_s(count, percentile, batches):
    values = torch.rand(3 * batches, 2, 1, count, generator=torch.Generator().manual_seed(count))
    for by_channel in (False, True):
        top = _Top(len(values), percentile, by_channel)
        for part in values.split(3):
            top.see(part)
        kept = values.transpose(0, 1).flatten(1) if by_channel else values.reshape(1, -1)
        assert np.allclose(top.scale().numpy(), np.percentile(kept.double().numpy(), percentile, axis=1), rtol=1e-6)


@pytest.mark.parametrize("settings_of", [{}, {"norm": "none"}, {"pool": "max"}])
def test_a_trained_u_net_is_read_as_what_it_computes(settings_of):
    config = UNetConfig(family="unet", neuron="relu", steps=1, widths=(3, 4, 5), **settings_of)
    model = build_model(config, 2, 0, Inputs(1)).train()
    for _ in range(3):
        model(torch.rand(4, 1, 16, 16))  # statistics of the norms
    images = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn_like(p)
        expected = model.eval()(images)[0]
        ours = network(read_module(model))(images)[0]
    assert torch.allclose(ours, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_a_network_that_spikes_already_is_refused():
    with pytest.raises(
        UsageError, match=r"'encoder0.neuron1' cannot be converted: it spikes already.*model.neuron=relu"
    ):
        read_module(build_model(UNetConfig(family="unet", widths=(3, 4)), 2))


def test_an_activation_added_to_a_sum_is_refused():
    b = Builder()
    b.add_weighted("a", "conv", IMAGE, torch.ones(1, 1, 1, 1), None)
    b.add("fire", "fire", ("a",))
    b.add_weighted("c", "conv", "fire", torch.ones(1, 1, 1, 1), None)
    b.add("sum", "add", ("fire", "c"))
    b.add("fire2", "fire", ("sum",))
    b.add_weighted("head", "readout", "fire2", torch.ones(1, 1, 1, 1), None)
    with pytest.raises(UsageError, match="'sum' adds 'fire'.*1x1"):
        spiking(b.finish("head"), torch.rand(1, 1, 4, 4))


def test_sums_of_two_convolutions_share_their_neuron_s_scale():
    b = Builder()
    for name in "ab":
        b.add_weighted(name, "conv", IMAGE, torch.randn(2, 1, 3, 3), torch.rand(2), padding=(1, 1))
    b.add("sum", "add", ("a", "b"))
    b.add("fire", "fire", ("sum",))
    b.add_weighted("head", "readout", "fire", torch.randn(2, 2, 1, 1), None)
    assert error(b.finish("head"), torch.rand(1, 1, 8, 8), steps=512) < 0.02


def test_the_flow_s_gradient_is_that_of_the_rates_gated_by_the_input():
    ann, images = random_ann(5), torch.rand(2, 2, 8, 8)
    model = spiking(ann, images, steps=8).train()
    (logits,) = model(images)
    rates = model.rates(images)
    with torch.no_grad():
        assert torch.allclose(logits.double(), model.eval()(images)[0], atol=1e-5)
    goal = torch.rand_like(logits)
    (logits * goal).sum().backward()
    expected = torch.einsum("nkhw,nchw->kc", goal, rates["last.fire"])
    assert torch.allclose(model.head.weight.grad[:, :, 0, 0], expected, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        current = model.last.conv(torch.cat([rates["top.fire"], rates["up.fire"]], 1)).tensor()
        through = torch.einsum("nkhw,kc->nchw", goal, model.head.weight[:, :, 0, 0]) * (current > 0)
    assert torch.allclose(model.last.conv.norm.bias.grad, through.sum((0, 2, 3)), rtol=1e-4, atol=1e-4)


def test_fine_tuning_makes_few_steps_enough():
    torch.manual_seed(0)
    ann, images = random_ann(7), torch.rand(8, 2, 8, 8)
    with torch.no_grad():
        goal = network(ann)(images)[0]
    model = spiking(ann, images, steps=4)

    def distance():
        with torch.no_grad():
            return float((model.eval()(images)[0] - goal).abs().mean())

    before = distance()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = (model.train()(images)[0] - goal).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert distance() < 0.6 * before


def test_a_converted_config_survives_its_yaml(tmp_path):
    model = ConvertedConfig(family="converted", neuron="mt", thresholds=MT, layers=random_ann(0).layers)
    config = load_config("demo").model_copy(update={"model": model})
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    assert load_config(path) == config
    assert "output_padding" not in path.read_text()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"thresholds": (1.0, 2.0), "neuron": "mt"}, "not descending"),
        ({"thresholds": (2.0, 1.0)}, "neuron = if has one threshold"),
        ({"thresholds": (2.0, 1.0), "neuron": "mt", "reset": "hard"}, "reset = hard needs one threshold"),
        ({"layers": random_ann(0).layers[1:]}, "which no layer before it is called"),
        ({"layers": random_ann(0).layers[:-1]}, "the last layer, and no other, is a readout"),
    ],
)
def test_an_unsound_converted_config_is_refused(changes: dict[str, Any], says):
    with pytest.raises(ValueError, match=says):
        ConvertedConfig(**{"family": "converted", "layers": random_ann(0).layers, **changes})


def test_gains_take_back_what_a_hard_reset_loses():
    """A lone neuron: driven by x it fires every floor(1 / x) + 1 steps; the gain makes the mean of the rates right."""
    b = Builder()
    b.add_weighted("conv", "conv", IMAGE, torch.ones(1, 1, 1, 1), None)
    b.add("fire", "fire", ("conv",))
    b.add_weighted("head", "readout", "fire", torch.ones(1, 1, 1, 1), None)
    ann, images = b.finish("head"), torch.full((1, 1, 4, 4), 0.9)
    scales = Scales({"fire": torch.ones(1, dtype=torch.float64)})
    config = ConvertedConfig(family="converted", reset="hard", steps=100, layers=ann.layers)
    scaled = normalised(ann, scales, "connection")
    with torch.no_grad():
        lost = network(scaled, config)(images)[0]
        matched = network(rate_matched(ann, scaled, scales, config, images), config)(images)[0]
    assert torch.allclose(lost, torch.full_like(lost, 0.5))
    assert torch.allclose(matched, torch.full_like(matched, 0.9), atol=1e-6)


def test_gains_follow_the_channels_through_pools_and_concatenations():
    images = torch.rand(2, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    worse, better = [], []
    for seed in range(4):
        ann = random_ann(seed)
        scales = activation_scales(ann, [images], 2, "connection", 99.9)
        scaled = normalised(ann, scales, "connection")
        config = ConvertedConfig(family="converted", reset="hard", steps=64, layers=scaled.layers)
        with torch.no_grad():
            goal = network(ann)(images)[0]
            outs = [network(a, config)(images)[0] for a in (scaled, rate_matched(ann, scaled, scales, config, images))]
        worse.append(float((outs[0] - goal).abs().mean()))
        better.append(float((outs[1] - goal).abs().mean()))
    assert np.mean(better) < 0.6 * np.mean(worse)


@pytest.mark.parametrize("family", ["deeplab", "fcn"])
def test_the_ann_twins_of_kim_are_read_as_what_they_compute(family):
    kind = {"deeplab": DeepLabConfig, "fcn": FcnConfig}[family]
    config = kind(family=family, neuron="relu", steps=1, widths=(3, 4, 5), classifier=6, pool=2)
    model = build_model(config, 2, 0).train()
    for _ in range(2):
        model(torch.rand(2, 3, 32, 32))
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected, ours = model.eval()(images)[0], network(read_module(model))(images)[0]
    assert torch.allclose(ours.to(expected), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
