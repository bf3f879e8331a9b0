"""MNIST-CIFAR10-Segmentation: as the original makes it, from the original files; no digit or photograph in two splits."""

import gzip
import pickle

import numpy as np
import pytest
import torch
from data_folders import idx_bytes, write_cifar10, write_mnist
from hypothesis import given, settings
from hypothesis import strategies as st

from export.errors import DataError
from neuroseg.config import validate
from neuroseg.data import SPLITS
from neuroseg.data.mnist import read_idx, read_mnist
from neuroseg.data.mnist_cifar import MnistCifar, read_cifar10
from neuroseg.data.opening import Ask, open_split


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return write_mnist(root / "mnist"), write_cifar10(root / "cifar10")


def made(folders, split="train", **arguments) -> MnistCifar:
    return MnistCifar(*folders, split, **({"samples": 50} | arguments))


@pytest.mark.parametrize("size", [(32, 32), (64, 64)])
@pytest.mark.parametrize("classes", [2, 11])
def test_items_are_made_as_the_original_makes_them(folders, size, classes):
    data = made(folders, size=size, classes=classes)
    step = 64 // size[0]
    for index in range(20):
        draw = data.draw(index)
        digit = data.digits[draw.digit][::step, ::step].astype(np.float64) / 255
        image, mask = data[index]
        ink = np.zeros(size)
        ink[draw.top : draw.top + len(digit), draw.left : draw.left + len(digit)] = digit
        assert torch.equal(mask > 0, torch.from_numpy(ink > 0.3))
        label = int(data.labels[draw.digit])
        assert set(mask.unique().tolist()) <= {0, 1 if classes == 2 else 1 + label}
        if step == 2:
            photo = data.photos[draw.photo].astype(np.float64)
            expected = np.minimum(photo + 200 * (ink * (ink > 0.3))[..., None], 255) / 255
            assert np.abs(image.numpy().transpose(1, 2, 0) - expected).max() < 1e-6
        assert image.dtype == torch.float32 and 0 <= image.min() <= image.max() <= 1


def test_splits_share_neither_digits_nor_photographs(folders):
    found = {split: {origin.digest for origin in made(folders, split).origins()} for split in SPLITS}
    assert all(found[a].isdisjoint(found[b]) for a, b in (("train", "val"), ("train", "test"), ("val", "test")))
    counts = {split: (len(made(folders, split).digits), len(made(folders, split).photos)) for split in SPLITS}
    assert counts == {"train": (50, 30), "val": (10, 6), "test": (20, 10)}


@pytest.mark.parametrize("split", SPLITS)
def test_every_digit_and_photograph_comes_once_before_any_comes_twice(folders, split):
    data = made(folders, split, samples=100)
    draws = [data.draw(index) for index in range(100)]
    for kind, count in (("digit", len(data.digits)), ("photo", len(data.photos))):
        drawn = [getattr(draw, kind) for draw in draws]
        for turn in range(100 // count):
            assert sorted(drawn[turn * count : (turn + 1) * count]) == list(range(count))


def test_an_item_depends_on_seed_split_and_index_alone(folders):
    few, many = made(folders, samples=10), made(folders, samples=40)
    for index in reversed(range(10)):
        assert all(torch.equal(a, b) for a, b in zip(few[index], many[index], strict=True))
    other = made(folders, seed=1)
    assert not any(torch.equal(few[index][0], other[index][0]) for index in range(10))


def test_it_travels_to_worker_processes_and_has_a_colour_for_each_class(folders):
    for classes in (2, 11):
        data = made(folders, classes=classes)
        sent = pickle.loads(pickle.dumps(data))
        assert all(torch.equal(a, b) for a, b in zip(sent[7], data[7], strict=True))
        assert len(set(data.colours)) == len(data.class_names) == classes


def test_the_digit_is_everywhere_and_never_cut(folders):
    data = made(folders, samples=400)
    places = {(draw.top, draw.left) for draw in map(data.draw, range(400))}
    assert {top for top, _ in places} == {left for _, left in places} == set(range(19))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"size": (16, 32)}, r"size \(16, 32\) is smaller than the photographs"),
        ({"classes": 3}, "classes=3"),
        ({"samples": 0}, "samples=0"),
        ({"seed": -1}, "seed=-1"),
        ({"split": "training"}, "unknown split 'training'"),
    ],
)
def test_wrong_arguments_are_named(folders, arguments, says):
    with pytest.raises(DataError, match=says):
        made(folders, **arguments)


