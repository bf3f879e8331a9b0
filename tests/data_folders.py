"""Small data sets in the exact layouts of the originals, for tests."""

import gzip
from pathlib import Path

import numpy as np
from PIL import Image

# As CamVid has them: colour, blank, name.
CAMSEQ_COLOURS = {
    "Sky": (128, 128, 128),
    "Building": (128, 0, 0),
    "Wall": (64, 192, 0),
    "Road": (128, 64, 128),
    "LaneMkgsDriv": (128, 0, 192),
    "Car": (64, 0, 128),
    "SUVPickupTruck": (64, 128, 192),
    "Bicyclist": (0, 128, 192),
    "Void": (0, 0, 0),
}


def noise(rng, *shape) -> np.ndarray:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def save(values: np.ndarray, path: Path, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)


def write_camseq(root: Path, count: int = 6, size: tuple[int, int] = (12, 16)) -> Path:
    """Frames of noise; labels of one random colour each pixel."""
    rng = np.random.default_rng(0)
    table = np.array(list(CAMSEQ_COLOURS.values()), np.uint8)
    for number in range(count):
        save(noise(rng, *size, 3), root / f"0016E5_{7959 + 2 * number:05d}.png")
        save(table[rng.integers(len(table), size=size)], root / f"0016E5_{7959 + 2 * number:05d}_L.png")
    lines = [f"{r} {g} {b}\t{name}\n" for name, (r, g, b) in CAMSEQ_COLOURS.items()]
    (root / "label_colors.txt").write_text("".join(lines))
    return root


def write_drive(root: Path, size: tuple[int, int] = (70, 66), train: int = 5, test: int = 2) -> Path:
    """Fundus images: a bright disc, which is the field of view, with dark vessels; labels as palette and grey GIFs."""
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[: size[0], : size[1]]
    field = (rows - size[0] / 2) ** 2 + (columns - size[1] / 2) ** 2 < (0.45 * min(size)) ** 2
    for part, first, count, kind in (("training", 21, train, "training"), ("test", 1, test, "test")):
        for number in range(first, first + count):
            vessel = (rows + 3 * number + rng.integers(0, 2, size)) % 16 < 3
            image = (
                np.where(field[..., None], 160, 10) - 60 * (vessel & field)[..., None] + rng.integers(0, 20, (*size, 3))
            )
            save(image.astype(np.uint8), root / part / "images" / f"{number:02d}_{kind}.tif")
            save(255 * vessel.astype(np.uint8), root / part / "1st_manual" / f"{number:02d}_manual1.gif")
            save(255 * field.astype(np.uint8), root / part / "mask" / f"{number:02d}_{kind}_mask.gif")
            if part == "test":
                save_nearly_black_and_white(~vessel, root / part / "2nd_manual" / f"{number:02d}_manual2.gif")
    return root


def save_nearly_black_and_white(values: np.ndarray, path: Path) -> None:
    """A GIF with the palette of DRIVE's second observer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.frombytes("P", values.shape[::-1], values.astype(np.uint8).tobytes())
    picture.putpalette([4, 2, 4, 252, 254, 252])
    picture.save(path)


def write_isbi(root: Path, count: int = 11, size: tuple[int, int] = (32, 32)) -> Path:
    """Sections of noise whose level tells their number; labels 0 and 255."""
    rng = np.random.default_rng(2)
    for number in range(count):
        save(np.full(size, 10 * number, np.uint8), root / "train" / "image" / f"{number}.png")
        save(255 * rng.integers(0, 2, size, dtype=np.uint8), root / "train" / "label" / f"{number}.png")
    return root


def write_voc(root: Path, sizes: tuple[tuple[int, int], ...] = ((20, 30), (24, 18), (16, 16))) -> Path:
    """VOCdevkit/VOC2012: train and val of the challenge; trainaug with SBD's grey labels. One picture per size and list."""
    rng = np.random.default_rng(3)
    folder = root / "VOCdevkit" / "VOC2012"
    palette = [level for index in range(256) for level in (index, 255 - index, index // 2)]
    names = {"train": [], "val": [], "trainaug": []}
    for number, (name, size) in enumerate((name, size) for name in names for size in sizes):
        title = f"2007_{number:06d}"
        names[name].append(title)
        save(noise(rng, *size, 3), folder / "JPEGImages" / f"{title}.jpg", quality=95)
        labels = rng.integers(0, 21, size, dtype=np.uint8)
        labels[0] = 255
        if name == "trainaug":
            save(labels, folder / "SegmentationClassAug" / f"{title}.png")
            continue
        (folder / "SegmentationClass").mkdir(parents=True, exist_ok=True)
        picture = Image.frombytes("P", size[::-1], labels.tobytes())
        picture.putpalette(palette)
        picture.save(folder / "SegmentationClass" / f"{title}.png")
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for name, titles in names.items():
        (lists / f"{name}.txt").write_text("".join(f"{title}\n" for title in titles))
    return root


def idx_bytes(values: np.ndarray) -> bytes:
    head = b"\0\0\x08" + bytes([values.ndim]) + np.array(values.shape, ">u4").tobytes()
    return head + values.astype(np.uint8).tobytes()


def write_mnist(root: Path, train: int = 60, test: int = 20) -> Path:
    """Digits that are blocks of ink; the training files gzipped, the test files plain."""
    rng = np.random.default_rng(4)
    root.mkdir(parents=True, exist_ok=True)
    for prefix, count in (("train", train), ("t10k", test)):
        digits = np.zeros((count, 28, 28), np.uint8)
        for digit in digits:
            top, left = rng.integers(4, 12, 2)
            digit[top : top + 12, left : left + 10] = noise(rng, 12, 10)
        for name, values in (("images-idx3", digits), ("labels-idx1", np.arange(count, dtype=np.uint8) % 10)):
            path = root / f"{prefix}-{name}-ubyte"
            if prefix == "train":
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(idx_bytes(values)))
            else:
                path.write_bytes(idx_bytes(values))
    return root


def write_cifar10(root: Path, train: tuple[int, ...] = (24, 12), test: int = 10) -> Path:
    """Photographs of noise."""
    rng = np.random.default_rng(5)
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    batches = {f"data_batch_{number}": count for number, count in enumerate(train, 1)} | {"test_batch": test}
    for name, count in batches.items():
        records = noise(rng, count, 3073)
        records[:, 0] %= 10
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return root


def write_pictures(root: Path, sizes=((40, 50), (50, 40), (36, 36)), colour: bool = False, seed: int = 6) -> Path:
    rng = np.random.default_rng(seed)
    for number, size in enumerate(sizes):
        save(noise(rng, *size, 3) if colour else noise(rng, *size), root / f"test{number + 1:03d}.png")
    return root
