"""ANN to spiking network: reading a trained ANN, normalising its weights, and what takes the place of its ReLUs."""

from neuroseg.convert.ann import Ann, network
from neuroseg.convert.normalise import METHODS, normalised
from neuroseg.convert.read_module import read_module
from neuroseg.convert.read_onnx import read_onnx, verify_onnx
from neuroseg.convert.statistics import Scales, activation_scales

__all__ = [
    "METHODS",
    "Ann",
    "Scales",
    "activation_scales",
    "network",
    "normalised",
    "read_module",
    "read_onnx",
    "verify_onnx",
]
