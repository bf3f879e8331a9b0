"""Run a plain NetX file with lava-dl's own loader, in a process of its own: `FILE INPUT.npy OUTPUT.npz STEPS`.

INPUT holds spikes (steps, C, H, W); OUTPUT gets one array (steps of the run, neurons in (C, H, W) order) per block.
"""

from __future__ import annotations

import sys

import numpy as np
from lava.lib.dl.netx.hdf5 import Network
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source


def main(file: str, spikes: str, output: str, steps: str) -> None:
    """Stream the input, record every block, store."""
    network = Network(net_config=file, reset_interval=int(steps), reset_offset=1)
    x = np.load(spikes)
    total = len(x) + len(network)
    padded = np.concatenate([x, np.zeros((total - len(x), *x.shape[1:]), x.dtype)])
    source = Source(data=padded.transpose(3, 2, 1, 0).astype(np.int32))
    source.s_out.connect(network.inp)
    sinks = []
    for layer in network.layers:
        sinks.append(Sink(shape=layer.out.shape, buffer=total))
        layer.out.connect(sinks[-1].a_in)
    network.run(condition=RunSteps(num_steps=total), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    recorded = [np.moveaxis(sink.data.get(), -1, 0) for sink in sinks]
    network.stop()
    flat = [(r.transpose(0, 3, 2, 1) if r.ndim == 4 else r).reshape(total, -1) for r in recorded]
    np.savez(output, *flat)


if __name__ == "__main__":
    main(*sys.argv[1:])
