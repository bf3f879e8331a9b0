"""Damaging bundles, and what verification says of them when hashes are not looked at."""

import json

import numpy as np

from export.bundle import VECTORS
from export.verify import verify


def unhashed(path, **options):
    """Failed checks (name -> detail) with --no-verify, and the verdict."""
    verdict = verify(path, backends=("int",), hashes=False, **options)
    return {check.name: check.detail for check in verdict.checks if check.holds is False}, verdict


def change_json(path, name, change):
    content = json.loads((path / name).read_text())
    change(content)
    (path / name).write_text(json.dumps(content))


def change_vectors(path, change):
    with np.load(path / VECTORS) as file:
        content = dict(file)
    change(content)
    np.savez_compressed(path / VECTORS, **content)
