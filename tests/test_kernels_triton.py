"""The Triton kernels without a GPU: run in Triton's interpreter, and compiled for cards that are not here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import triton_checks
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from neuroseg.models import kernels
from neuroseg.models.kernels import Neuron, plain

if find_spec("triton") is None:
    pytest.skip("triton is not installed: torch's CUDA builds for Linux bring it", allow_module_level=True)

F16, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64
QUARTER = Neuron(4, 0.25, 2048, 1.0)
THIRD = Neuron(4, 1229 / 4096, 2048, 0.5)  # no power of two: the membrane is float64
Check = Callable[..., None]


@pytest.fixture(scope="module")
def interpreted() -> Iterator[Check]:
    """Calls a function in a process where Triton interprets its kernels; what fails there fails here."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        with pytest.MonkeyPatch.context() as patch:  # this process's own Triton compiles
            patch.setenv("TRITON_INTERPRET", "1")
            pool.submit(int).result(timeout=300)  # starts the other one
        yield lambda check, *arguments: pool.submit(check, *arguments).result(timeout=300)


CASES = [
    ((F32,), (2, 37, 18), QUARTER),
    ((F32, F32), (1, 50, 33), THIRD),
    ((F32, BF16), (2, 19, 5), QUARTER),
    ((BF16,), (1, 33, 16), THIRD),
    ((F16, F32, F16), (1, 23, 11), QUARTER),
    ((F64, F64), (2, 9, 3), QUARTER),
    ((F32,), (1, 7, 130), Neuron(1, 0.0, 2048, 1.0)),
    ((F32,), (3, 1, 1), Neuron(7, 1.0, 2048, 0.75)),
    ((F32,), (1, 17, 5), Neuron(5, 0.25, 2048, 0.5, soft=True, triangle=True)),
    ((F32, F32), (1, 13, 4), Neuron(4, 4055 / 4096, 4096, 1.0, soft=True, triangle=True)),
    ((F64,), (1, 13, 4), Neuron(4, 0.25, 2048, 1.0, triangle=True)),
]
FEW = [(0, 0, 1), (1, 0, 0), (2, 0, 0), (3, 1, 1), (4, 1, 0), (5, 0, 1), (8, 0, 1), (9, 0, 0), (10, 0, 1)]


@pytest.mark.parametrize(("number", "same", "ties"), FEW)
def test_every_kernel_equals_the_plain_one(interpreted, number: int, same: int, ties: int) -> None:
    interpreted(triton_checks.check_against_plain, *CASES[number], bool(same), bool(ties), 5)


@pytest.mark.slow
@pytest.mark.parametrize("ties", [False, True], ids=["real", "ties"])
@pytest.mark.parametrize("same", [False, True], ids=["currents", "constant"])
@pytest.mark.parametrize(("dtypes", "shape", "neuron"), CASES)
def test_every_kernel_equals_the_plain_one_for_all_currents(interpreted, dtypes, shape, neuron, same, ties) -> None:
    interpreted(triton_checks.check_against_plain, dtypes, shape, neuron, same, ties, 7)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])  # shrinking takes minutes
@given(data=st.data())
def test_every_kernel_equals_the_plain_one_for_any_shape_and_neuron(interpreted, data) -> None:
    wide = data.draw(st.booleans())
    dtypes = data.draw(st.lists(st.just(F64) if wide else st.sampled_from([F16, BF16, F32]), min_size=1, max_size=3))
    shape = tuple(data.draw(st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40))))
    kept = data.draw(st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(1, 4095).map(lambda i: i / 4096)))
    # The interpreter holds scalars in float32, a GPU in float64: 1 / width has to be exact there.
    width = data.draw(st.sampled_from([0.25, 0.5, 1.0, 2.0] if wide else [0.3, 0.75, 1.0, 2.0]))
    kind = data.draw(st.tuples(st.booleans(), st.booleans()))
    neuron = Neuron(data.draw(st.integers(1, 6)), kept, data.draw(st.integers(1, 4095 * 64)), width, *kind)
    same, ties, seed = data.draw(st.tuples(st.booleans(), st.booleans(), st.integers(0, 999)))
    interpreted(triton_checks.check_against_plain, tuple(dtypes), shape, neuron, same, ties, seed)


def test_a_membrane_exactly_at_threshold_neither_spikes_nor_is_reset(interpreted) -> None:
    interpreted(triton_checks.check_spikes_at_threshold)


@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "bf16-mixed"])
def test_a_blocks_output_and_gradients_equal_those_of_the_plain_kernels(interpreted, mixed: bool) -> None:
    interpreted(triton_checks.check_block, mixed)


