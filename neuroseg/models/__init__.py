"""Networks made of SLAYER synapses and neurons. Public tensors are (N, T, C, H, W)."""

from neuroseg.models.count import NetworkSize, network_size, parameter_count
from neuroseg.models.families import SegmentationModel, build, build_model
from neuroseg.models.mfs_seg import MfsSeg
from neuroseg.models.quantized import quantized
from neuroseg.models.record import lifs, record_spikes, stock_slayer

__all__ = [
    "MfsSeg",
    "NetworkSize",
    "SegmentationModel",
    "build",
    "build_model",
    "lifs",
    "network_size",
    "parameter_count",
    "quantized",
    "record_spikes",
    "stock_slayer",
]
