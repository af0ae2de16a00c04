"""Rotary positions and SwiGLU as a GPU computes them while a voice learns; Triton's interpreter needs none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.interpreted import kernels
from tests.support.learnt_steps import adapt, learnt, llama
from timbre.families import fused_layers, lora
from timbre.families.llama import CausalLayers

pytest.importorskip("triton", reason="no release of Triton for this machine")

CPU = torch.device("cpu")
SHAPES = [(2, 5, 32, 8, 64), (1, 3, 6, 2, 24)]  # rows, positions, heads, heads of keys, width: csm-1b's, and odd ones


def angles(positions: int, width: int) -> tuple[Tensor, Tensor]:
    angle = torch.rand(1, positions, width // 2).mul(6).repeat(1, 1, 2)
    return angle.cos(), angle.sin()


def with_gradients(compute: Callable[..., Any], inputs: Sequence[Tensor], slopes: Sequence[Tensor]) -> list[Tensor]:
    made = compute(*inputs)
    outputs = [made] if isinstance(made, Tensor) else list(made)
    like = [slope.to(output.dtype) for slope, output in zip(slopes, outputs, strict=True)]
    return [*outputs, *torch.autograd.grad(outputs, inputs, like)]


class Trial(NamedTuple):
    fused: Callable[..., Any]
    plain: Callable[..., Any]  # what is written out
    inputs: list[Tensor]
    fixed: list[Tensor]  # angles, which come last
    slopes: list[Tensor]  # the loss' gradients by what comes out

    def ours(self, dtype: torch.dtype) -> list[Tensor]:
        return self._computed(self.fused, dtype, dtype)

    def theirs(self, dtype: torch.dtype, exact: torch.dtype | None = None) -> list[Tensor]:
        """With `exact`, of numbers that were rounded once, before."""
        return self._computed(self.plain, dtype, exact or dtype)

    def _computed(self, compute: Callable[..., Any], dtype: torch.dtype, other: torch.dtype) -> list[Tensor]:
        inputs, fixed, slopes = ([x.detach().to(dtype).to(other) for x in part] for part in self[2:])
        return with_gradients(lambda *x: compute(*x, *fixed), [x.requires_grad_() for x in inputs], slopes)


def trials(shape: tuple[int, ...]) -> list[Trial]:
    rows, positions, heads, groups, width = shape
    both = [torch.randn(rows, positions, count, width) for count in (heads, groups)]
    hidden = [torch.randn(rows, positions, 700) for _ in range(2)]
    return [
        Trial(kernels().gated, fused_layers.gated, hidden, [], [torch.randn_like(hidden[0])]),
        Trial(
            kernels().turned,
            fused_layers.turned,
            both,
            list(angles(positions, width)),
            [torch.randn_like(x) for x in both],
        ),
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_give_the_values_and_gradients_of_what_is_written_out(shape: tuple[int, ...]) -> None:
    """To rounding in single precision. In half the interpreter cuts off where a GPU rounds: a whole last digit."""
    torch.manual_seed(0)
    for trial in trials(shape):
        for mine, right in zip(trial.ours(torch.float32), trial.theirs(torch.float32), strict=True):
            assert torch.allclose(mine, right, rtol=1e-5, atol=1e-6)
        exact = trial.theirs(torch.bfloat16, torch.float32)
        for mine, right in zip(trial.ours(torch.bfloat16), exact, strict=True):
            assert mine.dtype == torch.bfloat16
            assert torch.allclose(mine.float(), right, rtol=2**-7, atol=1e-6), "rounded once"


class Kernels(TorchDispatchMode):
    """Counts calls that compute or move numbers: kernels, on a GPU. A view is none, nor is an empty buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = Counter[str]()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        returned = function._schema.returns
        is_view = bool(returned) and returned[0].alias_info is not None and not returned[0].alias_info.is_write
        if not is_view and not name.startswith("empty"):
            self.calls[name] += 1
        return function(*args, **(kwargs or {}))


def test_a_kernel_each_there_and_back_in_place_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    launched = Counter[str]()

    class Launcher:
        def __init__(self, name: str, kernel: Any) -> None:
            self.name, self.kernel = name, kernel

        def __getitem__(self, grid: Any) -> Any:
            launched[self.name] += 1
            return lambda *args: None  # what it computes, other tests look at

    for name in ("_gate", "_gate_back", "_turn"):
        monkeypatch.setattr(kernels(), name, Launcher(name, getattr(kernels(), name)))
    written, rest = [], []
    for trial in trials(SHAPES[0]):
        with Kernels() as counted:
            trial.theirs(torch.float32)
        written.append(counted.calls.total())
        with Kernels() as counted:
            trial.ours(torch.float32)
        rest.append(counted.calls.total())
    assert launched == {"_gate": 1, "_gate_back": 1, "_turn": 2}
    assert rest == [0, 0]
    assert written == [5, 24], "of SwiGLU and of rotary positions, there and back"


