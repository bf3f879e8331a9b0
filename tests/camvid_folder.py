"""A folder in CamVid's layout, small enough to train on in a test."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_camvid(root: Path, count: int = 6, size: tuple[int, int] = (24, 32)) -> Path:
    """`count` pairs a split of (height, width) pixels: a bright road (3) under a dark sky (0), with a car (8) and void."""
    rng = np.random.default_rng(0)
    height, width = size
    for split in ("train", "val", "test"):
        (root / split).mkdir(parents=True)
        (root / f"{split}annot").mkdir()
        lines = []
        for number in range(count):
            label = np.zeros(size, np.uint8)
            label[rng.integers(height // 3, 2 * height // 3) :] = 3
            top, left = rng.integers(height // 2), rng.integers(width // 2)
            label[top : top + height // 4, left : left + width // 4] = 8
            label[:2] = 11
            image = np.select([label[..., None] == c for c in (3, 8)], [(200, 190, 180), (220, 30, 40)], (60, 70, 110))
            noisy = np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)
            name = f"{split}_{number}.png"
            Image.fromarray(noisy).save(root / split / name)
            Image.fromarray(label).save(root / f"{split}annot" / name)
            lines.append(f"{split}/{name} {split}annot/{name}\n")
        (root / f"{split}.txt").write_text("".join(lines))
    return root
