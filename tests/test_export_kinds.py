"""Every kind of input and read-out, from a RUN to a bundle: the trained module and the compiled network fire the same spikes."""

import numpy as np
import pytest
import torch

from export.bundle import open_bundle
from export.errors import UsageError
from export.parity.compare import class_maps
from export.verify import verify
from neuroseg.commands.converting import Conversion, Source, converted
from neuroseg.commands.exporting import export_run
from neuroseg.commands.ladder import ladder
from neuroseg.commands.parity import parity, show_parity
from neuroseg.commands.reference import load_samples, quantized_module
from neuroseg.config import load_config
from neuroseg.convert import activation_scales, read_module
from neuroseg.metrics import class_map
from neuroseg.models import build, record_spikes
from neuroseg.models.norm import Tdbn
from neuroseg.train.run_folder import save_run

DIGITS = "data={name: digits, size: [32, 32], train_samples: 4, val_samples: 4, test_samples: 4}"
KIM = (DIGITS, "model.widths=[4,6,8]", "model.classifier=8", "model.steps=4")
EVENTS = (
    *("data.size=[16,16]", "data.train_samples=4", "data.val_samples=4", "data.test_samples=4"),
    *("model.widths=[3,4,4]", "model.blocks=1", "model.steps=3"),
)
SLOW = pytest.mark.slow
CASES = {
    "binary event frames": ("mfs-events", EVENTS),
    "Poisson spikes, pools, dilation, linear read-out": ("spiking-deeplab-loihi", KIM),
    "an image, pools, concatenations, linear read-out": (
        "unet-drive",
        (DIGITS, "model.widths=[4,6]", "model.neuron=lif", "model.steps=4"),
    ),
    "histogram frames": ("mfs-events", (*EVENTS, "data.frames=histogram")),
    "transposed convolutions with skips": ("spiking-fcn-loihi", KIM),
    "class neurons": ("spiking-deeplab-loihi", (*KIM, "model.readout=rate")),
    "pixels that the host convolves": ("spiking-deeplab-loihi", (*KIM, "model.coding=direct")),
}
FAST = tuple(CASES)[:3]


def make_run(folder, name, overrides):
    """A RUN of random weights whose norms have seen some inputs."""
    config = load_config(name, overrides)
    model, generator = build(config), torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, Tdbn):
            module.shift.data.uniform_(0.02, 0.3, generator=generator)
    with torch.no_grad():
        model.train()(load_samples(config, 4).images)
    folder.mkdir()
    save_run(folder, config, model.eval(), {"miou": 0.0, "split": "val"})
    return config


@pytest.mark.parametrize("case", [case if case in FAST else pytest.param(case, marks=SLOW) for case in CASES])
def test_a_run_exports_and_fires_the_trained_spikes(case, tmp_path):
    name, overrides = CASES[case]
    config = make_run(tmp_path / "run", name, overrides)
    report = export_run(tmp_path / "run", tmp_path / "bundle", vectors=2)
    assert report["input"] == list(config.input_shape)
    assert 0.01 <= report["firing_rate"] <= 0.6
    result = parity(tmp_path / "bundle", "slayer", "int", 2)
    assert result["mismatches"] == 0 and result["compared"] > 10_000
    assert result["pixel_agreement"] == 1.0
    verdict = verify(tmp_path / "bundle", backends=("int",))
    assert verdict.holds, verdict.checks
    assert_maps_are_the_modules(tmp_path / "bundle")


def assert_maps_are_the_modules(bundle):
    """The class map of the compiled network is that which the trained module itself gives."""
    opened = open_bundle(bundle)
    config, module = quantized_module(bundle / "model", opened.json("quantization.json"))
    logits, spikes = record_spikes(module, load_samples(config, 2).images)
    expected = class_map(module.class_scores(logits)).numpy()
    got = class_maps(opened.graph, spikes)
    np.testing.assert_array_equal(got, expected)
    assert len(np.unique(got)) > 1


@pytest.mark.slow
def test_a_converted_denoiser_exports_and_its_images_are_compared_without_classes(neuroseg_data, tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROSEG_DATA", str(neuroseg_data))
    config = load_config("unet-denoise-grey", ("model.widths=[4,6]", "data.size=[32,32]"))
    layers = read_module(build(config).eval())
    images = torch.rand(4, *config.input_shape, generator=torch.Generator().manual_seed(0))
    ask = Conversion("if", "connection", "hard", 6, 4)
    scales = activation_scales(layers, [images], 4, "connection", 99.9)
    spiking, network = converted(Source(layers, config, "run", "x", "y"), ask, scales)
    (tmp_path / "run").mkdir()
    save_run(tmp_path / "run", spiking, network, {})
    report = export_run(tmp_path / "run", tmp_path / "bundle", vectors=2)
    assert report["miou"] is None and report["readout_host_macs"] == 4 * 32 * 32
    result = parity(tmp_path / "bundle", "slayer", "int", 2)
    assert result["mismatches"] == 0 and result["pixel_agreement"] == 1.0
    assert result["miou_left"] is None
    show_parity(result)
    with pytest.raises(UsageError, match="denoises images.*neuroseg parity"):
        ladder(tmp_path / "bundle", ("slayer", "int"), 2)
