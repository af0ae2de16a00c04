"""A step that an adapter learns by, and a Llama to learn with: one way to compute it is compared with another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.support.tiny_models import LORA, kept
from timbre.families import Turn

ROPE = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def adapt(voice: Any) -> None:
    """With dropout, and with an adapter that changes the voice from the first step on."""
    voice.adapt(LORA._replace(dropout=0.5))
    voice.model.train()
    for name, weight in voice.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)


def learnt(voice: Any, half: bool) -> tuple[float, Tensor]:
    """The loss, and its gradients by all that is learnt."""
    torch.manual_seed(3)  # of dropout
    voice.model.zero_grad()
    talks = [[Turn("the ferry waits", kept(frames, frames))] for frames in (3, 6)]
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss = voice.losses(voice.batch(talks, 1.0, 7)).total
    loss.backward()
    gradients = [weight.grad.flatten() for weight in voice.model.parameters() if weight.requires_grad]
    return loss.item(), torch.cat(gradients)


def llama() -> Any:
    """As Orpheus has it: heads that share keys, and angles that were stretched."""
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        vocab_size=8, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, rope_parameters={**ROPE, "original_max_position_embeddings": 8},
    )  # fmt: skip
    return LlamaModel(config)
