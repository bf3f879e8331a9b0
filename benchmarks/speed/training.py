"""Rows (a): forward and backward of the EFS-Res block and of whole networks, beside SLAYER, SpikingJelly and snnTorch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.networks import benchmark_config
from benchmarks.speed.kits import Flow, Slayer, flow_of
from benchmarks.speed.measure import Plan, Row, Timed, in_turn, limit, versus
from benchmarks.speed.networks import efs_block, efs_nodes, images, network
from benchmarks.speed.rivals import FRAMEWORKS, Rounded, SnnTorch, SpikingJelly
from neuroseg.models.slayer import compile_for_this_machine

BATCH, STEPS, CUDA_BATCH = 2, 5, 8
SLAYER_BAR, RIVAL_BAR = 8.0, 1.3
CUDA_BARS = {"images/s": 150.0, "SLAYER": 3.0, "SpikingJelly cupy": 1.0}
TOLERANCE, MOST_DIFFERING = 1e-3, 0.01  # of values of sides with SLAYER's rounding; norms may differ in the last bits
REFERENCE = "the same network, rounded"
Order = Callable[[Tensor], Tensor]  # (N, T, C, H, W) -> a side's own axes


@dataclass(frozen=True, eq=False)
class Side:
    """One framework's module; `given` are its inputs and `seed` the gradient of its first output, in its own axes."""

    module: nn.Module
    given: tuple[Tensor, ...]
    to_ours: Order

    def forward(self) -> tuple[Tensor, ...]:
        """Its outputs."""
        return _outputs(self.module, *self.given)

    def step(self) -> None:
        """Forward and backward; gradients of weights, and of inputs that ask for one."""
        self.module.zero_grad(set_to_none=True)
        for x in self.given:
            x.grad = None
        outputs = self.forward()
        torch.autograd.backward(outputs, [self.slope(y) for y in outputs])
        if outputs[0].is_cuda:
            torch.cuda.synchronize()

    @staticmethod
    def slope(y: Tensor) -> Tensor:
        """A gradient that lies in memory as the output does."""
        return torch.full_like(y, 1 / y.numel())


def rows(plan: Plan) -> Iterator[Row]:
    """Block and whole network, on the CPU and, where there is one, on a GPU."""
    channels, size = (4, (8, 12)) if plan.quick else (32, (90, 120))
    yield from _compared(plan, _block_sides(channels, size, "cpu"), f"training, EFS-Res block {channels} ch", True)
    name, small = ("mfs-tiny", (16, 16)) if plan.quick else ("mfs-small", None)
    yield from _compared(plan, _network_sides(name, small, "cpu"), f"training, {name}", False)
    if torch.cuda.is_available():
        yield from _cuda_rows(plan)


def _compared(plan: Plan, sides: dict[str, Side], what: str, barred: bool) -> Iterator[Row]:
    """Rows against SLAYER and against the faster of the other two."""
    differing = checked(sides)
    seconds = in_turn({name: _timed(side) for name, side in sides.items()}, plan.runs, warm_up=2)
    slayer = SLAYER_BAR if barred and not plan.quick else None
    share = {"differing": differing["SLAYER"]}
    yield versus(f"{what}: stock SLAYER", seconds["ours"], seconds["SLAYER"], slayer, **share)
    rivals = {name: seconds[name] for name in sides if name not in ("ours", "SLAYER")}
    fastest = min(rivals, key=lambda name: median(rivals[name]))
    bar = RIVAL_BAR if barred and not plan.quick else None
    for name, theirs in rivals.items():
        own = bar if name == fastest else None
        more = {"differing": differing[name], "faster_rival": name == fastest}
        yield versus(f"{what}: {name}", seconds["ours"], theirs, own, **more)


def _timed(side: Side) -> Timed:
    return lambda: side.step()


def checked(sides: dict[str, Side], equal: tuple[str, ...] = ("SLAYER", REFERENCE)) -> dict[str, float]:
    """Share of the outputs in which a side differs from ours; takes the reference out of the sides.

    SLAYER, and our kit's network with SLAYER's rounding, must agree: RuntimeError otherwise. The other frameworks do not
    round, so their spikes differ, and deep networks drift apart; nothing is demanded of them. SLAYER's CUDA kernel resets
    without a spike where the membrane equals the threshold, so there it counts among the others.
    """
    shares = {name: _differing(sides["ours"], side) for name, side in sides.items() if name != "ours"}
    del sides[REFERENCE]
    for name in equal:
        if shares[name] > MOST_DIFFERING:
            raise RuntimeError(f"{name} computes something else than ours: {shares[name]:.1%} of the values differ.")
    return {name: float(f"{share:.2g}") for name, share in shares.items()}


def _differing(ours: Side, theirs: Side) -> float:
    with torch.no_grad():
        pairs = zip(ours.forward(), theirs.forward(), strict=True)
        return max(float((ours.to_ours(a) - theirs.to_ours(b)).abs().gt(TOLERANCE).float().mean()) for a, b in pairs)


