"""The networks that benchmarks measure, frozen: a figure of today is of the same network as one of last year.

`mfs-nano.yaml` and `mfs-small.yaml` are what the shipped configs of these names were before their skips became cheaper.
"""

from __future__ import annotations

from pathlib import Path

from neuroseg.config import Config, load_config

FOLDER = Path(__file__).parent


def benchmark_config(name: str) -> Config:
    """The frozen config of a name, or the shipped one where none is frozen."""
    frozen = FOLDER / f"{name}.yaml"
    return load_config(frozen if frozen.is_file() else name)
