"""The shape of the tiny XTTS: its settings, its tokenizer, its networks without training, and its files.

The networks are the family's own (timbre/families/xtts), only smaller; the files are those of a release.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn
from xtts_codec import CODES

from timbre.families.xtts.config import GptArgs
from timbre.families.xtts.gpt import SpeechGpt
from timbre.families.xtts.load import SPEAKER, VOCODER
from timbre.families.xtts.text import SPACE

START, STOP, UNKNOWN, ENGLISH = "[START]", "[STOP]", "[UNK]", "[en]"
CHANNELS, LAYERS, HEADS = 160, 5, 5
TEXT, SPOKEN = 160, 240  # tokens of a text and codes (11 s) of a sentence, at most


def tokenizer(words: Sequence[str]) -> Tokenizer:
    """A token for each known word; any other goes by known pieces and letters, so that no text fails."""
    letters = string.ascii_lowercase + string.digits
    tokens = [STOP, START, UNKNOWN, ENGLISH, SPACE, *".,?!'-:;", *letters, *(f"##{x}" for x in letters)]
    tokens += sorted({word.lower() for word in words})
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))  # type: ignore[call-arg]
    core.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()])
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()])
    core.add_special_tokens([AddedToken(t, normalized=False) for t in (STOP, START, UNKNOWN, ENGLISH, SPACE)])
    return core


def config(words: Tokenizer) -> dict[str, Any]:
    args = {
        "gpt_layers": LAYERS, "gpt_n_model_channels": CHANNELS, "gpt_n_heads": HEADS, "gpt_max_audio_tokens": SPOKEN,
        "gpt_max_text_tokens": TEXT, "gpt_max_prompt_tokens": 70, "gpt_number_text_tokens": words.get_vocab_size(),
        "gpt_start_text_token": words.token_to_id(START), "gpt_stop_text_token": words.token_to_id(STOP),
        "gpt_num_audio_tokens": CODES + 2, "gpt_start_audio_token": CODES, "gpt_stop_audio_token": CODES + 1,
        "gpt_code_stride_len": 1024, "gpt_use_perceiver_resampler": True,
    }  # fmt: skip
    return {"model": "xtts", "languages": ["en"], "model_args": args, "gpt_cond_len": 12, "gpt_cond_chunk_len": 4,
            "max_ref_len": 10}  # fmt: skip


def build(words: Tokenizer) -> SpeechGpt:
    """The language model with fresh weights, in GPT-2's own measure."""
    gpt = SpeechGpt(GptArgs(**config(words)["model_args"]), words.get_vocab_size())
    for part in (gpt.text_embedding, gpt.mel_embedding, gpt.text_pos_embedding.emb, gpt.mel_pos_embedding.emb):
        nn.init.normal_(part.weight, std=0.05)
    nn.init.normal_(gpt.mel_head.weight, std=0.02)
    return gpt


def halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for name, weight in state.items():
        if not torch.isfinite(weight.half()).all():
            raise ValueError(f"{name}: too large for half precision")
    return {name: w.detach().half() if w.is_floating_point() else w.detach() for name, w in state.items()}


def save(
    folder: Path, words: Tokenizer, gpt: SpeechGpt, vocoder: nn.Module, speaker: nn.Module, codec: nn.Module,
    stats: Tensor, stock: Mapping[str, tuple[Tensor, Tensor]],
) -> None:  # fmt: skip
    """As a release lies in its folder; weights in half precision, which loading turns into single."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(words), indent=2, sort_keys=True) + "\n")
    words.save(str(folder / "vocab.json"), pretty=False)
    weights: dict[str, Tensor] = {"mel_stats": stats.clone()}
    for prefix, part in (("gpt.", gpt), (VOCODER, vocoder), (SPEAKER, speaker)):
        weights |= {prefix + name: weight for name, weight in halved(part.state_dict()).items()}
    torch.save({"model": weights}, folder / "model.pth")
    torch.save(halved(codec.state_dict()), folder / "dvae.pth")
    torch.save(stats.clone(), folder / "mel_stats.pth")
    speakers = {
        name: {"gpt_cond_latent": latents.half().clone(), "speaker_embedding": vector.half()[..., None].clone()}
        for name, (latents, vector) in stock.items()
    }
    torch.save(speakers, folder / "speakers_xtts.pth")
