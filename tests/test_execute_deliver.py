"""Ways to compute a projection: which one is taken when, that each is exact, and the kernels behind layouts."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_flows import RandomFlow, lowered

from export.compute.floats import exact_floats
from export.execute import deliver, plan
from export.execute.deliver import (
    HalfConv,
    byte_scale,
    bytes_are_fast,
    fits_half,
    halves_are_exact,
    prepare,
    whole,
    wide,
)
from export.execute.logical import logical
from export.execute.synapse import synaptic_sum, wrapped
from export.graph import Conv, Graph, Lif, Population

EVERY_WEIGHT = np.arange(-256, 256, 2)
CPU = torch.device("cpu")
needs_bytes = pytest.mark.skipif(not bytes_are_fast(), reason="this processor does not multiply bytes fast")


def expected(conv, spikes):
    """The naive sums of maps (M, H, W, C), as maps."""
    return synaptic_sum(conv, spikes.permute(0, 3, 1, 2).contiguous()).permute(0, 2, 3, 1)


def maps(shape, seed=0, rate=0.4):
    return torch.from_numpy((np.random.default_rng(seed).random(shape) < rate).astype(np.uint8))


def populations(conv, shape, layouts=(1, 1)):
    """Ends of a projection whose source has a logical shape (C, H, W)."""
    x = Population("x", "input", shape, layout=layouts[0])
    r, (channels, height, width) = layouts[1], conv.output_shape(x.physical_shape)
    return x, Population("y", "lif", (channels // r**2, height * r, width * r), Lif(9, 4096, 0), layout=r)


def test_bfloat16_holds_every_weight_of_ours_and_few_others():
    assert fits_half(EVERY_WEIGHT)
    assert not fits_half(np.array([257])) and not fits_half(np.array([0, 514]))
    assert halves_are_exact(CPU)  # its trial, where float32 stands in for the matrix units


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    dilation=st.integers(1, 2),
    channels=st.integers(1, 9),
    ways=st.sampled_from(["half", "bytes", "floats", "wide"]),
)
def test_every_way_gives_the_naive_sums_and_adds_in_place(seed, kernel, stride, dilation, channels, ways):
    rng = np.random.default_rng(seed)
    groups = 1 if ways == "half" else int(rng.choice([g for g in range(1, channels + 1) if channels % g == 0]))
    weight = rng.choice(EVERY_WEIGHT, (2 * groups, channels // groups, *kernel))
    conv = Conv("c", "x", "y", weight, stride, (1, 2), (dilation, dilation), groups)
    spikes = maps((3, 9, 8, channels), seed)
    run = {
        "half": lambda: HalfConv(conv, CPU),
        "bytes": lambda: prepare(conv, *populations(conv, (channels, 9, 8)), CPU),
        "floats": lambda: deliver._FloatConv(conv, torch.float32, CPU),
        "wide": lambda: deliver._FloatConv(conv, torch.float64, CPU),
    }[ways]()
    sums = run(spikes, None)
    assert torch.equal(sums.to(torch.int32), expected(conv, spikes)) and sums.is_contiguous()
    total = torch.from_numpy(rng.integers(-999, 999, sums.shape)).to(sums.dtype)
    before = total.clone()
    assert run(spikes, total).data_ptr() == total.data_ptr()
    assert torch.equal(total, before + sums)


@needs_bytes
@pytest.mark.parametrize("fault", ["in place", "1 x 1", "old torch"])
def test_bytes_are_not_taken_where_a_trial_fails(fault, monkeypatch):
    call = deliver._ByteConv.__call__

    def faulty(run, spikes, total):
        sums = call(run, spikes, total)
        off = (total is not None) if fault == "in place" else run.geometry[1] == [0, 0]
        return sums + 1 if off else sums

    if fault == "old torch":
        monkeypatch.delattr(torch.cpu, "_is_vnni_supported")
    else:
        monkeypatch.setattr(deliver._ByteConv, "__call__", faulty)
    assert not deliver.bytes_are_fast.__wrapped__()
    monkeypatch.undo()
    assert deliver.bytes_are_fast.__wrapped__()


@needs_bytes
def test_a_trial_that_cannot_run_is_said(monkeypatch):
    def refused(*_):
        raise RuntimeError("no such\n operator")

    monkeypatch.setattr(deliver._ByteConv, "__call__", refused)
    with pytest.warns(RuntimeWarning, match="RuntimeError: no such operator.*slower"):
        assert not deliver.bytes_are_fast.__wrapped__()


def test_a_bfloat16_trial_that_cannot_run_is_said(monkeypatch):
    def refused(*_):
        raise TypeError("no out_dtype")

    monkeypatch.setattr(deliver, "_half_product", refused)
    with pytest.warns(RuntimeWarning, match="on cpu .TypeError: no out_dtype.*slower"):
        assert not halves_are_exact.__wrapped__(CPU)


def test_a_gpus_patches_are_counted_and_bound_the_samples_computed_together(monkeypatch):
    conv = Conv("c", "x", "y", np.full((4, 8, 3, 3), 2), padding=(1, 1))
    ends = populations(conv, (8, 10, 12))
    half = HalfConv(conv, CPU)
    assert deliver.patch_bytes(half, (8, 10, 12)) == 2 * 10 * 12 * 72
    assert deliver.patch_bytes(deliver._Layered(half, 2, 1), (2, 20, 24)) == 2 * 10 * 12 * 72
    assert deliver.patch_bytes(prepare(conv, *ends, CPU), (8, 10, 12)) == 0
    planner = plan._Planner(Graph(dict(zip("xy", ends, strict=True)), (conv,), ("y",), 5), CPU)
    planner.device = torch.device("cuda")
    term = plan.Term("key", "x", half, conv, False)
    monkeypatch.setattr(plan, "PATCH_BYTES", 3 * 5 * 2 * 10 * 12 * 72)
    assert planner._chunk([term]) == 3
    monkeypatch.setattr(plan, "PATCH_BYTES", 1)
    assert planner._chunk([term]) == 1 and planner._chunk([]) == sys.maxsize


@needs_bytes
def test_bytes_take_even_weights_by_halves_small_ones_as_they_are_and_no_others():
    assert byte_scale(EVERY_WEIGHT) == 2
    assert byte_scale(np.array([-128, 127, 0, 1])) == 1
    assert byte_scale(np.array([-128, 255])) == byte_scale(np.array([256])) == byte_scale(np.array([-258])) == 0


@needs_bytes
def test_bytes_are_exact_at_their_largest_sums():
    for value in (-256, 254):
        weight = np.full((1, 30_000, 1, 1), value)
        conv = Conv("c", "x", "y", weight)
        assert not wide(conv)
        got = prepare(conv, *populations(conv, (30_000, 1, 1)), CPU)(
            torch.ones((2, 1, 1, 30_000), dtype=torch.uint8), None
        )
        assert got.flatten().tolist() == [30_000 * value] * 2


def test_a_wider_type_is_taken_before_a_sum_can_leave_24_bits():
    edge = np.full((1, 3, 1, 1), ((1 << 23) - 1) // 3)
    for weight, passes in ((edge, False), (edge + 1, True)):
        conv = Conv("c", "x", "y", weight)
        assert wide(conv) == passes
        sums = prepare(conv, *populations(conv, (3, 1, 1)), CPU)(torch.ones((1, 1, 1, 3), dtype=torch.uint8), None)
        assert sums.dtype == (torch.float64 if passes else torch.float32)
        assert int(whole(sums, conv)) == int(expected(conv, torch.ones((1, 1, 1, 3), dtype=torch.uint8)))


def test_wrapping_is_that_of_signed_24_bit_numbers():
    values = torch.tensor([(1 << 23) - 1, 1 << 23, -(1 << 23), -(1 << 23) - 1, (1 << 24) + 5])
    assert wrapped(values).tolist() == [(1 << 23) - 1, -(1 << 23), -(1 << 23), (1 << 23) - 1, 5]


def test_float_shortcuts_are_off_inside_and_as_before_outside():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with exact_floats():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def grown(kind):
    """A lowered network, nested layouts: its last convolutions act on a layout."""
    flow = RandomFlow(4, size=8)
    first = flow.fire(flow.conv(flow.input(4), 4, 3))
    if kind == "up":
        last = flow.fire(flow.transposed(first, 4, 1))
        last = flow.fire(flow.transposed(last, 4, 2))
    else:
        last = flow.fire(flow.conv(flow.nearest(first, up=2), 4, 1))
    last = flow.fire(flow.conv(last, 6, 3))
    last = flow.fire(flow.conv(last, 6, 3, groups=3))
    last = flow.fire(flow.conv(last, 4, 3, dilation=2))
    last = flow.fire(flow.conv(last, 4, 3, stride=2))
    return lowered(flow.finish(last)[0], "nested")


@pytest.mark.parametrize("kind", ["up", "nearest"])
def test_every_lowered_kernel_is_found_again_without_its_stored_zeros(kind):
    graph = grown(kind)
    smaller = 0
    for conv in graph.projections:
        source, target = graph.populations[conv.source], graph.populations[conv.target]
        found = logical(conv, (source.layout, target.layout), source.shape[1:], target.shape[1:])
        assert found is not None
        c, height, width = found.conv.output_shape(source.shape)
        assert (c // found.factor**2, height * found.factor, width * found.factor) == target.shape
        assert found.conv.weight.size <= conv.weight.size
        smaller += found.conv.weight.size * 8 <= conv.weight.size
    assert smaller >= 2


@pytest.mark.parametrize("row", [0, 5])
def test_one_other_weight_and_a_kernel_stands_for_no_logical_one(row):
    graph = grown("up")
    conv = next(p for p in graph.projections if p.groups == 3)
    weight = conv.weight.copy()
    weight[row, 0, 1, 1] += 2
    changed = Conv("c", conv.source, conv.target, weight, conv.stride, conv.padding, groups=3)
    source, target = graph.populations[conv.source], graph.populations[conv.target]
    layouts, sizes = (source.layout, target.layout), (source.shape[1:], target.shape[1:])
    assert logical(conv, layouts, *sizes) is not None and logical(changed, layouts, *sizes) is None
    spikes = maps((2, *source.shape[1:], source.shape[0]))
    got = prepare(changed, source, target, CPU)(spikes, None)
    physical = expected(changed, deliver._folded(spikes, source.layout))
    assert torch.equal(got.to(torch.int32), deliver._unfolded(physical.contiguous(), target.layout))


def test_the_gpu_kernel_gives_the_neurons_spikes_in_tritons_interpreter():
    pytest.importorskip("triton")
    code = """
        import numpy as np, torch
        from export.execute.lif_triton import fire
        from export.execute.neuron import lif
        from export.graph import Lif
        rng = np.random.default_rng(0)
        for trial in range(24):
            a = (rng.standard_normal((2, 4, 3, 5, 7)) * 10 ** rng.uniform(1, 8.5)).clip(-(2**30), 2**30)
            a = torch.from_numpy(a.astype(np.int32))
            params = Lif(int(rng.integers(1, 1 << 19)) if trial % 2 else 30, *map(int, rng.integers(0, 4097, 2)))
            bias = torch.from_numpy(rng.integers(-4096, 4096, 7).astype(np.int32))
            want = lif(a, params, bias)
            tile = bias.repeat(15 if trial % 3 else 9) << 6
            assert torch.equal(fire(a, params, tile), want), (params, trial)
            if a.abs().max() < 1 << 24:
                assert torch.equal(fire(a.float(), params, tile), want), (params, trial)
        print("same")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "same", done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("groups", [1, 4])
def test_a_gpus_sums_are_the_processors(groups):
    weight = np.random.default_rng(0).choice(EVERY_WEIGHT, (16, 32 // groups, 3, 3))
    conv = Conv("c", "x", "y", weight, padding=(1, 1), groups=groups)
    spikes = maps((8, 30, 40, 32))
    ends = populations(conv, (32, 30, 40))
    there = prepare(conv, *ends, torch.device("cuda"))(spikes.cuda(), None)
    assert torch.equal(there.cpu(), prepare(conv, *ends, CPU)(spikes, None))