class NoCard:
    """Triton's driver for a card that is not here: enough to compile for it."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return device


def compiled(
    patch: pytest.MonkeyPatch, capability: int, dtypes, neuron: Neuron, same: bool, every: bool = True
) -> dict[str, list[Any]]:
    """Launches of the set, through Triton's own path up to the launch: name of the kernel -> what was compiled.

    every  each kernel in all its versions, not only in the longest one
    """
    import triton

    from neuroseg.models.kernels.triton_set import TritonKernels

    found: dict[str, list[Any]] = {}

    def launcher(kernel: Any, grid: Any) -> Callable[..., None]:
        def compile_only(*arguments: Any, **options: Any) -> None:
            made = kernel.warmup(*arguments, grid=grid, **options)
            found.setdefault(kernel.__name__, []).append(made)

        return compile_only

    patch.setattr(triton.runtime.driver, "_active", NoCard(capability))
    patch.setattr(triton.runtime.jit.JITFunction, "__getitem__", launcher)
    ours = TritonKernels()
    terms = triton_checks.make_terms(dtypes, (2, 1 if same else neuron.steps, 20, 72), False, 3)
    spikes, x = ours.fire(terms, neuron, keep=True)
    ours.backward(terms, neuron, spikes, x)
    if every:
        ours.fire(terms, neuron, keep=False)
        ours.backward(terms, neuron, spikes, None)
    ours.statistics(terms.values[-1])
    ours.summed(terms)
    ours.products(terms, x)
    ours.rescaled(x, terms.values[-1], torch.zeros(3, 72, dtype=x.dtype), in_place=True)
    return found


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch, tmp_path) -> pytest.MonkeyPatch:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    return monkeypatch


def check_compiled(found: dict[str, list[Any]]) -> None:
    assert set(found) == {"fire", "backward", "moments", "add_up", "add_products", "rescale"}
    for name, versions in found.items():
        for made in versions:
            assert len(made.asm["cubin"]) > 1000, name
            assert ".fma" not in made.asm["ptx"] and "fma." not in made.asm["ptx"], name
            assert "FFMA" not in made.asm["sass"] and "DFMA" not in made.asm["sass"], name


def test_every_kernel_compiles_for_hopper_without_fused_multiply_adds(patched) -> None:
    found = compiled(patched, 90, (F32, BF16), Neuron(5, 0.25, 2048, 1.0), same=False, every=False)
    check_compiled(found)
    for made in found["fire"] + found["backward"]:
        assert "STL" not in made.asm["sass"]  # no store to local memory: the membranes of all steps are in registers
    again = compiled(patched, 90, (F32, BF16), Neuron(5, 0.5, 1, 0.3), same=False, every=False)
    for name, versions in found.items():  # another threshold, decay or width compiles nothing anew
        assert [made.hash for made in again[name]] == [made.hash for made in versions]


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("same", [False, True], ids=["currents", "constant"])
@pytest.mark.parametrize("dtypes", [(F32,), (F16, F32, F16), (BF16, BF16), (F64, F64)])
@pytest.mark.parametrize(
    "neuron",
    [Neuron(5, 0.25, 2048, 1.0), Neuron(10, 0.3, 2048, 1.0), Neuron(6, 0.99, 4096, 1.0, soft=True, triangle=True)],
    ids=["quarter", "third", "soft"],
)
def test_every_kernel_compiles_for_cards_since_2020(patched, capability, dtypes, neuron, same) -> None:
    check_compiled(compiled(patched, capability, dtypes, neuron, same))


@pytest.fixture
def choice() -> Any:
    from neuroseg.models.kernels import triton_choice

    return triton_choice


def test_without_triton_the_plain_kernels_compute_and_a_warning_says_so(monkeypatch, choice) -> None:
    for name in ("triton_set", "triton_loops"):
        monkeypatch.delitem(sys.modules, f"neuroseg.models.kernels.{name}", raising=False)
        monkeypatch.delattr(kernels, name, raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.warns(RuntimeWarning, match=r"fused CUDA kernels are not to be had \(ModuleNotFoundError: .*triton"):
        assert choice.choose(torch.device("cpu")) is plain.KERNELS


def test_where_triton_cannot_run_the_plain_kernels_compute_and_a_warning_says_so(choice) -> None:
    with pytest.warns(RuntimeWarning, match=r"fused CUDA kernels are not to be had \(.*need triton and a C compiler"):
        assert choice.choose(torch.device("cpu")) is plain.KERNELS  # Triton does not compute on a CPU


@pytest.mark.parametrize("failing", ["fire", "backward", "rescaled"])
def test_a_kernel_that_fails_where_simpler_ones_run_is_noticed(monkeypatch, choice, failing) -> None:
    from neuroseg.models.kernels import triton_set

    class Partly(plain.PlainKernels):
        """Kernels of which one does not compile."""

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"no {failing} on this card")

    monkeypatch.setattr(triton_set, "TritonKernels", Partly)
    assert isinstance(choice.choose(torch.device("cpu")), Partly)
    monkeypatch.setattr(Partly, failing, fails)
    with pytest.warns(RuntimeWarning, match=f"no {failing} on this card"):
        assert choice.choose(torch.device("cpu")) is plain.KERNELS


def test_every_card_is_tried_for_itself(monkeypatch, choice) -> None:
    asked: list[torch.device] = []
    monkeypatch.setattr(choice, "choose", lambda device: asked.append(device) or plain.KERNELS)
    kernels._kernel_set.cache_clear()
    cards = [torch.device("cuda", index) for index in (0, 1, 0)]
    for card in cards:
        kernels.kernels_for(SimpleNamespace(dtype=F32, device=card))
    kernels._kernel_set.cache_clear()
    assert asked == cards[:2]


@pytest.mark.parametrize(
    ("device", "dtypes", "name"),
    [
        ("cuda", (F32, BF16), "triton_choice"),
        ("cuda", (F32,), "triton_choice"),
        ("cpu", (F32,), "compiled"),
        ("cpu", (F32, BF16), "plain"),
        ("meta", (F32,), "plain"),
    ],
)
def test_the_device_and_the_dtypes_choose_the_set(monkeypatch, device, dtypes, name) -> None:
    monkeypatch.setattr(kernels, "_kernel_set", lambda wanted, *_: wanted)
    tensors = [SimpleNamespace(dtype=dtype, device=torch.device(device)) for dtype in dtypes]
    assert kernels.kernels_for(*tensors) == name
