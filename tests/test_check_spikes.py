"""The spike-only certificate: what it proves, and what it refuses by name."""

import pytest
from lively import SIZE, lively_model
from random_flows import RandomFlow, random_flow
from torch import nn

from export.dataflow import Add, Fire, Product
from export.errors import CertificateError
from export.graph import Lif as Neuron
from export.passes.check_spikes import check_spikes
from export.passes.fold_norm import fold_norm
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
