"""From the data sections of event cameras to their splits."""

from __future__ import annotations

from neuroseg.config import Ddd17Config, DsecConfig, NMnistConfig, SyntheticEventsConfig
from neuroseg.data import ddd17
from neuroseg.data.ask import Ask, data_folder
from neuroseg.data.driving import LabelledMoments
from neuroseg.data.dsec import Dsec
from neuroseg.data.nmnist import NMnist
from neuroseg.data.synthetic_events import SyntheticEvents


def open_synthetic(config: SyntheticEventsConfig, ask: Ask) -> SyntheticEvents:
    """Embedded recordings."""
    return SyntheticEvents(config, ask.split, ask.steps)


def open_nmnist(config: NMnistConfig, ask: Ask) -> NMnist:
    """N-MNIST, and MNIST for the masks."""
    return NMnist(
        data_folder(config.root), data_folder(config.mnist_root, "data.mnist_root"), config, ask.split, ask.steps
    )


def open_ddd17(config: Ddd17Config, ask: Ask) -> LabelledMoments:
    """DDD17 in either layout."""
    root = data_folder(config.root)
    return ddd17.open_layout(root, config, ask.split, ask.steps, training=ask.training, seed=ask.seed)


def open_dsec(config: DsecConfig, ask: Ask) -> Dsec:
    """DSEC-Semantic."""
    return Dsec(data_folder(config.root), config, ask.split, ask.steps, training=ask.training, seed=ask.seed)
