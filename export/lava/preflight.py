"""What a Lava run needs of a machine, and whether it is there: asked before anything starts.

Lava runs one operating-system process per process of the graph, and every channel between two of them is a block of
shared memory, two semaphores and two threads. A machine that is too small shows it late and badly: a killed process,
a full /dev/shm, a fork that fails. Constants were fitted on real runs; docs/adr/008-preflight.md has the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from export.errors import RuntimeFailure
from export.graph import Graph, Projection
from export.lava.job import CHANNEL_SLOTS, SMALL
from export.lava.machine import Machine, cores, measure

MIB = 1 << 20
PAGE = 4096  # a block of shared memory or a semaphore takes at least one page
ELEMENT = 4  # bytes of a value in a channel: int32
SYSTEM_PROCESSES = 4  # the child, its runtime service, the shared-memory manager and Python's resource tracker
SYNC_CHANNELS = 2  # between the runtime service and each process, and between the runtime and its service
BASE = {False: 90 * MIB, True: 150 * MIB}  # the child, and what all processes share; True: with numba
PROCESS = 7.0 * MIB  # each process' own copy of the interpreter's touched pages,
GROWTH = 0.022 * MIB  # and of the child's graph: per process, for every process of the graph
NEURON = 240  # bytes of state and of temporaries per neuron
SYNAPTIC = 120  # bytes of buffers and of temporaries per value that a synapse process hands on
WEIGHT = 16  # bytes per stored weight: the process, its builder, the model
FUSED_BASE = 200 * MIB  # a fused run: child, service and network, with numba
FUSED_PROCESS = 0.05 * MIB  # per process of the graph that was fused
FUSED_NEURON = 16  # bytes: two maps of spikes, current, membrane, bias
FUSED_LARGEST = 24  # bytes of temporaries per neuron of the largest population, while its bias is read


@dataclass(frozen=True)
class Needs:
    """What a run needs.

    processes        operating-system processes
    tasks            processes and threads: what limits on processes count
    memory_bytes     memory of all of them together, shared pages counted once, and of the recorded spikes
    shared_bytes     of /dev/shm
    temporary_bytes  of the folder for temporary files: input and recorded spikes
    files            open files of the busiest process
    """

    processes: int
    tasks: int
    memory_bytes: int
    shared_bytes: int
    temporary_bytes: int
    files: int


def needs_of(
    graph: Graph, samples: int, recorded: Sequence[str], *, fast: bool, board: bool = False, fused: bool = True
) -> Needs:
    """What running N samples and recording some populations takes, at most.

    board  on a Loihi 2 board only spike files, adapters and Lava's services run here
    fused  with `fast`: the network is one process
    """
    sizes = [graph.populations[name].neurons for name in recorded]
    rows = samples * graph.steps
    spikes = rows * (sum(sizes) + sum(population.neurons for population in graph.inputs))
    if board:
        channels, leaves = _board_channels(graph, sizes), 2 * (len(graph.inputs) + len(sizes))
    elif fast and fused:
        channels, leaves = [], 1
    else:
        channels, leaves = _channels(graph, sizes), _leaves(graph) + len(sizes)
    processes = leaves + SYSTEM_PROCESSES
    sync = SYNC_CHANNELS * (leaves + 1)
    ends = len(channels) + sync
    one = fast and fused and not board
    threads = cores() - 1 if one and graph.neurons() >= SMALL else 0
    memory = _fused_memory(graph) if one else _memory(graph, processes, fast)
    return Needs(
        processes=processes,
        # a thread at each end, a main thread and one of Lava's for each process, and those of a fused network
        tasks=2 * ends + 2 * processes + threads,
        memory_bytes=memory + rows * (sum(sizes) + max(sizes, default=0)),
        shared_bytes=sum(_pages(CHANNEL_SLOTS * ELEMENT * n) for n in channels) + PAGE * (sync + 4 * ends),
        temporary_bytes=spikes + MIB,
        # measured: 2,998 for 790 channels and 259 processes; a fused network holds all spike files open
        files=3 * ends + 4 * processes + one * (len(sizes) + _played(graph)),
    )


def check_room(
    graph: Graph,
    samples: int,
    recorded: Sequence[str],
    *,
    fast: bool,
    board: bool = False,
    fused: bool = True,
    machine: Machine | None = None,
) -> Needs:
    """The needs of a run; RuntimeFailure, with numbers and ways out, if the machine has less."""
    needs = needs_of(graph, samples, recorded, fast=fast, board=board, fused=fused)
    machine = measure() if machine is None else machine
    lacking = shortages(needs, machine)
    if lacking:
        ways = _ways_out(graph, samples, recorded, fast, board, fused, machine)
        raise RuntimeFailure(f"this run needs more than the machine has: {'; '.join(lacking)}. {ways}")
    return needs


def shortages(needs: Needs, machine: Machine) -> list[str]:
    """One clause for each resource of which there is too little, with both numbers."""
    found = []
    if machine.memory_bytes is not None and needs.memory_bytes > machine.memory_bytes:
        found.append(
            f"{_size(needs.memory_bytes)} of memory for {needs.processes:,} processes, {_size(machine.memory_bytes)} are free"
        )
    if machine.shared_bytes is not None and needs.shared_bytes > machine.shared_bytes:
        found.append(
            f"{_size(needs.shared_bytes)} of shared memory, {_size(machine.shared_bytes)} are free in /dev/shm "
            "(in a container: --shm-size)"
        )
    if machine.temporary_bytes is not None and needs.temporary_bytes > machine.temporary_bytes:
        found.append(
            f"{_size(needs.temporary_bytes)} of temporary files, {_size(machine.temporary_bytes)} are free in "
            f"{machine.temporary} (set TMPDIR to a larger one)"
        )
    if machine.tasks is not None and needs.tasks > machine.tasks:
        found.append(
            f"{needs.tasks:,} processes and threads, {machine.tasks:,} more are allowed ({machine.tasks_source})"
        )
    if needs.files > machine.files:
        found.append(f"{needs.files:,} open files in one process, {machine.files:,} are allowed (ulimit -Hn)")
    return found


def _ways_out(
    graph: Graph, samples: int, recorded: Sequence[str], fast: bool, board: bool, fused: bool, machine: Machine
) -> str:
    """What would fit: computed, not guessed."""

    def fits(count: int, fast: bool) -> bool:
        return not shortages(needs_of(graph, count, recorded, fast=fast, board=board, fused=fused), machine)

    ways = []
    if not board and not fast and fits(samples, True):
        ways.append("lava-fast")
    count = next((n for n in _halvings(samples) if fits(n, fast)), None)
    if count is not None:
        ways.append(f"fewer samples ({count} would fit)")
    ways.append("a smaller network (images, width, blocks)")
    ways.append("the backend int, which is one process")
    return f"Use {', or '.join(ways)}."


def _halvings(samples: int) -> list[int]:
    counts = []
    while samples > 1:
        samples //= 2
        counts.append(samples)
    return counts


def _leaves(graph: Graph) -> int:
    """Lava processes of the graph itself: populations, synapses, inputs that are played again, and delays."""
    waits = sum(_waits(p, graph) for p in graph.projections)
    others = len(graph.populations) - len(graph.inputs)
    return others + len(graph.projections) + _played(graph) + waits


def _played(graph: Graph) -> int:
    """Sources: one for each input, and one for every delay with which an input is played again."""
    again = {(p.source, p.delay) for p in graph.projections if p.delay and graph.populations[p.source].kind == "input"}
    return len(graph.inputs) + len(again)


def _waits(projection: Projection, graph: Graph) -> bool:
    """Whether a delay process stands in front of the synapses: neither an input nor a delay neuron keeps the spikes."""
    return projection.delay > 0 and graph.populations[projection.source].kind not in ("input", "delay")


def _channels(graph: Graph, recorded: Sequence[int]) -> list[int]:
    """Values per step of every channel that carries spikes or sums."""
    found = list(recorded)
    for projection in graph.projections:
        source = graph.populations[projection.source]
        found += [source.neurons] * (1 + _waits(projection, graph)) + [_delivered(projection, graph)]
    return found


def _board_channels(graph: Graph, recorded: Sequence[int]) -> list[int]:
    """Only what crosses between the host's processes and the adapters."""
    return [*recorded, *(2 * population.neurons for population in graph.inputs)]


