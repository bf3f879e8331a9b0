"""Spiking-DeepLab and Spiking-FCN: shapes, sizes, gradients, what repeats, what the compiler takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lively import enliven, images

from export.errors import DataError, NeurosegError, UsageError
from export.execute.integer import run_integer
from export.lava.supervise import run_lava
from export.netx.write import write_netx
from export.parity.compare import class_maps, compare
from export.pipeline import compile_module
from neuroseg.config import DeepLabConfig, FcnConfig, Inputs
from neuroseg.data import DigitsOnPhotos
from neuroseg.metrics import class_map
from neuroseg.models import build_model, lifs, parameter_count, quantized, record_spikes
from neuroseg.models.bntt import Bntt
from neuroseg.models.record import spiking
from neuroseg.models.synapse import SynapseConv, SynapseConvT

SMALL = {"widths": (4, 5, 6), "classifier": 8, "steps": 4}
DEPLOYABLE = {**SMALL, "norm": "tdbn", "reset": "hard", "pool": 2}
FAMILIES = {"deeplab": DeepLabConfig, "fcn": FcnConfig}
SIZE = (16, 16)


def network(family: str, seed: int = 0, inputs: Inputs | None = None, classes: int = 3, **changes):
    settings = {**SMALL, **changes}
    if settings.get("neuron") == "relu" and inputs is None:
        settings["steps"] = 1
    section = FAMILIES[family](family=family, **settings)
    return build_model(section, classes, seed, inputs)


def given(inputs: Inputs, steps: int = 4, count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    values = torch.rand((count, *inputs.shape(SIZE, steps)), generator=generator)
    return (values < 0.3).float() if inputs.kind == "spikes" else values


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("changes", [
    {},
    {"norm": "tdbn", "reset": "hard", "pool": 2, "readout": "rate"},
    {"coding": "direct"},
    {"coding": "direct", "norm": "tdbn", "readout": "rate"},
    {"neuron": "relu"},
], ids=["paper", "loihi", "direct", "direct-rate", "ann"])  # fmt: skip
def test_every_variant_gives_a_class_map_and_a_gradient_to_every_weight(family, changes):
    model = network(family, **changes).train()
    (logits,) = model(given(Inputs()))
    side = 16 if family == "fcn" else 4
    assert logits.shape == (2, 3, side, side)
    (logits * torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    for name, parameter in model.named_parameters():
        assert not parameter.requires_grad or parameter.grad is not None, name
    for name in ("stage0.conv0.synapses.conv", "stage2.conv2.synapses.conv"):
        assert model.get_submodule(name).weight.grad.norm() > 0, name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("neuron", ["lif", "relu"])
@pytest.mark.parametrize("kind", ["frames", "spikes"])
def test_events_come_without_a_code(family, neuron, kind):
    inputs = Inputs(2, kind)
    model = network(family, inputs=inputs, neuron=neuron)
    logits = model.eval()(given(inputs))[0]
    assert logits.shape[:2] == (2, 3) and logits.ndim == 4
    _, spikes = record_spikes(model, given(inputs))
    if neuron == "lif" and kind == "spikes":
        assert (spikes["source"] == given(inputs).numpy()).all()
    else:
        assert "source" not in spikes
    assert model.stage0.conv0.synapses.conv.host == (neuron == "relu" or kind == "frames")


def test_the_fcn_has_the_parameters_that_the_mfs_paper_counts():
    """13.57 M in MFS-Seg's Table 1: CamVid, 11 classes, T = 5."""
    counted = parameter_count(build_model(FcnConfig(family="fcn", steps=5), 11))
    assert abs(counted / 13.57e6 - 1) < 0.001


def test_the_deeplab_is_the_one_of_table_1():
    model = network("deeplab", widths=(64, 128, 256), classifier=1024, classes=21, steps=20)
    convolutions = [m for m in model.modules() if isinstance(m, SynapseConv | SynapseConvT)]
    shapes = [(m.in_channels, m.out_channels, m.kernel_size[0], m.dilation[0]) for m in convolutions]
    assert shapes == [
        (3, 64, 3, 1), (64, 64, 3, 1), (64, 128, 3, 1), (128, 128, 3, 1),
        (128, 256, 3, 1), (256, 256, 3, 2), (256, 256, 3, 2), (256, 1024, 3, 12),
    ]  # fmt: skip
    assert model.readout.weight.shape == (21, 1024, 1, 1)
    assert {(p.kernel, p.stride, p.padding) for p in (model.pool0, model.pool1)} == {((3, 3), (2, 2), (1, 1))}
    neurons = list(lifs(model).values())
    assert len(neurons) == 8 and all(n.reset == "soft" and n.surrogate == "triangle" for n in neurons)
    assert all((n.threshold, n.width, n.v_decay) == (1.0, 1.0, 41) for n in neurons)  # 41 / 4096 = 0.01
    assert sum(isinstance(m, Bntt) for m in model.modules()) == 8


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("readout", ["accumulate", "rate"])
def test_class_scores_come_from_numbers_of_spikes_alone(family, readout):
    model = enliven(network(family, **{**DEPLOYABLE, "readout": readout}), SIZE, 0)
    logits, spikes = record_spikes(model, images(3))
    scores = model.class_scores(logits)
    last = list(lifs(model))[-1]
    counts = spikes[last].sum(1, dtype=np.int64)
    if readout == "rate":
        assert torch.equal(scores, torch.from_numpy(counts))
        return
    assert scores.dtype == torch.float64
    weight = model.readout.weight.detach().double().numpy()[:, :, 0, 0]
    expected = np.einsum("kc,nchw->nkhw", weight, counts) / model.steps
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("family", FAMILIES)
def test_evaluation_repeats_and_does_not_depend_on_the_batch(family):
    model = network(family).eval()
    batch = images(4)
    with torch.no_grad():
        together = model(batch)[0]
        assert torch.equal(together, model(batch)[0])
        alone = torch.cat([model(one[None])[0] for one in batch])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-12)


