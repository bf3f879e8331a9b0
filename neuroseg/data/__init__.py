"""Data sets: items are (image float32 (3, H, W) in [0, 1], mask int64 (H, W); VOID where a pixel counts nowhere)."""

from neuroseg.data.augment import VOID, Augment
from neuroseg.data.camvid import CamVid
from neuroseg.data.digits import SPLITS, DigitsOnPhotos, Split

__all__ = ["SPLITS", "VOID", "Augment", "CamVid", "DigitsOnPhotos", "Split"]
