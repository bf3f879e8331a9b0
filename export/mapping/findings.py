"""What a placement says in words: populations that no core holds, faults of the chip, limits that were not checked."""

from __future__ import annotations

from collections.abc import Mapping

from export.graph import Conv, Graph
from export.mapping.placement import RESOURCES, Cut, Limits, Load
from hw_configs import Chip

WHAT = {
    "neurons": "neurons",
    "words": "words of synaptic memory",
    "axon_in": "input axons",
    "axon_map": "entries of the axon map",
    "axon_mem": "entries of axon memory",
    "groups": "neuron groups",
    "pool": "of the pool that a core's memories and neurons share",
}
FIX = {
    "words": "Give its neurons a smaller fan-in: fewer input channels, a smaller kernel, or fewer blocks on its residual stream.",
    "axon_in": "Give its neurons fewer sources: a smaller map before it, or a convolution.",
    "axon_mem": "Let fewer cores read it: fewer or narrower layers after it.",
    "pool": "Give its neurons a smaller fan-in, or let fewer cores read it.",
}


def finding(name: str, load: Load, limits: Limits, *, given: bool = False) -> str | None:
    """A sentence on the limit that the fullest core of a population breaks; None where all hold.

    given   the tile was asked for, so that a finer one may do
    """
    for resource in RESOURCES:
        used, cap = load.of(resource), limits.cap(resource)
        if used is None or cap is None or used.max() <= cap * (1 + 1e-12):
            continue
        at = int(used.argmax())
        held = int(load.neurons.flat[at])
        amount = f"{used.max():.1%}" if resource == "pool" else f"{int(used.max()):,}"
        limit = "100 %" if resource == "pool" else f"{int(cap):,}"
        least = "" if given else ", and no finer cut needs less"
        return (
            f"population '{name}' needs {amount} {WHAT[resource]} on a core that holds {held:,} of its neurons; "
            f"{limits.chip} has {limit}{least}. {FIX.get(resource, 'Make the population smaller.')}"
        )
    return None


def erratum(graph: Graph, cuts: Mapping[str, Cut], chip: Chip) -> tuple[str, ...]:
    """Convolutions wider than the chip is known to handle."""
    safe = chip.safe_conv_width
    if safe.value is None:
        return ()
    fed = {p.target for p in graph.projections if isinstance(p, Conv)}
    return tuple(
        f"population '{name}' is {cut.shape[2]} wide; {chip.name} may drop spikes in convolutions wider than "
        f"{safe.value:g} ({safe.source})."
        for name, cut in cuts.items()
        if name in fed and cut.shape[2] > safe.value
    )


def unchecked(chip: Chip, limits: Limits) -> tuple[str, ...]:
    """Limits that were not checked, each with the keys of the chip's config that are null."""
    keys = {
        "words": ("synaptic_words", "synaptic_word", "conv_synapse_overhead", "dense_index"),
        "axon_in": ("axon_in", "axon_pieces"),
        "axon_map": ("axon_map", "axon_pieces"),
        "axon_mem": ("axon_mem", "axon_pieces", "axon_destinations"),
        "groups": ("neuron_groups",),
        "pool": ("pool_memory_share", "pool_neuron_share", "pool_limit"),
    }
    found = []
    for resource, names in keys.items():
        unknown = [f"core.{key}" for key in names if getattr(chip.core, key).value is None]
        if unknown:
            found.append(f"{WHAT[resource]}: {chip.name} has no value for {', '.join(unknown)}")
    if limits.pool is None and not any(line.startswith(WHAT["pool"]) for line in found):
        found.append(f"{WHAT['pool']}: {chip.name} has no value for a memory that enters it")
    return tuple(found)
