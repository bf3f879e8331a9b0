"""The stock processes that `export.lava.build` connected, read back port by port into one program.

The program is made from Lava's own processes and connections, not from our graph: whatever `build` did wrong would be
wrong in both, and show up against the integer executor.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from lava.magma.core.process.ports.ports import AbstractVirtualPort, ReshapePort
from lava.proc.conv.process import Conv
from lava.proc.dense.process import Dense
from lava.proc.lif.process import LIF, LIFReset
from lava.proc.sparse.process import Sparse

from export.errors import RuntimeFailure
from export.lava.cells import ConvSynapses, DenseSynapses, Neurons, SparseSynapses, Synapses
from export.lava.processes.delay_neuron import MOST_TAPS, DelayNeuron
from export.lava.processes.spike_delay import SpikeDelay
from export.lava.processes.spike_file import SpikeSink, SpikeSource
from export.lava.program import Cell, DelayCell, FedCell, Feed, LifCell, Program, Record, SourceCell

NEURONS = (LIF, LIFReset, DelayNeuron)
KNOWN = (*NEURONS, Conv, Dense, Sparse, SpikeSource, SpikeSink, SpikeDelay)


def fuse(processes: Iterable[Any], threads: int) -> Program:
    """One program for all processes that are connected with the given ones.

    raises  RuntimeFailure for a process or a connection of which no fast form is known
    """
    found = _connected(processes)
    for process in found:
        if type(process) not in KNOWN:
            kind = type(process).__name__
            raise RuntimeFailure(f"process '{process.name}' is a {kind}, which cannot be fused. Use the backend lava.")
    cells = {process: _cell(process) for process in found if isinstance(process, (SpikeSource, *NEURONS))}
    for process in found:
        if isinstance(process, SpikeSink):
            cell, lag = _origin(_only_source(process.a_in), cells)
            parameters = process.proc_params
            cell.records.append(Record(parameters["path"], parameters["first_step"], lag))
            cell.longest = max(cell.longest, lag)
    for process, cell in cells.items():
        if isinstance(cell, FedCell):
            cell.feeds = [_feed(port.process, cells) for port in process.a_in.get_src_ports()]
        if isinstance(cell, LifCell):
            cell.neurons = _neurons(process, sum(feed.synapses.bound for feed in cell.feeds))
    return Program(list(cells.values()), threads)


def _connected(processes: Iterable[Any]) -> list[Any]:
    """The processes and all that hang together with them, in the order in which they are met."""
    found: dict[Any, None] = {}
    waiting = list(processes)
    while waiting:
        process = waiting.pop(0)
        if process in found:
            continue
        found[process] = None
        for port in [*process.in_ports, *process.out_ports]:
            _check_virtual(port)
            waiting += [other.process for other in [*port.get_src_ports(), *port.get_dst_ports()]]
    return list(found)


def _check_virtual(port: Any) -> None:
    """Only reshaping stands between two ports: both sides then see the same values in the same order."""
    for other in port.out_connections:
        if isinstance(other, AbstractVirtualPort):
            if not isinstance(other, ReshapePort):
                raise RuntimeFailure(
                    f"process '{port.process.name}' sends through a {type(other).__name__}, which cannot be fused. "
                    "Use the backend lava."
                )
            _check_virtual(other)


def _cell(process: Any) -> Cell:
    shape = tuple(int(n) for n in process.proc_params["shape"])
    assert len(shape) == 3
    if isinstance(process, SpikeSource):
        parameters = process.proc_params
        return SourceCell(process.name, shape, path=parameters["path"], first_step=parameters["first_step"])
    if isinstance(process, DelayNeuron):
        return DelayCell(process.name, shape, vth=int(process.proc_params["vth"]))
    return LifCell(process.name, shape)


def _neurons(process: Any, bound: int) -> Neurons:
    reset = {}
    if isinstance(process, LIFReset):
        parameters = process.proc_params
        reset = {"interval": int(parameters["reset_interval"]), "offset": int(parameters["reset_offset"])}
    return Neurons(
        tuple(process.proc_params["shape"]),
        **{name: int(np.asarray(getattr(process, name).init).item()) for name in ("du", "dv", "vth")},
        bias_mant=process.bias_mant.init,
        bias_exp=process.bias_exp.init,
        bound=bound,
        **reset,
    )


def _feed(process: Any, cells: dict[Any, Cell]) -> Feed:
    """The synapses of a process, and whose spikes they take."""
    source, lag = _origin(_only_source(process.s_in), cells)
    source.longest = max(source.longest, lag)
    return Feed(source, lag, _synapses(process))


def _synapses(process: Any) -> Synapses:
    if isinstance(process, Conv):
        stride, padding, dilation = (np.asarray(v.init) for v in (process.stride, process.padding, process.dilation))
        return ConvSynapses(np.asarray(process.weight.init), stride, padding, dilation, process.groups.init)
    if isinstance(process, Dense):
        return DenseSynapses(np.asarray(process.weights.init))
    assert isinstance(process, Sparse)
    return SparseSynapses(process.weights.init)


def _only_source(port: Any) -> Any:
    sources = port.get_src_ports()
    if len(sources) != 1:
        raise RuntimeFailure(
            f"port '{port.name}' of process '{port.process.name}' has {len(sources)} sources; only one can be fused. "
            "Use the backend lava."
        )
    return sources[0]


def _origin(port: Any, cells: dict[Any, Cell]) -> tuple[Cell, int]:
    """The cell that fires what an out-port sends, and how many steps before."""
    process = port.process
    if isinstance(process, SpikeDelay):
        cell, lag = _origin(_only_source(process.s_in), cells)
        return cell, lag + int(process.proc_params["delay"])
    if isinstance(process, DelayNeuron):
        tap = next(k for k in range(MOST_TAPS) if process.tap_out(k) is port)
        return cells[process], int(process.proc_params["taps"][tap])
    return cells[process], 0
