"""Configs: every mistake is named with its key, and every config survives a round trip."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from export.errors import UsageError
from neuroseg.config import Config, dump_config, load_config, shipped_configs


def write(folder: Path, text: str) -> Path:
    path = folder / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["demo", "mfs-tiny"])
def test_shipped_configs_load_by_name(name: str) -> None:
    assert name in shipped_configs()
    assert load_config(name).name == name
    assert load_config(f"{name}.yaml") == load_config(name)


def test_every_shipped_config_survives_a_round_trip(tmp_path: Path) -> None:
    for name in shipped_configs():
        config = load_config(name)
        assert load_config(write(tmp_path, dump_config(config))) == config


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "")) == Config()


def test_overrides_are_yaml_values_at_dotted_keys() -> None:
    config = load_config("demo", ["train.epochs=3", "model.widths=[2, 4, 6]", "train.lr=1e-4", "name=other"])
    assert (config.train.epochs, config.model.widths, config.train.lr, config.name) == (3, (2, 4, 6), 1e-4, "other")


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        load_config("demo").train.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {blcks: 2}", "unknown key 'model.blcks'; did you mean 'model.blocks'"),
        ("trian: {epochs: 2}", "unknown key 'trian'; did you mean 'train'"),
        ("epochs: 2", "unknown key 'epochs'; did you mean 'train.epochs'"),
        ("data: {foo: 2}", "unknown key 'data.foo'; valid keys are data.name, data.size"),
        ("train: {epochs: 0}", "train.epochs = 0: input should be greater than 0"),
        ("train: {epochs: many}", "train.epochs = 'many': input should be a valid integer"),
        ("model: {block: dense}", "model.block = 'dense': input should be 'efs' or 'sew'"),
        ("model: {widths: [4, 8]}", "model: widths has 2 entries for 3 scales"),
        ("data: {size: [30, 32]}", "data.size: 30 is not a multiple of 4.*use 28 or 32"),
        ("model: [1]", r"model = \[1\]: input should be"),
        ("model: {", "is not valid YAML"),
        ("- 1", "holds a list"),
    ],
)
def test_a_mistake_is_named_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_config(write(tmp_path, text))
    assert "c.yaml" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs", "not of the form key.sub=value"),
        ("=3", "not of the form"),
        ("train.epoch=3", "unknown key 'train.epoch'; did you mean 'train.epochs'"),
        ("name.sub=3", "'name' is a value, not a section"),
        ("train.lr=[", "not valid YAML"),
    ],
)
def test_a_wrong_override_is_named(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_config("demo", [override])


def test_an_unknown_config_lists_the_shipped_ones() -> None:
    with pytest.raises(UsageError, match="neither a file nor a shipped config; shipped are: .*demo"):
        load_config("nothing")
