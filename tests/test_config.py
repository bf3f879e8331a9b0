"""Configs: every mistake is named with its key, and every config survives a round trip."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from export.errors import UsageError
from neuroseg.commands.papers import read_papers
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


NOT_INCLUDED = {"voc2012", "ddd17", "dsec-semantic"}
PAPERS_ROWS = {  # config -> ids of what its paper prints: spiking, ANN
    "spiking-deeplab": ("kim/4/deeplab-snn", "kim/4/deeplab-ann"),
    "spiking-fcn": ("kim/4/fcn-snn", "kim/4/fcn-ann"),
    "spiking-deeplab-voc": ("kim/2/deeplab-snn", "kim/2/deeplab-ann"),
    "spiking-fcn-voc": ("kim/2/fcn-snn", "kim/2/fcn-ann"),
    "spiking-deeplab-ddd17": ("kim/3/deeplab-snn", "kim/3/deeplab-ann"),
    "spiking-fcn-ddd17": ("kim/3/fcn-snn", "kim/3/fcn-ann"),
    "unet-camvid": ("mfs-seg/1/camvid/unet-snn", "mfs-seg/1/camvid/unet-ann"),
}
SHIPPED = Path(__file__).parents[1] / "neuroseg" / "configs"


def header(name: str) -> str:
    """The comment at a shipped config's top."""
    lines = (SHIPPED / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return " ".join(line.lstrip("# ") for line in lines[: [line[:1] == "#" for line in lines].index(False)])


def test_configs_of_data_that_are_not_included_say_so() -> None:
    found = {name for name in shipped_configs() if load_config(name).data.name in NOT_INCLUDED}
    assert {load_config(name).data.name for name in found} == NOT_INCLUDED
    assert [name for name in found if "Not reproduced here: data not included." not in header(name)] == []


@pytest.mark.parametrize("name", PAPERS_ROWS)
def test_what_the_paper_reached_stands_in_the_config_as_it_is_printed(name: str) -> None:
    printed = {row.id: row.printed for paper in read_papers() for table in paper.tables for row in table.rows}
    percent = name.startswith("spiking")
    for row in PAPERS_ROWS[name]:
        miou = printed[row].miou
        assert miou is not None
        assert (
            any(f"{miou * 100:.{d}f} %" in header(name) for d in (1, 2)) if percent else f"{miou:.3f}" in header(name)
        )
    assert "ot reproduced here" in header(name) or "Not trained here at this size" in header(name)


def test_every_shipped_config_is_named_like_its_file_and_says_what_it_is_for() -> None:
    for name in shipped_configs():
        assert load_config(name).name == name
        assert len(header(name)) > 20, name


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
        ("data: {foo: 2}", "unknown key 'data.foo'; valid keys are data.size, data.name, data.classes"),
        ("train: {epochs: 0}", "train.epochs = 0: input should be greater than 0"),
        ("train: {epochs: many}", "train.epochs = 'many': input should be a valid integer"),
        ("model: {block: dense}", "model.block = 'dense': input should be 'efs', 'ms', 'shuffle', 'fire' or 'sew'"),
        ("model: {widths: [4, 8]}", "model: widths has 2 entries for 3 scales"),
        ("data: {size: [30, 32]}", "data.size: 30 is not a multiple of 4.*use 28 or 32"),
        ("model: [1]", "model: model.family is one of mfs, deeplab"),
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


def test_a_quantisation_aware_phase_without_a_validation_is_refused():
    with pytest.raises(UsageError, match=r"no validation falls into the last qat_epochs = 1 of 3 epochs"):
        load_config("mfs-tiny", ["train.epochs=3", "train.val_every=2", "train.qat_epochs=1"])
    assert load_config("mfs-tiny", ["train.epochs=4", "train.val_every=2", "train.qat_epochs=1"]).train.val_every == 2
    with pytest.raises(UsageError, match="qat_epochs = 5 is more than epochs = 4"):
        load_config("mfs-tiny", ["train.epochs=4", "train.qat_epochs=5"])


def test_a_schedule_is_found_by_name_and_changed_by_key():
    config = load_config("mfs-nano", ["train=paper-ddd17", "train.epochs=7", "train.step_epochs=2"])
    assert (config.train.epochs, config.train.batch_size, config.train.step_epochs) == (7, 8, 2)
    with pytest.raises(UsageError, match="no schedule is called 'paper'; shipped are: paper-camvid"):
        load_config("mfs-nano", ["train=paper"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "data.digits_per_image=2",
            "unknown key 'data.digits_per_image'; data.name = camvid has data.size, data.name, data.root",
        ),
        ("data.augment.flop=1", "did you mean 'data.augment.flip'"),
        ("data.name=coco", "data.name is one of digits, camvid, camseq01, drive"),
        ("data.size=[70, 96]", "70 is not a multiple of 8.*model.stem = 2.*use 64 or 72"),
        ("model.blocks=[1, 2]", "blocks has 2 entries for 3 scales"),
        ("train.precision=8", "train.precision"),
        ("data.augment.scale=[2, 1]", "wrong order"),
    ],
)
def test_wrong_keys_and_values_of_sections_are_named(change, message):
    with pytest.raises(UsageError, match=message):
        load_config("mfs-nano", [change])
