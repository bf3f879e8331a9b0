"""The papers' energies, computed again: from their numbers, and from our operations at their firing rates.

    ANN     E_MAC MACs
    SNN     T fr E_AC ACs + n E_MAC MACs_host        n = 1 for an image, T for frames

ACs: the operations of all convolutions but those of the host, which read real numbers; a row with `first_layer: ac` counts the
host's among the ACs. The formula that MFS-Seg prints (equation 7) has T in front of both terms, but its row on CamVid is met
only if the first convolutions of an image, whose result is the same at every step, are counted once. Formula and joules are
those of reports (`export.report.energy`).
"""

from __future__ import annotations

from export.report.energy import Joules, Trained, joules, operations_energy, paper_coefficients, spiking_energy
from neuroseg.commands.papers import Row
from neuroseg.models import NetworkSize

GIGA, MILLI = 1e9, 1e-3


def paper_joules() -> Joules:
    """Energies of one operation, with which the papers compute."""
    return joules(paper_coefficients())


def energy_row(row: Row, ours: NetworkSize | None, still: bool) -> dict[str, object] | None:
    """The printed energy of a row beside both computations (JSON-ready); None if the row prints none.

    ours   sizes of our network; None for networks that are not ours
    still  the input is an image, whose first convolution is the same at every step

    deviation_percent     of the energy from our operations, from the printed one
    own_deviation_percent of the energy from the printed operations, from the printed one: their arithmetic
    own_borrows_host_macs multiply-accumulates of our first layer in their arithmetic, since no paper prints them; 0: none
    consistent            whether their arithmetic gives what they print, within the row's bar; null: cannot be computed
    ours_j                null where the network is not ours, and where spikes are printed instead of a rate: ours would be theirs
    met                   whether ours meets the printed one; null where theirs is not consistent, or ours is null
    """
    if row.printed.energy_mj is None:
        return None
    theirs = row.printed.energy_mj * MILLI
    own, from_ours = _own(row, ours, still), _from_ours(row, ours, still)
    own_deviation, deviation = _percent(own, theirs), _percent(from_ours, theirs)
    bar = row.bars.energy
    consistent = None if own_deviation is None else abs(own_deviation) <= bar and "energy" not in row.contradictions
    return {
        "id": row.id,
        "theirs_j": theirs,
        "own_arithmetic_j": own,
        "own_deviation_percent": own_deviation,
        "own_borrows_host_macs": 0 if own is None else _borrowed(row, ours),
        "consistent": consistent,
        "ours_j": from_ours,
        "deviation_percent": deviation,
        "bar_percent": bar,
        "met": abs(deviation) <= bar if consistent and deviation is not None else None,
        "wrong": row.contradictions.get("energy"),
        "cause": row.cause,
    }


def gain_row(row: Row) -> dict[str, object] | None:
    """What a printed ratio of energies says about the spikes (JSON-ready); None if the row prints none.

    With equal operations in every layer, gain = E_MAC / (R_s E_AC), R_s being the spikes per neuron over all T steps, weighted
    by operations (Kim et al. 2022, equations 8 to 12). Their rates per layer are in a figure alone, so that the ratio itself
    cannot be computed again.
    """
    if row.printed.energy_gain is None:
        return None
    cost = paper_joules()
    spikes = cost.mac / (cost.ac * row.printed.energy_gain)
    return {
        "id": row.id,
        "theirs": row.printed.energy_gain,
        "implied_spikes_per_neuron": spikes,
        "implied_firing_rate": spikes / (row.steps or 1),
        "computable": False,
    }


def _own(row: Row, ours: NetworkSize | None, still: bool) -> float | None:
    """From the printed operations; the host's share is not printed, it is ours."""
    if row.printed.spikes_and_first_layer_g is not None:
        return _spikes_and_first_layer(row, ours)
    return None if row.macs is None else _energy(row, row.macs, ours, still)


def _from_ours(row: Row, ours: NetworkSize | None, still: bool) -> float | None:
    if ours is None or row.printed.spikes_and_first_layer_g is not None:
        return None  # printed spikes are no rate that could be set against our operations
    return _energy(row, counted(row, ours), ours, still)


def _borrowed(row: Row, ours: NetworkSize | None) -> int:
    """Multiply-accumulates of our host that a spiking row's energy counts."""
    return 0 if ours is None or row.kind == "ann" or row.first_layer == "ac" else ours.host_macs


def counted(row: Row, ours: NetworkSize) -> float:
    """Our operations, with the row's up-convolutions: 3x3 on the larger map has 9 times those of 2x2 with stride 2."""
    return ours.macs_per_step + (8 * ours.transposed_macs if row.up_convolutions else 0)


def _energy(row: Row, macs: float, ours: NetworkSize | None, still: bool) -> float | None:
    if row.kind == "ann":
        return operations_energy(0, macs, paper_joules())
    if row.kind == "hybrid" or row.printed.firing_rate is None or row.steps is None:
        return None
    trained = Trained(row.steps, macs, _borrowed(row, ours), row.printed.firing_rate)
    return spiking_energy(trained, paper_joules(), 1 if still else row.steps)


def _spikes_and_first_layer(row: Row, ours: NetworkSize | None) -> float | None:
    """Spiking-UNet's arithmetic (Li et al., equation 13): an accumulation per spike, and the first layer once."""
    if ours is None or row.printed.spikes_and_first_layer_g is None:
        return None
    spikes = row.printed.spikes_and_first_layer_g * GIGA - ours.host_macs
    return operations_energy(spikes, ours.host_macs, paper_joules())


def _percent(value: float | None, reference: float) -> float | None:
    return None if value is None else 100 * (value / reference - 1)
