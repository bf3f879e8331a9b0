"""MFS-Seg on events: frames that the host convolves, and binary frames that enter the chip as spikes."""

from __future__ import annotations

import pytest
import torch
from lively import SIZE, enliven
from torch import Tensor, nn

from export.errors import DataError
from export.execute.integer import run_integer
from export.lava.supervise import run_lava
from export.netx.write import write_netx
from export.parity.compare import compare
from export.passes.quantize import scale_groups
from export.pipeline import compile_module
from neuroseg.config import Inputs, MfsConfig
from neuroseg.models import build_model, network_size, quantized, record_spikes, stock_slayer
from neuroseg.models.event_input import EventFrames
from neuroseg.models.quantize_aware import QuantizeAware

STEPS = 4
FRAMES, SPIKES = Inputs(2, "frames"), Inputs(2, "spikes")


def moving_edges(count: int, binary: bool, size=SIZE, steps: int = STEPS) -> Tensor:
    """A bar that moves by a pixel a step, its front in one polarity, its end in the other (N, T, 2, H, W)."""
    height, width = size
    frames = torch.zeros(count, steps, 2, height, width)
    for n in range(count):
        for t in range(steps):
            x = (2 + n + t) % (width - 3)
            frames[n, t, 0, :, x], frames[n, t, 1, :, x + 2] = 1, 1
    noise = torch.rand(frames.shape, generator=torch.Generator().manual_seed(count))
    frames = torch.maximum(frames, (noise > 0.8).float())
    return frames if binary else frames * (1 + noise)


def model_on(inputs: Inputs, seed: int = 0, size=SIZE, **change) -> nn.Module:
    """A network that reads events and fires."""
    settings = {"widths": (4, 6, 8), "blocks": 1, "steps": STEPS, "head_norm": True, "residual_gain": 0.6} | change
    model = build_model(MfsConfig(**settings), 2, seed, inputs)
    return enliven(model, size, seed, moving_edges(8, inputs.kind == "spikes", size))


def parity(model: nn.Module, frames: Tensor, run):
    compiled = compile_module(model, tuple(frames.shape[1:]))
    reference = quantized(model, compiled.quantization.weight_scale, compiled.quantization.v_th)
    _, spikes = record_spikes(reference, frames, stock=True)
    inputs = {p.name: spikes[p.name] for p in compiled.graph.inputs}
    return compiled, spikes, compare(compiled.graph, spikes, run(compiled.graph, inputs), ("slayer", "other"))


@pytest.mark.parametrize("inputs", [FRAMES, SPIKES], ids=["frames", "spikes"])
@pytest.mark.parametrize("stem", [1, 2])
def test_events_deploy_exactly(inputs, stem) -> None:
    frames = moving_edges(3, inputs.kind == "spikes")
    compiled, _, result = parity(model_on(inputs, stem=stem), frames, run_integer)
    assert result["mismatches"] == 0, result["first_divergence"]
    assert compiled.graph.steps == STEPS
    rates = [row["rate_left"] for row in result["populations"]]
    assert sum(0.01 <= rate <= 0.6 for rate in rates) >= 0.8 * len(rates), rates


@pytest.mark.parametrize("inputs", [FRAMES, SPIKES], ids=["frames", "spikes"])
def test_a_network_on_events_in_integer_mode_fires_as_its_export(inputs) -> None:
    model, frames = model_on(inputs, scales=2, widths=(4, 6)), moving_edges(2, inputs.kind == "spikes")
    compiled = compile_module(model, tuple(frames.shape[1:]))
    QuantizeAware(model, scale_groups(compiled.unbalanced)).start()
    _, spikes = record_spikes(model, frames)
    on_chip = run_integer(compiled.graph, {p.name: spikes[p.name] for p in compiled.graph.inputs})
    result = compare(compiled.graph, spikes, on_chip, ("integer mode", "int"))
    assert result["mismatches"] == 0, result["first_divergence"]


@pytest.mark.slow
def test_binary_frames_reach_stock_lava_spike_for_spike(tmp_path) -> None:
    model = model_on(SPIKES, size=(8, 8), scales=1, widths=(4,), steps=3)

    def run(graph, inputs):
        write_netx(graph, tmp_path / "network.net")
        return run_lava(tmp_path / "network.net", inputs, fast=False)

    frames = moving_edges(2, True, (8, 8), 3)
    _, _, result = parity(model, frames, run)
    assert result["mismatches"] == 0, result["first_divergence"]