def test_the_config_opens_it(folders):
    keys = {"mnist": str(folders[0]), "cifar10": str(folders[1]), "val_samples": 7, "classes": 11}
    config = validate({"data": {"name": "mnist-cifar10", **keys}}, "test").data
    items = open_split(config, Ask("val"))
    assert len(items) == 7 and items.classes == config.classes == len(items.class_names) == 11
    assert items[0][0].shape == (3, 32, 32) and items[0][1].shape == (32, 32)


@settings(max_examples=30, deadline=None)
@given(shape=st.lists(st.integers(0, 5), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_idx_files_give_the_array_that_was_written(tmp_path_factory, shape, seed):
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path_factory.mktemp("idx") / "a-idx-ubyte"
    path.write_bytes(idx_bytes(values))
    assert np.array_equal(read_idx(path), values) and read_idx(path).shape == tuple(shape)


MNIST_FAULTS = {
    "missing": (lambda p: p.unlink(), "train-labels-idx1-ubyte' is missing, also with .gz"),
    "no gzip": (lambda p: p.write_bytes(b"hello"), "labels-idx1-ubyte.gz' cannot be read.*copy it again"),
    "cut gzip": (lambda p: p.write_bytes(p.read_bytes()[:-9]), "cannot be read.*copy it again"),
    "other content": (lambda p: p.write_bytes(gzip.compress(b"\1\2\3\4")), "does not begin as an idx file"),
    "cut short": (
        lambda p: p.write_bytes(gzip.compress(gzip.decompress(p.read_bytes())[:-1])),
        r"holds 59 bytes of data; its head says 60 \(60,\)",
    ),
    "other count": (lambda p: p.write_bytes(gzip.compress(idx_bytes(np.zeros(9)))), r"labels of shape \(9,\)"),
    "label 10": (lambda p: p.write_bytes(gzip.compress(idx_bytes(np.full(60, 10)))), "up to 10; expected"),
}


@pytest.mark.parametrize("fault", MNIST_FAULTS)
def test_faulty_mnist_files_are_named(tmp_path, fault):
    spoil, says = MNIST_FAULTS[fault]
    root = write_mnist(tmp_path / "mnist")
    spoil(root / "train-labels-idx1-ubyte.gz")
    with pytest.raises(DataError, match=says):
        read_mnist(root, test=False)


def test_faulty_cifar_files_are_named(tmp_path):
    root = write_cifar10(tmp_path / "cifar10")
    path = root / "cifar-10-batches-bin" / "test_batch.bin"
    assert len(read_cifar10(root, test=True)) == len(read_cifar10(path.parent, test=True)) == 10
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(DataError, match="no whole number of records of 3,073"):
        read_cifar10(root, test=True)
    path.write_bytes(b"\x0a" + whole[1:])
    with pytest.raises(DataError, match="holds label 10; expected: 0 to 9"):
        read_cifar10(root, test=True)
    path.unlink()
    with pytest.raises(DataError, match="holds no test_batch.bin.*binary version"):
        read_cifar10(root, test=True)


def test_the_real_files_have_the_known_counts_and_the_ink_a_twentieth_of_the_pixels(neuroseg_data):
    for split, digits, photos in (("train", 50_000, 3333), ("val", 10_000, 667), ("test", 10_000, 2000)):
        data = MnistCifar(neuroseg_data / "mnist", neuroseg_data / "cifar10", split, samples=200)
        assert (len(data.digits), len(data.photos)) == (digits, photos)
        share = torch.stack([mask for _, mask in data]).double().mean()
        assert 0.02 < share < 0.05
    labels = read_mnist(neuroseg_data / "mnist", test=True)[1]
    # LeCun's test labels per class
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
