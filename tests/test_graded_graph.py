"""Graded spikes in the compiler: units, numbers, relays, ranges, files. What fires them stands in other tests."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_leaves import Conv, CountRead, Spikes, chain
from torch import eye, nn

from export.errors import GrammarError, QuantizeError, UsageError
from export.graph import Lif, Population
from export.passes.balance_delays import balance_delays
from export.passes.fold_norm import fold_norm
from export.passes.lower import UNIT_WEIGHT, lower, repeater
from export.passes.prove_range import prove_range
from export.passes.quantize import quantize
from export.passes.trace import trace
from export.pipeline import compile_module
from export.spec import check

SHAPE = (3, 4, 6)
THRESHOLDS = (2.0, 1.0, 0.5, 0.25)


class Skip(nn.Module):
    """Graded neurons that a deeper layer reads again, so that they have to wait."""

    def __init__(self):
        super().__init__()
        self.stem, self.first = Conv(3, 4), Spikes(3, thresholds=THRESHOLDS)
        self.a, self.b, self.c, self.d = (Conv(4, 4) for _ in range(4))
        self.one, self.two = Spikes(thresholds=THRESHOLDS), Spikes(thresholds=THRESHOLDS)
        self.last, self.readout = Spikes(), CountRead(eye(4))

    def forward(self, x):
        one = self.one(self.a(self.first(self.stem(x))))
        two = self.two(self.b(one))
        return self.readout(self.last(self.c(two) + self.d(one)))


@pytest.fixture(scope="module")
def compiled():
    return compile_module(Skip().eval(), SHAPE, allow_graded=True)


def test_graded_spikes_are_counted_in_units_of_the_smallest_threshold():
    graded = chain(Conv(4, 4), first=Spikes(3, thresholds=THRESHOLDS))
    flows = [fold_norm(trace(module, SHAPE)) for module in (graded, chain(Conv(4, 4)))]
    (same,), (plain,) = (lower(flow).projections for flow in flows)
    np.testing.assert_array_equal(same.weight, plain.weight)  # the module hands on 0 to 15, and its weights know
    assert lower(flows[0]).populations["1"].thresholds == (8, 4, 2, 1)
    assert lower(flows[0]).populations["1"].largest_spike == 15


def test_thresholds_stay_whole_multiples_of_the_quantised_one(compiled):
    population = compiled.unbalanced.populations["one"]
    assert population.thresholds == (8, 4, 2, 1)
    assert population.lif.v_th == round(0.25 * compiled.quantization.scale["one"]) >= 1


def test_relays_repeat_graded_spikes_and_the_grammar_checks_it(compiled):
    relays = [p for p in compiled.graph.populations.values() if p.kind == "relay"]
    assert [p.thresholds for p in relays] == [(8, 4, 2, 1)]
    broken = replace(relays[0], lif=replace(relays[0].lif, v_th=16))
    populations = {**compiled.graph.populations, broken.name: broken}
    with pytest.raises(GrammarError, match="does not repeat its source"):
        check(replace(compiled.graph, populations=populations), "balanced", "a test")


@given(ratios=st.sampled_from([(1,), (2, 1), (3, 1), (4, 2, 1), (8, 4, 2, 1), (16, 8, 4, 2, 1), (5, 3, 1)]))
def test_a_repeater_fires_every_graded_spike_as_it_came(ratios):
    """The neuron of `Population`, written once more."""
    again = repeater(Population("a", "lif", (1, 1, 1), Lif(9, 4096, 0), thresholds=ratios), "b", "relay", 1)

    def fired(v, unit, least):
        s = 0
        for r in again.thresholds:
            if v >= r * unit + least:
                v, s = v - r * unit, s + r
        return s, v

    for spike in {fired(v, 1, 0)[0] for v in range(sum(ratios) + 1)}:
        back, left = fired(spike * UNIT_WEIGHT << 6, int(again.lif.v_th) << 6, 1)
        assert back == spike
        assert left * (4096 - again.lif.v_decay) // 4096 == 0  # nothing stays for the next step


def test_too_many_levels_to_repeat_are_refused_with_the_limit():
    wide = Population("a", "lif", (1, 1, 1), Lif(9, 4096, 0), thresholds=(32, 16, 8, 4, 2, 1))
    with pytest.raises(QuantizeError, match="graded spikes of 'a' reach 63.*up to 32.*five thresholds"):
        repeater(wide, "b", "relay", 1)


@pytest.mark.parametrize("delays", ["neuron", "auto"])
def test_graded_spikes_do_not_wait_in_delay_neurons(compiled, delays):
    with pytest.raises(UsageError, match="a delay neuron keeps one bit for each step"):
        balance_delays(compiled.unbalanced, delays)


def test_ranges_count_with_the_largest_spike(compiled):
    rows = {row["name"]: row for row in prove_range(compiled.unbalanced)["populations"]}
    (synapses,) = compiled.unbalanced.into("one")
    weight = synapses.weight.reshape(4, -1).astype(int)
    assert rows["one"]["a"] == [15 * np.minimum(weight, 0).sum(1).min(), 15 * np.maximum(weight, 0).sum(1).max()]
    lif = compiled.unbalanced.populations["one"].lif
    most = 3 * (rows["one"]["a"][1] << 6)  # without any reset
    assert rows["one"]["v"][1] <= most
    assert rows["one"]["v"][1] >= rows["one"]["a"][1] << 6 > int(lif.v_th) << 6


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"thresholds": (1, 2)}, "are not descending whole numbers that end with 1"),
        ({"thresholds": (4, 2)}, "are not descending whole numbers that end with 1"),
        ({"thresholds": (1 << 17, 1)}, "exceeds 131071"),
        ({"kind": "or", "thresholds": (2, 1)}, "has several thresholds, which such neurons cannot have"),
    ],
)
def test_thresholds_that_no_neuron_has_break_the_grammar(compiled, change, fault):
    changed = replace(compiled.unbalanced.populations["one"], **change)
    populations = {**compiled.unbalanced.populations, "one": changed}
    with pytest.raises(GrammarError, match=fault):
        check(replace(compiled.unbalanced, populations=populations), "quantized", "a test")


def test_a_scale_that_holds_no_whole_threshold_is_refused():
    module = Skip()
    module.a.weight.data *= 1e5
    with pytest.raises(QuantizeError, match="'one'"):
        quantize(lower(fold_norm(trace(module.eval(), SHAPE))))
