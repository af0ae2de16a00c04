"""A random Orpheus in a second: the layout of the public one (sharded Llama, tokenizer, SNAC's pickle), tiny widths."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from timbre.core.sections import OrpheusParams
from timbre.families import Audio

RATE, FRAME, CODES = 16_000, 320, 32  # Hz; samples of a coarse frame; codes of a codebook
WORDS = ("the", "ferry", "waits", "ann", "bob", "again", "green", "train", "coffee", "to", "oslo", "please", ":", ".")
OWN = OrpheusParams(learn_text=False, drop_repeated=False)


def random_orpheus(
    folder: Path, *, seed: int = 0, noise: bool = True, shards: str = "40KB", positions: int = 1024
) -> Path:
    from snac import SNAC
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    custom = [f"<custom_token_{number}>" for number in range(11)]
    tokens = ["<|begin_of_text|>", "<|eot_id|>", "<|unknown|>", *WORDS, *custom]
    core = Tokenizer(models.WordLevel({token: n for n, token in enumerate(tokens)}, unk_token="<|unknown|>"))
    core.normalizer, core.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)]
    )
    words = PreTrainedTokenizerFast(tokenizer_object=core, additional_special_tokens=custom)
    audio = words.convert_tokens_to_ids("<custom_token_10>")
    config = LlamaConfig(
        vocab_size=audio + 7 * CODES, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=positions, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    for weight in model.parameters():
        if weight.dim() > 1:  # fresh weights are so small that every code is as likely, whatever was said
            weight.data.mul_(20 if weight is model.model.embed_tokens.weight else 5)
    model.model.embed_tokens.weight.data[words.convert_tokens_to_ids("<custom_token_2>")] = 0  # few sentences end early
    model.save_pretrained(folder, max_shard_size=shards)
    words.save_pretrained(folder)
    shape = {
        "sampling_rate": RATE, "encoder_dim": 8, "encoder_rates": [8, 10], "decoder_dim": 16, "decoder_rates": [10, 8],
        "attn_window_size": None, "codebook_size": CODES, "codebook_dim": 4, "vq_strides": [4, 2, 1], "noise": noise,
        "depthwise": False,
    }  # fmt: skip
    (folder / "snac").mkdir()
    (folder / "snac/config.json").write_text(json.dumps(shape))
    codec = SNAC(**shape)
    for name, weight in codec.named_parameters():
        if name.endswith("bias") and not name.startswith("decoder"):
            weight.data.zero_()  # or every sound would be the same code
    torch.save(codec.state_dict(), folder / "snac/pytorch_model.bin")
    return folder


def sound(seconds: float, seed: int = 0) -> Audio:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)
