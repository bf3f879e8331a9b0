"""Training: from a config to a RUN folder, and back."""

from neuroseg.train.fit import dataset, train
from neuroseg.train.run_folder import load_run

__all__ = ["dataset", "load_run", "train"]
