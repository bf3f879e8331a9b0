"""Which population lives in which space-to-depth layout, chosen by estimated cores.

A transposed convolution or an up-sampling forces its target into a layout with factor > 1. Its readers may follow
(nested layout: no extra neurons, larger kernels with stored zeros), or an `interleave` population may bring the spikes
back to full resolution (one more neuron per pixel and one more step, small kernels). All combinations are costed when
there are few. Else one population after another is changed as long as that saves cores: starting with none
interleaved, and with all that up-sampling itself forces into a layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import ceil, log2, prod

import hw_configs
from export.errors import TraceError
from export.graph import Shape
from export.passes.quantize import WEIGHT_MAX
from export.passes.taps import MAX_LAYOUT, Axis, fits, kernel_size

CHIP = "loihi2"
WEIGHT_BITS = ceil(log2(WEIGHT_MAX)) + 2  # per stored synapse; fits Intel's PilotNet rows, an estimate elsewhere
EXHAUSTIVE = 6


@dataclass(frozen=True)
class CoreLimits:
    """What one core holds: neurons, words of synaptic memory, bits in a word."""

    neurons: int
    words: int
    word_bits: int


@cache
def core_limits() -> CoreLimits:
    """The limits in `hw_configs`, which says where they come from."""
    core = hw_configs.load(CHIP).core
    values = [q.value for q in (core.neurons, core.synaptic_words, core.synaptic_word)]
    assert all(value is not None for value in values)  # a chip of ours, held by its tests
    neurons, words, bits = (int(value) for value in values if value is not None)
    return CoreLimits(neurons, words, bits)


@dataclass(frozen=True)
class Link:
    """One planned projection: geometry per axis, logical channels, groups."""

    source: str
    axes: tuple[Axis, Axis]
    channels: int
    groups: int


@dataclass(frozen=True)
class Plan:
    """layouts: population -> r; interleaved: populations followed by an interleave population."""

    layouts: Mapping[str, int]
    interleaved: frozenset[str]


def plan_layouts(shapes: Mapping[str, Shape], links: Mapping[str, Sequence[Link]], choice: str) -> Plan:
    """Choose layouts.

    shapes  population -> logical shape, in topological order
    links   population -> its incoming projections (inputs: none)
    choice  "nested" (never interleave), "interleave" (always), or "auto" (the cheaper in estimated cores)
    raises  TraceError where no layout makes a projection a plain convolution
    """
    readers = {link.source for incoming in links.values() for link in incoming}
    nested = _layouts(shapes, links, frozenset())
    candidates = [name for name, r in nested.items() if r > 1 and name in readers]
    if choice == "nested" or not candidates:
        return Plan(nested, frozenset())
    always = _settled(shapes, links, frozenset(candidates), readers)
    if choice == "interleave":
        return always
    if len(candidates) > EXHAUSTIVE:
        forced = frozenset(n for n in candidates if any(a.transposed or a.up > 1 for k in links[n] for a in k.axes))
        climbed = [_climbed(shapes, links, candidates, readers, start) for start in (frozenset(), forced)]
        return min(climbed, key=lambda plan: _cost(shapes, links, plan))
    picks = [
        frozenset(c for c, on in zip(candidates, chosen, strict=True) if on)
        for chosen in product((False, True), repeat=len(candidates))
    ]
    plans = [_settled(shapes, links, pick, readers) for pick in picks]
    return min(plans, key=lambda plan: _cost(shapes, links, plan))


def _climbed(
    shapes: Mapping[str, Shape],
    links: Mapping[str, Sequence[Link]],
    candidates: Sequence[str],
    readers: set[str],
    start: frozenset[str],
) -> Plan:
    """From a start, the change of one population that saves most, until none saves anything."""
    best = _settled(shapes, links, start, readers)
    cost = _cost(shapes, links, best)
    while True:
        plans = [_settled(shapes, links, best.interleaved ^ {name}, readers) for name in candidates]
        costs = [_cost(shapes, links, plan) for plan in plans]
        if min(costs) >= cost:
            return best
        cost, best = min(costs), plans[costs.index(min(costs))]


def _settled(
    shapes: Mapping[str, Shape], links: Mapping[str, Sequence[Link]], pick: frozenset[str], readers: set[str]
) -> Plan:
    """Layouts when these populations are interleaved; picks that then need no interleaving are dropped."""
    layouts = _layouts(shapes, links, pick)
    return Plan(layouts, frozenset(n for n in pick if layouts[n] > 1 and n in readers))


def _layouts(
    shapes: Mapping[str, Shape], links: Mapping[str, Sequence[Link]], interleaved: frozenset[str]
) -> dict[str, int]:
    layouts: dict[str, int] = {}
    for name in shapes:
        incoming = links.get(name, ())
        layouts[name] = next(
            (r for r in range(1, MAX_LAYOUT + 1) if all(_fits(link, layouts, interleaved, r) for link in incoming)), 0
        )
        if not layouts[name]:
            raise TraceError(
                f"'{name}' {shapes[name]} cannot be laid out as plain convolutions of "
                f"{sorted({link.source for link in incoming})}. Its height and width must be multiples of every "
                "up-sampling factor before it: choose an image size divisible by a higher power of two, or an "
                "output_padding that doubles the size exactly."
            )
    return layouts


def _fits(link: Link, layouts: Mapping[str, int], interleaved: frozenset[str], target: int) -> bool:
    source = 1 if link.source in interleaved else layouts[link.source]
    return all(fits(axis, source, target) for axis in link.axes)


def _cost(shapes: Mapping[str, Shape], links: Mapping[str, Sequence[Link]], plan: Plan) -> tuple[int, int]:
    """(estimated cores, stored weights): fewer cores first, then fewer stored weights."""
    cores = stored = 0
    for name, shape in shapes.items():
        neurons = shape[0] * shape[1] * shape[2]
        words_of, weights = _words(shapes, links.get(name, ()), plan, name)
        cores += _cores(neurons, shape[0] * plan.layouts[name] ** 2, words_of)
        stored += weights
        if name in plan.interleaved:
            cores += ceil(neurons / core_limits().neurons)
    return cores, stored


def _words(
    shapes: Mapping[str, Shape], incoming: Sequence[Link], plan: Plan, name: str
) -> tuple[list[tuple[int, int]], int]:
    """Per projection (inputs x taps per output channel, groups) and the number of stored weights."""
    rows, weights = [], 0
    r = plan.layouts[name]
    for link in incoming:
        source = 1 if link.source in plan.interleaved else plan.layouts[link.source]
        taps = prod(kernel_size(axis, source, r) for axis in link.axes)
        fan = link.channels // link.groups * source * source * taps
        rows.append((fan, link.groups))
        weights += fan * shapes[name][0] * r * r
    return rows, weights


def _cores(neurons: int, channels: int, rows: Sequence[tuple[int, int]]) -> int:
    """Fewest cores over all even cuts of the output channels (weights are stored once per core)."""
    limits = core_limits()
    pixels = ceil(neurons / channels)
    best = None
    for per_core in sorted({ceil(channels / cuts) for cuts in range(1, channels + 1)}):
        words = sum(
            fan * max(1, ceil(groups * per_core / channels)) * ceil(per_core * WEIGHT_BITS / limits.word_bits)
            for fan, groups in rows
        )
        if words <= limits.words and per_core <= limits.neurons:
            cores = ceil(channels / per_core) * ceil(pixels / (limits.neurons // per_core))
            best = cores if best is None else min(best, cores)
    return best if best is not None else neurons
