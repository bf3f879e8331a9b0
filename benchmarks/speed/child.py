"""Work in a process of its own, so that its memory is its own: `python -m benchmarks.speed.child TASK JSON`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.networks import benchmark_config
from benchmarks.speed.measure import in_process, peak, reset_peak
from benchmarks.speed.networks import compiled, enlivened, images, random_spikes
from export.execute.integer import run_integer
from export.netx.read import read_netx
from export.netx.write import write_netx
from export.pipeline import compile_module
from neuroseg.config import MfsConfig, load_config
from neuroseg.models import MfsSeg, build_model
from neuroseg.train.run_folder import save_run

REPEATS = 3


def int_sample(network: str, size: list[int], samples: int = 1, device: str = "cpu") -> dict[str, float]:
    """Reading a file and running `samples` of it, class neurons only, random spikes in: peak of this whole process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.net"
        in_process("write", network=network, size=size, path=str(path))
        graph = read_netx(path)
    spikes = random_spikes(graph, samples)
    for _ in range(1 if device == "cpu" else 2):  # the first run on a GPU compiles
        start = time.perf_counter()
        run_integer(graph, spikes, populations=list(graph.outputs), batch=samples, device=device)
        taken = time.perf_counter() - start
    return {"time_s": taken, "peak_gb": peak()}


def write(network: str, size: list[int], path: str) -> dict[str, float]:
    """A network with random weights, compiled, as NetX; time of both, peak of this whole process."""
    start = time.perf_counter()
    config = benchmark_config(network)
    net = compile_module(build_model(config.model, config.data.classes), (3, size[0], size[1]))
    write_netx(net.graph, Path(path))
    return {"time_s": time.perf_counter() - start, "peak_gb": peak()}


def run_folder(network: str, size: list[int], path: str) -> dict[str, float]:
    """A RUN of a network with random weights, on embedded images: any size, no data set needed."""
    data = ["data.name=digits", f"data.size={list(size)}", "data.classes=11"]
    shipped = benchmark_config(network)
    config = shipped.model_copy(update={"data": load_config("mfs-tiny", data).data})
    model = build_model(config.model, config.data.classes)
    assert isinstance(model, MfsSeg)
    Path(path).mkdir(parents=True)
    save_run(Path(path), config, model, {"miou": 0.0})
    return {}


def grown(kind: str, steps: int, batch: int, height: int, width: int, channels: int, blocks: int) -> dict[str, float]:
    """One point of the growth rows: least time of three, and memory beyond what stood before, each after a warm-up."""
    config = MfsConfig(scales=1, widths=(channels,), blocks=blocks, steps=steps)
    size = (height, width)
    model = build_model(config, 11)
    pixels = images(batch, size)
    work: dict[str, Callable[[], Callable[[], Any]]] = {
        "training": lambda: _training(model, pixels),
        "int": lambda: _integers(model, size, batch),
        "export": lambda: lambda: compiled(model, size),
    }
    run = work[kind]()
    run()
    before = reset_peak()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return {"time_s": min(times), "memory_gb": max(peak() - before, 1e-6)}


def _training(model: MfsSeg, pixels: torch.Tensor) -> Callable[[], None]:
    model.train()

    def step() -> None:
        model.zero_grad(set_to_none=True)
        sum(logits.mean() for logits in model(pixels)).backward()

    return step


def _integers(model: MfsSeg, size: tuple[int, int], batch: int) -> Callable[[], Any]:
    graph = compiled(enlivened(model, size), size).unbalanced
    spikes = random_spikes(graph, batch)
    return lambda: run_integer(graph, spikes, populations=list(graph.outputs), batch=batch)


TASKS: dict[str, Callable[..., dict[str, float]]] = {f.__name__: f for f in (int_sample, write, run_folder, grown)}

if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](**json.loads(sys.argv[2]))))
