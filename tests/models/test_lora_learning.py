"""What peft's layers compute while they learn, beside peft's own way."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.tiny_models import LORA, kept
from timbre.families import Turn, lora, lora_learning


def loss_of(voice: Any) -> torch.Tensor:
    talks = [[Turn("the ferry waits", kept(frames, frames))] for frames in (5, 12)]
    return torch.as_tensor(voice.losses(voice.batch(talks, 1.0, 7)).total)


def losses_and_gradients(voice: Any) -> tuple[float, list[torch.Tensor]]:
    voice.model.zero_grad()
    loss = loss_of(voice)
    loss.backward()
    return loss.item(), [weight.grad.clone() for weight in voice.model.parameters() if weight.requires_grad]


def adapt(voice: Any, dropout: float) -> None:
    voice.adapt(LORA._replace(dropout=dropout))
    torch.manual_seed(1)
    for name, weight in voice.model.named_parameters():
        if "lora_B" in name:  # a fresh adapter changes nothing
            weight.data.normal_(std=0.1)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_losses_and_gradients_are_those_of_peft(voice: Any, dropout: float) -> None:
    adapt(voice, dropout)
    voice.model.train(not dropout)  # with dropout, only where it does nothing
    ours, our_gradients = losses_and_gradients(voice)
    for module in voice.model.modules():
        if lora_learning.is_adapted(module):
            del module.forward  # ours: the class's own is peft's
    theirs, their_gradients = losses_and_gradients(voice)
    with voice.model.disable_adapter():
        untuned = loss_of(voice).item()
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert abs(ours - untuned) > 1e-3, "the adapter must do something"
    for mine, peft in zip(our_gradients, their_gradients, strict=True):
        assert (mine - peft).norm() <= 1e-4 * peft.norm(), "beyond what rounding does"


def test_a_switched_off_adapter_changes_nothing(voice: Any) -> None:
    adapt(voice, 0.0)
    layer = voice.base.backbone_model.layers[0].self_attn.q_proj
    x = torch.randn(2, 3, layer.in_features)
    assert not torch.equal(layer(x), layer.base_layer(x))
    with voice.model.disable_adapter():
        assert torch.equal(layer(x), layer.base_layer(x))


def test_layers_of_one_input_multiply_it_by_a_once_and_nothing_is_drawn_where_dropout_is_none(voice: Any) -> None:
    adapt(voice, 0.0)
    voice.model.train()
    calls = Counter[str]()

    class Spy(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            calls[function.overloadpacket.__name__] += 1
            return function(*args, **(kwargs or {}))

    layer = voice.base.backbone_model.layers[0]
    x = torch.randn(2, 3, layer.self_attn.q_proj.in_features)
    for layers in ([layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj],
                   [layer.mlp.gate_proj, layer.mlp.up_proj]):  # fmt: skip
        calls.clear()
        with Spy():
            for projection in layers:
                projection(x)
        assert calls["mm"] == len(layers) + 1, "each by its own weights, and all by A"
        assert calls["addmm_"] == len(layers), "each by its own B, on the spot"
        assert not [name for name in calls if "rand" in name or "dropout" in name]


def test_dropout_leaves_out_its_share_the_same_again_from_the_same_seed() -> None:
    torch.manual_seed(3)
    one, other = lora_learning.kept(100_001, 0.05), lora_learning.kept(100_001, 0.05)
    assert one.mean().item() == pytest.approx(0.95, abs=0.004)  # six standard deviations
    assert 0.85 < (one * other).mean().item() < 0.92, "the two are drawn apart"
    torch.manual_seed(3)
    assert torch.equal(lora_learning.kept(100_001, 0.05), one)


def test_dropout_keeps_the_mean_of_what_an_adapter_adds(voice: Any) -> None:
    adapt(voice, 0.5)
    voice.model.train()
    attention = voice.base.backbone_model.layers[0].self_attn
    x = torch.randn(1, 1, attention.q_proj.in_features).expand(1, 4000, -1)
    added = [layer(x) - layer.base_layer(x) for layer in (attention.q_proj, attention.k_proj, attention.v_proj)]
    assert added[0].std(1).mean() > 0.01, "each position draws for itself"
    voice.model.eval()
    for noisy, layer in zip(added, (attention.q_proj, attention.k_proj, attention.v_proj), strict=True):
        meant = (layer(x) - layer.base_layer(x))[0, 0]
        assert torch.allclose(noisy[0].mean(0), meant, atol=6 * float(noisy.std(1).max()) / 4000**0.5)


def test_checkpointing_draws_the_same_again(voice: Any) -> None:
    adapt(voice, 0.5)
    voice.model.train()
    torch.manual_seed(5)
    before = losses_and_gradients(voice)[1]
    lora.save_memory(voice.base)
    torch.manual_seed(5)
    for mine, kept_in_memory in zip(losses_and_gradients(voice)[1], before, strict=True):
        assert torch.allclose(mine, kept_in_memory, rtol=1e-3, atol=1e-6)
