"""Poisson coding: probabilities, repeatability, resuming; and sums of windows."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from export.errors import DataError
from neuroseg.models.coding import Poisson
from neuroseg.models.pool import SumPool
from neuroseg.models.record import record_spikes, spiking


def poisson(steps: int = 8, seed: int = 0, weights_seed: int = 0) -> Poisson:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights_seed)
        return Poisson(steps, 3, seed)


def images(count: int = 4, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, 6, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("training", [False, True])
def test_a_pixel_fires_as_often_as_it_is_bright(training):
    coded = poisson(steps=4000).train(training)
    pixels = images(1)
    rate = coded(pixels).mean(1)
    assert (rate - pixels).abs().max() < 4.5 * 0.5 / 4000**0.5  # 4.5 deviations of a coin
    assert (rate - pixels).mean().abs() < 0.005


@pytest.mark.parametrize("training", [False, True])
def test_black_never_fires_and_white_always_does(training):
    coded = poisson().train(training)
    assert not coded(torch.zeros(2, 3, 4, 4)).any() and bool(coded(torch.ones(2, 3, 4, 4)).all())
    assert not coded(torch.full((2, 3, 4, 4), -0.5)).any() and bool(coded(torch.full((2, 3, 4, 4), 1.5)).all())


def test_evaluation_repeats_and_does_not_depend_on_the_batch():
    coded, batch = poisson().eval(), images()
    spikes = coded(batch)
    assert spikes.shape == (4, 8, 3, 6, 5) and set(spikes.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(spikes, poisson(weights_seed=5).eval()(batch))
    assert torch.equal(torch.cat([coded(one[None]) for one in batch]), spikes)
    assert torch.equal(coded(batch.double()), spikes.double())
    assert not torch.equal(poisson(seed=1).eval()(batch), spikes)
    assert not torch.equal(spikes[:, 0], spikes[:, 1])


def test_training_draws_anew_for_every_batch_and_leaves_torchs_generator_alone():
    coded, batch = poisson().train(), torch.full((2, 3, 6, 5), 0.5)
    before = torch.random.get_rng_state()
    first, second = coded(batch), coded(batch)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not torch.equal(first, second) and not torch.equal(first[0], first[1])
    assert torch.equal(first, poisson().train()(batch))
    assert not torch.equal(first, poisson(weights_seed=1).train()(batch))


def test_a_resumed_training_draws_what_it_would_have_drawn():
    coded, batch = poisson().train(), images()
    coded(batch)
    kept = {name: value.clone() for name, value in coded.state_dict().items()}
    expected = coded(batch)
    resumed = poisson(weights_seed=3).train()
    resumed.load_state_dict(kept)
    assert torch.equal(resumed(batch), expected)


def test_it_is_an_input_population_and_recorded():
    coded = poisson()
    assert coded.describe() == {"op": "spike_source"}
    network = torch.nn.Sequential(coded)
    assert list(spiking(network)) == ["0"]
    _, spikes = record_spikes(network, images())
    assert spikes["0"].dtype == "uint8" and (spikes["0"] == coded.eval()(images()).numpy()).all()


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (2, 5, 3, 4, 4)])
def test_other_images_are_refused(shape):
    with pytest.raises(DataError, match=r"Poisson coding reads \(N, 3, H, W\)"):
        poisson()(torch.zeros(shape))


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 3, 0)])
def test_a_sum_pool_is_an_average_pool_without_its_factor(kernel, stride, padding):
    pool = SumPool((kernel, kernel), (stride, stride), (padding, padding))
    spikes = (images(2).unsqueeze(1).expand(2, 2, 3, 6, 5) > 0.5).float()
    expected = F.avg_pool2d(spikes.double().flatten(0, 1), kernel, stride, padding).mul(kernel**2).unflatten(0, (2, 2))
    found = pool(spikes)
    assert torch.equal(found, found.round())
    torch.testing.assert_close(found.double(), expected)
    torch.testing.assert_close(pool(spikes[:, 0]), found[:, 0])
    d = pool.describe()
    assert (d["op"], d["kernel"], d["stride"], d["padding"]) == (
        "sum_pool",
        (kernel, kernel),
        (stride, stride),
        (padding, padding),
    )
