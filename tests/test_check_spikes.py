"""The spike-only certificate: what it proves, and what it refuses by name."""

import numpy as np
import pytest
from lively import SIZE, lively_model
from random_flows import RandomFlow, random_flow
from small_leaves import Conv, CountRead, Leaf, Norm, Spikes, chain
from torch import nn

from export.dataflow import Add, Fire, Product
from export.errors import CertificateError, TraceError
from export.graph import Lif as Neuron
from export.passes.check_spikes import check_spikes
from export.passes.count_macs import count_macs
from export.passes.fold_norm import fold_norm
from export.passes.lower import lower
from export.passes.trace import trace
from neuroseg.models.neuron import Lif
from neuroseg.models.synapse import SynapseConv
from neuroseg.models.wiring import ReadOut

IMAGE = (3, *SIZE)


def flow_of(model):
    return fold_norm(trace(model, IMAGE))


def test_mfs_seg_is_certified_and_its_host_part_is_listed_apart():
    certificate = check_spikes(flow_of(lively_model()))
    assert certificate["spike_only"] is True
    assert certificate["multiplications_on_chip"] == 0
    assert {e["type"] for e in certificate["edges"]} == {"binary"}
    assert sorted(certificate["input_populations"]) == [f"encoder{i}.image_lif" for i in range(3)]
    assert certificate["and"] and certificate["or"]
    assert all(name.startswith(("(", "images", "pyramid", "encoder")) for name in certificate["on_host"])


@pytest.mark.parametrize("seed", range(5))
def test_random_spiking_networks_are_certified(seed):
    assert check_spikes(random_flow(seed)[0])["spike_only"] is True


def test_spike_addition_as_in_sew_is_refused_and_every_block_named():
    model = lively_model(block="sew")
    with pytest.raises(CertificateError) as error:
        check_spikes(flow_of(model))
    message = str(error.value)
    for block in ("encoder0.block0", "decoder1.block0"):
        assert f"{block}.add: adds spikes to spikes" in message
    assert "EFS-Res, MS-Res" in message


