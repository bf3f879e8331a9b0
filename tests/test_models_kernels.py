"""The compiled kernels against the same in plain torch; threads and forks."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neuroseg.models.kernels import Neuron, Terms, kernels_for
from neuroseg.models.kernels.compiled import KERNELS as COMPILED
from neuroseg.models.kernels.compiled import SMALL
from neuroseg.models.kernels.plain import KERNELS as PLAIN

DECAYS = (0, 1024, 1229, 2048, 3000, 4096)  # fraction that stays, in 1/4096; powers of two and others
LARGE = (2, 4, 1500, 5)  # enough for several threads, not a whole number of tiles


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sixty_fourths(*shape: int, seed: int = 0) -> Tensor:
    """Multiples of 1/64 around the threshold, so that many membranes land exactly on it."""
    return torch.randint(-24, 40, shape, generator=torch.Generator().manual_seed(seed)) / 64


def terms_of(values: tuple[Tensor, ...], exact: bool) -> Terms:
    channels = values[0].shape[-1]
    if exact:
        return Terms(values, torch.ones(len(values), channels), sixty_fourths(channels))
    return Terms(values, 0.5 + normal(len(values), channels, seed=8).abs(), 0.2 * normal(channels, seed=9))


def double(terms: Terms) -> Terms:
    return Terms(tuple(y.double() for y in terms.values), terms.scale.double(), terms.shift.double())


def assert_near(found: Tensor, expected: Tensor, share: float = 1e-5) -> None:
    """The difference is at most that share of the expected tensor, by their norms."""
    assert (found.double() - expected.double()).norm() <= share * expected.double().norm() + 1e-12


cases = st.fixed_dictionaries(
    {
        "shape": st.tuples(*(st.integers(1, most) for most in (2, 6, 40, 9))),
        "count": st.integers(1, 4),
        "constant": st.booleans(),
        "kept": st.sampled_from(DECAYS),
        "v_th": st.integers(1, 100),
        "width": st.sampled_from((0.5, 1.0, 2.0)),
        "soft": st.booleans(),
        "triangle": st.booleans(),
        "keep": st.booleans(),
    }
)


def drawn(case: dict, exact: bool) -> tuple[Terms, Neuron]:
    count, steps, positions, channels = case["shape"]
    make = sixty_fourths if exact else normal
    shape = (count, 1 if case["constant"] else steps, positions, channels)
    terms = terms_of(tuple(make(*shape, seed=k) for k in range(case["count"])), exact)
    return terms, Neuron(steps, case["kept"] / 4096, case["v_th"] * 64, case["width"], case["soft"], case["triangle"])


@settings(max_examples=60, deadline=None)
@given(cases)
def test_on_the_chips_numbers_spikes_and_currents_are_equal(case):
    terms, neuron = drawn(case, exact=True)
    spikes, currents = COMPILED.fire(terms, neuron, case["keep"])
    expected, expected_currents = PLAIN.fire(terms, neuron, case["keep"])
    assert torch.equal(spikes, expected)
    assert (currents is None) == (not case["keep"])
    assert currents is None or torch.equal(currents, expected_currents)
    assert torch.equal(COMPILED.summed(terms), PLAIN.summed(terms))


@settings(max_examples=60, deadline=None)
@given(cases)
def test_gradients_and_their_sums_agree_with_plain_torch_in_float64(case):
    terms, neuron = drawn(case, exact=True)  # else a spike may differ
    shape = terms.values[0].shape
    to_spikes = normal(shape[0], neuron.steps, *shape[2:], seed=3)
    to_currents = normal(*shape, seed=4) if case["keep"] else None
    found = COMPILED.backward(terms, neuron, to_spikes, to_currents)
    wide = to_currents.double() if to_currents is not None else None
    for ours, reference in zip(found, PLAIN.backward(double(terms), neuron, to_spikes.double(), wide), strict=True):
        assert ours.shape == reference.shape
        assert_near(ours, reference)
    for ours, reference in zip(found[1:], COMPILED.products(terms, found[0]), strict=True):
        assert_near(ours, reference)


@pytest.mark.parametrize("kind", [(False, False), (True, True)], ids=["hard", "soft"])
@pytest.mark.parametrize("keep", [False, True])
def test_large_tensors_on_several_threads_give_the_same(keep, kind):
    terms, neuron = (
        terms_of((sixty_fourths(*LARGE), sixty_fourths(*LARGE, seed=1)), exact=True),
        Neuron(4, 0.25, 2048, 1.0, *kind),
    )
    assert terms.values[0].numel() > SMALL
    spikes, currents = COMPILED.fire(terms, neuron, keep)
    expected, expected_currents = PLAIN.fire(terms, neuron, keep)
    assert torch.equal(spikes, expected) and 0.05 < spikes.mean() < 0.9
    assert not keep or torch.equal(currents, expected_currents)
    grads = normal(*LARGE, seed=5), normal(*LARGE, seed=6) if keep else None
    for ours, reference in zip(
        COMPILED.backward(terms, neuron, *grads), PLAIN.backward(terms, neuron, *grads), strict=True
    ):
        assert_near(ours, reference)


def test_sums_do_not_depend_on_the_number_of_threads():
    y, before = normal(*LARGE), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(torch.stack(COMPILED.statistics(y)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_are_exact_far_from_zero(dtype):
    y = (1000 + normal(*LARGE)).to(dtype)
    mean, var = COMPILED.statistics(y)
    expected_var, expected_mean = torch.var_mean(y.double(), dim=(0, 1, 2), correction=0)
    assert mean.dtype == var.dtype == dtype
    torch.testing.assert_close(mean.double(), expected_mean, rtol=1e-7, atol=0)
    torch.testing.assert_close(var.double(), expected_var, rtol=1e-6, atol=0)


@pytest.mark.parametrize("in_place", [False, True])
def test_rescaling_is_affine_per_channel_and_overwrites_only_when_told(in_place):
    grad, y, factors = normal(*LARGE), normal(*LARGE, seed=1), normal(3, LARGE[-1], seed=2)
    expected, before = factors[0] * grad + factors[1] * y + factors[2], grad.clone()
    found = COMPILED.rescaled(grad, y, factors, in_place)
    torch.testing.assert_close(found, expected)
    assert (found.data_ptr() == grad.data_ptr()) == in_place
    assert torch.equal(grad, found if in_place else before)


def test_the_device_and_dtype_choose_the_kernels():
    assert kernels_for(normal(1, 1, 1, 1)) is COMPILED
    assert kernels_for(normal(1, 1, 1, 1).double()) is COMPILED
    assert kernels_for(normal(1, 1, 1, 1).half()) is PLAIN
    assert kernels_for(normal(1, 1, 1, 1), normal(1, 1, 1, 1).half()) is PLAIN
    assert kernels_for(torch.empty(1, device="meta")) is PLAIN


def _fire_large() -> Tensor:
    return COMPILED.fire(terms_of((sixty_fourths(*LARGE),), exact=True), Neuron(4, 0.25, 2048, 1.0), False)[0]


def _in_child(total: float) -> None:
    assert float(_fire_large().numpy().sum()) == total


def test_a_child_forked_after_the_parent_used_the_kernels_can_use_them():
    child = multiprocessing.get_context("fork").Process(target=_in_child, args=(float(_fire_large().numpy().sum()),))
    child.start()
    child.join(60)
    hangs = child.exitcode is None
    if hangs:
        child.kill()
    assert not hangs and child.exitcode == 0


def test_several_python_threads_may_call_at_once():
    expected = _fire_large()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: _fire_large(), range(12)))
    assert all(torch.equal(spikes, expected) for spikes in results)


def test_importing_the_models_does_not_load_the_compiler():
    code = "import sys, neuroseg.models, neuroseg.cli; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
