"""Random models in seconds, of the same classes as the real ones: for tests that need a model and not its quality."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from tests.support.consent import write_consent
from tests.support.paths import ROOT
from timbre import audio, families
from timbre.core.content import content_key, write_atomic
from timbre.core.records import Example, write_jsonl
from timbre.core.sections import CsmParams, VoiceParams
from timbre.families import Lora
from timbre.families.frame_loop import Frames

WORDS = ("the", "ferry", "to", "Oslo", "waits", "coffee", "please", "again", "green", "train")
SAMPLE_RATE = 16_000  # Hz
END_OF_TEXT, FIRST_TIME = 50256, 50363  # in Whisper's English vocabulary
FRAME = 640  # samples: 25 frames per second
CODEBOOKS, CODEBOOK_SIZE = 4, 64
CSM = CsmParams(depth_share=0.5)
LORA = Lora(rank=4, alpha=8, rslora=True, dropout=0.0)


def random_csm(folder: Path, *, silent: bool = False, seed: int = 0) -> Path:
    """A CSM of some 400,000 parameters with its codec and tokenizer, as `save_pretrained` writes it.

    `silent` ends every sentence at once: whatever it hears, the likeliest code is the end's.
    """
    from transformers import MimiConfig, MimiModel

    recipe = _recipe()
    torch.manual_seed(seed)
    config = MimiConfig(
        sampling_rate=SAMPLE_RATE, upsampling_ratios=[4, 80], upsample_groups=1, num_filters=8, hidden_size=32,
        codebook_dim=16, vector_quantization_hidden_dimension=16, codebook_size=CODEBOOK_SIZE, sliding_window=48,
        num_quantizers=CODEBOOKS, num_semantic_quantizers=1, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=16, intermediate_size=64, use_cache=False,
    )  # fmt: skip
    codec = MimiModel(config).eval()
    for name, buffer in codec.named_buffers():
        if name.endswith("embed_sum"):  # a fresh codebook is all zeros, and every sound the same code
            buffer.normal_()
    words = recipe.processor(WORDS, codec.config)
    model = recipe.build(codec, len(words.tokenizer), width=32, layers=2)
    if silent:
        torch.nn.init.zeros_(model.lm_head.weight)
        torch.nn.init.zeros_(model.depth_decoder.codebooks_head.weight)
    else:  # fresh weights are so small that every code is as likely; and sentences do not end at once
        for weight in (model.lm_head.weight, model.depth_decoder.codebooks_head.weight):
            weight.data.mul_(20)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def _recipe() -> ModuleType:
    """models/tiny/recipe/csm_model.py, which is no package of ours: the shape of the tiny CSM."""
    spec = importlib.util.spec_from_file_location("csm_model", ROOT / "models/tiny/recipe/csm_model.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def adapted(voice: Any, lora: Lora) -> Any:
    """A course that has begun: the voice has a fresh adapter."""
    (course,) = voice.courses(lora, CSM)
    course.begin()
    return course


def write_random_adapter(base: Path, folder: Path, seed: int, rank: int = 4) -> Path:
    """As training saves one of a CSM, but it changes the voice a lot."""
    voice = families.load(VoiceParams("csm", str(base), None))
    adapted(voice, LORA._replace(rank=rank))
    torch.manual_seed(seed)
    for name, weight in voice.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    voice.save_adapter(folder)
    return folder


def write_clips(root: Path, count: int = 10, evaluation: int = 2) -> list[Example]:
    """data/clips and data/dataset as `chunk` and `dataset` leave them, of noise with syllables and seven words."""
    examples = []
    (root / "data/clips").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        name = content_key("clip", number)
        random = np.random.default_rng(number)
        seconds = 0.4 + 0.1 * number
        time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        sound = 0.2 * random.normal(size=len(time)) * np.sin(2 * np.pi * 2 * time) ** 2
        flac = audio.flac_bytes(sound.astype(np.float32), SAMPLE_RATE)
        write_atomic(root / f"data/clips/{name}.flac", flac)
        text = " ".join(random.choice(WORDS, 7)).capitalize() + "."
        path = f"data/clips/{name}.flac"
        examples.append(Example(path, text, "ann", name, "talk", 10.0 * number, 10.0 * number + seconds, seconds))
    write_jsonl(root / "data/dataset/train.jsonl", examples[evaluation:])
    write_jsonl(root / "data/dataset/eval.jsonl", examples[:evaluation])
    write_consent(root)
    return examples


def random_whisper(path: Path, *, babbles: bool = False, multilingual: bool = False) -> Path:
    """A Whisper of two thin layers, in openai-whisper's own checkpoint format, that hears nothing in anything.

    A multilingual one has the layout of turbo. One that babbles says a few words for every window, also for silence.
    """
    from whisper.model import ModelDimensions, Whisper

    torch.manual_seed(0)
    dims = ModelDimensions(
        n_mels=128 if multilingual else 80, n_audio_ctx=1500, n_audio_state=16, n_audio_head=1, n_audio_layer=1,
        n_vocab=51866 if multilingual else 51864, n_text_ctx=24 if babbles else 64, n_text_state=16, n_text_head=1,
        n_text_layer=1,
    )  # fmt: skip
    weights = Whisper(dims).state_dict()
    torch.nn.init.normal_(weights["decoder.positional_embedding"])  # Whisper leaves there what memory held
    if not babbles:
        weights["decoder.ln.weight"].zero_()
        weights["decoder.ln.bias"].fill_(1)
        end, first_time = (50257, 50365) if multilingual else (END_OF_TEXT, FIRST_TIME)
        weights["decoder.token_embedding.weight"][first_time] = 5  # begins each window, as Whisper must with a time …
        weights["decoder.token_embedding.weight"][end] = 10  # … and ends it
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {"dims": vars(dims), "model_state_dict": {name: weight.half() for name, weight in weights.items()}}, path
    )
    return path


def sound(seconds: float, seed: int = 0) -> families.Audio:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * SAMPLE_RATE)).astype(np.float32)


def codes(frames: int, seed: int = 0) -> Frames:
    return np.random.default_rng(seed).integers(1, CODEBOOK_SIZE, (frames, CODEBOOKS)).astype(np.int16)


def kept(frames: int, seed: int = 0) -> families.Codes:
    """As they lie in data/codes."""
    return {"codes": codes(frames, seed)}
