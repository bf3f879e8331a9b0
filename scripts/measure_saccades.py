"""Measure how N-MNIST's camera moved: the table of `neuroseg.data.saccades`, and how far off it is on other recordings.

    NEUROSEG_DATA=... python scripts/measure_saccades.py [number of training recordings]

The shift of each tenth of a saccade is where the events of all recordings together lie best on their digits' edges, after each
recording's own start was found with the table so far; five rounds, from the published straight lines on. Takes two minutes.
"""

from __future__ import annotations

import sys

import numpy as np

from neuroseg.config import NMnistConfig
from neuroseg.data.ask import data_folder
from neuroseg.data.nmnist import NMnist
from neuroseg.data.saccades import PATH, REACH, SACCADE_US, best_shift, fit_of_shifts, path, positions

ROUNDS = 5
LEAST_EVENTS = 2000  # of a tenth, over all recordings, that decide on a shift; else it lies between its neighbours
MANY_EVENTS = 5000
CORNERS = np.array([[0.0, 0.0], [7.0, 3.5], [0.0, 7.0], [0.0, 0.0]])  # of Orchard et al.


def main() -> None:
    """Print the table, and the residual shifts of training recordings and of those of val."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 250
    seen, unseen = (recordings(split, number) for split in ("train", "val"))
    middles = (np.arange(len(PATH)) + 0.5) * SACCADE_US / 10
    knots = np.stack([np.interp(middles, SACCADE_US * np.arange(4), CORNERS[:, axis]) for axis in range(2)], -1)
    for round_number in range(ROUNDS):
        shifts, events = residuals(seen, knots)
        left, _ = residuals(unseen, knots)
        mean = (np.abs(left) * events[:, None]).sum(0) / events.sum()
        most = np.abs(left[events > MANY_EVENTS]).max(0)
        print(f"round {round_number}: left on val, mean {mean.round(3)} and most {most.round(3)} pixels (row, column)")
        knots = knots + shifts
    sure = events > LEAST_EVENTS
    knots = np.stack([np.interp(middles, middles[sure], knots[sure, axis]) for axis in range(2)], -1)
    knots -= knots[0]
    print("rows   ", np.round(knots[:, 0], 2).tolist())
    print("columns", np.round(knots[:, 1], 2).tolist())
    print("largest difference from the table in use:", np.abs(knots - PATH).max().round(3))


def recordings(split, number):
    """(events, digit) of the first recordings of a split."""
    config = NMnistConfig(name="n-mnist")
    items = NMnist(data_folder(config.root), data_folder(config.mnist_root), config, split, 5)
    return [(items.events(file), items.pictures[file.number]) for file in items.files[:number]]


def residuals(chosen, knots):
    """Shift (30, 2) of each tenth of a saccade over all recordings, and its number of events."""
    side = 4 * REACH + 1
    fits, events_in = np.zeros((len(knots), side, side)), np.zeros(len(knots), int)
    for events, digit in chosen:
        still = positions(events) - path(events["t"], knots)
        still -= best_shift(fit_of_shifts(still, digit))
        tenth = events["t"] // (SACCADE_US // 10)
        for number in range(len(knots)):
            mine = still[tenth == number]
            fits[number] += fit_of_shifts(mine, digit)
            events_in[number] += len(mine)
    return np.array([best_shift(fit) for fit in fits]), events_in


if __name__ == "__main__":
    main()
