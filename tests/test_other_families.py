"""Commands that change MFS-Seg's keys meet networks of other families."""

from __future__ import annotations

import pytest

from export.errors import UsageError
from neuroseg.commands.fit import fit
from neuroseg.commands.largest import find_largest
from neuroseg.commands.skips import skips
from neuroseg.commands.variants import arguments, scaled_widths, with_size, with_widths
from neuroseg.config import load_config

UNET = ["data.size=[32,32]", "model.widths=[4,6,8]", "model.neuron=lif", "model.steps=2"]


def unet(*changes):
    return load_config("unet-drive", [*UNET, *changes])


def test_moving_skips_is_refused_where_no_key_moves_them():
    assert skips(unet())["variants"] == []
    with pytest.raises(UsageError, match="--search moves the skips of MFS-Seg; model.family is unet"):
        skips(unet(), search=True)


def test_the_largest_network_of_another_family_is_refused():
    with pytest.raises(UsageError, match="--largest varies widths and blocks of MFS-Seg; model.family is unet"):
        find_largest(unet(), "oheo_gulch")


@pytest.mark.slow
def test_a_network_without_blocks_is_told_what_else_would_fit():
    found = fit(unet("data.size=[96,96]", "model.widths=[16,32,64]"), "oheo_gulch")
    assert not found["fits"]
    changes = [change["what"] for change in found["changes"]]
    assert "smaller images" in changes and "fewer channels" in changes and "fewer blocks" not in changes


def test_arguments_name_the_keys_that_a_family_has():
    config = unet()
    assert arguments(config, with_widths(with_size(config, (64, 64)), (2, 3, 4))) == [
        "data.size=[64,64]",
        "model.widths=[2,3,4]",
    ]


@pytest.mark.parametrize(("block", "least"), [("efs", 1), ("fire", 2), ("shuffle", 4)])
def test_a_block_keeps_the_channels_that_it_splits(block, least):
    config = load_config("mfs-tiny", [f"model.block={block}", "model.widths=[8,8,8]"])
    assert scaled_widths(config, 1 / 16) == (least,) * 3
