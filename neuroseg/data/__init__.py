"""Data sets: items are (image float32 (C, H, W) in [0, 1], mask int64 (H, W), VOID where a pixel counts nowhere); of events
frames (T, C, H, W) and a mask; of denoising a noisy and a clean image.
"""

from neuroseg.data.augment import VOID, Augment
from neuroseg.data.camvid import CamVid
from neuroseg.data.digits import SPLITS, DigitsOnPhotos, Split

__all__ = ["SPLITS", "VOID", "Augment", "CamVid", "DigitsOnPhotos", "Split"]