def test_binary_frames_are_input_populations_and_nothing_else_is_the_hosts() -> None:
    frames = moving_edges(2, True)
    compiled, spikes, _ = parity(model_on(SPIKES), frames, run_integer)
    assert [p.name for p in compiled.graph.inputs] == ["events0", "events1", "events2"]
    assert (spikes["events0"] == frames.numpy()).all()
    for i, factor in ((1, 2), (2, 4)):
        windows = frames.unfold(-2, factor, factor).unfold(-2, factor, factor)
        assert (spikes[f"events{i}"] == windows.amax((-2, -1)).numpy()).all()


def test_frames_drive_the_image_populations_with_another_current_at_each_step() -> None:
    model, frames = model_on(FRAMES), moving_edges(2, False)
    compiled, spikes, _ = parity(model, frames, run_integer)
    assert {p.name for p in compiled.graph.inputs} == {f"encoder{i}.image_lif" for i in range(3)}
    still = frames[:, :1].expand(-1, STEPS, -1, -1, -1)
    _, of_still = record_spikes(model, still)
    assert (spikes["encoder0.image_lif"] != of_still["encoder0.image_lif"]).any()


def test_the_hosts_convolutions_of_frames_are_those_of_training_also_in_stock_slayer() -> None:
    model, frames = model_on(FRAMES), moving_edges(2, False)
    convs = [m for name, m in model.named_modules() if ".image" in name and name.endswith("conv")]
    assert len(convs) == 5  # 3x3; twice 1x1 and 3x3
    for conv in convs:
        with torch.no_grad(), stock_slayer(model):
            assert torch.equal(conv(frames), conv.currents(frames, conv.weight))


@pytest.mark.parametrize(("inputs", "host"), [(Inputs(3, "image"), True), (FRAMES, True), (SPIKES, False)])
def test_operations_on_real_numbers_are_the_hosts(inputs, host) -> None:
    model = build_model(MfsConfig(widths=(4, 6), scales=2, blocks=1, steps=STEPS), 2, 0, inputs)
    size = network_size(model, inputs.shape((8, 8), STEPS))
    first = inputs.channels * (4 * 9 * 64 + 6 * 10 * 16)
    assert size.host_macs == (first if host else 0)
    plain = network_size(build_model(MfsConfig(widths=(4, 6), scales=2, blocks=1), 2), (3, 8, 8))
    assert size.macs_per_step - plain.macs_per_step == first - 3 * (4 * 9 * 64 + 6 * 10 * 16)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_images_of_any_number_of_channels_are_read(channels) -> None:
    inputs = Inputs(channels)
    model = build_model(MfsConfig(widths=(4, 6), scales=2, blocks=1, steps=3), 2, 0, inputs)
    assert model(torch.rand(2, channels, 8, 8))[0].shape == (2, 2, 8, 8)
    with pytest.raises(DataError, match=rf"shape \(2, 5, 8, 8\); the network reads \(N, {channels}, H, W\)"):
        model(torch.rand(2, 5, 8, 8))


@pytest.mark.parametrize(
    ("inputs", "given", "message"),
    [
        (
            FRAMES,
            torch.zeros(1, 2, 8, 8),
            r"shape \(1, 2, 8, 8\); the network reads \(N, T, 2, H, W\): a batch of frames",
        ),
        (SPIKES, torch.zeros(1, 3, 1, 8, 8), r"reads \(N, T, 2, H, W\): a batch of binary event frames"),
        (SPIKES, torch.full((1, 3, 2, 8, 8), 0.5), "values from 0.5 to 0.5, but only 0 and 1 are spikes"),
        (SPIKES, torch.zeros(1, 3, 2, 7, 8), "7 x 8 does not divide by 2"),
    ],
)
def test_events_that_do_not_fit_are_refused(inputs, given, message) -> None:
    model = build_model(MfsConfig(widths=(4, 6), scales=2, blocks=1, steps=3), 2, 0, inputs)
    with pytest.raises(DataError, match=message):
        model(given)


def test_event_frames_join_a_window_by_or() -> None:
    frames = torch.zeros(1, 2, 1, 4, 4)
    frames[0, 0, 0, 1, 1] = frames[0, 1, 0, 2:, 2:] = 1
    assert EventFrames(2)(frames).flatten().tolist() == [1, 0, 0, 0, 0, 0, 0, 1]
    assert torch.equal(EventFrames()(frames), frames)
