"""One network: measured by the command line, as a user would, and put in its place with its card."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.commands import neuroseg
from benchmarks.zoo.cards import CONFIG, METRICS, WEIGHTS, Measured, card_of
from benchmarks.zoo.plan import Entry
from export.errors import NeurosegError
from export.files import replacing_folder, sha256, write_json
from neuroseg.config import Config, load_config
from neuroseg.config.train import TrainConfig
from neuroseg.train import load_run
from neuroseg.zoo.card import CARD, CARD_PAGE, PICTURES, Picture, has_card
from neuroseg.zoo.page import card_page

MOST_WEIGHTS = 5_000_000  # bytes
MOST_REST = 600_000  # bytes of an entry beside its weights
COLOURS = 128  # of a picture: drawings need no more
MEASURED = "measured.json"
RUNGS = "float,folded,slayer,int,lava-fast"
MAPPED_IMAGES = 2
CAPTIONS = {
    "classes.png": "Images that it did not train on: image, truth, the trained network in torch (float), the exported one on "
    "Lava (lava-fast), and in red where these two differ. Black pixels of the truth are void: they have no class",
    "maps.png": "Where it spikes: spikes per neuron and step at each place, under the edges of the image",
    "rates.png": "Spikes per neuron and step of every population",
}


def missing_runs(entry: Entry, runs: Path) -> list[Path]:
    """RUNs of an entry that are not there, or not finished."""
    return [runs / run for run in entry.runs if not (runs / run / METRICS).is_file()]


def pack(name: str, entry: Entry, runs: Path, zoo: Path, *, keep: bool = False) -> Path:
    """Measure a network and write `zoo/name`, in place of what is there; the program ends where something is wrong.

    keep  what was measured before, of the same weights and asked for by the same plan, is taken
    """
    for run in missing_runs(entry, runs):
        sys.exit(f"'{run}' is no finished RUN (it has no {METRICS}): train it first")
    run, work = runs / entry.run, runs / "zoo-work" / name
    check_run(run)
    check_relatives(entry, runs)
    measured = _measured_before(entry, run, work) if keep else None
    measured = measured or measure(entry, run, work)
    pictures = tuple(Picture(file=f"{PICTURES}/{file}", caption=caption) for file, caption in CAPTIONS.items())
    card = card_of(name, entry, runs, measured, pictures)
    if card.ladder.drop > entry.most_drop:
        sys.exit(
            f"'{run}' loses {card.ladder.drop:.4f} mIoU from float to chip, the plan's most_drop is {entry.most_drop:g}: train "
            "with more train.qat_epochs"
        )
    with replacing_folder(zoo / name, has_card) as folder:
        for file in (CONFIG, WEIGHTS, METRICS):
            shutil.copyfile(run / file, folder / file)
        (folder / CARD).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (folder / CARD_PAGE).write_text(card_page(card), encoding="utf-8")
        (folder / PICTURES).mkdir()
        for file, source in drawings(work).items():
            shrink(source, folder / PICTURES / file)
        check_size(folder)
    print(f"packed {zoo / name}")
    return zoo / name


def check_run(run: Path) -> None:
    """The program ends for weights that are too large or not those of the metrics, and for paths of this machine."""
    size = (run / WEIGHTS).stat().st_size
    if size > MOST_WEIGHTS:
        sys.exit(
            f"'{run / WEIGHTS}' has {size:,} bytes; the zoo takes {MOST_WEIGHTS:,} at most. Pack a smaller network."
        )
    try:
        load_run(run)
        config = load_config(run / CONFIG)
    except NeurosegError as error:
        sys.exit(str(error))
    absolute = [text for text in _strings(config.model_dump(mode="json")) if text.startswith(("/", "~"))]
    if absolute:
        sys.exit(
            f"the config of '{run}' names '{absolute[0]}', which is on this machine only: train it with a relative path "
            "(data sets below NEUROSEG_DATA, a teacher below the current folder)"
        )


def check_relatives(entry: Entry, runs: Path) -> None:
    """The program ends for other RUNs that are not what the plan calls them."""
    own, seeds = load_config(runs / entry.run / CONFIG), set()
    for run in (entry.run, *entry.seeds):
        config = load_config(runs / run / CONFIG)
        seeds.add(config.train.seed)
        if config.model_copy(update={"train": own.train}) != own or _unseeded(config) != _unseeded(own):
            sys.exit(f"'{runs / run}' is no other seed of '{entry.run}': its config differs in more than train.seed")
    if len(seeds) != 1 + len(entry.seeds):
        sys.exit(f"the RUNs of '{entry.run}' and its seeds {', '.join(entry.seeds)} do not all have another train.seed")
    for run in entry.other_splits:
        config = load_config(runs / run / CONFIG)
        if config.model != own.model or config.data == own.data or config.train != own.train:
            sys.exit(
                f"'{runs / run}' is not the network of '{entry.run}' with another split: its model, train or data section says so"
            )
    twins = {run: load_config(runs / run / CONFIG) for run in entry.anns}
    for run, twin in twins.items():
        if not _is_twin(twin, own, any_seed=run in entry.ann_seeds):
            sys.exit(
                f"'{runs / run}' is no ANN twin of '{entry.run}': it needs model.neuron=relu, model.steps=1, "
                "train.qat_epochs=0, and all else the same"
            )
    if len({twin.train.seed for twin in twins.values()}) != len(entry.anns):
        sys.exit(f"the ANN twins of '{entry.run}', {', '.join(entry.anns)}, do not all have another train.seed")


def _is_twin(twin: Config, own: Config, any_seed: bool) -> bool:
    """Whether a config is another's with ReLU."""
    if getattr(twin.model, "neuron", None) != "relu" or twin.train.qat_epochs:
        return False
    back = {"neuron": getattr(own.model, "neuron", None), "steps": own.model.steps}
    seed = own.train.seed if any_seed else twin.train.seed
    train = twin.train.model_copy(update={"qat_epochs": own.train.qat_epochs, "seed": seed})
    return twin.model_copy(update={"model": twin.model.model_copy(update=back), "train": train}) == own


