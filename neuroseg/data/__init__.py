"""Data sets: items are (image float32 (3, H, W) in [0, 1], mask int64 (H, W))."""

from neuroseg.data.digits import SPLITS, DigitsOnPhotos, Split

__all__ = ["SPLITS", "DigitsOnPhotos", "Split"]
