"""Training: from a config to a RUN folder, and back."""

from neuroseg.train.data import dataset
from neuroseg.train.fit import evaluate, train
from neuroseg.train.run_folder import load_run
from neuroseg.train.task import SegmentationTask

__all__ = ["SegmentationTask", "dataset", "evaluate", "load_run", "train"]
