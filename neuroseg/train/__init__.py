"""Training: from a config to a RUN folder, and back."""

from neuroseg.train.base import Task
from neuroseg.train.data import dataset
from neuroseg.train.denoising import DenoisingTask
from neuroseg.train.fit import evaluate, task_of, train
from neuroseg.train.run_folder import load_run
from neuroseg.train.task import SegmentationTask

__all__ = ["DenoisingTask", "SegmentationTask", "Task", "dataset", "evaluate", "load_run", "task_of", "train"]
