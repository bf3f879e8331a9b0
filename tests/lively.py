"""A small MFS-Seg whose neurons fire, without the minutes that training takes."""

import torch

from export.pipeline import compile_module
from neuroseg.config import MfsConfig, load_config
from neuroseg.data import DigitsOnPhotos
from neuroseg.models import MfsSeg, build_model, quantized, record_spikes
from neuroseg.models.norm import Tdbn
from neuroseg.train.run_folder import save_run

SIZE = (16, 16)


def images(count: int, size=SIZE) -> torch.Tensor:
    """Embedded test images (N, 3, H, W)."""
    items = DigitsOnPhotos("test", size, 2, count, seed=3)
    return torch.stack([items[i][0] for i in range(count)])


def lively_model(size=SIZE, seed: int = 0, **config) -> MfsSeg:
    """An MFS-Seg of random weights whose neurons fire."""
    settings = {"widths": (4, 6, 8), "blocks": 1, "steps": 4, "head_norm": True, "residual_gain": 0.6} | config
    return enliven(build_model(MfsConfig(**settings), 2, seed), size, seed)


def enliven(model, size, seed: int, batch=None):
    """Every normalisation takes the statistics of real images, and gets random gains and shifts: biases are non-zero.

    batch  other inputs to take them from, for networks that read no colour images
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, Tdbn):
            module.shift.data.uniform_(0.02, 0.3, generator=generator)
            module.gain.data.mul_(torch.empty_like(module.gain).uniform_(0.8, 1.3, generator=generator))
    model.train()
    with torch.no_grad():
        model(images(8, size) if batch is None else batch)
    return model.eval()


def make_run(folder, **model):
    """A RUN folder of a network that fires, without the minutes of training."""
    settings = {"widths": [3, 4, 4], "steps": 3, "residual_gain": 0.6} | model
    config = load_config("mfs-tiny", [*(f"model.{k}={v}" for k, v in settings.items()), f"data.size={list(SIZE)}"])
    folder.mkdir(parents=True)
    network = enliven(build_model(config.model, 2, 0), SIZE, 0)
    save_run(folder, config, network, {"miou": 0.0})
    return folder


def compiled_and_recorded(count: int = 2):
    """A lively model compiled, and what SLAYER fires on the first images: (compiled, inputs, spikes), as bundles hold them."""
    compiled = compile_module(lively_model(), (3, *SIZE))
    reference = quantized(lively_model(), compiled.quantization.weight_scale, compiled.quantization.v_th)
    _, spikes = record_spikes(reference, images(count), stock=True)
    known = {name: values for name, values in spikes.items() if name in compiled.graph.populations}
    return compiled, {p.name: spikes[p.name] for p in compiled.graph.inputs}, known
