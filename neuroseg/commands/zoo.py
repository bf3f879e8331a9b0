"""`neuroseg zoo`: the list of trained networks, their cards, and copies of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from export.bundle import check_outside
from export.errors import FileFormatError, UsageError
from export.files import replacing_folder, sha256
from neuroseg.commands.console import say, show
from neuroseg.zoo.card import Card, read_card
from neuroseg.zoo.names import PREFIX, network_folder, network_names
from neuroseg.zoo.page import card_page, with_unit

COLUMNS = ("name", "mIoU", "of", "neurons", "cores", "energy an image")
WEIGHTS = "weights.safetensors"


def list_networks() -> dict[str, Any]:
    """The zoo's networks and the figures that tell them apart (JSON-ready)."""
    return {"schema_version": 1, "networks": [_row(read_card(network_folder(name))) for name in network_names()]}


def _row(card: Card) -> dict[str, Any]:
    deployed = card.deployment
    return {
        "name": card.name,
        "summary": card.summary,
        "data": card.data.name,
        "embedded": card.data.embedded,
        "licence": card.data.licence,
        "miou": card.score.miou,
        "split": card.score.split,
        "protocol": card.score.protocol,
        "chosen_on_it": card.score.chosen_on_it,
        "samples": card.score.samples,
        "parameters": card.score.parameters,
        "size_bytes": card.weights_size_bytes,
        **{key: getattr(deployed, key) for key in ("neurons", "neurons_deployed", "cores", "chips", "system")},
        "energy_j": deployed.energy_j.model_dump(),
    }


def show_list(content: dict[str, Any]) -> None:
    """The same as a table."""
    rows = [
        (
            row["name"],
            f"{row['miou']:.4f}",
            f"{row['data']} {_split(row)}",
            row["neurons_deployed"],
            f"{row['cores']:,} on {row['chips']}",
            f"{with_unit(row['energy_j']['low'], 'J')} to {with_unit(row['energy_j']['high'], 'J')}",
        )
        for row in content["networks"]
    ]
    show(
        "networks of the zoo: neurons as deployed, cores on chips, dynamic energy on Loihi 2 (an estimate)",
        COLUMNS,
        rows,
    )
    if any(row["chosen_on_it"] for row in content["networks"]):
        say(
            "* the best epoch was chosen on these images: the score is optimistic. Its card tells other splits, if any."
        )
    say(
        f"neuroseg zoo show NAME prints a card. {PREFIX}NAME stands for a RUN: neuroseg export {PREFIX}NAME --out FOLDER"
    )


def _split(row: dict[str, Any]) -> str:
    protocol = f" ({row['protocol']})" if row["protocol"] else ""
    return f"{row['split']}{protocol}{'*' if row['chosen_on_it'] else ''}"


def read_network(name: str) -> dict[str, Any]:
    """The card of a network (JSON-ready), and where it lies.

    raises  UsageError for an unknown name; FileFormatError for a damaged card
    """
    folder = network_folder(name)
    return {**read_card(folder).model_dump(mode="json"), "folder": str(folder)}


def show_network(content: dict[str, Any]) -> None:
    """The card for people."""
    say(card_page(Card.model_validate({key: value for key, value in content.items() if key != "folder"})))
    say(f"folder: {content['folder']}")


def get_network(name: str, out: Path) -> dict[str, Any]:
    """Copy a network to `out`, whole or not at all; returns {"schema_version", "name", "out", "files"}.

    raises  UsageError for an unknown name, and for an `out` that holds something else than an earlier copy of it;
            FileFormatError when the zoo's own weights are not those of the card
    """
    folder = network_folder(name)
    card = read_card(folder)
    if sha256(folder / WEIGHTS) != card.weights_sha256:
        raise FileFormatError(f"'{folder / WEIGHTS}' is not the file that its card tells of: install neuroseg again.")
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    check_outside(out)
    if out.exists() and not _is_copy(out, files):
        raise UsageError(
            f"'{out}' holds files that are not of a copy of {PREFIX}{card.name}; nothing is overwritten. Choose another --out."
        )
    with replacing_folder(out, lambda path: _is_copy(path, files)) as temporary:
        for file in files:
            target = temporary / file
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / file, target)
    return {"schema_version": 1, "name": card.name, "out": str(out), "files": files}


def _is_copy(path: Path, files: list[str]) -> bool:
    """An empty folder, or one that holds files of the network's names only, the card among them."""
    if not path.is_dir():
        return False
    found = {part.relative_to(path).as_posix() for part in path.rglob("*") if not part.is_dir()}
    return not found or (found <= set(files) and "card.json" in found)