@pytest.mark.parametrize(("half", "saving"), [(False, True), (True, False)])
def test_an_adapter_learns_the_same_also_where_activations_are_computed_twice(
    voice: Any, half: bool, saving: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timbre.families.llama.fuse", lambda _: None)  # what follows is compared with transformers
    if saving:
        lora.save_memory(voice.base)
    adapt(voice)
    exact, gradients = learnt(voice, False)
    _, rounded = learnt(voice, half)
    monkeypatch.setattr(fused_layers, "tried", lambda *_: kernels())
    for decoder in (voice.base.backbone_model, voice.base.depth_decoder.model):
        fused_layers.fuse_on_gpu(decoder)
    fused, mine = learnt(voice, half)
    off = [float((one - gradients).norm() / gradients.norm()) for one in (mine, rounded)]
    assert fused == pytest.approx(exact, rel=3e-3 if half else 1e-6)
    assert off[0] < (1.5 * off[1] if half else 1e-5)


def test_heads_that_share_keys_and_angles_that_were_stretched_stay_the_same_and_so_does_the_model_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A Llama as Orpheus has it. Where its own `forward` masks positions or reads a cache, its layers do too."""
    monkeypatch.setattr("timbre.families.llama.fuse", lambda _: None)  # what follows is compared with transformers
    torch.manual_seed(0)
    model = llama()
    stack, hidden, slopes = (
        CausalLayers(model),
        torch.randn(2, 12, 32).requires_grad_(),
        [torch.randn(2, 12, 32)],
    )
    plain = with_gradients(stack, [hidden], slopes)
    fused_layers.fuse_layers(stack, model.config.hidden_act, kernels())
    for mine, right in zip(with_gradients(stack, [hidden], slopes), plain, strict=True):
        assert torch.allclose(mine, right, rtol=1e-4, atol=1e-5)


def test_a_gpu_that_cannot_run_the_kernels_learns_without_them_and_says_why_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A CPU is one that cannot; and one kernel here computes something else."""
    from timbre import families

    fused_layers.tried.cache_clear()
    fused_layers._warn.cache_clear()
    for heads in (2, 4):
        assert fused_layers.tried(CPU, torch.float32, (heads, 1, 8)) is None
    wrong = ModuleType("wrong")
    wrong.gated, wrong.turned = kernels().gated, partial(wrongly, kernels().turned)  # type: ignore[attr-defined]
    monkeypatch.setattr(families, "fused_kernels", wrong, raising=False)
    assert fused_layers.tried(CPU, torch.float32, (2, 1, 16)) is None
    first, second = capsys.readouterr().err.splitlines()
    assert "the training goes on without them" in first
    assert "(rotary positions came out wrong)" in second
    monkeypatch.setattr(families, "fused_kernels", kernels())
    for dtype in (torch.float32, torch.bfloat16):
        with torch.inference_mode():
            assert fused_layers.tried(CPU, dtype, (4, 2, 12)) is kernels()
    assert not capsys.readouterr().err
    fused_layers.tried.cache_clear()


def wrongly(turned: Any, query: Tensor, key: Tensor, cosine: Tensor, sine: Tensor) -> Any:
    return turned(query, key, cosine, -sine)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_triton_compiles_the_kernels_for_a_gpu(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as a file for the GPU; that needs none."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from timbre.families import fused_kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    numbers = f"*{dtype}"
    rotary = dict.fromkeys(("turned_query", "turned_key", "query", "key", "cosine", "sine"), numbers)
    rotary |= dict.fromkeys(("length", "query_heads", "key_heads", "half"), "i32") | {"direction": "fp32"}
    sizes = {"QUERY_HEADS": 32, "KEY_HEADS": 8, "HALF": 32}
    forward, back = ("hidden", "gate", "up"), ("of_gate", "of_up", "of_hidden", "gate", "up")
    for kernel, kinds, constants in (
        (fused_kernels._gate, dict.fromkeys(forward, numbers) | {"count": "i32"}, {"BLOCK": fused_kernels.BLOCK}),
        (fused_kernels._gate_back, dict.fromkeys(back, numbers) | {"count": "i32"}, {"BLOCK": fused_kernels.BLOCK}),
        (fused_kernels._turn, rotary, sizes),
    ):
        source = ASTSource(kernel, kinds | dict.fromkeys(constants, "constexpr"), constants)
        made = triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm
        assert made["cubin"]
        assert ("cvt.rn.bf16" in made["ptx"]) == (dtype == "bf16"), "to the nearest"