def _unseeded(config: Config) -> TrainConfig:
    return config.train.model_copy(update={"seed": 0})


def measure(entry: Entry, run: Path, work: Path) -> Measured:
    """What the commands say of it; their pictures are in `drawings`."""
    bundle = work / "bundle"
    report = neuroseg("export", run, "--out", bundle, "--system", entry.system, "--vectors", entry.vectors)
    neuroseg("verify", bundle, "--backend", "int", "--backend", "lava-fast")
    climbed = neuroseg("ladder", bundle, "--samples", entry.ladder, "--rungs", RUNGS, "--out", work / "ladder")
    stock = neuroseg("parity", bundle, "--left", "slayer", "--right", "lava", "--samples", entry.stock)
    chosen = ["--populations", ",".join(entry.maps)] if entry.maps else []
    neuroseg(
        "study", "rates", run, "--samples", entry.vectors, "--pictures", MAPPED_IMAGES, *chosen, "--out", work / "rates"
    )
    write_json(work / MEASURED, {"of": _subject(entry, run), "report": report, "ladder": climbed, "stock": stock})
    return Measured(report, climbed, stock)


def drawings(work: Path) -> dict[str, Path]:
    """Pictures that `measure` left: name in the zoo -> file."""
    ladder, rates = work / "ladder", work / "rates"
    return {
        "classes.png": ladder / "disagreement.png",
        "maps.png": rates / "maps.png",
        "rates.png": rates / "rates.png",
    }


def _measured_before(entry: Entry, run: Path, work: Path) -> Measured | None:
    if not (work / MEASURED).is_file():
        return None
    content = json.loads((work / MEASURED).read_text(encoding="utf-8"))
    if content["of"] != _subject(entry, run):
        return None
    return Measured(content["report"], content["ladder"], content["stock"])


def _subject(entry: Entry, run: Path) -> dict[str, Any]:
    """What measurements depend on."""
    asked = entry.model_dump(mode="json", include={"system", "vectors", "ladder", "stock", "maps"})
    return {"weights_sha256": sha256(run / WEIGHTS), **asked}


def shrink(source: Path, target: Path) -> None:
    """A PNG with few colours."""
    with Image.open(source) as picture:
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(target, optimize=True)


def check_size(folder: Path) -> None:
    """The program ends for an entry that makes the package large."""
    rest = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != WEIGHTS)
    if rest > MOST_REST:
        sys.exit(
            f"card and pictures have {rest:,} bytes; the zoo takes {MOST_REST:,} at most. Name fewer populations in maps."
        )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)