def test_the_source_is_a_population_and_the_first():
    model = network("deeplab")
    assert next(iter(spiking(model))) == "source"
    assert not [name for name in spiking(network("deeplab", coding="direct")) if name == "source"]


def test_an_ann_of_images_has_no_time():
    section = DeepLabConfig(family="deeplab", neuron="relu", steps=20)
    with pytest.raises(UsageError, match="no time, but model.steps = 20; set model.steps=1"):
        build_model(section, 3)


def test_an_image_that_two_pools_cannot_halve_is_refused():
    with pytest.raises(DataError, match="18 x 16 does not divide by 4"):
        network("deeplab")(torch.zeros(1, 3, 18, 16))


@pytest.mark.parametrize(
    ("changes", "way_out"),
    [
        ({"norm": "bntt"}, "model.norm=tdbn"),
        ({"reset": "soft"}, "model.reset=hard"),
        ({"pool": 3}, "model.pool=2"),
        ({"neuron": "relu"}, "neuron=lif"),
    ],
)
def test_what_no_loihi_computes_is_refused_with_the_way_out(changes, way_out):
    model = enliven(network("deeplab", **{**DEPLOYABLE, **changes}), SIZE, 0)
    with pytest.raises(NeurosegError, match=way_out):
        compile_module(model, (3, *SIZE))


BY_RATE = {"coding": "direct", "readout": "rate"}


def deployed(family: str, changes: dict):
    """(compiled, class map of the quantised module, its spikes by stock SLAYER, those of them that the host hands over)."""
    # 16x16 pixels leave 4x4 maps: a smaller dilation, so that the classifier's kernel is more than its centre.
    extra = {"dilation": 2} if family == "deeplab" else {}
    model = enliven(network(family, **{**DEPLOYABLE, **extra, **changes}), SIZE, 0)
    compiled = compile_module(model, (3, *SIZE))
    reference = quantized(model, compiled.quantization.weight_scale, compiled.quantization.v_th)
    logits, spikes = record_spikes(reference, images(2), stock=True)
    known = {name: values for name, values in spikes.items() if name in compiled.graph.populations}
    inputs = {p.name: spikes[p.name] for p in compiled.graph.inputs}
    return compiled, class_map(reference.class_scores(logits)).numpy(), known, inputs


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("changes", [{}, BY_RATE], ids=["poisson-accumulate", "direct-rate"])
def test_the_deployable_variants_fire_in_integers_as_in_slayer(family, changes):
    compiled, maps, spikes, inputs = deployed(family, changes)
    by_integers = run_integer(compiled.graph, inputs)
    result = compare(compiled.graph, spikes, by_integers, ("slayer", "int"))
    assert result["mismatches"] == 0, result["first_divergence"]
    rates = {row["name"]: row["rate_left"] for row in result["populations"]}
    assert sum(0.01 <= rate <= 0.6 for rate in rates.values()) >= 0.8 * len(rates), rates
    assert (class_maps(compiled.graph, by_integers) == maps).all() and len(np.unique(maps)) > 1


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("deeplab", {}),
        pytest.param("fcn", BY_RATE, marks=pytest.mark.slow),
        pytest.param("deeplab", BY_RATE, marks=pytest.mark.slow),
        pytest.param("fcn", {}, marks=pytest.mark.slow),
    ],
    ids=["deeplab-poisson", "fcn-direct", "deeplab-direct", "fcn-poisson"],
)
def test_the_deployable_variants_fire_on_stock_lava_as_in_integers(family, changes, tmp_path):
    compiled, _, _, inputs = deployed(family, changes)
    path = tmp_path / "network.net"
    write_netx(compiled.graph, path)
    on_lava, by_integers = run_lava(path, inputs, fast=False), run_integer(compiled.graph, inputs)
    result = compare(compiled.graph, by_integers, on_lava, ("int", "lava"))
    assert result["mismatches"] == 0, result["first_divergence"]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_small_one_learns_which_pixels_are_digits(family):
    model = network(family, classes=2, widths=(8, 12, 16), classifier=24, steps=6).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    items = [DigitsOnPhotos("train", (32, 32), 2, 24, seed=3)[i] for i in range(24)]
    pictures, masks = (torch.stack(parts) for parts in zip(*items, strict=True))
    losses = []
    for _ in range(30):
        logits = torch.nn.functional.interpolate(model(pictures)[0].float(), (32, 32), mode="bilinear")
        loss = torch.nn.functional.cross_entropy(logits, masks.long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    prior = float(masks.float().mean())
    guessing = -(prior * np.log(prior) + (1 - prior) * np.log(1 - prior))
    assert losses[-1] < 0.8 * guessing, (losses[0], losses[-1], guessing)