def _block_sides(channels: int, size: tuple[int, int], device: str) -> dict[str, Side]:
    block = efs_block(channels).to(device)
    nodes = efs_nodes(block, (channels, *size))
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(BATCH, STEPS, channels, *size, generator=generator) * 0.5).to(device)
    first, last = _folded_axes()
    sides = {
        "ours": _side(block, x, _same, _same),
        "SLAYER": _side(
            Flow(nodes, ["x"], ["y"], Slayer(STEPS)).to(device), x, _last_axes, lambda y: y.permute(0, 4, 1, 2, 3)
        ),
    }
    sides[REFERENCE] = _side(Flow(nodes, ["x"], ["y"], Rounded(STEPS, False)).to(device), x, first, last)
    for name, made in _frameworks(device).items():
        flows = [Flow(nodes, ["x"], ["y"], made(STEPS, stored)).to(device) for stored in (False, True)]
        sides[name] = _faster([_side(flow, x, first, last) for flow in flows])
    return sides


def _network_sides(name: str, size: tuple[int, int] | None, device: str, batch: int = BATCH) -> dict[str, Side]:
    """Every head is trained on every side."""
    config = benchmark_config(name)
    size = size or config.data.size
    ours, _ = network(name, size)
    ours = ours.to(device)
    flow = flow_of(ours, (3, *size), config.model.scales)
    outputs = [n for n in flow.nodes if n.endswith(".readout")]
    start = next(n for n, node in flow.nodes.items() if not node.inputs)
    pixels = images(batch, size).to(device)

    def side(kit: Any) -> Side:
        module = Flow(flow.nodes, [start], outputs, kit).to(device)
        for readout in (module.parts[n.replace(".", "/")] for n in outputs):
            readout.register_forward_hook(partial(_gained, config.model.readout_gain))
        return Side(module.train(), (pixels,), _same)

    sides = {"ours": Side(ours.train(), (pixels,), _same), "SLAYER": side(Slayer(flow.steps))}
    sides[REFERENCE] = side(Rounded(flow.steps, False))
    for rival, made in _frameworks(device).items():
        sides[rival] = _faster([side(made(flow.steps, stored)) for stored in (False, True)])
    return sides


def _gained(gain: float, _module: nn.Module, _inputs: Any, rate: Tensor) -> Tensor:
    return rate * gain


def _frameworks(device: str) -> dict[str, Callable[..., Any]]:
    if device == "cpu":
        return dict(FRAMEWORKS)
    if find_spec("cupy") is None:
        return {"SpikingJelly torch": SpikingJelly, "snnTorch": SnnTorch}
    return {"SpikingJelly cupy": partial(SpikingJelly, backend="cupy"), "snnTorch": SnnTorch}


def _faster(sides: list[Side]) -> Side:
    """The faster way of a framework to store its maps, by two steps each after one that is not counted."""

    def taken(side: Side) -> float:
        side.step()
        start = time.perf_counter()
        for _ in range(2):
            side.step()
        return time.perf_counter() - start

    return min(sides, key=taken)


def _side(module: nn.Module, x: Tensor, order: Order, back: Order) -> Side:
    """The input lies in memory as the module's own output does: as it would in a stack of blocks."""
    with torch.no_grad():
        like = _outputs(module, order(x))[0]
    given = torch.empty_like(like).copy_(order(x)).requires_grad_()
    return Side(module, (given,), back)


def _outputs(module: nn.Module, *given: Tensor) -> tuple[Tensor, ...]:
    """Outputs as numbers: our block hands on a sum of currents that its reader would compute."""
    out = module(*given)
    outs = out if isinstance(out, tuple) else (out,)
    return tuple(y if isinstance(y, Tensor) else y.tensor() for y in outs)


def _same(x: Tensor) -> Tensor:
    return x


def _last_axes(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 4, 1).contiguous()


def _folded_axes() -> tuple[Order, Order]:
    return (lambda x: x.transpose(0, 1).contiguous()), (lambda y: y.transpose(0, 1))


def _cuda_rows(plan: Plan) -> Iterator[Row]:
    """mfs-efs72 at 180x240, T = 5, on a GPU: images per second, and the same comparisons. Never run where this was written."""
    compile_for_this_machine()
    name, size = ("mfs-tiny", (16, 16)) if plan.quick else ("mfs-efs72", (180, 240))
    sides = _network_sides(name, size, "cuda", CUDA_BATCH)
    differing = checked(sides, (REFERENCE,))
    mixed = partial(_mixed, sides["ours"])
    seconds = in_turn({**{key: _timed(side) for key, side in sides.items()}, "mixed": mixed}, plan.runs, warm_up=2)
    for key in (key for key in sides if key != "ours"):
        bar = CUDA_BARS.get(key) if not plan.quick else None
        more = {"differing": differing[key], "device": "cuda"}
        yield versus(f"CUDA training, {name}: {key}", seconds["ours"], seconds[key], bar, **more)
    for key, what in (("ours", "float32"), ("mixed", "float16 by autocast")):
        bar = CUDA_BARS["images/s"] if key == "mixed" and not plan.quick else None
        own = median(seconds[key])
        more = {"batch": CUDA_BATCH, "device": "cuda"}
        yield limit(f"CUDA training, {name}, {what}", CUDA_BATCH / own, "images/s", bar, own, **more)


def _mixed(side: Side) -> None:
    """A step in mixed precision, as `train.precision=16-mixed` takes it; its gradients are not used, so nothing scales them."""
    with torch.autocast("cuda", torch.float16):
        side.step()
