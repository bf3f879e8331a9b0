"""Kernels for CUDA, compiled by Triton: float16, bfloat16, float32 and float64, mixed as autocast mixes them."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from neuroseg.models.kernels import Neuron, Terms
from neuroseg.models.kernels import triton_loops as loops

TILE = 512  # values per step of a program: four a thread
SUMS_TILE = 2048
NARROWEST = 16  # channels side by side in a tile, unless there are fewer
DTYPES = {torch.float32: tl.float32, torch.float64: tl.float64}


class TritonKernels:
    """`Kernels`, each one sweep over memory; sums per channel in a fixed order, so results repeat to the bit."""

    def statistics(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """See `Kernels`. Sums in float64, from values in their own dtype: no copy in a wider one."""
        rows, channels = y.numel() // y.shape[-1], y.shape[-1]
        grid, tile = _tiles(1, rows, channels, SUMS_TILE)
        sums = torch.empty((grid[0], 2, channels), dtype=torch.float64, device=y.device)
        _launch(loops.moments, grid, (y, sums, rows), tile)
        mean, square = sums.sum(0) / rows
        dtype = torch.promote_types(y.dtype, torch.float32)
        return mean.to(dtype), (square - mean * mean).clamp_(min=0).to(dtype)

    def summed(self, terms: Terms) -> Tensor:
        """See `Kernels`."""
        first = terms.values[0]
        currents = torch.empty_like(first, dtype=terms.scale.dtype)
        grid, tile = _tiles(1, first.numel() // first.shape[-1], first.shape[-1], TILE)
        given = terms.values, terms.scale.contiguous(), terms.shift.contiguous()
        _launch(loops.add_up, grid, (*given, currents, first.numel() // first.shape[-1]), tile)
        return currents

    def products(self, terms: Terms, grad: Tensor) -> tuple[Tensor, Tensor]:
        """See `Kernels`; float64."""
        rows, channels = grad.numel() // grad.shape[-1], grad.shape[-1]
        grid, tile = _tiles(1, rows, channels, SUMS_TILE)
        sums = torch.empty((grid[0], 1 + len(terms.values), channels), dtype=torch.float64, device=grad.device)
        _launch(loops.add_products, grid, (terms.values, grad, sums, rows), tile)
        total = sums.sum(0)
        return total[0], total[1:]

    def fire(self, terms: Terms, neuron: Neuron, keep: bool) -> tuple[Tensor, Tensor | None]:
        """See `Kernels`."""
        values, scale, shift = terms.values, terms.scale.contiguous(), terms.shift.contiguous()
        count, given_steps, positions, channels = values[0].shape
        spikes = values[-1].new_empty((count, neuron.steps, positions, channels))
        currents = torch.empty_like(values[0], dtype=scale.dtype) if keep else None
        grid, tile = _tiles(count, positions, channels, TILE)
        tensors = (values, scale, shift, spikes, spikes if currents is None else currents)
        constants = {**tile, **_neuron(neuron, scale.dtype, given_steps), "KEEP": keep}
        _launch(loops.fire, grid, (*tensors, positions, float(neuron.kept), int(neuron.v_th)), constants)
        return spikes, currents

    def backward(
        self, terms: Terms, neuron: Neuron, grad_spikes: Tensor, grad_currents: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Kernels`."""
        values, scale, shift = terms.values, terms.scale.contiguous(), terms.shift.contiguous()
        count, given_steps, positions, channels = values[0].shape
        grad = torch.empty_like(values[0], dtype=scale.dtype)
        grid, tile = _tiles(count, positions, channels, TILE)
        sums = torch.empty((grid[0], 1 + len(values), channels), dtype=torch.float64, device=grad.device)
        given = grad_spikes.contiguous(), grad if grad_currents is None else grad_currents.contiguous()
        numbers = positions, float(neuron.kept), int(neuron.v_th), neuron.width / 2, 1.0 / neuron.width
        constants = {**tile, **_neuron(neuron, scale.dtype, given_steps), "MORE": grad_currents is not None}
        constants["TRIANGLE"] = neuron.triangle
        _launch(loops.backward, grid, (values, scale, shift, *given, grad, sums, *numbers), constants)
        total = sums.sum(0)
        return grad, total[0], total[1:]

    def rescaled(self, grad: Tensor, y: Tensor, factors: Tensor, in_place: bool) -> Tensor:
        """See `Kernels`; where `y` is narrower than `grad`, the result is a new tensor in its dtype: less to write."""
        out = grad if in_place and grad.dtype == y.dtype else torch.empty_like(y)
        rows, channels = y.numel() // y.shape[-1], y.shape[-1]
        grid, tile = _tiles(1, rows, channels, TILE)
        _launch(loops.rescale, grid, (grad, y, factors.contiguous(), out, rows), tile)
        return out


def _tiles(count: int, positions: int, channels: int, size: int) -> tuple[tuple[int, int], dict[str, int]]:
    """Grid over `count` maps (P, C), and the constants of a tile of about `size` values.

    Columns are the power of two that wastes the fewest threads on channels that do not exist, and the widest of these.
    """
    up_to = _power_of_two(channels)
    widths = [w for w in (NARROWEST, 32, 64, 128) if w <= up_to] or [up_to]
    columns = min(widths, key=lambda width: (-(-channels // width) * width, -width))
    rows = max(1, min(size // columns, _power_of_two(positions)))
    grid = (count * -(-positions // rows), -(-channels // columns))
    return grid, {"C": channels, "ROWS": rows, "COLUMNS": columns}


def _power_of_two(value: int) -> int:
    """The first one that is not below it."""
    return 1 << (value - 1).bit_length()


def _neuron(neuron: Neuron, currents: torch.dtype, given_steps: int) -> dict[str, Any]:
    state = DTYPES[neuron.state_dtype(currents)]
    return {"STEPS": neuron.steps, "SAME": given_steps != neuron.steps, "SOFT": neuron.soft, "STATE": state}


def _launch(kernel: Any, grid: tuple[int, int], arguments: tuple[Any, ...], constants: Mapping[str, Any]) -> None:
    """On the device of the arguments' tensors, and without fused multiply-adds."""
    tensor = next(x for x in arguments if isinstance(x, Tensor))
    with torch.cuda.device_of(tensor):
        kernel[grid](*arguments, **constants, enable_fp_fusion=False)