def test_a_convolution_of_currents_is_refused_as_a_mac():
    class Mac(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.first = SynapseConv(3, 4, 1), Lif(steps=2)
            self.one, self.two = SynapseConv(4, 4, 1), SynapseConv(4, 4, 1)
            self.last, self.readout = Lif(), ReadOut(1.0)

        def forward(self, images):
            return self.readout(self.last(self.two(self.one(self.first(self.stem(images))))))

    with pytest.raises(CertificateError, match=r"two: multiplies real values \(a MAC\)"):
        check_spikes(flow_of(Mac()))


def grown():
    flow = RandomFlow(0)
    return flow, flow.input(2)


@pytest.mark.parametrize("case", ["gated current", "spikes plus current", "neuron on spikes", "pixels plus current"])
def test_real_values_that_would_travel_are_refused(case):
    flow, spikes = grown()
    current = flow.conv(spikes, 2, 1)
    shape = flow.shape(current)
    flow.nodes["bad"], reason = {
        "gated current": (Product("bad", (spikes, current), shape), "only spikes may be multiplied"),
        "spikes plus current": (Add("bad", (spikes, current), shape), "adds spikes to current"),
        "neuron on spikes": (Fire("bad", (spikes,), shape, Neuron(1, 4096, 0)), "put a convolution before it"),
        "pixels plus current": (Add("bad", ("in0.conv", current), shape), "adds host current to current"),
    }[case]
    from export.dataflow import Dataflow

    with pytest.raises(CertificateError, match=f"bad: .*{reason}"):
        check_spikes(Dataflow(flow.nodes, "bad", flow.steps))


STEPS = 3


def small(*middle, **given):
    return fold_norm(trace(chain(*middle, **given), (3, 6, 8)))


def test_spikes_of_the_host_are_an_input_and_the_convolution_behind_them_is_the_chips():
    flow = fold_norm(trace(nn.Sequential(Spikes(STEPS, "spike_source"), *chain()[:1], *chain()[2:]), (3, 6, 8)))
    certificate = check_spikes(flow)
    assert certificate["input_populations"] == ["0"]
    assert [e for e in certificate["edges"] if e["source"] == "0"] == [{"source": "0", "target": "1", "type": "binary"}]
    assert not count_macs(flow)["1"].on_host
    assert list(lower(flow).populations) == ["0", "2"] and lower(flow).projections[0].source == "0"


def test_a_spike_source_behind_neurons_is_refused():
    with pytest.raises(CertificateError, match="2: makes spikes on the host, but reads spikes of the chip"):
        check_spikes(small(Spikes(op="spike_source"), Conv(4, 4)))


def test_a_soft_reset_is_refused_by_name_with_the_reason_and_the_switch():
    soft = Spikes(reset="soft")
    with pytest.raises(
        CertificateError, match=r"3: subtracts its threshold.*every Loihi LIF falls to zero.*model.reset=hard"
    ):
        check_spikes(small(Conv(4, 4), soft, Conv(4, 4)))


def test_the_host_may_reset_as_it_likes():
    certificate = check_spikes(small(Conv(4, 4), first=Spikes(STEPS, reset="soft")))
    assert certificate["spike_only"] is True


def test_an_ann_is_refused_in_one_sentence_with_the_ways_to_spikes():
    ann = nn.Sequential(Conv(3, 4), Leaf("relu"), Leaf("average_pool"), Conv(4, 4), Leaf("relu"), CountRead())
    with pytest.raises(CertificateError) as error:
        check_spikes(fold_norm(trace(ann, (3, 6, 8))))
    message = str(error.value)
    assert "1: is a real activation (ReLU) of an ANN" in message
    assert "model.neuron=lif" in message and "neuroseg convert" in message
    assert "1 more, the last '4'" in message and message.count("\n") == 1


def test_an_average_of_spikes_is_refused_and_a_sum_recommended():
    with pytest.raises(CertificateError, match=r"2: averages spikes.*sum_pool"):
        check_spikes(small(Leaf("average_pool"), Conv(4, 4)))


GRADED = {"thresholds": (2.0, 1.0, 0.5, 0.25)}


def test_neurons_of_several_thresholds_are_refused_with_their_bits_unless_they_are_allowed():
    flow = small(Conv(4, 4), Spikes(**GRADED), Conv(4, 4))
    with pytest.raises(
        CertificateError, match=r"3: has several thresholds \(2, 1, 0.5, 0.25\).*4 bits.*--allow-graded"
    ):
        check_spikes(flow)
    certificate = check_spikes(flow, allow_graded=True)
    assert certificate["spike_only"] is True and certificate["binary"] is False
    assert certificate["graded"] == [{"population": "3", "bits": 4}]
    types = {(e["source"], e["target"]): (e["type"], e.get("bits")) for e in certificate["edges"]}
    assert types == {("1", "2"): ("binary", None), ("3", "4"): ("graded", 4), ("5", "6"): ("binary", None)}
    assert certificate["multiplications_on_chip"] == 1


def test_what_is_made_of_graded_spikes_is_graded():
    flow = small(Leaf("shuffle", groups=2), Conv(4, 4), first=Spikes(STEPS, **GRADED))
    certificate = check_spikes(flow, allow_graded=True)
    assert [e.get("bits") for e in certificate["edges"]] == [4, 4, None]
    assert certificate["input_populations"] == ["1"]


def test_thresholds_that_are_no_multiples_of_the_smallest_are_refused():
    with pytest.raises(CertificateError, match="3, 2, which are not whole multiples of the smallest"):
        check_spikes(small(Conv(4, 4), Spikes(thresholds=(3.0, 2.0)), Conv(4, 4)), allow_graded=True)


def test_a_gate_of_graded_spikes_is_refused():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.rest = chain(first=Spikes(STEPS, **GRADED))[:2], chain()[2:]

        def forward(self, x):
            spikes = self.first(x)
            return self.rest(spikes * spikes)

    with pytest.raises(CertificateError, match="is an AND of binary spikes only, and reads graded ones of 4 bits"):
        check_spikes(fold_norm(trace(Gate(), (3, 6, 8))), allow_graded=True)


def per_step(steps=STEPS, equal=False, channels=4):
    rng = np.random.default_rng(0)
    numbers = {key: rng.uniform(0.5, 2, (steps, channels)) for key in ("gain", "shift", "mean", "var")}
    return Norm(**{key: np.repeat(v[:1], steps, axis=0) if equal else v for key, v in numbers.items()})


def test_a_norm_that_differs_from_step_to_step_is_refused_by_name_with_the_switch():
    with pytest.raises(
        TraceError, match=r"'3' has another gain.*one threshold and one bias for all steps.*model.norm=tdbn"
    ):
        small(Conv(4, 4), per_step())


def test_equal_steps_fold_as_one_norm_does():
    norm = per_step(equal=True)
    numbers = {key: value[0] for key, value in norm.description.items() if key not in ("op", "eps")}
    folded, expected = small(Conv(4, 4), norm).nodes["2"], small(Conv(4, 4), Norm(**numbers)).nodes["2"]
    np.testing.assert_array_equal(folded.weight, expected.weight)
    np.testing.assert_array_equal(folded.bias, expected.bias)


def test_the_hosts_norm_may_differ_from_step_to_step():
    module = nn.Sequential(Conv(3, 4), per_step(), *chain(Conv(4, 4))[1:])
    flow = fold_norm(trace(module, (STEPS, 3, 6, 8)[1:]))
    assert "1" not in flow.nodes and check_spikes(flow)["on_host"] == ["(input_1)", "0"]
