"""The RUN folder: `config.yaml`, `weights.safetensors`, `metrics.json`, `checkpoints/`, `tensorboard/`.

Each file is written beside its place and renamed, so that none is ever half there.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from export.errors import FileFormatError, UsageError
from export.files import replacing, sha256
from neuroseg.config import Config, dump_config, load_config
from neuroseg.models import build

CONFIG, WEIGHTS, METRICS = "config.yaml", "weights.safetensors", "metrics.json"
CHECKPOINTS, LOGS = "checkpoints", "tensorboard"
SCHEMA_VERSION = 1


def prepare_run(out: Path) -> None:
    """Make the folder and prove that files can be written there; UsageError otherwise."""
    try:
        _remove_leftovers(out)
        if out.is_dir() and not _is_ours(out):
            raise UsageError(
                f"output folder '{out}' holds files that are not of a run; choose another one with --out, nothing is overwritten"
            )
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=out):
            pass
    except OSError as error:
        raise UsageError(
            f"output folder '{out}' cannot be written: {error.strerror or error}; choose another one with --out"
        ) from None


def _remove_leftovers(out: Path) -> None:
    """Temporary files of ours that a kill left behind while it saved."""
    for name in (CONFIG, WEIGHTS, METRICS):
        for path in out.glob(f".{name}.????????"):
            path.unlink()


def _is_ours(out: Path) -> bool:
    """A RUN folder, finished (its metrics name its files) or not (logs and checkpoints only), or an empty one."""
    names = {p.name for p in out.iterdir()} - {CHECKPOINTS, LOGS}
    if METRICS in names:
        return names <= {CONFIG, WEIGHTS, METRICS} and bool(_bound_files(out))
    return not names


def save_run(out: Path, config: Config, model: nn.Module, metrics: Mapping[str, Any]) -> None:
    """Write config, weights and metrics. All are whole before the first takes its place, and the metrics name the weights.

    Should the process be killed between the moves, `load_run` finds that the files do not belong together.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(out / METRICS) as report, replacing(out / WEIGHTS) as tensors, replacing(out / CONFIG) as settings:
        settings.write_text(dump_config(config), encoding="utf-8")
        try:
            save_file(weights, tensors)
        except SafetensorError as error:
            raise UsageError(f"cannot write '{out / WEIGHTS}': {error}. Choose a folder that has room.") from error
        bound = {
            "schema_version": SCHEMA_VERSION,
            **metrics,
            "sha256": {CONFIG: sha256(settings), WEIGHTS: sha256(tensors)},
        }
        report.write_text(json.dumps(bound, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def load_run(run: Path) -> tuple[Config, Any]:
    """Config and trained network (eval mode, CPU) of a RUN folder.

    Raises UsageError when there is no such folder; FileFormatError naming the file and the tensor when something is missing,
    truncated, of another network, or not a number.
    """
    run = Path(run)
    if not run.is_dir():
        raise UsageError(f"run folder '{run}' does not exist; make one with: neuroseg train demo --out {run}")
    for name in (CONFIG, WEIGHTS):
        if not (run / name).is_file():
            raise FileFormatError(
                f"'{run}' has no {name}: the training did not finish, or this is no run folder; train again"
            )
    config = load_config(run / CONFIG)
    model = build(config)
    weights = _read_weights(run / WEIGHTS)
    _check_weights(run / WEIGHTS, weights, model.state_dict())
    _check_belonging(run)
    model.load_state_dict(weights)
    return config, model.eval()


def scored_list(metrics: Mapping[str, Any]) -> str:
    """Whose images metrics are of: their split's; CamVid's protocol `paper` has the val list for its test split, too."""
    renamed = metrics.get("protocol") == "paper" and metrics["split"] == "test"
    return "val" if renamed else str(metrics["split"])


def listed_split(config: Config, split: str) -> str:
    """The list whose images a config has for a split."""
    return scored_list({"protocol": getattr(config.data, "protocol", None), "split": split})


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise FileFormatError(
            f"'{path}' is not a whole safetensors file ({error}); train again or copy it again"
        ) from None


def _check_weights(path: Path, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    for name in [*expected, *weights]:
        if name not in weights or name not in expected:
            state = "lacks" if name not in weights else "has an unknown"
            raise FileFormatError(
                f"'{path}' {state} tensor '{name}': it belongs to another {CONFIG} than the one beside it"
            )
        found, wanted = tuple(weights[name].shape), tuple(expected[name].shape)
        if found != wanted:
            raise FileFormatError(
                f"'{path}': tensor '{name}' has shape {found}, the network of the {CONFIG} beside it needs {wanted}"
            )
        if not bool(torch.isfinite(weights[name]).all()):
            raise FileFormatError(
                f"'{path}': tensor '{name}' holds NaN or infinite values: training diverged; train again with a lower train.lr"
            )


def _bound_files(run: Path) -> dict[str, str]:
    """File -> SHA-256 as `metrics.json` has it; empty when there are no metrics of ours."""
    try:
        bound = json.loads((run / METRICS).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {name: str(bound[name]) for name in (CONFIG, WEIGHTS) if name in bound} if isinstance(bound, dict) else {}


def _check_belonging(run: Path) -> None:
    """FileFormatError when config and weights are not those that the metrics were written with."""
    for name, digest in _bound_files(run).items():  # none in a bundle's model folder: its manifest holds the hashes
        if sha256(run / name) != digest:
            raise FileFormatError(
                f"'{run / name}' is not the file that {METRICS} was written with: it was changed, or a training was killed "
                f"while it saved. Train again, or delete {METRICS} if you changed it on purpose."
            )
