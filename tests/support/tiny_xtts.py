"""A small random XTTS-v2 in the layout of the released one, with the configuration classes that upstream pickles."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn

from timbre.families.xtts.codec import CodecEncoder
from timbre.families.xtts.config import XttsSettings
from timbre.families.xtts.gpt import SpeechGpt
from timbre.families.xtts.load import PICKLED, SPEAKER, VOCODER
from timbre.families.xtts.mel import codec_mel
from timbre.families.xtts.speaker import SpeakerEncoder
from timbre.families.xtts.vocoder import LatentVocoder

CODES = 64  # beside start and stop
CHANNELS = 64
ARGS = {
    "gpt_layers": 2, "gpt_n_model_channels": CHANNELS, "gpt_n_heads": 2, "gpt_max_audio_tokens": 120,
    "gpt_max_text_tokens": 260, "gpt_max_prompt_tokens": 70, "gpt_number_text_tokens": None,
    "gpt_start_text_token": None, "gpt_stop_text_token": None, "gpt_num_audio_tokens": CODES + 2,
    "gpt_start_audio_token": CODES, "gpt_stop_audio_token": CODES + 1, "gpt_code_stride_len": 1024,
    "gpt_use_perceiver_resampler": True,
}  # fmt: skip
CONFIG = {
    "model": "xtts", "model_args": ARGS, "languages": ["en", "de"],
    "gpt_cond_len": 30, "gpt_cond_chunk_len": 4, "max_ref_len": 30,
}  # fmt: skip
START, VOCABULARY = 261, 270  # the text's start is fixed, so there must be as many ids


def random_xtts(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    settings = XttsSettings.model_validate(CONFIG)
    gpt = SpeechGpt(settings.model_args, VOCABULARY)
    gpt.mel_head.weight.data.mul_(20)  # fresh weights are so small that every code is as likely
    vocoder, speaker = LatentVocoder(CHANNELS, 512, width=32), SpeakerEncoder((8, 8, 16, 16), 512)
    codec = CodecEncoder(16, depth=32, codes=CODES)
    stats = 1 + torch.rand(80)
    with torch.no_grad():  # a random codebook lies far from all that is heard, and every sound would be one code
        noise = 0.1 * torch.randn(1, 1024 * CODES)
        codec.codebook.embed.copy_(codec.encoder(codec_mel(stats)(noise))[0, :, :CODES])
    computed = {f"{SPEAKER}torch_spec.0.filter": torch.zeros(1, 1, 2)}
    state = {"mel_stats": stats, **prefixed("gpt.", gpt), **prefixed(VOCODER, vocoder), **prefixed(SPEAKER, speaker)}
    with upstream_classes() as classes:
        config = classes["XttsConfig"]()
        config.model_args, config.audio = classes["XttsArgs"](), classes["XttsAudioConfig"]()
        config.datasets = [classes["BaseDatasetConfig"]()]
        torch.save({"config": config, "model": state | computed}, folder / "model.pth")
    unused = {"decoder.0.weight": torch.zeros(2), "discrete_loss.accumulator_index": torch.zeros(1, dtype=torch.int64)}
    torch.save({**codec.state_dict(), **unused}, folder / "dvae.pth")
    torch.save(stats, folder / "mel_stats.pth")
    names = ("Claribel Dervla", "Daisy Studious")
    speakers = {
        name: {"gpt_cond_latent": torch.randn(1, 32, CHANNELS), "speaker_embedding": torch.randn(1, 512, 1)}
        for name in names
    }
    torch.save(speakers, folder / "speakers_xtts.pth")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    tokenizer().save(str(folder / "vocab.json"))
    return folder


def prefixed(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in module.state_dict().items()}


def tokenizer() -> Tokenizer:
    """Letters and marks, no merges: every English sentence has ids."""
    marks = ["[STOP]", "[UNK]", "[SPACE]", *"!'(),-.:;?", *"abcdefghijklmnopqrstuvwxyz", *"0123456789"]
    filler = [f"[{i}]" for i in range(len(marks), START)]
    words = [*marks, *filler, "[START]", "[en]", "[de]"]
    made = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, [], unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(["[STOP]", "[UNK]", "[SPACE]", "[START]", "[en]", "[de]"])
    return made


@contextmanager
def upstream_classes() -> Iterator[dict[str, Any]]:
    """Classes of these names that can be pickled while this lasts, and are nowhere afterwards."""
    modules: dict[str, types.ModuleType] = {}
    classes: dict[str, Any] = {}
    for path in PICKLED:
        parent, _, name = path.rpartition(".")
        parts = parent.split(".")
        for end in range(1, len(parts) + 1):
            modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
        classes[name] = type(name, (), {"__module__": parent, "__qualname__": name})
        setattr(modules[parent], name, classes[name])
    sys.modules.update(modules)
    try:
        yield classes
    finally:
        for name in modules:
            del sys.modules[name]