def _delivered(projection: Projection, graph: Graph) -> int:
    channels, height, width = projection.output_shape(graph.populations[projection.source].physical_shape)
    return channels * height * width


def _memory(graph: Graph, processes: int, fast: bool) -> int:
    """Bytes of all processes together; measured as the sum of PSS, see the table of the decision record."""
    neurons = sum(population.neurons for population in graph.populations.values())
    values = sum(_delivered(projection, graph) for projection in graph.projections)
    weights = sum(p.weight.size if hasattr(p, "weight") else p.matrix.nnz for p in graph.projections)
    each = PROCESS + GROWTH * processes
    total = BASE[fast] + processes * each
    registers = sum(
        graph.populations[p.source].neurons * (p.delay + 1) for p in graph.projections if p.delay
    )  # a byte for each bit that waits; taps of one register are counted apart, which is too many
    return int(total + NEURON * neurons + SYNAPTIC * values + WEIGHT * weights + registers)


def _fused_memory(graph: Graph) -> int:
    """Bytes of a fused network: what its program holds, and the stock processes from which it was made."""
    populations = graph.populations.values()
    neurons = sum(population.neurons for population in populations)
    weights = sum(p.weight.size if hasattr(p, "weight") else p.matrix.nnz for p in graph.projections)
    rings = sum(
        graph.populations[p.source].neurons * p.delay for p in graph.projections if p.delay
    )  # a byte for each bit that waits; readers of one ring are counted apart, which is too many
    largest = max((population.neurons for population in populations), default=0)
    processes = FUSED_PROCESS * (len(populations) + len(graph.projections))
    return int(FUSED_BASE + processes + FUSED_NEURON * neurons + FUSED_LARGEST * largest + WEIGHT * weights + rings)


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
