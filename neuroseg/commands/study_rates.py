"""`neuroseg study rates`: where a network spikes: rate of every layer, maps over the image, and the work it makes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr
from skimage.filters import sobel
from skimage.transform import resize
from torch import Tensor

from export.compute.floats import exact_floats
from export.errors import UsageError
from neuroseg.commands.console import progress, say, show
from neuroseg.commands.spike_counts import Counts, PopulationCount, counting, synops_per_sample
from neuroseg.commands.spike_picture import draw_maps, draw_rates, draw_synops
from neuroseg.commands.study import Study, subject_of
from neuroseg.commands.training import checked_split, evaluation_task
from neuroseg.config import Config
from neuroseg.models.record import evaluating
from neuroseg.train import dataset, load_run
from neuroseg.train.padding import padded
from neuroseg.train.run_folder import listed_split

NAME = "rates"
MOST_MAPS = 8  # populations in the picture of maps, unless they are named
PICTURES = {"rates": "rates.png", "synops": "synops.png", "maps": "maps.png"}


def rates(
    run: Path,
    out: Path,
    *,
    split: str = "test",
    samples: int = 16,
    pictures: int = 3,
    populations: Sequence[str] = (),
    real: bool = False,
) -> dict[str, Any]:
    """`rates.json` and three pictures in `out`: rates, synops, maps over the first `pictures` images.

    Of each population:  rate_per_step    spikes per neuron and step (MFS-Seg's firing rate)
                         rate_per_neuron  spikes per neuron over all T steps (Kim et al. 2022, equation 8)
                         edge_correlation  Pearson's r of the spikes at a place and the image's gradient (Sobel) there, mean
                                           over the pictured images; null where one of the two is flat
    Of each convolution:  synops_per_sample, and dense_per_sample, if all neurons fired at all steps

    samples      images of the split that are counted, the first ones
    populations  names for the picture of maps; default: at most 8, from first to last
    real         in real numbers, also if it was trained for integers
    """
    chosen_split = checked_split(split)
    config, model = load_run(run)
    items = dataset(config, chosen_split)
    if not 1 <= samples <= len(items):
        raise UsageError(
            f"--samples {samples} is out of range: the {split} split has {len(items)} images, use 1 to that."
        )
    task = evaluation_task(config, model, real=real)
    counts, images = _count(task.model, items, samples, min(pictures, samples), config)
    if not counts.populations:
        raise UsageError(
            f"'{run}' has no neurons (an ANN): there are no spikes to count. Name a run with model.neuron=lif."
        )
    chosen = _chosen(tuple(counts.populations), populations)
    arithmetic = "integer" if task.in_integers else "real"
    study = Study(
        out, NAME, {**subject_of(config, run), "split": split, "list": listed_split(config, split)}, restart=True
    )
    result = study.finish(samples=samples, arithmetic=arithmetic, **_result(counts, images), png=dict(PICTURES))
    draw_rates(out / PICTURES["rates"], result, config.name)
    draw_synops(out / PICTURES["synops"], result, config.name)
    draw_maps(out / PICTURES["maps"], images, {name: counts.populations[name].maps for name in chosen})
    return result


def _count(
    model: Any, items: Any, samples: int, pictures: int, config: Config
) -> tuple[Counts, list[NDArray[np.float32]]]:
    """Counts over the first samples, and the first images as they are drawn."""
    images: list[NDArray[np.float32]] = []
    with evaluating(model), exact_floats(), counting(model, pictures) as counts, progress("spikes") as report:
        for index in range(samples):
            values = padded(items[index][0], config.model.multiple)
            model(values[None])
            counts.samples += 1
            if index < pictures:
                images.append(_picture(values))
            report(index + 1, samples)
    return counts, images


def _picture(values: Tensor) -> NDArray[np.float32]:
    """(H, W) or (H, W, 3) in [0, 1] of an input (C, H, W); frames or spikes (T, C, H, W) are summed over time and channels."""
    if values.ndim == 4:
        total = values.sum(dim=(0, 1))
        values = (total / total.max().clamp(min=1e-9))[None]
    image: NDArray[np.float32] = values.clamp(0, 1).permute(1, 2, 0).numpy()
    return image if image.shape[-1] == 3 else image.mean(axis=-1)


def _chosen(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Populations whose maps are drawn."""
    for name in wanted:
        if name not in names:
            raise UsageError(f"no population is called '{name}'; there are {', '.join(names)}.")
    places = np.unique(np.linspace(0, len(names) - 1, min(MOST_MAPS, len(names))).round().astype(int))
    return list(wanted) or [names[place] for place in places]


def _result(counts: Counts, images: Sequence[NDArray[np.float32]]) -> dict[str, Any]:
    populations = [_row(name, count, counts.samples, images) for name, count in counts.populations.items()]
    fired = [row for row in populations if not row["source"]]
    neurons = sum(row["neurons"] for row in fired)
    synapses: list[dict[str, Any]] = [
        {
            "name": name,
            "synops_per_sample": count.synops / counts.samples,
            "dense_per_sample": count.dense / counts.samples,
        }
        for name, count in counts.synapses.items()
    ]
    dense = sum(row["dense_per_sample"] for row in synapses)
    return {
        "firing_rate": sum(row["rate_per_step"] * row["neurons"] for row in fired) / neurons if neurons else None,
        "synops_per_sample": synops_per_sample(counts),
        "dense_per_sample": dense,
        "populations": populations,
        "synapses": synapses,
    }


def _row(name: str, count: PopulationCount, samples: int, images: Sequence[NDArray[np.float32]]) -> dict[str, Any]:
    per_neuron = count.spikes / (samples * count.neurons)
    return {
        "name": name,
        "source": count.source,
        "neurons": count.neurons,
        "spikes_per_sample": count.spikes / samples,
        "rate_per_step": per_neuron / count.steps,
        "rate_per_neuron": per_neuron,
        "edge_correlation": edge_correlation(count.maps, images),
    }


def edge_correlation(maps: Sequence[Tensor], images: Sequence[NDArray[np.float32]]) -> float | None:
    """Mean over images of Pearson's r between a map of spikes (H, W) and the image's Sobel gradient, resized to it."""
    found = []
    for spikes, image in zip(maps, images, strict=True):
        grey = image.mean(axis=-1) if image.ndim == 3 else image
        edges = np.asarray(resize(sobel(grey), tuple(spikes.shape), anti_aliasing=True)).ravel()
        values = spikes.numpy().ravel()
        if np.ptp(values) > 0 and np.ptp(edges) > 0:
            found.append(float(pearsonr(values, edges).statistic))
    return float(np.mean(found)) if found else None


def show_rates_study(result: dict[str, Any], out: Path) -> None:
    """The populations as a table."""
    rows = [
        (
            row["name"] + (" (made by the host)" if row["source"] else ""),
            row["neurons"],
            row["rate_per_step"],
            row["rate_per_neuron"],
            "none" if row["edge_correlation"] is None else f"{row['edge_correlation']:+.2f}",
        )
        for row in result["populations"]
    ]
    columns = ("population", "neurons", "per neuron and step", "per neuron, all steps", "follows edges (r)")
    show(f"spikes, {result['samples']} images of the {result['list']} split", columns, rows)
    share = result["synops_per_sample"] / result["dense_per_sample"] if result["dense_per_sample"] else 0.0
    say(
        f"synops per image: {result['synops_per_sample']:,.0f}, {share:.1%} of what they were if all neurons fired at all steps"
    )
    say(", ".join(str(out / name) for name in (f"{NAME}.json", *result["png"].values())))
