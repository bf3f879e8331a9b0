"""U-Net: the sizes of the papers, what it computes, and that its spiking form is spike-only."""

import pytest
import torch
from lively import enliven, images

from export.errors import CertificateError, DataError, UsageError
from export.execute.integer import run_integer
from export.parity.compare import compare
from export.pipeline import compile_module
from neuroseg.config import Inputs, UNetConfig, load_config
from neuroseg.config.converted import ConvertedConfig
from neuroseg.models import build_model, parameter_count, quantized, record_spikes
from neuroseg.models.unet import UNet

SMALL = {"family": "unet", "widths": (3, 4, 5), "steps": 3}


def unet(classes=2, channels=3, neuron="lif", **settings):
    steps = {"steps": 1} if neuron == "relu" else {}
    return build_model(UNetConfig(**{**SMALL, "neuron": neuron, **steps, **settings}), classes, 0, Inputs(channels))


@pytest.mark.parametrize(("neuron", "paper"), [("relu", 31.04e6), ("lif", 31.03e6)])
def test_the_plain_u_net_has_the_parameters_of_mfs_seg_table_1(neuron, paper):
    with torch.device("meta"):
        model = UNet(UNetConfig(family="unet", neuron=neuron, steps=1), 11, Inputs())
    assert parameter_count(model) == pytest.approx(paper, rel=5e-4)


@pytest.mark.parametrize("neuron", ["relu", "lif"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pool", ["average", "max"])
def test_logits_have_the_image_s_size(neuron, channels, pool):
    model = unet(classes=5, channels=channels, neuron=neuron, pool=pool)
    (logits,) = model(torch.rand(2, channels, 16, 24))
    assert logits.shape == (2, 5, 16, 24)
    assert model.steps == (1 if neuron == "relu" else 3)


def test_an_image_that_the_pools_do_not_divide_is_refused():
    with pytest.raises(DataError, match="does not divide by 4"):
        unet()(torch.rand(1, 3, 16, 18))


def test_lif_neurons_need_a_norm():
    with pytest.raises(ValueError, match="norm = none needs neuron = relu"):
        UNetConfig(family="unet", neuron="lif", norm="none")


@pytest.mark.parametrize("neuron", ["relu", "lif"])
def test_every_parameter_gets_a_gradient(neuron):
    model = unet(neuron=neuron).train()
    (logits,) = model(torch.rand(2, 3, 16, 16))
    logits.square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_a_spiking_u_net_counts_the_spikes_of_its_last_neurons():
    model = unet(neuron="lif").eval()
    spikes = []
    model.decoder0.convs.neuron2.register_forward_hook(lambda _m, _i, out: spikes.append(out))
    with torch.no_grad():
        (logits,) = model(torch.rand(1, 3, 16, 16))
    counts = spikes[0].sum(1).double()
    weight, bias = model.head.weight.double()[:, :, 0, 0], model.head.bias.double()
    expected = (torch.einsum("kc,nchw->nkhw", weight, counts) + 3 * bias[:, None, None]) / 3
    assert torch.allclose(logits, expected, atol=1e-12)


@pytest.mark.parametrize("name", ["unet-drive", "unet-em", "unet-camseq01", "unet-denoise-grey", "unet-denoise-colour"])
def test_the_shipped_networks_are_built_for_their_data(name):
    config = load_config(name)
    model = build_model(config.model, config.data.classes, 0, config.data.inputs)
    side = config.model.multiple
    (out,) = model.eval()(torch.rand(1, config.data.inputs.channels, side, side))
    assert out.shape == (1, config.data.classes, side, side)


def test_a_family_is_refused_for_inputs_it_does_not_read():
    layers = ({"name": "head", "op": "readout", "inputs": ("image",), "channels": (2, 2)},)
    config = ConvertedConfig(family="converted", layers=layers)
    with pytest.raises(UsageError, match="reads images"):
        build_model(config, 2, 0, Inputs(2, "spikes"))


@pytest.mark.parametrize("pool", ["average", "max"])
def test_the_spiking_u_net_compiles_to_the_spikes_that_it_was_trained_with(pool):
    model = enliven(unet(neuron="lif", pool=pool, steps=4), (16, 16), 0)
    compiled = compile_module(model, (3, 16, 16))
    reference = quantized(model, compiled.quantization.weight_scale, compiled.quantization.v_th)
    _, spikes = record_spikes(reference, images(2), stock=True)
    known = {name: values for name, values in spikes.items() if name in compiled.graph.populations}
    rates = {name: float(values.mean()) for name, values in known.items()}
    assert all(0.01 < rate < 0.9 for rate in rates.values()), rates
    got = run_integer(compiled.graph, {p.name: spikes[p.name] for p in compiled.graph.inputs})
    assert compare(compiled.graph, known, got, ("slayer", "int"))["mismatches"] == 0
    assert compiled.graph.readout is not None
    assert compiled.graph.readout.weight.shape == (2, 3)


def test_an_ann_is_refused_with_the_way_out():
    with pytest.raises(CertificateError, match="neuroseg convert"):
        compile_module(unet(neuron="relu").eval(), (3, 16, 16))
