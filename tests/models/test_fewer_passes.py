"""RMS norms and rotary positions as a CPU computes them while a voice learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.learnt_steps import adapt, learnt, llama
from timbre.families import fewer_passes, fused_layers, lora
from timbre.families.llama import CausalLayers


def with_gradients(outputs: Any, inputs: list[Tensor]) -> list[Tensor]:
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    torch.manual_seed(1)
    slopes = [torch.randn(output.shape).to(output.dtype) for output in outputs]
    return [*outputs, *torch.autograd.grad(outputs, inputs, slopes)]


@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_a_norm_has_the_values_and_gradients_of_torchs_own(eps: float) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(3, 7, 192).requires_grad_(), torch.rand(192) + 0.5
    ours = with_gradients(fewer_passes.normed(x, weight, eps), [x])
    for mine, right in zip(ours, with_gradients(torch.rms_norm(x, (192,), weight, eps), [x]), strict=True):
        assert torch.allclose(mine, right, rtol=1e-5, atol=1e-6)
    half = fewer_passes.normed(x.bfloat16(), weight, eps)
    assert half.dtype == torch.bfloat16
    assert torch.allclose(half.float(), ours[0], rtol=2**-6, atol=1e-6)


def test_the_weight_of_a_norm_is_learnt_where_it_is_asked_for() -> None:
    x, weight = torch.randn(3, 8), torch.ones(8).requires_grad_()
    fewer_passes.normed(x, weight, 1e-5).sum().backward()
    assert weight.grad is not None
    assert torch.allclose(weight.grad, torch.rms_norm(x, (8,), None, 1e-5).sum(0), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_positions_turn_as_they_are_written_out_and_their_gradients_turn_back(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    query, key = (torch.randn(2, 5, heads, 16).to(dtype).requires_grad_() for heads in (4, 2))
    angle = torch.rand(1, 5, 8).mul(6).repeat(1, 1, 2)
    angles = angle.cos(), angle.sin()
    ours = with_gradients(fewer_passes.turned(query, key, *angles), [query, key])
    written = with_gradients(fused_layers.turned(query, key, *angles), [query, key])
    for mine, right in zip(ours, written, strict=True):
        assert mine.dtype == dtype
        assert torch.allclose(mine.float(), right.float(), atol=1e-6 if dtype == torch.float32 else 0.05)


def test_a_llama_learns_the_same_as_transformers_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With heads that share keys, angles that were stretched, and norms that are more than ones."""
    torch.manual_seed(0)
    model = llama().requires_grad_(False)
    for name, weight in model.named_parameters():
        if "norm" in name:
            weight.uniform_(0.5, 1.5)
    hidden = torch.randn(2, 12, 32).requires_grad_()
    with monkeypatch.context() as patch:
        patch.setattr("timbre.families.llama.fuse", lambda _: None)
        plain = with_gradients(CausalLayers(model)(hidden), [hidden])
    ours = with_gradients(CausalLayers(model)(hidden), [hidden])
    for mine, right in zip(ours, plain, strict=True):
        assert torch.allclose(mine, right, rtol=1e-4, atol=1e-5)
    assert not torch.equal(ours[1], plain[1]), "it is another computation"


@pytest.mark.parametrize(("half", "saving"), [(False, True), (False, False), (True, False)])
def test_an_adapter_learns_the_same(voice: Any, half: bool, saving: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if saving:
        lora.save_memory(voice.base)
    adapt(voice)
    with monkeypatch.context() as patch:
        patch.setattr("timbre.families.llama.fuse", lambda _: None)
        exact, gradients = learnt(voice, False)
        _, rounded = learnt(voice, half)
    del voice.stacks  # made anew, with fewer passes
    ours, mine = learnt(voice, half)
    off = [float((one - gradients).norm() / gradients.norm()) for one in (mine, rounded)]
    assert ours == pytest.approx(exact, rel=3e-3 if half else 1e-6)
    assert off[0] < (1.5 * off[1] if half else 1e-5)
