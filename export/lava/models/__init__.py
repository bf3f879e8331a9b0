"""Process models of ours for stock processes, equal bit for bit to the stock models and faster."""

from __future__ import annotations

from typing import Any


def fast_models() -> dict[Any, Any]:
    """Stock process -> our model of it. Importing them compiles their loops, once, before Lava forks."""
    from lava.proc.conv.process import Conv
    from lava.proc.dense.process import Dense
    from lava.proc.lif.process import LIF, LIFReset
    from lava.proc.sparse.process import Sparse

    from export.lava.models.fast_conv import FastConv
    from export.lava.models.fast_lif import FastLif, FastLifReset
    from export.lava.models.fast_matrix import FastDense, FastSparse

    return {Conv: FastConv, Dense: FastDense, Sparse: FastSparse, LIF: FastLif, LIFReset: FastLifReset}
