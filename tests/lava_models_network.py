"""A script: many small chains of delay, synapse and neuron in one Lava network, with stock models, ours, or fused.

`python lava_models_network.py MODE FOLDER`. It writes the spikes of every chain and, unless fused, the sums that the
synapses sent and the last states of the neurons.
"""

import sys
from pathlib import Path

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.conv.process import Conv
from lava.proc.dense.process import Dense
from lava.proc.lif.process import LIF, LIFReset
from lava.proc.sparse.process import Sparse
from lava.utils.weightutils import SignMode
from scipy.sparse import csr_matrix

sys.path.insert(0, str(Path(__file__).parents[1]))

from export.lava.fuse import fuse
from export.lava.mended_channels import mend_channels
from export.lava.models import fast_models
from export.lava.processes.fused_network import FusedNetwork
from export.lava.processes.spike_delay import SpikeDelay
from export.lava.processes.spike_file import SpikeSink, SpikeSource

STEPS, SHAPE, CHAINS = 14, (4, 3, 6), 12
EXACT = {"sign_mode": SignMode.MIXED, "num_weight_bits": 8, "weight_exp": 0}


def synapse(rng, kind):
    """(process, shape of what it sends on)."""
    neurons = int(np.prod(SHAPE))
    if kind == 0:
        return Dense(weights=2 * rng.integers(-128, 128, (7, neurons)), **EXACT), (1, 1, 7)
    if kind == 1:
        weight = 2 * rng.integers(-128, 128, (neurons, neurons)) * (rng.random((neurons, neurons)) < 0.1)
        return Sparse(weights=csr_matrix(weight.astype(np.int32)), **EXACT), SHAPE
    groups = int(rng.choice([1, 2, 6]))
    large = int(rng.choice([100, 100, 1 << 21]))
    weight = rng.integers(-large, large, (6, 3, 2, 6 // groups)).astype(np.int32)
    geometry = {"stride": (1, 2), "padding": (1, 0), "dilation": (2, 1)} if kind % 2 else {"padding": (1, 1)}
    conv = Conv(weight=weight, input_shape=SHAPE, groups=groups, **geometry)
    return conv, tuple(int(n) for n in conv.output_shape)


def chain(rng, kind, spikes, folder):
    """Behind the source maybe a delay, a synapse, a neuron and sinks; returns neuron, its sums and its shape."""
    if kind % 3 == 1:
        delay = SpikeDelay(shape=SHAPE, delay=1 + kind % 2)
        spikes.connect(delay.s_in)
        spikes = delay.s_out
    process, shape = synapse(rng, kind)
    (spikes.flatten() if kind < 2 else spikes).connect(process.s_in)
    sums = process.a_out.reshape(shape) if kind < 2 else process.a_out
    parameters = {
        "shape": shape,
        "du": int(rng.choice([-1, 0, 2000, 4095, 4095])),
        "dv": int(rng.choice([0, 1000, 4095, 4096])),
        "vth": int(rng.choice([1, 100, 500])),
        "bias_mant": rng.integers(-50, 120, shape[2] if kind % 2 else shape),
        "bias_exp": 6,
    }
    parameters["bias_mant"] = np.array(np.broadcast_to(parameters["bias_mant"], shape))
    reset = {"reset_interval": 4, "reset_offset": kind % 5}
    neuron = LIF(**parameters) if kind % 4 == 3 else LIFReset(**parameters, **reset)
    sums.connect(neuron.a_in)
    record(folder / f"spikes{kind}.npy", np.uint8, shape, neuron.s_out)
    return neuron, sums, shape


def record(path, dtype, shape, port):
    """A file of zeros and the sink that fills it."""
    np.save(path, np.zeros((STEPS, *shape), dtype))
    port.connect(SpikeSink(shape=shape, path=str(path), first_step=1).a_in)


def main(mode, folder):
    """All chains hang on one source: they are one Lava network."""
    mend_channels()
    rng = np.random.default_rng(5)
    np.save(folder / "input.npy", (rng.random((STEPS - 3, *SHAPE)) < 0.3).astype(np.uint8))
    source = SpikeSource(shape=SHAPE, path=str(folder / "input.npy"), first_step=2)
    made = [chain(rng, kind, source.s_out, folder) for kind in range(CHAINS)]
    neurons = [neuron for neuron, _, _ in made]
    config = Loihi2SimCfg(select_tag="fixed_pt", exception_proc_model_map=fast_models() if mode == "layers" else None)
    head = FusedNetwork(program=fuse(neurons, 2)) if mode == "fused" else source
    if mode != "fused":
        for kind, (_, sums, shape) in enumerate(made):
            record(folder / f"sums{kind}.npy", np.int32, shape, sums)
    head.run(condition=RunSteps(num_steps=STEPS), run_cfg=config, compile_config={"pypy_channel_size": 2})
    if mode != "fused":
        for kind, neuron in enumerate(neurons):
            np.save(folder / f"state{kind}.npy", np.array([neuron.u.get(), neuron.v.get()]))
    head.stop()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
